// The only importer of nodemailer. Kept of it: the connection's set-up (greeting, EHLO or LHLO, HELO where that fails, STARTTLS with everything
// thrown away that came in clear, AUTH) and its queue of replies. Replaced, because of what it lacks: its look-ups and sockets (ours are bound, timed and
// may be unix ones), its time-outs (one for everything), its limit on replies (1 MB; lines without number), its envelope (DSN options of one
// recipient for all, SMTPUTF8 for addresses only, several replies of LMTP mixed up), its three streams a message (a third of what a small one costs).
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { yieldToLoop } from '../lib/async.ts';
import { DotStuffer } from './client/dot-stuffing.ts';
import { countLines, extensionsOf, parseReply, printable, type SmtpReply } from './client/reply.ts';
import { SessionError, type SessionOptions, type SessionTls, type SmtpSession, type Stage, type Step } from './client/session.ts';

/** Bytes and lines of one reply; replies that nobody has asked for. */
const MAX_REPLY_BYTES = 65_536;
const MAX_REPLY_LINES = 100;
const MAX_UNREAD_REPLIES = 100;
/** Bytes written in one turn of the loop. */
const TURN = 262_144;
/** For nodemailer's own timers, which never get that far. */
const NEVER = 86_400_000;
/** How long a server may leave our goodbye unanswered before the socket is cut. */
const CLOSE_TIMEOUT = 2_000;

/** Parts of nodemailer's connection that its types keep to themselves. */
interface Internals {
  _socket: Socket;
  _responseActions: ((reply: string) => void)[];
  _responseQueue: string[];
  _responsePartial: boolean;
  _onData(chunk: Buffer): void;
  _onResponseTooLarge(): void;
  _onError(error: Error, code: string, reply: string | false, command: string): void;
  _sendCommand(line: string, logged?: string): void;
  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void;
  _actionEHLO(reply: string): void;
  _actionHELO(reply: string): void;
}
const theirs = SMTPConnection.prototype as unknown as Internals;

class Connection extends SMTPConnection {
  /** Told what is waited for next. */
  onStage: (stage: Stage) => void = () => undefined;
  /** The reply to EHLO or LHLO; undefined after HELO. */
  ehlo: string | undefined;
  helo = '';

  get inner(): Internals {
    return this as unknown as Internals;
  }
  /** Each chunk only once it is known that what is held stays small. */
  _onData(chunk: Buffer): void {
    theirs._onData.call(this, chunk);
    const { _responseQueue: queue, _responsePartial: partial } = this.inner;
    const tooMany = queue.length > this.inner._responseActions.length + MAX_UNREAD_REPLIES;
    if (tooMany || (partial && chunk.includes(0x0a) && countLines(queue.at(-1) ?? '') > MAX_REPLY_LINES))
      this.inner._onResponseTooLarge();
  }
  _sendCommand(line: string, logged?: string): void {
    const verb = /^(EHLO|HELO|LHLO|STARTTLS)(?: |$)/.exec(line)?.[1];
    if (verb !== undefined) this.onStage(verb.toLowerCase() as Stage);
    theirs._sendCommand.call(this, line, logged);
  }
  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void {
    this.onStage('tls');
    theirs._upgradeConnection.call(this, callback);
  }
  _actionEHLO(reply: string): void {
    if (!parseReply(reply)) return this.inner._onError(new Error('No reply'), 'EPROTOCOL', reply, 'EHLO');
    this.ehlo = reply.startsWith('2') ? reply : undefined;
    const { requireTLS } = this.options as { requireTLS?: boolean };
    // nodemailer would send STARTTLS all the same.
    if (requireTLS && this.ehlo !== undefined && !this.secure && !extensionsOf(reply).has('STARTTLS'))
      return this.inner._onError(new Error('STARTTLS is not offered'), 'ENOTLS', false, 'EHLO');
    theirs._actionEHLO.call(this, reply);
  }
  _actionHELO(reply: string): void {
    if (!parseReply(reply)) return this.inner._onError(new Error('No reply'), 'EPROTOCOL', reply, 'HELO');
    this.helo = reply;
    theirs._actionHELO.call(this, reply);
  }
}

