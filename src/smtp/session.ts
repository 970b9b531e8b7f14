// One client's session: commands, their order, their replies (RFC 5321 sections 3 and 4; RFC 6409 for submission). The bytes are the wire's, the
// decisions about addresses the router's, the message in the end `accept`'s.
import { capabilities } from './capabilities.ts';
import type { Account } from '../auth/types.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { shortId } from '../lib/short-id.ts';
import { authenticate } from './authenticate.ts';
import { mailCommand, rcptCommand, TOO_MANY_RECIPIENTS, type Client, type Refusal, type Transaction } from './envelope.ts';
import { handOver, queueId } from './hand-over.ts';
import { TooManyHops } from './incoming-message.ts';
import type { SmtpSessionOptions } from './options.ts';
import { Reception } from './receive.ts';
import { formatReply, reply, replyFor, type Reply } from './reply.ts';
import { protocolName } from './trace.ts';
import { Verification } from './verification.ts';
import type { SmtpWire } from './wire.ts';

/** What to do after a command. */
type Next = 'go-on' | 'close';
const CLOSED: Next = 'close';
const ON: Next = 'go-on';

const LOOPBACK = /^(127\.|::1$)/;

/** RFC 2920 3.1: the client must wait for the reply to these before it sends more. STARTTLS throws away what came behind it. */
const LAST_IN_GROUP: ReadonlySet<string> = new Set(['EHLO', 'HELO', 'DATA', 'NOOP', 'VRFY', 'EXPN']);
/** RFC 3207 4: all that may be said before a demanded STARTTLS. */
const BEFORE_TLS: ReadonlySet<string> = new Set(['EHLO', 'HELO', 'STARTTLS', 'NOOP', 'QUIT', 'RSET']);
const WITHIN_BDAT: ReadonlySet<string> = new Set(['BDAT', 'RSET', 'QUIT', 'NOOP', 'EHLO', 'HELO']);
const NEED_MAIL = reply(503, '5.5.1', 'Error: need MAIL command');

export class SmtpSession {
  readonly id = shortId();
  readonly options: SmtpSessionOptions;
  readonly wire: SmtpWire;
  readonly log: Logger;
  #helo: string | undefined;
  #esmtp = false;
  #account: Account | undefined;
  #mechanism: string | undefined;
  #unwatch: (() => void) | undefined;
  #transaction: Transaction | undefined;
  /** BDAT has begun. */
  #chunks: Reception | undefined;
  #errors = 0;
  #overshoot = 0;
  /** The command that runs. */
  #running: string | undefined;
  /** Why the session is to end after the command that runs. */
  #farewell: Reply | undefined;
  #startedAt: number;
  /** Looked up while the client talks: nobody waits for it before a message is there. */
  readonly #clientName: Promise<string | undefined> | undefined;

  constructor(wire: SmtpWire, options: SmtpSessionOptions, log: Logger) {
    this.wire = wire;
    this.options = options;
    this.log = log.child({ session: this.id, client: wire.remoteAddress });
    this.#startedAt = options.clock.now();
    this.#clientName = options.clientName?.(wire.remoteAddress);
  }

