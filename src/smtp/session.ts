// One client's session: commands, their order, their replies (RFC 5321 sections 3 and 4; RFC 6409 for submission). The bytes are the wire's, the
// decisions about addresses the router's, the message in the end `accept`'s.
import { randomBytes } from 'node:crypto';
import type { Account, Authenticator } from '../auth/types.ts';
import type { AcceptMessage, EnvelopeRecipient, OutboundQueue, Router } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { parsePath, type MailboxAddress } from '../message/address-spec.ts';
import { prefixedSource, replaceHead } from '../message/source.ts';
import { authenticate } from './authenticate.ts';
import { ChunkScanner, DataScanner } from './data-scanner.ts';
import { IncomingMessage, TooManyHops } from './incoming-message.ts';
import type { SmtpLimits } from './limits.ts';
import { parseMailParameters, parseRcptParameters, type MailParameters } from './parameters.ts';
import { formatReply, reply, replyFor, type Reply } from './reply.ts';
import { prepareSubmission } from './submission.ts';
import { protocolName, receivedField } from './trace.ts';
import type { SmtpWire } from './wire.ts';

export type SmtpService = 'smtp' | 'submission';
export type SmtpStage = 'connect' | 'auth' | 'mail' | 'rcpt' | 'data';
export type BareNewline = 'reject' | 'normalize' | 'no';

export interface SmtpSessionOptions {
  readonly service: SmtpService;
  readonly hostname: string;
  readonly limits: SmtpLimits;
  readonly router: Router;
  readonly accept: AcceptMessage;
  readonly queue: OutboundQueue;
  readonly authenticator: Authenticator;
  readonly spoolFolder: string;
  readonly clock: Clock;
  /** Whether an address is in mynetworks. */
  readonly isTrusted: (address: string) => boolean;
  /** smtpd_tls_security_level, `none` also where no certificate is set. */
  readonly tlsLevel: 'none' | 'may' | 'encrypt';
  /** smtpd_forbid_bare_newline for clients outside mynetworks that have not logged in. */
  readonly bareNewline: BareNewline;
  /** Asked before each stage's own checks: a reply refuses it. */
  readonly onStage?: (stage: SmtpStage) => Promise<Reply | undefined> | Reply | undefined;
  /** Whether a mailbox can take anything at all now. @throws MailError over-quota and the like */
  readonly checkMailbox?: (address: string) => Promise<void>;
}

interface Transaction {
  /** Empty for `<>`. */
  readonly sender: string;
  readonly params: MailParameters;
  readonly recipients: EnvelopeRecipient[];
  /** BDAT has begun. */
  chunks?: { readonly message: IncomingMessage; readonly scanner: ChunkScanner };
}

/** What to do after a command. */
type Next = 'go-on' | 'close';
const CLOSED: Next = 'close';
const ON: Next = 'go-on';

const LOOPBACK = /^(127\.|::1$)/;

export class SmtpSession {
  readonly id = randomBytes(6).toString('base64url');
  readonly options: SmtpSessionOptions;
  readonly wire: SmtpWire;
  readonly log: Logger;
  #helo: string | undefined;
  #esmtp = false;
  #account: Account | undefined;
  #mechanism: string | undefined;
  #transaction: Transaction | undefined;
  #errors = 0;
  #closing = false;
  #inCommand = false;
  #startedAt: number;

  constructor(wire: SmtpWire, options: SmtpSessionOptions, log: Logger) {
    this.wire = wire;
    this.options = options;
    this.log = log.child({ session: this.id, client: wire.remoteAddress });
    this.#startedAt = options.clock.now();
  }

