// The sockets that the settings name. Bound first, as root where they are privileged; what connects before the server is ready waits.
import { createServer, type AddressInfo, type ListenOptions, type Server, type Socket } from 'node:net';
import type { Listener } from '../config/listeners.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { InheritedSocket } from './systemd.ts';

export type TakeSocket = (socket: Socket, listener: Listener) => void;

export interface BoundAddress {
  readonly protocol: Listener['protocol'];
  readonly address: string;
  readonly port: number;
}

export class Listeners {
  readonly #reusePort: boolean;
  readonly #servers: { readonly server: Server; readonly listener: Listener }[] = [];
  #waiting: { socket: Socket; listener: Listener }[] = [];
  #take: TakeSocket | undefined;

  /** With `reusePort` other processes of this server listen on the same addresses, and the kernel shares out what comes. */
  constructor(reusePort = false) {
    this.#reusePort = reusePort;
  }

  /**
   * Binds all of them, but for the protocols of sockets that were inherited: these are taken as they are.
   * @throws MailError config that says which one cannot be had, and what to do
   */
  async bind(listeners: readonly Listener[], inherited: readonly InheritedSocket[] = []): Promise<void> {
    try {
      for (const { protocol, fd } of inherited) {
        const listener = { protocol, address: '', port: 0 };
        this.#servers.push({ server: await this.#listen(listener, { fd }), listener });
      }
      for (const listener of notInherited(listeners, inherited))
        this.#servers.push({ server: await this.#listen(listener, this.#place(listener)), listener });
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  #place({ address: host, port }: Listener): ListenOptions {
    return { host, port, ipv6Only: host === '::', backlog: 511, reusePort: this.#reusePort };
  }
  #listen(listener: Listener, where: ListenOptions | { readonly fd: number }): Promise<Server> {
    const server = createServer({ noDelay: true }, (socket) => this.#connected(socket, listener));
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(bindError(error, listener)));
      server.listen(where, () => {
        server.removeAllListeners('error');
        // EMFILE and the like: the next connection may do.
        server.on('error', () => undefined);
        resolve(server);
      });
    });
  }

  #connected(socket: Socket, listener: Listener): void {
    socket.on('error', () => undefined);
    if (this.#take) this.#take(socket, listener);
    else this.#waiting.push({ socket, listener });
  }

  /** From now on connections go to `take`, those that waited first. */
  open(take: TakeSocket): void {
    this.#take = take;
    for (const { socket, listener } of this.#waiting) if (!socket.destroyed) take(socket, listener);
    this.#waiting = [];
  }

  /** Those that are listened on now. */
  get addresses(): BoundAddress[] {
    return this.#servers.flatMap(({ server, listener }) => {
      // Null once it is closed.
      const bound = server.address() as AddressInfo | null;
      return bound ? [{ protocol: listener.protocol, address: bound.address, port: bound.port }] : [];
    });
  }

  /** Takes no more connections; those there are live on. */
  async close(): Promise<void> {
    for (const { socket } of this.#waiting) socket.destroy();
    // A server that is closed waits for its connections, which are not its business any more.
    for (const { server } of this.#servers) server.close();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Those that have to be bound. */
export function notInherited(listeners: readonly Listener[], inherited: readonly InheritedSocket[]): Listener[] {
  return listeners.filter(({ protocol }) => !inherited.some((socket) => socket.protocol === protocol));
}

/** Says which address cannot be had, and what to do. */
export function bindError(error: Error, { protocol, address, port }: Listener): MailError {
  const where = `${address.includes(':') ? `[${address}]` : address}:${port}`;
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return new MailError(
        'config',
        'PORT_TAKEN',
        `${protocol}: another program listens on ${where} already: stop it, or set another port for ${protocol} under "listeners"`,
      );
    case 'EACCES':
      return new MailError(
        'config',
        'PORT_FORBIDDEN',
        `${protocol}: only root may listen on ${where}: start as root (it is given up at once), or set a port above 1023 under "listeners"`,
      );
    case 'EADDRNOTAVAIL':
      return new MailError(
        'config',
        'ADDRESS_UNKNOWN',
        `${protocol}: this host has no address ${address}: correct it under "listeners" or "inet_interfaces"`,
      );
    default:
      return new MailError('config', 'CANNOT_LISTEN', `${protocol}: cannot listen on ${where}: ${error.message}`);
  }
}
