// What the commands with Postfix's names share: where the settings are, their errors and exit statuses, the queue each message is in.
import { stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import type { MailError } from '../../lib/errors.ts';
import type { QueuedMessage } from '../../queue/types.ts';
import type { CommandIo } from '../command.ts';
import { DEFAULT_SETTINGS } from '../user/context.ts';

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

/** `-c` (or MAIL_CONFIG) names the settings file, or its folder; MAIL_CONFIG may also be meant for Postfix. */
export async function settingsFileOf(given: string | undefined, io: CommandIo): Promise<string> {
  if (given !== undefined) {
    const path = resolve(io.cwd, given);
    return (await isFolder(path)) ? join(path, 'buzon.yaml') : path;
  }
  const fromEnvironment = io.env['MAIL_CONFIG'];
  const file = fromEnvironment === undefined ? undefined : resolve(io.cwd, fromEnvironment, 'buzon.yaml');
  return file !== undefined && (await stat(file).catch(() => undefined))?.isFile() ? file : DEFAULT_SETTINGS;
}

const isFolder = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

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
