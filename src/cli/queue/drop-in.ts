// What the commands with Postfix's names share: where the settings are, their errors and exit statuses, the queue each message is in.
import { userInfo } from 'node:os';
import type { MailError } from '../../lib/errors.ts';
import type { QueuedMessage } from '../../queue/types.ts';
import type { CommandIo } from '../command.ts';

/** sysexits(3). */
export const EX_USAGE = 64;
export const EX_UNAVAILABLE = 69;
export const EX_NOPERM = 77;

/** Postfix's queues as far as they are ours. */
export type QueueName = 'incoming' | 'deferred' | 'hold';

/** Where Postfix would show it: qmgr(8) has what is due in its active queue, while it runs. */
export function shownQueueOf(message: Pick<QueuedMessage, 'recipients'>, isRun: boolean): QueueName | 'active' {
  const name = queueNameOf(message);
  return name === 'incoming' && isRun ? 'active' : name;
}

/** Which of Postfix's queues a message would be in: what any recipient may still be tried from counts before hold. */
export function queueNameOf({ recipients }: Pick<QueuedMessage, 'recipients'>): QueueName {
  if (recipients.some(({ state }) => state === 'ready')) return 'incoming';
  return recipients.some(({ state }) => state === 'deferred') ? 'deferred' : 'hold';
}

/** Says `NAME: fatal: TEXT`; gives `status`. */
export function fatal(io: CommandIo, name: string, text: string, status: number): number {
  io.err(`${name}: fatal: ${text}\n`);
  return status;
}

/** As Postfix says who may not. */
export function whoIAm(): string {
  const uid = process.geteuid?.() ?? 0;
  try {
    return `User ${userInfo().username}(${uid})`;
  } catch {
    return `User unknown(${uid})`;
  }
}

export const isRefusal = (error: MailError): boolean => error.kind === 'not-permitted';