  get #loopback(): boolean {
    return LOOPBACK.test(this.wire.remoteAddress);
  }
  /** Passwords may cross: TLS, or loopback. */
  get #mayAuth(): boolean {
    return (
      this.options.service === 'submission' &&
      (this.wire.tls !== undefined || (this.#loopback && this.options.tlsLevel !== 'encrypt'))
    );
  }
  get #trusted(): boolean {
    return this.#account !== undefined || (this.options.service === 'smtp' && this.options.isTrusted(this.wire.remoteAddress));
  }
  get #mayStartTls(): boolean {
    return this.options.tlsLevel !== 'none' && this.wire.tls === undefined;
  }

  // ---- the loop

  /** Serves the connection until it ends. Never throws. */
  async run(): Promise<void> {
    const { limits } = this.options;
    this.log.info('smtp.connect', {});
    try {
      const refusal = await this.options.onStage?.('connect');
      if (refusal) return await this.#send(refusal);
      await this.#send(reply(220, '', `${this.options.hostname} ESMTP Buzon`));
      for (;;) {
        const line = await this.wire.line(limits.line, limits.commandTimeout, limits.lineTimeout);
        if (line.kind === 'end') return;
        if (line.kind === 'timeout') return await this.#goodbye('4.4.2', 'timeout exceeded');
        if (line.kind === 'too-long') return await this.#send(reply(500, '5.5.2', 'Error: line too long'));
        if (line.irregular) return await this.#send(reply(500, '5.5.2', 'Error: bare <CR> or <LF> received'));
        if (this.#closing) return await this.#goodbye('4.3.2', 'Service shutting down');
        if (this.options.clock.now() - this.#startedAt > limits.sessionTimeout)
          return await this.#goodbye('4.4.2', 'session timeout exceeded');
        this.#inCommand = true;
        const next = await this.#command(line.bytes);
        this.#inCommand = false;
        if (next === CLOSED) return;
        if (this.#closing) return await this.#goodbye('4.3.2', 'Service shutting down');
      }
    } catch (error) {
      if (!this.wire.ended)
        this.log.warn('smtp.session.error', { error: error instanceof Error ? error.message : String(error) });
    } finally {
      await this.#dropTransaction();
      this.wire.close();
      this.log.info('smtp.disconnect', {});
    }
  }

  /** The server stops: who waits is told at once, a command that runs is finished. */
  shutdown(): void {
    this.#closing = true;
    if (this.#inCommand) return;
    void this.#goodbye('4.3.2', 'Service shutting down')
      .catch(() => undefined)
      .finally(() => this.wire.close());
  }

  #send(answer: Reply): Promise<void> {
    return this.wire.write(formatReply(answer));
  }
  async #goodbye(enhanced: string, text: string): Promise<void> {
    await this.#send(reply(421, enhanced, `${this.options.hostname} Error: ${text}`));
  }

  /** Answers, counts what is wrong, and closes when that is too much. */
  async #answer(answer: Reply): Promise<Next> {
    if (answer.code >= 400) this.#errors++;
    if (this.#errors > this.options.limits.errors) {
      await this.#goodbye('4.7.0', 'too many errors');
      return CLOSED;
    }
    await this.#send(answer);
    return answer.code === 421 ? CLOSED : ON;
  }
  #refuse(stage: string, answer: Reply, fields: { from?: string; to?: string } = {}): Promise<Next> {
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
  #refuseError(stage: string, error: unknown, subject: string, fields: { from?: string; to?: string } = {}): Promise<Next> {
    const mail = error instanceof MailError ? error : toMailError(error, stage);
    if (mail.kind === 'temporary' || mail.kind === 'config')
      this.log.error('smtp.error', { stage, code: mail.code, detail: mail.detail });
    const answer = mail instanceof TooManyHops ? reply(554, '5.4.0', 'Error: too many hops') : replyFor(mail);
    return this.#refuse(stage, subject === '' ? answer : { ...answer, text: `${subject}: ${mail.clientText}` }, fields);
  }

  // ---- commands

  async #command(bytes: Buffer): Promise<Next> {
    const text = bytes.toString('utf8');
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(text) || text.includes('\ufffd'))
      return this.#answer(reply(501, '5.5.4', 'Syntax: control or invalid characters'));
    const [verb = ''] = text.split(' ', 1);
    const name = verb.toUpperCase();
    const argument = text.slice(verb.length).trim();
    if (/^(GET|POST|PUT|HEAD|OPTIONS|CONNECT)$/.test(name) && /HTTP\//.test(text)) {
      await this.#goodbye('4.7.0', 'I can break rules, too. Goodbye.');
      return CLOSED;
    }
    if (
      this.options.tlsLevel === 'encrypt' &&
      !this.wire.tls &&
      !['EHLO', 'HELO', 'STARTTLS', 'NOOP', 'QUIT', 'RSET'].includes(name)
    )
      return this.#answer(reply(530, '5.7.0', 'Must issue a STARTTLS command first'));
    if (this.#transaction?.chunks && !['BDAT', 'RSET', 'QUIT', 'NOOP'].includes(name))
      return this.#answer(reply(503, '5.5.1', 'Error: BDAT in progress'));
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
        await this.#dropTransaction();
        return this.#answer(argument === '' ? reply(250, '2.0.0', 'Ok') : reply(501, '5.5.4', 'Syntax: RSET'));
      case 'NOOP':
        return this.#answer(reply(250, '2.0.0', 'Ok'));
      case 'QUIT':
        await this.#send(reply(221, '2.0.0', 'Bye'));
        return CLOSED;
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
    // RFC 2920 3.1: EHLO ends a pipelined group.
    if (this.wire.waiting > 0) {
      await this.#send(reply(503, '5.5.0', 'Error: improper command pipelining after EHLO'));
      return CLOSED;
    }
    await this.#dropTransaction();
    this.#helo = argument;
    this.#esmtp = name === 'EHLO';
    if (!this.#esmtp) return this.#answer(reply(250, '', this.options.hostname));
    const { limits, authenticator } = this.options;
    const lines = [this.options.hostname, 'PIPELINING', `SIZE ${limits.messageSize}`];
    if (this.#mayStartTls) lines.push('STARTTLS');
    if (this.#mayAuth && !this.#account) {
      const mechanisms = authenticator.mechanisms({ secure: true });
      if (mechanisms.length > 0) lines.push(`AUTH ${mechanisms.join(' ')}`);
    }
    lines.push('ENHANCEDSTATUSCODES', '8BITMIME', 'DSN', 'SMTPUTF8', 'CHUNKING');
    return this.#answer(reply(250, '', lines));
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
    this.#account = undefined;
    return ON;
  }

  async #auth(argument: string): Promise<Next> {
    if (this.options.service !== 'submission') return this.#answer(reply(503, '5.5.1', 'Error: authentication not enabled'));
    if (!this.#mayAuth) return this.#answer(reply(504, '5.5.4', 'Encryption required for requested authentication mechanism'));
    if (this.#helo === undefined) return this.#answer(reply(503, '5.5.1', 'Error: send EHLO first'));
    if (this.#account) return this.#answer(reply(503, '5.5.1', 'Error: already authenticated'));
    if (this.#transaction) return this.#answer(reply(503, '5.5.1', 'Error: MAIL transaction in progress'));
    const refusal = await this.options.onStage?.('auth');
    if (refusal) return this.#answer(refusal);
    const origin = { remoteAddress: this.wire.remoteAddress, service: 'submission', secure: true, sessionId: this.id } as const;
    const outcome = await authenticate(argument, this.options.authenticator, origin, this.wire, this.options.limits);
    if (outcome.account) {
      this.#account = outcome.account;
      this.#mechanism = outcome.mechanism;
      this.log.info('smtp.auth', { user: outcome.account.address, mechanism: outcome.mechanism });
    } else if (outcome.failed) this.log.warn('smtp.auth.failed', { mechanism: outcome.mechanism, user: outcome.user ?? '' });
    return this.#answer(outcome.reply);
  }

  async #mail(argument: string): Promise<Next> {
    if (this.#helo === undefined) return this.#answer(reply(503, '5.5.1', 'Error: send HELO/EHLO first'));
    if (this.options.service === 'submission' && !this.#account)
      return this.#refuse('MAIL', reply(530, '5.7.0', 'Authentication required'));
    if (this.#transaction) return this.#answer(reply(503, '5.5.1', 'Error: nested MAIL command'));
    if (!/^FROM:/i.test(argument)) return this.#answer(reply(501, '5.5.4', 'Syntax: MAIL FROM:<address>'));
    const text = argument.slice(5);
    const path = parsePath(text);
    if (!path) return this.#refuse('MAIL', reply(501, '5.1.7', 'Bad sender address syntax'));
    const params = parseMailParameters(text.slice(path.end));
    if ('code' in params) return this.#refuse('MAIL', params);
    const sender = path.mailbox?.address ?? '';
    const problem = this.#checkMail(path.mailbox, params);
    if (problem) return this.#refuse('MAIL', problem, { from: sender });
    if (this.#account && sender !== '') {
      try {
        if (!(await this.options.router.maySendAs(this.#account.address, sender)))
          return await this.#refuse(
            'MAIL',
            reply(553, '5.7.1', `<${sender}>: Sender address rejected: not owned by user ${this.#account.address}`),
            { from: sender },
          );
      } catch (error) {
        return this.#refuseError('MAIL', error, '', { from: sender });
      }
    }
    const refusal = await this.options.onStage?.('mail');
    if (refusal) return this.#refuse('MAIL', refusal, { from: sender });
    this.#transaction = { sender, params, recipients: [] };
    return this.#answer(reply(250, '2.1.0', 'Ok'));
  }

  #checkMail(mailbox: MailboxAddress | null, params: MailParameters): Reply | undefined {
    if (mailbox?.domain === '') return reply(553, '5.1.7', 'Sender address has no domain');
    if (mailbox?.utf8 && !params.smtpUtf8) return reply(553, '5.6.7', 'The address needs SMTPUTF8');
    if ((params.size ?? 0) > this.options.limits.messageSize) return reply(552, '5.3.4', 'Message size exceeds fixed limit');
    return undefined;
  }

  async #rcpt(argument: string): Promise<Next> {
    const transaction = this.#transaction;
    if (!transaction) return this.#answer(reply(503, '5.5.1', 'Error: need MAIL command'));
    if (!/^TO:/i.test(argument)) return this.#answer(reply(501, '5.5.4', 'Syntax: RCPT TO:<address>'));
    const text = argument.slice(3);
    const path = parsePath(text);
    if (!path?.mailbox) return this.#refuse('RCPT', reply(501, '5.1.3', 'Bad recipient address syntax'));
    const { address, domain, local, utf8 } = path.mailbox;
    const fields = { from: transaction.sender, to: address };
    // RFC 5321 4.5.1: postmaster needs no domain.
    if (domain === '' && local.toLowerCase() !== 'postmaster')
      return this.#refuse('RCPT', reply(550, '5.1.3', `<${address}>: Recipient address has no domain`), fields);
    if (utf8 && !transaction.params.smtpUtf8)
      return this.#refuse('RCPT', reply(553, '5.6.7', 'The address needs SMTPUTF8'), fields);
    const params = parseRcptParameters(text.slice(path.end));
    if ('code' in params) return this.#refuse('RCPT', params, fields);
    if (transaction.recipients.length >= this.options.limits.recipients)
      return this.#refuse('RCPT', reply(452, '4.5.3', 'Error: too many recipients'), fields);
    const refusal = await this.options.onStage?.('rcpt');
    if (refusal) return this.#refuse('RCPT', refusal, fields);
    try {
      const route = await this.options.router.route(address);
      const problem = this.#checkRoute(address, route);
      if (problem) return await this.#refuse('RCPT', problem, fields);
      if (route.kind === 'deliver')
        for (const target of route.targets) if (target.kind === 'mailbox') await this.options.checkMailbox?.(target.address);
      transaction.recipients.push({ address, route, ...params });
    } catch (error) {
      return this.#refuseError('RCPT', error, `<${address}>`, fields);
    }
    return this.#answer(reply(250, '2.1.5', 'Ok'));
  }

  #checkRoute(address: string, route: EnvelopeRecipient['route']): Reply | undefined {
    switch (route.kind) {
      case 'unknown-user':
        return reply(550, '5.1.1', `<${address}>: Recipient address rejected: User unknown`);
      case 'refused':
        return reply(554, '5.3.5', `<${address}>: Recipient address rejected: ${route.reason}`);
      case 'relay':
        if (!this.#trusted) return reply(554, '5.7.1', `<${address}>: Relay access denied`);
        return this.options.queue.available ? undefined : NO_QUEUE;
      case 'deliver':
        return route.targets.some((target) => target.kind === 'remote') && !this.options.queue.available ? NO_QUEUE : undefined;
    }
  }

  // ---- the message

  #readyForData(): Reply | undefined {
    if (!this.#transaction) return reply(503, '5.5.1', 'Error: need MAIL command');
    if (this.#transaction.recipients.length === 0) return reply(554, '5.5.1', 'Error: no valid recipients');
    return undefined;
  }

  async #data(argument: string): Promise<Next> {
    const problem = argument === '' ? this.#readyForData() : reply(501, '5.5.4', 'Syntax: DATA');
    const transaction = this.#transaction;
    if (problem || !transaction) return this.#answer(problem ?? reply(503, '5.5.1', 'Error: need MAIL command'));
    if (this.wire.waiting > 0) {
      await this.#send(reply(554, '5.5.0', 'Error: message sent before the 354 reply'));
      return CLOSED;
    }
    await this.#send(reply(354, '', 'End data with <CR><LF>.<CR><LF>'));
    const message = new IncomingMessage(this.options.spoolFolder, this.options.limits);
    const scanner = new DataScanner();
    const began = this.options.clock.now();
    for (;;) {
      const chunk = await this.wire.chunk(65_536, this.#dataDeadline(began, message.received));
      if (!chunk) return this.#lostData(message);
      const { content, used, ended } = scanner.push(chunk);
      await message.write(content);
      if (ended) {
        if (used < chunk.length) this.wire.unread(chunk.subarray(used));
        break;
      }
      if (message.excessive) {
        await message.discard();
        await this.#send(reply(552, '5.3.4', 'Message size exceeds fixed limit'));
        return CLOSED;
      }
    }
    return this.#finish(transaction, message, scanner.irregular);
  }

  #dataDeadline(began: number, received: number): number {
    const { dataTimeout, dataRate } = this.options.limits;
    return Date.now() + began + dataTimeout + (received / dataRate) * 1000 - this.options.clock.now();
  }
  async #lostData(message: IncomingMessage): Promise<Next> {
    await message.discard();
    if (!this.wire.ended) await this.#goodbye('4.4.2', 'timeout exceeded');
    return CLOSED;
  }

  /** RFC 3030. */
  async #bdat(argument: string): Promise<Next> {
    const m = /^(\d{1,10})( LAST)?$/i.exec(argument);
    if (!m) {
      // How many octets follow is not known: nothing that comes can be told from a command.
      await this.#send(reply(501, '5.5.4', 'Syntax: BDAT count [LAST]'));
      return CLOSED;
    }
    const size = Number(m[1]);
    const transaction = this.#transaction;
    const problem = this.#readyForData();
    const message = transaction?.chunks?.message ?? new IncomingMessage(this.options.spoolFolder, this.options.limits);
    const scanner = transaction?.chunks?.scanner ?? new ChunkScanner();
    if (transaction && !problem) transaction.chunks = { message, scanner };
    const began = this.options.clock.now();
    for (let left = size; left > 0;) {
      const chunk = await this.wire.chunk(Math.min(left, 65_536), this.#dataDeadline(began, size - left));
      if (!chunk) return this.#lostData(message);
      left -= chunk.length;
      if (problem) message.received += chunk.length;
      else await message.write(scanner.push(chunk));
      if (message.excessive) {
        await message.discard();
        await this.#send(reply(552, '5.3.4', 'Message size exceeds fixed limit'));
        return CLOSED;
      }
    }
    if (problem || !transaction) return this.#answer(problem ?? reply(503, '5.5.1', 'Error: need MAIL command'));
    if (m[2] === undefined) return this.#answer(reply(250, '2.0.0', `Ok: ${size} octets`));
    await message.write(scanner.end());
    return this.#finish(transaction, message, scanner.irregular);
  }

  async #finish(transaction: Transaction, incoming: IncomingMessage, irregular: boolean): Promise<Next> {
    this.#transaction = undefined;
    const fields = { from: transaction.sender };
    const forbidden = irregular && !this.#trusted && this.options.bareNewline === 'reject';
    if (forbidden) {
      await incoming.discard();
      return this.#refuse('DATA', reply(550, '5.5.2', 'bare <CR>, <LF> or NUL received'), fields);
    }
    const id = queueId();
    try {
      const refusal = await this.options.onStage?.('data');
      if (refusal) {
        await incoming.discard();
        return await this.#refuse('DATA', refusal, fields);
      }
      await this.#deliver(id, transaction, incoming);
    } catch (error) {
      await incoming.discard();
      return this.#refuseError('DATA', error, '', fields);
    }
    return this.#answer(reply(250, '2.0.0', `Ok: queued as ${id}`));
  }

  async #deliver(id: string, transaction: Transaction, incoming: IncomingMessage): Promise<void> {
    const { source, header, deliveredTo } = await incoming.finish();
    try {
      const edited = this.#account ? await prepareSubmission(header, this.#account.address, this.options, id) : header;
      const body = edited === header ? source : replaceHead(source, header.length, edited);
      const received = Buffer.from(this.#received(id, transaction), 'utf8');
      const { sender, recipients, params } = transaction;
      const message = {
        id,
        envelope: {
          sender,
          recipients,
          smtpUtf8: params.smtpUtf8,
          bodyType: params.bodyType,
          ...(params.ret === undefined ? {} : { ret: params.ret }),
          ...(params.envid === undefined ? {} : { envid: params.envid }),
        },
        source: prefixedSource(received, body),
        original: source,
        deliveredTo,
        ...(this.#account ? { account: this.#account.address } : {}),
      };
      const messageId = /^message-id:[ \t]*([^\r\n]{1,300})/im.exec(edited.toString('latin1', 0, 65_536))?.[1]?.trim() ?? '';
      this.log.info('smtp.received', {
        id,
        from: sender,
        size: source.size,
        recipients: recipients.length,
        messageId,
        ...(this.#account ? { user: this.#account.address, mechanism: this.#mechanism } : {}),
      });
      await this.options.accept(message);
    } finally {
      await source.dispose();
    }
  }

  #received(id: string, { recipients, params }: Transaction): string {
    const { tls } = this.wire;
    const [only] = recipients;
    return receivedField({
      helo: this.#helo ?? '',
      clientAddress: this.wire.remoteAddress,
      hostname: this.options.hostname,
      id,
      protocol: protocolName({
        esmtp: this.#esmtp,
        tls: tls !== undefined,
        auth: this.#account !== undefined,
        utf8: params.smtpUtf8,
      }),
      ...(tls ? { tls } : {}),
      ...(only && recipients.length === 1 ? { recipient: only.address } : {}),
      at: this.options.clock.now(),
    });
  }

  async #dropTransaction(): Promise<void> {
    const transaction = this.#transaction;
    this.#transaction = undefined;
    await transaction?.chunks?.message.discard();
  }
}

const NO_QUEUE = reply(451, '4.3.0', 'Mail to other hosts cannot be taken now');

/** As Postfix's: hexadecimal, upper case. */
const queueId = (): string => randomBytes(6).toString('hex').toUpperCase();
