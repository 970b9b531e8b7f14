// Takes connections for a receiving or a submission service, keeps their number down, and lets them finish when the server stops.
import type { Socket } from 'node:net';
import { takePlace, type Counters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';
import { formatReply, reply } from './reply.ts';
import { SmtpSession, type SmtpSessionOptions } from './session.ts';
import { SmtpAdapter, type AdapterTls } from './smtp-server-adapter.ts';
import type { SmtpWire } from './wire.ts';

export interface SmtpServerOptions extends SmtpSessionOptions {
  readonly logger: Logger;
  /** Connections of an address are counted here. */
  readonly counters: Counters;
  readonly tls?: AdapterTls;
}

export class SmtpService {
  readonly #options: SmtpServerOptions;
  readonly #adapter: SmtpAdapter;
  readonly #sessions = new Map<SmtpSession, string>();
  #connections = 0;

  constructor(options: SmtpServerOptions) {
    this.#options = options;
    this.#adapter = new SmtpAdapter(options.tls, (wire) => this.#serve(wire));
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /** Serves a socket that was just accepted. Never throws. */
  async serve(socket: Socket, implicitTls: boolean): Promise<void> {
    socket.on('error', () => undefined);
    const { limits, counters } = this.#options;
    const remote = socket.remoteAddress ?? '';
    if (this.#connections >= limits.connections)
      return this.#refuse(socket, implicitTls, remote, 'too many connections, try again later');
    this.#connections++;
    socket.once('close', () => this.#connections--);
    const leave = await takePlace(counters, 'smtp', remote, limits.connectionsPerAddress).catch(() => undefined);
    if (!leave) return this.#refuse(socket, implicitTls, remote, 'too many connections from your address');
    if (socket.destroyed) return leave();
    socket.once('close', leave);
    this.#adapter.take(socket, implicitTls);
  }

  #refuse(socket: Socket, implicitTls: boolean, remote: string, reason: string): void {
    this.#options.logger.warn('smtp.refused', { client: remote, reason });
    if (!implicitTls) socket.write(formatReply(reply(421, '4.7.0', `${this.#options.hostname} Error: ${reason}`)));
    socket.end();
    setTimeout(() => socket.destroy(), 1_000).unref();
  }

  async #serve(wire: SmtpWire): Promise<void> {
    const session = new SmtpSession(wire, this.#options, this.#options.logger);
    this.#sessions.set(session, wire.remoteAddress);
    try {
      await session.run();
    } finally {
      this.#sessions.delete(session);
    }
  }

  /** Sessions that wait are told 421 4.3.2, a message that is coming in may finish; resolves when all have gone, or after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    for (const session of this.#sessions.keys()) session.shutdown();
    const end = Date.now() + graceMs;
    while (this.#sessions.size > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
