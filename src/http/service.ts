// HTTP for those who fetch our MTA-STS policies (RFC 8461 section 3.3): one request a connection, one path, short constant answers to everything else. Node's own
// parser (RFC 9112), with limits on the header, the time and the number of connections; connections come from the server's listeners.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { blockOf } from '../auth/throttle.ts';
import { unmapped } from '../config/networks.ts';
import type { Clock } from '../lib/clock.ts';
import { takePlace, type Counters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';

export interface HttpLimits {
  /** Bytes of request line and header. */
  readonly header: number;
  /** Milliseconds of a connection, handshake included. */
  readonly time: number;
  readonly connections: number;
  readonly connectionsPerAddress: number;
}
export const DEFAULT_HTTP_LIMITS: HttpLimits = { header: 8_192, time: 15_000, connections: 500, connectionsPerAddress: 20 };

export interface HttpOptions {
  /** The policy of a domain as text; undefined where it is not ours. @throws MailError temporary when that cannot be told */
  readonly policyOf: (domain: string) => Promise<string | undefined>;
  /** The server's half of a TLS handshake; absent without a certificate. */
  readonly startTls?: (socket: Socket) => Promise<Duplex>;
  /** Whether a client in clear is a web server of ours that passes requests on. */
  readonly isProxy: (address: string) => boolean;
  readonly limits: HttpLimits;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly logger: Logger;
}

export const POLICY_PATH = '/.well-known/mta-sts.txt';

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}
const answer = (status: number, body: string, headers: Answer['headers'] = {}): Answer => ({
  status,
  body: `${body}\n`,
  headers,
});
const NOT_FOUND = answer(404, 'Not found');

export class HttpService {
  readonly #options: HttpOptions;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #closing = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#server = createServer({ maxHeaderSize: options.limits.header, keepAlive: false }, (request, response) => {
      void this.#respond(request, response);
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      const text = error.code === 'HPE_HEADER_OVERFLOW' ? refusal('431 Request Header Fields Too Large') : BAD_REQUEST;
      if (socket.writable) socket.end(text, () => socket.destroy());
      else socket.destroy();
    });
    // Neither an upgrade nor a tunnel.
    for (const event of ['connect', 'upgrade'] as const)
      this.#server.on(event, (_: IncomingMessage, socket: Duplex) => socket.end(BAD_REQUEST));
    this.#server.on('checkExpectation', (_, response: ServerResponse) => response.writeHead(417, { connection: 'close' }).end());
  }

  /** Serves a connection to its end, or until its time is over. Never throws. */
  async serve(socket: Socket, implicitTls: boolean): Promise<void> {
    const { limits, counters, clock, logger } = this.#options;
    socket.on('error', () => undefined);
    const client = clientOf(socket);
    if (this.#closing || this.#open.size >= limits.connections) return void socket.destroy();
    this.#open.add(socket);
    const stopTimer = clock.after(limits.time, () => socket.destroy());
    const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
    const leave = await takePlace(counters, 'http', blockOf(client), limits.connectionsPerAddress).catch(() => undefined);
    try {
      if (!leave) socket.destroy();
      else this.#server.emit('connection', implicitTls ? await this.#handshake(socket) : socket);
      await closed;
    } catch (error) {
      logger.info('http.tls.failed', { client, error: error instanceof Error ? error.message : String(error) });
      socket.destroy();
    } finally {
      stopTimer();
      leave?.();
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#onEmpty?.();
    }
  }

  async #handshake(socket: Socket): Promise<Duplex> {
    const { startTls } = this.#options;
    if (!startTls) throw new Error('no certificate is set');
    const stream = await startTls(socket);
    stream.on('error', () => undefined);
    return stream;
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { logger } = this.#options;
    response.on('error', () => undefined);
    const host = hostOf(request.headers.host);
    const { status, body, headers } = await this.#answerTo(request, host).catch((error: unknown) => {
      logger.error('http.failed', { host: host ?? '', error: error instanceof Error ? error.message : String(error) });
      return answer(503, 'Try again later', { 'retry-after': '300' });
    });
    logger.info('http.request', {
      client: clientOf(request.socket),
      host: host ?? '',
      path: (request.url ?? '').slice(0, 100),
      status,
    });
    const bytes = Buffer.from(body);
    response.writeHead(status, {
      'content-type': 'text/plain; charset=utf-8',
      'content-length': bytes.length,
      'x-content-type-options': 'nosniff',
      // A request's body is not read, so nothing may come behind it.
      connection: 'close',
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  async #answerTo({ method, url, socket }: IncomingMessage, host: string | undefined): Promise<Answer> {
    if (method !== 'GET' && method !== 'HEAD') return answer(405, 'Method not allowed', { allow: 'GET, HEAD' });
    // RFC 9110 section 7.4: a request for another host than the connection was made for.
    if (socket instanceof TLSSocket && !isServerNameOf(socket, host)) return answer(421, 'Misdirected request');
    const domain = host?.startsWith('mta-sts.') ? host.slice('mta-sts.'.length) : undefined;
    if (domain === undefined || url !== POLICY_PATH) return NOT_FOUND;
    const policy = await this.#options.policyOf(domain);
    if (policy === undefined) return NOT_FOUND;
    if (!(socket instanceof TLSSocket) && !this.#options.isProxy(clientOf(socket)))
      return answer(301, 'Moved', { location: `https://${host}${POLICY_PATH}` });
    return { status: 200, body: policy, headers: { 'cache-control': 'no-cache' } };
  }

  /** Takes no more connections; what is left after `graceMs` is cut off. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const stopTimer = this.#options.clock.after(graceMs, () => {
        for (const socket of this.#open) socket.destroy();
        resolve();
      });
      this.#onEmpty = () => {
        stopTimer();
        resolve();
      };
    });
  }
}

const refusal = (status: string): string => `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
const BAD_REQUEST = refusal('400 Bad Request');

/** Without an SNI the certificate was the default one: the client has accepted it. */
function isServerNameOf({ servername }: TLSSocket & { readonly servername?: unknown }, host: string | undefined): boolean {
  return typeof servername !== 'string' || servername === '' || servername.toLowerCase().replace(/\.$/, '') === host;
}

/** A host name in lower case, without port and the dot at the end; undefined for what is none. */
function hostOf(header: string | undefined): string | undefined {
  const name = /^([A-Za-z0-9_.-]{1,253})(?::\d{1,5})?$/
    .exec(header ?? '')?.[1]
    ?.toLowerCase()
    .replace(/\.$/, '');
  return name === undefined || name === '' || isIP(name) !== 0 ? undefined : name;
}

const clientOf = (socket: Pick<Socket, 'remoteAddress'>): string => unmapped(socket.remoteAddress ?? '');
