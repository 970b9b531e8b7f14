// Takes connections, keeps their number down, and lets them finish when the server stops.
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { blockOf } from '../auth/throttle.ts';
import type { Account } from '../auth/types.ts';
import { unmapped } from '../config/networks.ts';
import { takePlace, type Counters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';
import { capabilitiesBeforeLogin } from './commands/capability.ts';
import { commandNamed } from './commands/table.ts';
import { ImapSession, type SessionOptions } from './session.ts';
import { Transport } from './wire/transport.ts';

export interface ImapServerOptions extends SessionOptions {
  /** Connections of an address and sessions of a user are counted here. */
  readonly counters: Counters;
  readonly logger: Logger;
}

const REFUSED_MS = 1_000;

export class ImapServer {
  readonly #options: ImapServerOptions;
  readonly #sessions = new Map<ImapSession, Transport>();
  /** Connections counted, handshakes included. */
  #connections = 0;
  readonly #handshaking = new Set<Socket>();
  #closing = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: ImapServerOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#connections;
  }

  /** Serves a connection to its end. With `implicitTls` the TLS handshake comes first (port 993). Never throws. */
  async serve(socket: Socket, implicitTls: boolean): Promise<void> {
    const remote = unmapped(socket.remoteAddress ?? '');
    const block = blockOf(remote);
    socket.on('error', () => undefined);
    const refusal = this.#refusal();
    if (refusal !== undefined) return this.#refuse(socket, implicitTls, remote, refusal);
    this.#connections++;
    const { counters, limits } = this.#options;
    const leave = await takePlace(counters, 'imap', block, limits.connectionsPerAddress).catch(() => undefined);
    try {
      if (!leave) return this.#refuse(socket, implicitTls, remote, 'Too many connections from your address');
      if (socket.destroyed) return;
      socket.setNoDelay(true);
      const stream = implicitTls ? await this.#handshake(socket) : socket;
      await this.#session(stream, socket, implicitTls, remote);
    } catch (error) {
      this.#options.logger.info('imap.tls.failed', {
        client: remote,
        error: error instanceof Error ? error.message : String(error),
      });
      socket.destroy();
    } finally {
      this.#connections--;
      leave?.();
      if (this.#connections === 0) this.#onEmpty?.();
    }
  }

  #refusal(): string | undefined {
    const { limits } = this.#options;
    if (this.#closing) return 'Server is shutting down';
    if (this.#connections >= limits.connections) return 'Too many connections, try again later';
    return undefined;
  }
  #refuse(socket: Socket, implicitTls: boolean, remote: string, reason: string): void {
    this.#options.logger.warn('imap.refused', { client: remote, reason });
    // Where TLS comes first there is no way to say it without a handshake, which is what we cannot afford now.
    if (!implicitTls) socket.write(`* BYE [UNAVAILABLE] ${reason}\r\n`);
    const cancel = this.#options.clock.after(REFUSED_MS, () => socket.destroy());
    socket.once('close', cancel);
    socket.resume();
    socket.end();
  }

  async #handshake(socket: Socket): Promise<Duplex> {
    const { startTls } = this.#options;
    if (!startTls) throw new Error('no certificate is set');
    this.#handshaking.add(socket);
    const cancel = this.#options.clock.after(this.#options.limits.loginTimeout, () => socket.destroy());
    return startTls(socket).finally(() => {
      cancel();
      this.#handshaking.delete(socket);
    });
  }

  async #session(stream: Duplex, socket: Socket, encrypted: boolean, remote: string): Promise<void> {
    const { logger, clock, limits, hostname } = this.#options;
    const sessionId = randomBytes(6).toString('base64url');
    const transport = new Transport(stream, { clock, highWater: 2 * limits.line, writeTimeout: limits.writeTimeout });
    const session = new ImapSession({
      options: this.#options,
      commandNamed,
      transport,
      encrypted,
      origin: { remoteAddress: remote, service: 'imap', secure: encrypted || isLoopback(remote), sessionId },
      logger: logger.child({ session: sessionId, client: remote, local: unmapped(socket.localAddress ?? '') }),
      admitUser: (account) => this.#admit(account, remote),
    });
    this.#sessions.set(session, transport);
    try {
      if (this.#closing) session.interrupt('Server is shutting down');
      session.logger.info('imap.connect', { secure: encrypted });
      await session.run(`OK [CAPABILITY ${capabilitiesBeforeLogin(session)}] ${hostname} Buzon ready`);
      if (!stream.destroyed) await new Promise<void>((resolve) => void stream.once('close', resolve));
    } finally {
      this.#sessions.delete(session);
    }
  }

  #admit(account: Account, remote: string): Promise<(() => void) | undefined> {
    const { counters, limits } = this.#options;
    return takePlace(counters, 'imap-user', `${account.address} ${remote}`, limits.sessionsPerUser);
  }

  /** Says BYE to everybody, after the command that is running; resolves when all have gone. Those left after `graceMs` are cut off. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    for (const session of this.#sessions.keys()) session.interrupt('Server is shutting down');
    for (const socket of this.#handshaking) socket.destroy();
    if (this.#connections === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(graceMs, () => {
        for (const transport of this.#sessions.values()) transport.destroy();
        resolve();
      });
      this.#onEmpty = () => {
        cancel();
        resolve();
      };
    });
  }
}

const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');
