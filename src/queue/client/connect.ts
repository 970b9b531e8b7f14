// Connections to other servers: TCP to one address, or a unix socket.
import { connect as connectSocket, type Socket } from 'node:net';
import { getSystemErrorMessage } from 'node:util';
import type { Clock } from '../../lib/clock.ts';

/** One host at one address, as logs name it. */
export interface Peer {
  /** Of the certificate; for a unix socket, the host's own. */
  readonly name: string;
  readonly at: { readonly address: string; readonly port: number } | { readonly path: string };
  /** `mx.example.com[192.0.2.1]`. */
  readonly label: string;
  /** `mx.example.com[192.0.2.1]:25`. */
  readonly relay: string;
}

export function inetPeer(name: string, address: string, port: number): Peer {
  const label = `${name}[${address}]`;
  return { name, at: { address, port }, label, relay: `${label}:${port}` };
}
export function unixPeer(name: string, path: string): Peer {
  const label = `${name}[${path}]`;
  return { name, at: { path }, label, relay: label };
}

/** The message says why, in the system's words. */
export class DialError extends Error {
  /** Nobody answers there (and not: we stopped, or cannot use our own address). */
  readonly dead: boolean;
  constructor(message: string, dead: boolean) {
    super(message);
    this.dead = dead;
  }
}

const DEAD = new Set(['ECONNREFUSED', 'ECONNRESET', 'EHOSTDOWN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT']);

/** As strerror(3) has them; libuv's own words differ. */
const WORDS: Readonly<Record<string, string>> = {
  ETIMEDOUT: 'Connection timed out',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ECONNRESET: 'Connection reset by peer',
};

/** Resolves when connected. `timeout`: milliseconds. @throws DialError */
export function dial(
  peer: Peer,
  options: { timeout: number; localAddress?: string; clock: Clock; signal: AbortSignal },
): Promise<Socket> {
  const { timeout, localAddress, clock, signal } = options;
  return new Promise((resolve, reject) => {
    const target = 'path' in peer.at ? { path: peer.at.path } : { host: peer.at.address, port: peer.at.port };
    // Who has closed its half may still be answering.
    const socket = connectSocket({ ...target, noDelay: true, ...(localAddress === undefined ? {} : { localAddress }) });
    const finish = (error?: string, dead = false): void => {
      stopTimer();
      signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners('connect').removeAllListeners('error');
      if (error === undefined) return resolve(socket);
      socket.on('error', () => undefined).destroy();
      reject(new DialError(error, dead));
    };
    const onAbort = (): void => finish(signal.reason === 'deadline' ? 'Delivery took too long' : 'Delivery stopped');
    const stopTimer = clock.after(timeout, () => finish('Connection timed out', true));
    socket
      .once('connect', () => finish())
      .once('error', (error: NodeJS.ErrnoException) => finish(words(error), DEAD.has(error.code ?? '')));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
}

function words(error: NodeJS.ErrnoException): string {
  const known = WORDS[error.code ?? ''];
  if (known !== undefined) return known;
  const text = error.errno === undefined ? error.message : getSystemErrorMessage(error.errno);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