/** The set-up of a session: resolves once EHLO was answered, encrypted where `tls` says so. @throws SessionError */
export async function openSession(options: SessionOptions): Promise<SmtpSession> {
  const { signal } = options;
  const session = new NodemailerSession(options);
  const stop = (): void => session.abort(signal.reason === 'deadline' ? 'deadline' : 'aborted');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  try {
    await session.setUp();
    return session;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

interface Waiting {
  readonly stage: Stage;
  readonly resolve: (reply: SmtpReply) => void;
  readonly reject: (error: SessionError) => void;
}

class NodemailerSession implements SmtpSession {
  readonly #options: SessionOptions;
  readonly #connection: Connection;
  readonly #waiting: Waiting[] = [];
  extensions: ReadonlyMap<string, string> = new Map();
  tls: SessionTls | undefined;
  peerName = '';
  #stage: Stage = 'greeting';
  #stopTimer: () => void = () => undefined;
  #failure: SessionError | undefined;
  /** Told of the end while no reply is waited for. */
  #onFailure: ((error: SessionError) => void) | undefined;
  #closed = false;
  /** Bytes written since others had a turn. */
  #unyielded = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#connection = new Connection({
      connection: options.socket,
      host: options.host,
      name: options.heloName,
      lmtp: options.lmtp,
      ignoreTLS: options.tls === 'never',
      opportunisticTLS: options.tls === 'opportunistic',
      requireTLS: options.tls === 'required',
      tls: options.tlsOptions,
      maxResponseSize: MAX_REPLY_BYTES,
      connectionTimeout: NEVER,
      greetingTimeout: NEVER,
      socketTimeout: NEVER,
      socketCloseTimeout: CLOSE_TIMEOUT,
    });
    this.#connection.onStage = (stage) => this.#enter(stage);
    this.#connection.on('error', (error: Error) => this.#fail(this.#errorOf(error)));
    this.#connection.on('end', () => this.#fail(new SessionError('lost', this.#stage)));
  }

  get lmtp(): boolean {
    return this.#options.lmtp;
  }
  get alive(): boolean {
    return this.#failure === undefined && !this.#closed;
  }

  async setUp(): Promise<void> {
    await this.#until((done) => {
      this.#enter('greeting');
      this.#connection.connect((error) => done(error ? new SessionError('lost', 'greeting') : undefined));
    });
    const { ehlo, helo, inner } = this.#connection;
    const extensions = extensionsOf(ehlo ?? '');
    const socket = inner._socket;
    if (socket instanceof TLSSocket) this.tls = this.#judged(socket);
    // What it takes in clear after a STARTTLS that failed is not for passwords.
    else if (this.#options.tls === 'opportunistic' && extensions.has('STARTTLS')) extensions.delete('AUTH');
    this.extensions = extensions;
    this.peerName = /^\d{3}[ -](\S+)/.exec(ehlo ?? helo)?.[1]?.toLowerCase() ?? '';
  }

  /** @throws SessionError when the certificate is not one of those that are wanted */
  #judged(socket: TLSSocket): SessionTls {
    const tls = tlsOf(socket);
    const { judge } = this.#options;
    if (!judge) return tls;
    const certificate = socket.getPeerX509Certificate();
    const problem = certificate ? judge(certificate) : 'no certificate was shown';
    if (problem === undefined) return { ...tls, verified: true, problem: '' };
    const error = new SessionError('tls', 'tls', problem);
    this.#fail(error);
    throw error;
  }

  async authenticate(user: string, pass: string): Promise<void> {
    await this.#until((done) => {
      this.#enter('auth');
      this.#connection.login({ user, pass }, (error) => done(error ? this.#errorOf(error) : undefined));
    });
  }

  /** Runs a step of nodemailer's; its end, ours or the connection's, whichever comes first. */
  async #until(start: (done: (error?: SessionError) => void) => void): Promise<void> {
    this.#check();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#onFailure = reject;
        start((error) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      this.#fail(error as SessionError);
      throw error;
    } finally {
      this.#stopTimer();
      this.#onFailure = undefined;
    }
  }

  send(steps: readonly Step[]): readonly Promise<SmtpReply>[] {
    const socket = this.#connection.inner._socket;
    if (steps.some(({ line }) => /[\r\n\0]/.test(line))) throw new Error('a line end within a command');
    const replies = steps.map(({ stage }) => this.#expect(stage));
    socket.cork();
    for (const { line } of steps) this.#connection.inner._sendCommand(line);
    socket.uncork();
    if (this.#waiting.length === steps.length) this.#watch();
    return replies;
  }

  /** The next reply that nobody waits for yet is for whom this gives the promise to. */
  #expect(stage: Stage): Promise<SmtpReply> {
    if (this.#failure) return quietly(Promise.reject(this.#failure));
    return quietly(
      new Promise<SmtpReply>((resolve, reject) => {
        this.#waiting.push({ stage, resolve, reject });
        this.#connection.inner._responseActions.push((raw) => this.#answered(raw));
      }),
    );
  }
  #answered(raw: string): void {
    const reply = parseReply(raw);
    const stage = this.#waiting[0]?.stage ?? this.#stage;
    if (!reply) return this.#fail(new SessionError('malformed', stage, printable(raw, 100)));
    this.#waiting.shift()?.resolve(reply);
    this.#watch();
  }
  /** The time of the reply that comes next begins. */
  #watch(): void {
    const next = this.#waiting[0];
    if (!next || this.#failure) this.#stopTimer();
    else this.#enter(next.stage);
  }
  #enter(stage: Stage): void {
    this.#stage = stage;
    this.#stopTimer();
    this.#stopTimer = this.#options.clock.after(this.#timeoutOf(stage), () => this.#fail(new SessionError('timeout', stage)));
  }
  #timeoutOf(stage: Stage): number {
    const { timeouts } = this.#options;
    switch (stage) {
      case 'greeting':
      case 'ehlo':
      case 'helo':
      case 'lhlo':
      case 'auth':
        return timeouts.smtp_helo_timeout;
      case 'starttls':
      case 'tls':
        return timeouts.smtp_starttls_timeout;
      case 'mail':
        return timeouts.smtp_mail_timeout;
      case 'rcpt':
        return timeouts.smtp_rcpt_timeout;
      case 'data':
        return timeouts.smtp_data_init_timeout;
      case 'body':
        return timeouts.smtp_data_xfer_timeout;
      case 'dot':
        return timeouts.smtp_data_done_timeout;
      case 'rset':
        return timeouts.smtp_rset_timeout;
    }
  }

  async data(chunks: AsyncIterable<Buffer>, replies: number): Promise<readonly PromiseSettledResult<SmtpReply>[]> {
    const expected = Array.from({ length: replies }, () => this.#expect('dot'));
    const sending = { isComplete: false, isRefused: false };
    this.#enter('body');
    // Who answers before the end may take nothing more.
    const early = new Promise<void>((resolve) => {
      const answered = (): void => {
        sending.isRefused = !sending.isComplete;
        resolve();
      };
      expected[0]?.then(answered, answered);
    });
    await Promise.race([early, this.#transfer(chunks, sending).catch(() => undefined)]);
    if (sending.isRefused) return this.#answeredEarly(expected);
    if (!sending.isComplete) this.#fail(new SessionError('local', 'body'));
    else this.#watch();
    return Promise.allSettled(expected);
  }
  /** The end goes out with what comes before it: one packet for most messages. Once it is written, nobody has answered early. */
  async #transfer(chunks: AsyncIterable<Buffer>, sending: { isComplete: boolean; isRefused: boolean }): Promise<void> {
    const stuffer = new DotStuffer();
    let held: readonly Buffer[] = [];
    for await (const chunk of chunks) {
      await this.#write(held);
      if (sending.isRefused) return;
      held = stuffer.push(chunk);
    }
    this.#push([...held, stuffer.end()]);
    sending.isComplete = true;
  }
  /** A refusal counts for everybody; a server that says 250 to half a message says nothing. */
  async #answeredEarly(expected: readonly Promise<SmtpReply>[]): Promise<readonly PromiseSettledResult<SmtpReply>[]> {
    const [first] = await Promise.allSettled(expected.slice(0, 1));
    this.#fail(new SessionError('malformed', 'body', 'a reply before the end of the message'));
    const refused = first?.status === 'rejected' || (first?.status === 'fulfilled' && first.value.code >= 400);
    const reason: unknown = new SessionError('malformed', 'body', 'a reply before the end of the message');
    return expected.map(() => (refused ? first : { status: 'rejected', reason }));
  }
  #push(parts: readonly Buffer[]): void {
    const socket = this.#connection.inner._socket;
    this.#check();
    this.#enter('body');
    socket.cork();
    for (const part of parts) {
      socket.write(part);
      this.#unyielded += part.length;
    }
    socket.uncork();
  }
  /** Waits while the peer takes nothing, for as long as a transfer may stand still. */
  async #write(parts: readonly Buffer[]): Promise<void> {
    const socket = this.#connection.inner._socket;
    this.#push(parts);
    // A source in memory and a peer that takes all at once leave nobody else a turn.
    if (this.#unyielded > TURN) {
      this.#unyielded = 0;
      await yieldToLoop();
      this.#check();
    }
    if (!socket.writableNeedDrain) return;
    await new Promise<void>((resolve, reject) => {
      socket.once('drain', resolve);
      this.#onFailure = (error) => {
        socket.removeListener('drain', resolve);
        reject(error);
      };
    }).finally(() => (this.#onFailure = undefined));
  }

  #check(): void {
    if (this.#failure) throw this.#failure;
  }

  abort(kind: 'aborted' | 'deadline'): void {
    this.#fail(new SessionError(kind, this.#stage));
    this.#connection.inner._socket.destroy();
  }
  quit(): void {
    if (!this.alive) return;
    this.#connection.inner._sendCommand('QUIT');
    this.#end();
  }
  #end(): void {
    this.#closed = true;
    this.#stopTimer();
    this.#connection.close();
  }

  #fail(error: SessionError): void {
    if (this.#failure || this.#closed) return;
    this.#failure = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#onFailure?.(error);
    this.#end();
  }
  /** What nodemailer says, by where the conversation was. */
  #errorOf(error: Error & { code?: string; response?: string }): SessionError {
    const stage = this.#stage;
    if (error.code === 'ENOTLS') return new SessionError('no-tls', stage);
    if (stage === 'tls') return new SessionError('tls', stage, printable(error.message, 200));
    if (error.response === undefined && error.code !== 'EPROTOCOL') return new SessionError('lost', stage);
    const reply = error.message.startsWith('Unexpected') ? undefined : parseReply(error.response ?? '');
    if (reply && reply.code >= 400) return new SessionError('reply', stage, '', reply);
    return new SessionError('malformed', stage, printable(error.response ?? error.message, 100));
  }
}

/** Nobody may be waiting when it rejects: the error is in #failure too. */
function quietly<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

function tlsOf(socket: TLSSocket): SessionTls {
  const problem = socket.authorized ? '' : printable(String(socket.authorizationError ?? 'not verified'), 200);
  return { verified: socket.authorized, problem, protocol: socket.getProtocol() ?? '', cipher: socket.getCipher().name };
}
