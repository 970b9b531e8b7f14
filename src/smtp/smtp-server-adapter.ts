// The only importer of smtp-server. Kept of it: the connection's life on its socket (errors, half-closed clients, the TLS upgrade that
// retires the parser with everything that came in clear) and the set of connections. Replaced, because of what the package lets through
// (bare line ends, NUL, unlimited recipients, a greeting delay, blocking look-ups, its built-in key, replies without codes of their own):
// the parser, the session and the replies. The sessions are ours; they read and write through the `SmtpWire` that a connection is here.
import type { Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';
import { SMTPServer } from 'smtp-server';
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js';
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js';
import type { SmtpWire, TlsInfo, WireLine } from './wire.ts';

export interface AdapterTls {
  /** The certificate for a name that the client asks for; for none, the default. */
  readonly contextFor: (servername: string | undefined) => SecureContext | undefined;
}

/** Serves one socket: with `implicitTls` the handshake comes first. Resolves when the connection is over. */
export type ServeWire = (wire: SmtpWire) => Promise<void>;

/** Hands accepted sockets to smtp-server's connections, and these to sessions. */
export class SmtpAdapter {
  readonly #server: SMTPServer;
  readonly #serve: ServeWire;

  readonly #handshakeTimeout: () => number;

  /** `handshakeTimeout`: milliseconds. */
  constructor(tls: AdapterTls | undefined, handshakeTimeout: () => number, serve: ServeWire) {
    this.#serve = serve;
    this.#handshakeTimeout = handshakeTimeout;
    this.#server = new SMTPServer({
      logger: false,
      disableReverseLookup: true,
      authOptional: true,
      hideSTARTTLS: tls === undefined,
      minVersion: 'TLSv1.2',
      // Our own deadlines are shorter; this one only sweeps up.
      socketTimeout: 2 * 3_600_000,
      ...(tls
        ? {
            SNICallback: (servername: string, callback: (error: Error | null, context?: SecureContext) => void) =>
              callback(null, tls.contextFor(servername)),
          }
        : {}),
    });
    this.#server.on('error', () => undefined);
    if (tls) this.#server.secureContext = defaultContext(tls);
  }

  /** Takes a socket that was just accepted. Never throws. */
  take(socket: Socket, implicitTls: boolean): void {
    // Who has said everything and closed its half still gets its replies.
    socket.allowHalfOpen = true;
    const connection = new GuardedConnection(this.#server, socket, implicitTls, this.#handshakeTimeout, this.#serve);
    this.#server.connections.add(connection);
    connection.on('error', () => undefined);
    connection.init();
  }

  /** Cuts every connection, those in a handshake too. */
  destroyAll(): void {
    for (const connection of this.#server.connections) if (connection instanceof GuardedConnection) connection.destroy();
  }
}

/** The package asks this map for `*` when a client names no host; its own entry is a key that everybody knows. */
function defaultContext(tls: AdapterTls): Map<string, SecureContext> {
  const map = new Map<string, SecureContext>();
  map.get = (name) => tls.contextFor(name === '*' ? undefined : name);
  map.has = () => true;
  return map;
}

/** Bytes as they come, for a session that asks for them. Takes no more from the socket before the last were read. */
class PullParser extends SMTPStream {
  #buffer: Buffer = Buffer.alloc(0);
  /** Lets the next chunk come; the last one of this many bytes counts as written then. */
  #next: (() => void) | undefined;
  #held = 0;
  #wake: (() => void) | undefined;
  #finished = false;

  constructor() {
    super({});
    this.removeAllListeners('finish');
    this.on('finish', () => this.stop());
    this.on('close', () => this.stop());
  }

  override _write(chunk: Buffer, _encoding: string, next: () => void): void {
    if (this.isClosed || this.#finished) return next();
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    this.#next = next;
    this.#held = chunk.length;
    this.#wake?.();
  }

  stop(): void {
    this.#finished = true;
    this.#wake?.();
    this.#release();
  }
  #release(): void {
    const next = this.#next;
    this.#next = undefined;
    this.#held = 0;
    next?.();
  }

  /** Bytes here and in chunks behind the one that is held. */
  get waiting(): number {
    return this.#buffer.length + this.writableLength - this.#held;
  }
  get finished(): boolean {
    return this.#finished;
  }
  peek(): Buffer {
    return this.#buffer;
  }
  take(count: number): Buffer {
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return taken;
  }
  unread(bytes: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([bytes, this.#buffer]);
  }

  /** Waits for more bytes than there are; false at the end, or when none came until `deadline`. */
  async more(deadline: number): Promise<boolean> {
    if (this.#finished) return false;
    const had = this.#buffer.length;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, Math.min(deadline - Date.now(), 0x7fff_ffff)));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#release();
      if (this.#buffer.length > had) this.#wake();
    });
    this.#wake = undefined;
    return this.#buffer.length > had;
  }
}

class GuardedConnection extends SMTPConnection implements SmtpWire {
  readonly #serve: ServeWire;
  readonly #handshakeTimeout: () => number;
  /** Who waits for the socket's end: those that count connections. */
  readonly #closeListeners: readonly ((hadError: boolean) => void)[];
  tls: TlsInfo | undefined;
  #gone = false;
  /** The end of the handshake that runs: true when the connection is encrypted. */
  #settle: ((secured: boolean) => void) | undefined;

  constructor(server: SMTPServer, socket: Socket, implicitTls: boolean, handshakeTimeout: () => number, serve: ServeWire) {
    super(server, socket);
    this.#serve = serve;
    this.#handshakeTimeout = handshakeTimeout;
    // As they are, so that what listens once does so only once; before the package's own are among them.
    this.#closeListeners = socket.rawListeners('close') as ((hadError: boolean) => void)[];
    this.needsUpgrade = implicitTls;
  }

  /** Without the package's greeting delay and reverse look-up: the session begins at once (after the handshake of implicit TLS). */
  override init(): void {
    const { needsUpgrade } = this;
    const secured = needsUpgrade ? this.#handshake() : Promise.resolve(true);
    this._setListeners(() => this.#settle?.(true));
    void secured.then((ready) => {
      this._ready = true;
      return ready ? this.#serve(this) : undefined;
    });
  }
  /** The package takes all listeners off the socket that TLS wraps; it is closed with the TLS socket, and those who count must hear of it. */
  override upgrade(callback: () => void, secureCallback?: () => void): void {
    const raw = this._socket;
    super.upgrade(callback, secureCallback);
    for (const listener of this.#closeListeners) raw.on('close', listener);
  }
  override _createParser(): SMTPStream {
    return new PullParser();
  }
  override _onCloseEvent(hadError?: boolean): void {
    this.#gone = true;
    this.#release();
    super._onCloseEvent(hadError);
  }
  override _onTimeout(): void {
    this.close();
  }
  override close(): void {
    super.close();
    this.#release();
  }
  destroy(): void {
    this._socket.destroy();
    this.#release();
  }
  /** Who waits for bytes or for a handshake waits no more. */
  #release(): void {
    this.#parser?.stop();
    this.#settle?.(false);
  }

  /** Resolves when the handshake that is about to begin has ended, one way or the other. */
  #handshake(): Promise<boolean> {
    return new Promise((resolve) => {
      const raw = this._socket;
      const timer = setTimeout(() => {
        raw.destroy();
        this.#settle?.(false);
      }, this.#handshakeTimeout());
      this.#settle = (secured) => {
        clearTimeout(timer);
        this.#settle = undefined;
        if (secured) this.#noteTls();
        resolve(secured);
      };
      // The package tells of a handshake that failed through its own event.
      this.once('error', () => this.#settle?.(false));
    });
  }

  get #parser(): PullParser | undefined {
    return this._parser instanceof PullParser ? this._parser : undefined;
  }
  get ended(): boolean {
    return this.#gone || this._closing || this._closed || this._socket.destroyed;
  }
  get waiting(): number {
    return this.#parser?.waiting ?? 0;
  }

  async line(max: number, idle: number, whole: number): Promise<WireLine> {
    let deadline = Date.now() + idle;
    let begun = false;
    for (;;) {
      const parser = this.#parser;
      if (!parser) return { kind: 'end' };
      const bytes = parser.peek();
      const lf = bytes.indexOf(0x0a);
      if (lf >= 0) return lf + 1 > max ? { kind: 'too-long' } : lineOf(parser.take(lf + 1));
      if (bytes.length > max) return { kind: 'too-long' };
      if (bytes.length > 0 && !begun) {
        begun = true;
        deadline = Date.now() + whole;
      }
      if (await parser.more(deadline)) continue;
      return parser.finished || this.ended ? { kind: 'end' } : { kind: 'timeout' };
    }
  }

  async chunk(max: number, deadline: number): Promise<Buffer | undefined> {
    const parser = this.#parser;
    if (!parser) return undefined;
    if (Date.now() > deadline) return undefined;
    while (parser.peek().length === 0) if (!(await parser.more(deadline))) return undefined;
    return parser.take(max);
  }
  unread(bytes: Buffer): void {
    this.#parser?.unread(bytes);
  }

  async write(text: string): Promise<void> {
    const socket = this._socket;
    if (this.ended || socket.destroyed) throw new Error('the client has gone');
    if (socket.write(text, 'utf8')) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => socket.destroy(), WRITE_TIMEOUT);
      const done = (settle: () => void): void => {
        clearTimeout(timer);
        socket.off('drain', onDrain).off('close', onClose);
        settle();
      };
      const onDrain = (): void => done(resolve);
      const onClose = (): void => done(() => reject(new Error('the client has gone')));
      socket.once('drain', onDrain).once('close', onClose);
    });
  }

  startTls(): Promise<boolean> {
    const secured = this.#handshake();
    this._socket.write('220 2.0.0 Ready to start TLS\r\n');
    this.upgrade(
      () => undefined,
      () => this.#settle?.(true),
    );
    return secured;
  }

  #noteTls(): void {
    if (!(this._socket instanceof TLSSocket)) return;
    const cipher = this._socket.getCipher();
    const bits = /256|CHACHA20/.test(cipher.name) ? 256 : 128;
    this.tls = { version: this._socket.getProtocol() ?? 'TLS', cipher: cipher.standardName ?? cipher.name, bits };
  }
}

const WRITE_TIMEOUT = 300_000;

function lineOf(bytes: Buffer): WireLine {
  const crlf = bytes.length >= 2 && bytes[bytes.length - 2] === 0x0d;
  const content = bytes.subarray(0, bytes.length - (crlf ? 2 : 1));
  return { kind: 'line', bytes: Buffer.from(content), bareLf: !crlf };
}
