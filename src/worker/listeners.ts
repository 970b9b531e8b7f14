// The sockets that the settings name. Bound first, as root where they are privileged; what connects before the server is ready waits.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Listener } from '../config/listeners.ts';
import { errnoOf, MailError } from '../lib/errors.ts';

export type TakeSocket = (socket: Socket, listener: Listener) => void;

export interface BoundAddress {
  readonly protocol: Listener['protocol'];
  readonly address: string;
  readonly port: number;
}

export class Listeners {
  readonly #servers: { readonly server: Server; readonly listener: Listener }[] = [];
  #waiting: { socket: Socket; listener: Listener }[] = [];
  #take: TakeSocket | undefined;

  /** Binds all of them. @throws MailError config that says which one cannot be had, and what to do */
  async bind(listeners: readonly Listener[]): Promise<void> {
    try {
      for (const listener of listeners) this.#servers.push({ server: await this.#listen(listener), listener });
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  #listen(listener: Listener): Promise<Server> {
    const server = createServer({ noDelay: true }, (socket) => this.#connected(socket, listener));
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(bindError(error, listener)));
      server.listen({ host: listener.address, port: listener.port, ipv6Only: listener.address === '::', backlog: 511 }, () => {
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

function bindError(error: Error, { protocol, address, port }: Listener): MailError {
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