  get #loopback(): boolean {
    return LOOPBACK.test(this.wire.remoteAddress);
  }
  /** TLS, or loopback. */
  get #secure(): boolean {
    return this.wire.tls !== undefined || this.#loopback;
  }
  /** Passwords may cross: TLS, loopback, or disable_plaintext_auth says so. */
  get #mayAuth(): boolean {
    if (this.options.service !== 'submission' || (this.wire.tls === undefined && this.options.tlsLevel === 'encrypt'))
      return false;
    return this.#secure || this.options.authenticator.mechanisms({ secure: false }).length > 0;
  }
  get #client(): Client & { mechanism: string | undefined; internal: boolean } {
    const { service, isTrusted } = this.options;
    const trusted = this.#account !== undefined || (service === 'smtp' && isTrusted(this.wire.remoteAddress));
    const internal = !trusted && service === 'smtp' && this.options.isInternal?.(this.wire.remoteAddress) === true;
    return { account: this.#account, trusted, internal, tls: this.wire.tls !== undefined, mechanism: this.#mechanism };
  }
  get #mayStartTls(): boolean {
    return this.options.tlsLevel !== 'none' && this.wire.tls === undefined;
  }
  /** Bare line ends are refused (smtpd_forbid_bare_newline). */
  get #strict(): boolean {
    return this.options.bareNewline === 'reject' && !this.#client.trusted;
  }

  // ---- the loop

  /** Serves the connection until it ends. Never throws. */
  async run(): Promise<void> {
    this.log.info('smtp.connect', {});
    try {
      const refusal = await this.options.onStage?.('connect');
      if (refusal) return await this.#send(refusal);
      await this.#send(reply(220, '', `${this.options.hostname} ESMTP Buzon`));
      while ((await this.#turn()) === ON);
    } catch (error) {
      if (!this.wire.ended)
        this.log.warn('smtp.session.error', { error: error instanceof Error ? error.message : String(error) });
    } finally {
      this.#unwatch?.();
      await this.#dropTransaction();
      this.wire.close();
      this.log.info('smtp.disconnect', {});
    }
  }

  /** One command. */
  async #turn(): Promise<Next> {
    const { limits, clock } = this.options;
    const left = this.#startedAt + limits.sessionTimeout - clock.now();
    const line = await this.wire.line(limits.line, Math.min(limits.commandTimeout, left), Math.min(limits.lineTimeout, left));
    if (line.kind === 'end') return CLOSED;
    if (this.#farewell) return this.#goodbye(this.#farewell);
    if (line.kind === 'timeout' || left <= 0) return this.#goodbye(this.#leave('4.4.2', 'timeout exceeded'));
    if (line.kind === 'too-long') return this.#goodbye(reply(500, '5.5.2', 'Error: line too long'));
    if (line.bareLf && this.#strict) return this.#goodbye(reply(501, '5.5.4', 'Error: bare <LF> received'));
    const next = await this.#command(line.bytes);
    this.#running = undefined;
    return next === ON && this.#farewell ? this.#goodbye(this.#farewell) : next;
  }

  /** The server stops: who waits is told at once, a command that runs is finished. */
  shutdown(): void {
    this.#endWith(this.#leave('4.3.2', 'Service shutting down'));
  }
  #endWith(farewell: Reply): void {
    this.#farewell ??= farewell;
    // AUTH and STARTTLS wait for the client as the loop does.
    if (this.#running !== undefined && this.#running !== 'AUTH' && this.#running !== 'STARTTLS') return;
    const said = this.#running === 'STARTTLS' ? Promise.resolve() : this.#send(farewell);
    void said.catch(() => undefined).finally(() => this.wire.close());
  }

  #send(answer: Reply): Promise<void> {
    return this.wire.write(formatReply(answer));
  }
  #leave(enhanced: string, text: string): Reply {
    return reply(421, enhanced, `${this.options.hostname} Error: ${text}`);
  }
  async #goodbye(answer: Reply): Promise<Next> {
    await this.#send(answer);
    return CLOSED;
  }

  /** Answers, counts what is wrong, and closes when that is too much. */
  async #answer(answer: Reply): Promise<Next> {
    const { errors, recipientOvershoot } = this.options.limits;
    // Recipients over the limit are the client's plan, not its fault: it will send the rest in another transaction (RFC 5321 4.5.3.1.10).
    const excused = answer === TOO_MANY_RECIPIENTS && ++this.#overshoot <= recipientOvershoot;
    if (answer.code >= 400 && !excused) this.#errors++;
    if (this.#errors > errors) return this.#goodbye(this.#leave('4.7.0', 'too many errors'));
    await this.#send(answer);
    return answer.code === 421 ? CLOSED : ON;
  }
  #reject(stage: string, { refused, ...fields }: Refusal): Promise<Next> {
    const answer = 'code' in refused ? refused : this.#answerTo(stage, refused.error, refused.subject);
    const text = typeof answer.text === 'string' ? answer.text : answer.text.join(' ');
    this.log.info('smtp.reject', {
      stage,
      reply: `${answer.code} ${answer.enhanced} ${text}`,
      helo: this.#helo ?? '',
      proto: this.#esmtp ? 'ESMTP' : 'SMTP',
      ...fields,
    });
    return this.#answer(answer);
  }
  #answerTo(stage: string, error: unknown, subject: string): Reply {
    const mail = error instanceof MailError ? error : toMailError(error, stage);
    if (mail.kind === 'temporary' || mail.kind === 'config')
      this.log.error('smtp.error', { stage, code: mail.code, detail: mail.detail });
    const answer = mail instanceof TooManyHops ? reply(554, '5.4.0', 'Error: too many hops') : replyFor(mail);
    return subject === '' ? answer : { ...answer, text: `${subject}: ${mail.clientText}` };
  }

  // ---- commands

  #command(bytes: Buffer): Promise<Next> {
    const text = bytes.toString('utf8');
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(text) || text.includes('\ufffd'))
      return this.#answer(reply(501, '5.5.4', 'Syntax: control or invalid characters'));
    const [verb = ''] = text.split(' ', 1);
    const name = verb.toUpperCase();
    this.#running = name;
    // A browser that was led here (smtpd_forbidden_commands).
    if (/^(GET|POST|PUT|HEAD|OPTIONS|CONNECT)$/.test(name) && /HTTP\//.test(text))
      return this.#goodbye(this.#leave('4.7.0', 'I can break rules, too. Goodbye.'));
    const group = this.#esmtp ? LAST_IN_GROUP.has(name) : name !== 'STARTTLS';
    if (group && this.wire.waiting > 0) return this.#goodbye(reply(554, '5.5.0', 'Error: SMTP protocol synchronization'));
    if (this.options.tlsLevel === 'encrypt' && !this.wire.tls && !BEFORE_TLS.has(name))
      return this.#answer(reply(530, '5.7.0', 'Must issue a STARTTLS command first'));
    if (this.#chunks && !WITHIN_BDAT.has(name)) return this.#answer(reply(503, '5.5.1', 'Error: BDAT in progress'));
    return this.#dispatch(name, text.slice(verb.length).trim());
  }

  async #dispatch(name: string, argument: string): Promise<Next> {
    switch (name) {
      case 'EHLO':
      case 'HELO':
        return this.#hello(name, argument);
      case 'MAIL':
        return this.#mail(argument);
      case 'RCPT':
        return this.#rcpt(argument);
      case 'DATA':
        return this.#data(argument);
      case 'BDAT':
        return this.#bdat(argument);
      case 'RSET':
        if (argument !== '') return this.#answer(reply(501, '5.5.4', 'Syntax: RSET'));
        await this.#dropTransaction();
        return this.#answer(reply(250, '2.0.0', 'Ok'));
      case 'NOOP':
        return this.#answer(reply(250, '2.0.0', 'Ok'));
      case 'QUIT':
        return this.#goodbye(reply(221, '2.0.0', 'Bye'));
      case 'STARTTLS':
        return this.#starttls(argument);
      case 'AUTH':
        return this.#auth(argument);
      case 'VRFY':
        return this.#answer(
          argument === ''
            ? reply(501, '5.5.4', 'Syntax: VRFY address')
            : reply(252, '2.0.0', 'Send some mail, I will try my best'),
        );
      case 'EXPN':
        return this.#answer(reply(502, '5.5.1', 'Error: command not implemented'));
      case 'HELP':
        return this.#answer(reply(214, '2.0.0', 'RFC 5321'));
      default:
        return this.#answer(reply(500, '5.5.2', 'Error: command not recognized'));
    }
  }

  async #hello(name: 'EHLO' | 'HELO', argument: string): Promise<Next> {
    if (argument === '' || argument.length > 255 || argument.includes(' '))
      return this.#answer(reply(501, '5.5.4', `Syntax: ${name} hostname`));
    await this.#dropTransaction();
    this.#helo = argument;
    this.#esmtp = name === 'EHLO';
    if (!this.#esmtp) return this.#answer(reply(250, '', this.options.hostname));
    const { hostname, limits, authenticator } = this.options;
    const lines = capabilities({
      messageSize: limits.messageSize,
      startTls: this.#mayStartTls,
      mechanisms: this.#mayAuth && !this.#account ? authenticator.mechanisms({ secure: this.#secure }) : [],
      tls: Boolean(this.wire.tls),
      trusted: this.#client.trusted,
    });
    return this.#answer(reply(250, '', [hostname, ...lines]));
  }

  async #starttls(argument: string): Promise<Next> {
    if (argument !== '') return this.#answer(reply(501, '5.5.4', 'Syntax: STARTTLS'));
    if (this.wire.tls) return this.#answer(reply(554, '5.5.1', 'Error: TLS already active'));
    if (!this.#mayStartTls) return this.#answer(reply(502, '5.5.1', 'Error: command not implemented'));
    await this.#dropTransaction();
    if (!(await this.wire.startTls())) return CLOSED;
    // RFC 3207 4.2: nothing from before counts.
    this.#helo = undefined;
    this.#esmtp = false;
    this.#logOut();
    return ON;
  }

  async #auth(argument: string): Promise<Next> {
    if (this.options.service !== 'submission') return this.#answer(reply(503, '5.5.1', 'Error: authentication not enabled'));
    if (!this.#mayAuth) return this.#answer(reply(504, '5.5.4', 'Encryption required for requested authentication mechanism'));
    if (!this.#esmtp) return this.#answer(reply(503, '5.5.1', 'Error: send EHLO first'));
    if (this.#account) return this.#answer(reply(503, '5.5.1', 'Error: already authenticated'));
    if (this.#transaction) return this.#answer(reply(503, '5.5.1', 'Error: MAIL transaction in progress'));
    const refusal = await this.options.onStage?.('auth');
    if (refusal) return this.#answer(refusal);
    const { authenticator, limits } = this.options;
    const { remoteAddress } = this.wire;
    const origin = { remoteAddress, service: 'submission', secure: this.#secure, sessionId: this.id } as const;
    const outcome = await authenticate(argument, authenticator, origin, this.wire, limits, this.#strict);
    const { account, mechanism } = outcome;
    if (account) {
      this.#account = account;
      this.#mechanism = mechanism;
      this.#unwatch = authenticator.watch(account, () => this.#endWith(this.#leave('4.7.0', 'log in again')));
      this.log.info('smtp.auth', { user: account.address, mechanism });
    } else if (outcome.failed) this.log.warn('smtp.auth.failed', { mechanism, user: outcome.user ?? '' });
    return this.#answer(outcome.reply);
  }
  #logOut(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#account = undefined;
    this.#mechanism = undefined;
  }

  async #mail(argument: string): Promise<Next> {
    if (this.#helo === undefined) return this.#answer(reply(503, '5.5.1', 'Error: send HELO/EHLO first'));
    if (this.options.service === 'submission' && !this.#account)
      return this.#reject('MAIL', { refused: reply(530, '5.7.0', 'Authentication required') });
    if (this.#transaction) return this.#answer(reply(503, '5.5.1', 'Error: nested MAIL command'));
    const begun = await mailCommand(argument, this.#client, this.options);
    if ('refused' in begun) return this.#reject('MAIL', begun);
    this.#transaction = begun;
    return this.#answer(reply(250, '2.1.0', 'Ok'));
  }

  async #rcpt(argument: string): Promise<Next> {
    const transaction = this.#transaction;
    if (!transaction) return this.#answer(NEED_MAIL);
    const recipient = await rcptCommand(argument, transaction, this.#client, this.options);
    if ('refused' in recipient) return this.#reject('RCPT', recipient);
    const { address } = recipient;
    try {
      await this.#verification(transaction)?.recipient(address);
    } catch (error) {
      const refused = { error, subject: `<${address}>` };
      return this.#reject('RCPT', { refused, from: transaction.sender, to: address });
    }
    transaction.recipients.push(recipient);
    return this.#answer(reply(250, '2.1.5', 'Ok'));
  }

  /** Undefined for mail of our own users and of mynetworks, and where nothing is verified. */
  #verification(transaction: Transaction): Verification | undefined {
    const { authentication, service } = this.options;
    if (!authentication || service !== 'smtp' || this.#client.trusted) return undefined;
    const { sender } = transaction;
    const peer = { ip: this.wire.remoteAddress, helo: this.#helo ?? '', sender };
    return (transaction.verification ??= new Verification(authentication, peer));
  }

  // ---- the message

  /** The transaction that a message may follow, or why none may. */
  #readyForData(): Transaction | Reply {
    if (!this.#transaction) return NEED_MAIL;
    return this.#transaction.recipients.length > 0 ? this.#transaction : reply(554, '5.5.1', 'Error: no valid recipients');
  }

  async #data(argument: string): Promise<Next> {
    const transaction = argument === '' ? this.#readyForData() : reply(501, '5.5.4', 'Syntax: DATA');
    if ('code' in transaction) return this.#answer(transaction);
    await this.#send(reply(354, '', 'End data with <CR><LF>.<CR><LF>'));
    const reception = new Reception(this.wire, this.options);
    const outcome = await reception.data();
    return outcome === 'complete' ? this.#finish(transaction, reception) : this.#broken(outcome);
  }

  /** RFC 3030. */
  async #bdat(argument: string): Promise<Next> {
    const m = /^(\d{1,10})( +LAST)?$/i.exec(argument);
    // How many octets follow is not known then: nothing that comes can be told from a command.
    if (!m) return this.#goodbye(reply(501, '5.5.4', 'Syntax: BDAT count [LAST]'));
    const size = Number(m[1]);
    const transaction = this.#readyForData();
    // The octets of a chunk that is not wanted are passed over all the same.
    const reception = this.#chunks ?? new Reception(this.wire, this.options);
    const refused = 'code' in transaction ? transaction : undefined;
    if (refused) reception.incoming.ignore();
    else this.#chunks = reception;
    const outcome = await reception.chunk(size);
    if (outcome !== 'complete') return this.#broken(outcome);
    if ('code' in transaction) return this.#answer(transaction);
    const { failure } = reception.incoming;
    if (failure) {
      await this.#dropTransaction();
      return this.#reject('BDAT', { refused: { error: failure, subject: '' }, from: transaction.sender });
    }
    if (m[2] === undefined) return this.#answer(reply(250, '2.0.0', `Ok: ${size} octets`));
    await reception.lastChunk();
    return this.#finish(transaction, reception);
  }

  async #broken(outcome: 'lost' | 'excessive'): Promise<Next> {
    if (outcome === 'excessive') return this.#goodbye(reply(552, '5.3.4', 'Message size exceeds fixed limit'));
    return this.wire.ended ? CLOSED : this.#goodbye(this.#leave('4.4.2', 'timeout exceeded'));
  }

  async #finish(transaction: Transaction, { incoming, irregular }: Reception): Promise<Next> {
    this.#transaction = undefined;
    this.#chunks = undefined;
    const from = transaction.sender;
    const refused =
      irregular && this.#strict ? reply(550, '5.5.2', 'bare <CR>, <LF> or NUL received') : await this.options.onStage?.('data');
    if (refused) {
      await incoming.discard();
      return this.#reject('DATA', { refused, from });
    }
    const id = queueId();
    const { tls } = this.wire;
    const utf8 = transaction.params.smtpUtf8;
    const clientName = await this.#clientName;
    const hop = {
      helo: this.#helo ?? '',
      ...(clientName === undefined ? {} : { clientName }),
      clientAddress: this.wire.remoteAddress,
      protocol: protocolName({ esmtp: this.#esmtp, tls: tls !== undefined, auth: this.#account !== undefined, utf8 }),
      ...(tls ? { tls } : {}),
    };
    try {
      await handOver({ id, transaction, incoming, client: this.#client, hop }, this.options, this.log);
    } catch (error) {
      await incoming.discard();
      return this.#reject('DATA', { refused: { error, subject: '' }, from });
    }
    return this.#answer(reply(250, '2.0.0', `Ok: queued as ${id}`));
  }

  async #dropTransaction(): Promise<void> {
    const chunks = this.#chunks;
    this.#transaction = undefined;
    this.#chunks = undefined;
    await chunks?.incoming.discard();
  }
}
