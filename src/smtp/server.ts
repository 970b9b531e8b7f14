// Takes connections for a receiving or a submission service, keeps their number down, and lets them finish when the server stops.
import type { Socket } from 'node:net';
import { blockOf } from '../auth/throttle.ts';
import { sleep } from '../lib/async.ts';
import type { Logger } from '../lib/logger.ts';
import type { SmtpSessionOptions } from './options.ts';
import { formatReply, reply } from './reply.ts';
import { SmtpSession } from './session.ts';
import { SmtpAdapter, type AdapterTls } from './smtp-server-adapter.ts';
import type { SmtpWire } from './wire.ts';

export interface SmtpServerOptions extends SmtpSessionOptions {
  readonly logger: Logger;
  readonly tls?: AdapterTls;
}

export class SmtpService {
  readonly #options: SmtpServerOptions;
  readonly #adapter: SmtpAdapter;
  readonly #sessions = new Set<SmtpSession>();
  #connections = 0;
  readonly #perAddress = new Map<string, number>();

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
  serve(socket: Socket, implicitTls: boolean): void {
    socket.on('error', () => undefined);
    // Gone before it was served.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const block = blockOf(socket.remoteAddress);
    const refusal = this.#refusal(block);
    if (refusal !== undefined) {
      this.#options.logger.warn('smtp.refused', { client: socket.remoteAddress, reason: refusal });
      if (!implicitTls) socket.write(formatReply(reply(421, '4.7.0', `${this.#options.hostname} Error: ${refusal}`)));
      socket.end();
      // What the client sends is passed over, so that its end is seen.
      socket.resume();
      setTimeout(() => socket.destroy(), 1_000).unref();
      return;
    }
    this.#count(block, 1);
    socket.once('close', () => this.#count(block, -1));
    this.#adapter.take(socket, implicitTls);
  }

  #refusal(block: string): string | undefined {
    const { limits } = this.#options;
    if (this.#connections >= limits.connections) return 'too many connections, try again later';
    if ((this.#perAddress.get(block) ?? 0) >= limits.connectionsPerAddress) return 'too many connections from your address';
    return undefined;
  }
  #count(block: string, by: 1 | -1): void {
    const count = (this.#perAddress.get(block) ?? 0) + by;
    this.#connections += by;
    if (count > 0) this.#perAddress.set(block, count);
    else this.#perAddress.delete(block);
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
