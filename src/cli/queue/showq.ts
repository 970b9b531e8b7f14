// Listings as Postfix's showq(8) and postqueue(1) write them, byte for byte, so that programs made for those read ours.
import type { QueuedMessage, QueuedRecipient } from '../../queue/types.ts';
import type { CommandIo } from '../command.ts';
import { shownQueueOf } from './drop-in.ts';
import type { CommandQueue } from './command-queue.ts';
import { printable } from './text.ts';

const HEADINGS = '-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n';
/** Where recipients stand. */
const RECIPIENT_COLUMN = 41;
/** Reasons end here, at the right. */
const REASON_WIDTH = 76;
/** Stands for `<>`. */
const NOBODY = 'MAILER-DAEMON';

/** `postqueue -p`. */
export async function printTraditional(queue: CommandQueue, io: CommandIo): Promise<void> {
  const { isRun } = queue;
  let messages = 0;
  let bytes = 0;
  for await (const message of queue.list({})) {
    if (io.closed?.()) return;
    io.out(`${messages === 0 ? HEADINGS : '\n'}${traditionalEntry(message, isRun)}`);
    messages++;
    bytes += message.size;
  }
  io.out(
    messages === 0
      ? 'Mail queue is empty\n'
      : `\n-- ${Math.floor(bytes / 1024)} Kbytes in ${messages} Request${messages === 1 ? '' : 's'}.\n`,
  );
}

const MARKS: Readonly<Partial<Record<string, string>>> = { active: '*', hold: '!' };

export function traditionalEntry(message: QueuedMessage, isRun: boolean): string {
  const { envelope, size, recipients } = message;
  const id = `${envelope.id}${MARKS[shownQueueOf(message, isRun)] ?? ''}${envelope.expire ? '#' : ''}`;
  const arrived = asctime(envelope.arrived).slice(0, 20);
  const lines = [`${id.padEnd(11)} ${String(size).padStart(7)} ${arrived} ${printable(envelope.sender) || NOBODY}\n`];
  let reason = '';
  for (const recipient of recipients) {
    const next = delayReason(recipient);
    // As Postfix: a reason stands above the recipients that share it.
    if (next !== reason) {
      const shown = next || 'reason unavailable';
      lines.push(`${' '.repeat(Math.max(0, REASON_WIDTH - Buffer.byteLength(shown)))}(${shown})\n`);
    }
    reason = next;
    lines.push(`${' '.repeat(RECIPIENT_COLUMN)}${printable(recipient.address)}\n`);
  }
  return lines.join('');
}

/** `postqueue -j`. */
export async function printJson(queue: CommandQueue, io: CommandIo): Promise<void> {
  const { isRun } = queue;
  for await (const message of queue.list({})) {
    if (io.closed?.()) return;
    io.out(`${jsonEntry(message, isRun)}\n`);
  }
}

/** With Postfix's spaces, which scripts without a JSON parser look for. */
export function jsonEntry(message: QueuedMessage, isRun: boolean): string {
  const { envelope, size, recipients } = message;
  const each = recipients.map((recipient) => {
    const reason = delayReason(recipient);
    return `{"address": ${quoted(recipient.address)}${reason === '' ? '' : `, "delay_reason": ${quoted(reason)}`}}`;
  });
  return `{${[
    `"queue_name": "${shownQueueOf(message, isRun)}"`,
    `"queue_id": ${quoted(envelope.id)}`,
    `"arrival_time": ${Math.floor(envelope.arrived / 1000)}`,
    `"message_size": ${size}`,
    `"forced_expire": ${envelope.expire === true}`,
    `"sender": ${quoted(envelope.sender || NOBODY)}`,
    `"recipients": [${each.join(', ')}]`,
  ].join(', ')}}`;
}

const quoted = (text: string): string => JSON.stringify(text).replaceAll('\u007f', '\\u007F');

const delayReason = ({ lastFailure, state, hold }: QueuedRecipient): string =>
  printable(lastFailure?.reason ?? (state === 'held' ? hold : undefined) ?? '');

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** asctime(3) in the process's time zone, without its line end. `ms` since the epoch. */
export function asctime(ms: number): string {
  const at = new Date(ms);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
  return `${DAYS[at.getDay()]} ${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)} ${time} ${at.getFullYear()}`;
}
