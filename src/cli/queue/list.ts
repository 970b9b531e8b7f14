// `buzon queue list` and `show`: waiting messages with their recipients, as text or one JSON object a line.
import { MailError } from '../../lib/errors.ts';
import type { QueuedMessage, QueuedRecipient, QueueFilter } from '../../queue/types.ts';
import type { CommandIo } from '../command.ts';
import type { CommandQueue } from './command-queue.ts';
import { count, printable, senderText, shortSize, shortTime } from './text.ts';

/** Characters written at a time. */
const GATHER = 65_536;

export interface Listing {
  readonly queue: CommandQueue;
  readonly io: CommandIo;
  readonly json: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export async function listQueue({ queue, io, json, now }: Listing, filter: QueueFilter): Promise<number> {
  let messages = 0;
  let recipients = 0;
  let bytes = 0;
  let text = '';
  for await (const message of queue.list(filter)) {
    text += json ? jsonLine(message) : messageText(message, now);
    messages++;
    recipients += message.recipients.length;
    bytes += message.size;
    // A write for each of 100,000 messages takes longer than finding them.
    if (text.length < GATHER) continue;
    if (io.closed?.()) return 0;
    io.out(text);
    text = '';
  }
  if (text !== '') io.out(text);
  if (!json)
    io.out(
      messages === 0
        ? 'nothing is waiting\n'
        : `${count(messages, 'message')}, ${count(recipients, 'recipient')}, ${shortSize(bytes)}\n`,
    );
  return 0;
}

/** @throws MailError config `NO_SUCH_MESSAGE` */
export async function showMessages({ queue, io, json, now }: Listing, ids: readonly string[]): Promise<number> {
  for (const id of ids) {
    const message = await queue.find(id);
    if (!message) throw new MailError('config', 'NO_SUCH_MESSAGE', `there is no message ${id} in the queue`);
    io.out(json ? jsonLine(message) : wholeMessage(message, now));
  }
  return 0;
}

/** The keys are documented in the command's usage: they stay. */
function jsonLine({ envelope, size, recipients }: QueuedMessage): string {
  const { id, sender, arrived, account, messageId, envid, ret, bodyType, smtpUtf8, requireTls, expire, trace } = envelope;
  return `${JSON.stringify({
    id,
    sender,
    arrived: new Date(arrived).toISOString(),
    size,
    account,
    messageId,
    envid,
    ret,
    bodyType,
    smtpUtf8,
    requireTls: requireTls ?? false,
    expire: expire ?? false,
    trace,
    recipients: recipients.map((recipient) => ({
      address: recipient.address,
      destination: recipient.destination,
      state: recipient.state,
      attempts: recipient.attempts,
      nextAttempt: recipient.state === 'deferred' ? new Date(recipient.nextAttempt).toISOString() : undefined,
      status: recipient.lastFailure?.status,
      reason: reasonOf(recipient),
      notify: recipient.notify,
      orcpt: recipient.orcpt,
    })),
  })}\n`;
}

function messageText({ envelope, size, recipients }: QueuedMessage, now: number): string {
  const head = `${envelope.id}  ${shortSize(size).padStart(5)}  ${shortTime(now - envelope.arrived).padStart(6)}  ${senderText(envelope.sender)}\n`;
  let reason = '';
  return recipients.reduce((text, recipient) => {
    const next = reasonOf(recipient) ?? '';
    // Many recipients often wait for the same cause.
    const said = next !== '' && next !== reason ? `      ${printable(next)}\n` : '';
    reason = next;
    return `${text}    ${recipientText(recipient, now)}\n${said}`;
  }, head);
}

function recipientText({ address, destination, state, attempts, nextAttempt }: QueuedRecipient, now: number): string {
  const tries = attempts === 0 ? '' : `, ${attempts === 1 ? '1 try' : `${attempts} tries`}`;
  const next = state !== 'deferred' ? '' : nextAttempt <= now ? ', next now' : `, next in ${shortTime(nextAttempt - now)}`;
  return `${printable(address)}  ${state}${tries}${next}  ${printable(destination)}`;
}

function wholeMessage({ envelope, size, recipients }: QueuedMessage, now: number): string {
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['id', envelope.id],
    ['sender', senderText(envelope.sender)],
    ['account', envelope.account],
    ['arrived', `${new Date(envelope.arrived).toISOString()} (${shortTime(now - envelope.arrived)} ago)`],
    ['size', `${size} bytes`],
    ['message-id', envelope.messageId],
    ['envid', envelope.envid],
    ['ret', envelope.ret],
    ['trace', envelope.trace],
    ['expire', envelope.expire && 'to be returned to its sender'],
    ['body', `${envelope.bodyType}${envelope.smtpUtf8 ? ', SMTPUTF8' : ''}${envelope.requireTls ? ', REQUIRETLS' : ''}`],
  ];
  const head = lines.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(11)}${printable(value)}\n`]));
  const each = recipients.map((recipient) => {
    const { notify, orcpt, lastFailure } = recipient;
    const options = [...(notify ? [`NOTIFY=${notify.join(',')}`] : []), ...(orcpt === undefined ? [] : [`ORCPT=${orcpt}`])];
    const more = [...(options.length > 0 ? [options.join(' ')] : []), ...failureText(lastFailure?.status, reasonOf(recipient))];
    return `recipient  ${recipientText(recipient, now)}\n${more.map((line) => `             ${printable(line)}\n`).join('')}`;
  });
  return `${head.join('')}${each.join('')}`;
}

const failureText = (status: string | undefined, reason: string | undefined): string[] =>
  reason === undefined ? [] : [status === undefined ? reason : `${status}: ${reason}`];

/** What it waits for: the last failure, or why it is held. */
const reasonOf = ({ lastFailure, state, hold }: QueuedRecipient): string | undefined =>
  lastFailure?.reason ?? (state === 'held' ? hold : undefined);
