// Takes connections for a receiving or a submission service, keeps their number down, and lets them finish when the server stops.
import type { Socket } from 'node:net';
import { blockOf } from '../auth/throttle.ts';
import { sleep } from '../lib/async.ts';
import { takePlace, type Counters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';
import type { SmtpSessionOptions } from './options.ts';
import { formatReply, reply } from './reply.ts';
import { SmtpSession } from './session.ts';
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
  readonly #sessions = new Set<SmtpSession>();
  #connections = 0;

  constructor(options: SmtpServerOptions) {
    this.#options = options;
    this.#adapter = new SmtpAdapter(
      options.tls,
      () => options.limits.handshakeTimeout,
      (wire) => this.#serve(wire),
    );
  }

  /** Connections that are open, those in a handshake too. */
  get connections(): number {
    return this.#connections;
  }
  /** Sessions that run. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Serves a socket that was just accepted. Never throws. */
  async serve(socket: Socket, implicitTls: boolean): Promise<void> {
    socket.on('error', () => undefined);
    // Gone before it was served.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const { limits, counters } = this.#options;
    if (this.#connections >= limits.connections)
      return this.#refuse(socket, implicitTls, 'too many connections, try again later');
    this.#connections++;
    const block = blockOf(socket.remoteAddress);
    const leave = await takePlace(counters, 'smtp', block, limits.connectionsPerAddress).catch(() => undefined);
    const gone = (): void => {
      this.#connections--;
      leave?.();
    };
    if (!leave || socket.destroyed) {
      gone();
      return this.#refuse(socket, implicitTls, 'too many connections from your address');
    }
    socket.once('close', gone);
    this.#adapter.take(socket, implicitTls);
  }

  #refuse(socket: Socket, implicitTls: boolean, reason: string): void {
    this.#options.logger.warn('smtp.refused', { client: socket.remoteAddress ?? '', reason });
    if (!implicitTls) socket.write(formatReply(reply(421, '4.7.0', `${this.#options.hostname} Error: ${reason}`)));
    socket.end();
    // What the client sends is passed over, so that its end is seen.
    socket.resume();
    setTimeout(() => socket.destroy(), 1_000).unref();
  }

  async #serve(wire: SmtpWire): Promise<void> {
    const session = new SmtpSession(wire, this.#options, this.#options.logger);
    this.#sessions.add(session);
    try {
      await session.run();
    } finally {
      this.#sessions.delete(session);
    }
  }

  /**
   * Sessions that wait are told 421 4.3.2, a message that is coming in may finish. Resolves when all sessions have ended; those that have not
   * after `graceMs` milliseconds, and what is left of other connections, are cut.
   */
  async close(graceMs: number): Promise<void> {
    for (const session of this.#sessions) session.shutdown();
    const end = Date.now() + graceMs;
    while (this.#sessions.size > 0 && Date.now() < end) await sleep(20);
    this.#adapter.destroyAll();
    // Cut off, a session still has to let go of its files.
    while (this.#sessions.size > 0 && Date.now() < end + 1_000) await sleep(20);
  }
}
