// Takes connections, keeps their number down, and lets them finish when the server stops.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '../lib/logger.ts';
import { COMMANDS } from './commands/table.ts';
import { Session, type SessionOptions } from './session.ts';

export interface ImapServerOptions extends Omit<SessionOptions, 'commands'> {
  readonly logger: Logger;
}

/** Connections counted by address; IPv6 by /64. */
export class ImapServer {
  readonly #options: ImapServerOptions;
  readonly #sessions = new Map<Session, string>();
  readonly #perAddress = new Map<string, number>();

  constructor(options: ImapServerOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /** Serves a connection to its end. With `implicitTls` the TLS handshake comes first (port 993). */
  async serve(socket: Socket, implicitTls: boolean): Promise<void> {
    const remote = plainAddress(socket.remoteAddress ?? '');
    socket.on('error', () => undefined);
    const refusal = this.#refusal(remote);
    if (refusal !== undefined) {
      this.#options.logger.warn('imap.refused', { client: remote, reason: refusal });
      // Where TLS comes first there is no way to say it without a handshake, which is what we cannot afford now.
      if (!implicitTls) socket.write(`* BYE ${refusal}\r\n`);
      socket.end();
      setTimeout(() => socket.destroy(), 1_000).unref();
      return;
    }
    this.#perAddress.set(remote, (this.#perAddress.get(remote) ?? 0) + 1);
    let session: Session | undefined;
    try {
      const stream: Duplex = implicitTls ? await this.#handshake(socket) : socket;
      const peer = { remoteAddress: remote, localAddress: plainAddress(socket.localAddress ?? ''), loopback: isLoopback(remote) };
      session = new Session(stream, peer, implicitTls, { ...this.#options, commands: COMMANDS }, this.#options.logger);
      this.#sessions.set(session, remote);
      await session.run();
    } catch (error) {
      this.#options.logger.info('imap.tls.failed', {
        client: remote,
        error: error instanceof Error ? error.message : String(error),
      });
      socket.destroy();
    } finally {
      if (session) this.#sessions.delete(session);
      const left = (this.#perAddress.get(remote) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(remote, left);
      else this.#perAddress.delete(remote);
    }
  }

  #refusal(remote: string): string | undefined {
    const { limits } = this.#options;
    if (this.#sessions.size >= limits.connections) return 'Too many connections, try again later';
    if ((this.#perAddress.get(remote) ?? 0) >= limits.connectionsPerAddress) return 'Too many connections from your address';
    return undefined;
  }

  async #handshake(socket: Socket): Promise<Duplex> {
    const { startTls } = this.#options;
    if (!startTls) throw new Error('no certificate is set');
    return startTls(socket);
  }

  /** Says goodbye to everybody; resolves when all have gone, or after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    for (const session of this.#sessions.keys()) session.bye('Server is shutting down', 'UNAVAILABLE');
    const end = Date.now() + graceMs;
    while (this.#sessions.size > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Without the prefix of an IPv4 address in IPv6 clothes. */
const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');
const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');
