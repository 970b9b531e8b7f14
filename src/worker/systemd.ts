// What systemd gives and wants: sockets that are bound already (sd_listen_fds(3)), and to be told when the service is ready (sd_notify(3)).
import { spawn } from 'node:child_process';
import type { Listener } from '../config/listeners.ts';
import { PROTOCOLS } from '../config/schema-network.ts';
import { MailError } from '../lib/errors.ts';

/** A bound, listening socket of this process. */
export interface InheritedSocket {
  readonly protocol: Listener['protocol'];
  readonly fd: number;
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/**
 * The sockets of the unit's .socket files; FileDescriptorName= of each names its protocol. Empty when there are none, or they are another
 * process's. @throws MailError config for a name that is no protocol
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): InheritedSocket[] {
  const count = Number(env['LISTEN_FDS'] ?? 0);
  if (!Number.isInteger(count) || count < 1 || Number(env['LISTEN_PID']) !== pid) return [];
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  return Array.from({ length: count }, (_, i) => {
    const protocol = PROTOCOLS.find((one) => one === names[i]);
    if (protocol === undefined)
      throw new MailError(
        'config',
        'SOCKET_NAME',
        `systemd passes a socket named "${names[i] ?? ''}": set FileDescriptorName= in its .socket file to one of ${PROTOCOLS.join(', ')}`,
      );
    return { protocol, fd: FIRST_FD + i };
  });
}

const NOTIFY_MS = 10_000;

/**
 * Tells systemd, through `systemd-notify` (Node has no datagram sockets of the local kind): the unit needs NotifyAccess=all. Does nothing without
 * NOTIFY_SOCKET; resolves when it is told, or could not be. Never throws.
 */
export function notifySystemd(env: NodeJS.ProcessEnv, ...assignments: readonly string[]): Promise<void> {
  if (!env['NOTIFY_SOCKET']) return Promise.resolve();
  return new Promise((resolve) => {
    const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...assignments], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
      timeout: NOTIFY_MS,
    });
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  });
}
