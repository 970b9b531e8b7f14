// Takes connections for a receiving or a submission service, keeps their number down, and lets them finish when the server stops.
import type { Socket } from 'node:net';
import type { Logger } from '../lib/logger.ts';
import { formatReply, reply } from './reply.ts';
import { SmtpSession, type SmtpSessionOptions } from './session.ts';
import { SmtpAdapter, type AdapterTls } from './smtp-server-adapter.ts';
import type { SmtpWire } from './wire.ts';

export interface SmtpServerOptions extends SmtpSessionOptions {
  readonly logger: Logger;
  readonly tls?: AdapterTls;
}

export class SmtpService {
  readonly #options: SmtpServerOptions;
  readonly #adapter: SmtpAdapter;
  readonly #sessions = new Map<SmtpSession, string>();
  readonly #perAddress = new Map<string, number>();

  constructor(options: SmtpServerOptions) {
    this.#options = options;
    this.#adapter = new SmtpAdapter(options.tls, (wire) => this.#serve(wire));
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /** Serves a socket that was just accepted. Never throws. */
  serve(socket: Socket, implicitTls: boolean): void {
    socket.on('error', () => undefined);
    const remote = socket.remoteAddress ?? '';
    const refusal = this.#refusal(remote);
    if (refusal !== undefined) {
      this.#options.logger.warn('smtp.refused', { client: remote, reason: refusal });
      if (!implicitTls) socket.write(formatReply(reply(421, '4.7.0', `${this.#options.hostname} Error: ${refusal}`)));
      socket.end();
      setTimeout(() => socket.destroy(), 1_000).unref();
      return;
    }
    this.#count(remote, 1);
    socket.once('close', () => this.#count(remote, -1));
    this.#adapter.take(socket, implicitTls);
  }

  #refusal(remote: string): string | undefined {
    const { limits } = this.#options;
    let all = 0;
    for (const count of this.#perAddress.values()) all += count;
    if (all >= limits.connections) return 'too many connections, try again later';
    if ((this.#perAddress.get(remote) ?? 0) >= limits.connectionsPerAddress) return 'too many connections from your address';
    return undefined;
  }
  #count(remote: string, by: 1 | -1): void {
    const count = (this.#perAddress.get(remote) ?? 0) + by;
    if (count > 0) this.#perAddress.set(remote, count);
    else this.#perAddress.delete(remote);
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
