// The queue's files, one a message: `<queue_directory>/messages/<2 hex digits>/<ID>`, mode 0600. The truth that queue.db is made of again when it is
// lost. Lines end in LF:
//
//   BUZON-QUEUE 1 <bytes of the head, 10 digits> <bytes of the message, 16 digits> <SHA-256 of the message, 64 hex digits>
//   {"id":…,"sender":…,…}                                          QueuedEnvelope
//   W{"address":…,"destination":…,"notify":…,"orcpt":…}            a line a recipient
//   (empty)
//   the message as it is to be sent, CRLF
//
// The head ends behind the empty line. The hash is zeros until the message is written whole: a file without one was never acknowledged. The first byte
// of a recipient's line says what became of it: W waits, H is held, D is done. It is overwritten in place and not synced: a repeat is all that a
// power cut can make of that. The owner's x bit of its mode says that the message is to be returned to its sender (postsuper -e). Everything else in the
// file never changes. What queue.db alone knows (tries, failures, another destination) is found out anew.
import { crc32 } from 'node:zlib';
import { join } from 'node:path';
import type { NewRecipient, QueuedEnvelope } from '../types.ts';

const MAGIC = 'BUZON-QUEUE 1 ';
const HASH_DIGITS = 64;
const NO_HASH = '0'.repeat(HASH_DIGITS);
/** Where the hash is. */
export const HASH_AT = MAGIC.length + 10 + 1 + 16 + 1;
/** Bytes of the first line. */
export const PREAMBLE = HASH_AT + HASH_DIGITS + 1;
/** Some 200,000 recipients. */
export const MAX_HEAD = 32 * 1024 * 1024;

export const MARK = { waiting: 'W', held: 'H', done: 'D' } as const;
export type Mark = (typeof MARK)[keyof typeof MARK];

export interface FileRecipient extends NewRecipient {
  readonly mark: Mark;
  /** Where in the file its mark is. */
  readonly place: number;
}

export interface Preamble {
  /** Bytes in front of the message. */
  readonly headLength: number;
  readonly size: number;
  /** Lower-case hex; undefined while the file is being written. */
  readonly sha256?: string;
}

export interface Head extends Preamble {
  readonly envelope: QueuedEnvelope;
  /** By number. */
  readonly recipients: readonly FileRecipient[];
}

export type Parsed<T> =
  | { readonly kind: 'ok'; readonly value: T }
  /** More bytes are needed, this many from the file's beginning. */
  | { readonly kind: 'short'; readonly need: number }
  | { readonly kind: 'damaged'; readonly reason: string };

/** Fit for a file name. */
export const isQueueId = (id: string): boolean => /^[A-Za-z0-9]{1,64}$/.test(id);

/** Spreads ids over 256 folders, however they were made. */
export const folderOf = (id: string): string => (crc32(id) & 0xff).toString(16).padStart(2, '0');

export const messagesFolder = (directory: string): string => join(directory, 'messages');
export const pathOf = (directory: string, id: string): string => join(messagesFolder(directory), folderOf(id), id);

/** The head of a message of `size` bytes, without its hash, and where each recipient's mark is. */
export function formatHead(
  envelope: QueuedEnvelope,
  size: number,
  recipients: readonly NewRecipient[],
): { head: Buffer; places: number[] } {
  const lines = [Buffer.from(`${JSON.stringify(envelope)}\n`)];
  let at = PREAMBLE + (lines[0]?.length ?? 0);
  const places: number[] = [];
  for (const { address, destination, notify, orcpt, hold } of recipients) {
    const mark = hold === undefined ? MARK.waiting : MARK.held;
    const line = Buffer.from(`${mark}${JSON.stringify({ address, destination, notify, orcpt, hold })}\n`);
    places.push(at);
    at += line.length;
    lines.push(line);
  }
  const preamble = `${MAGIC}${digits(at + 1, 10)} ${digits(size, 16)} ${NO_HASH}\n`;
  return { head: Buffer.concat([Buffer.from(preamble), ...lines, Buffer.from('\n')]), places };
}
const digits = (value: number, width: number): string => String(value).padStart(width, '0');

/** Of the file's first bytes. Zeros where it should be are what a power cut leaves of a file that was never synced: damaged like anything else. */
export function parsePreamble(bytes: Buffer): Parsed<Preamble> {
  const start = bytes.toString('latin1', 0, Math.min(bytes.length, MAGIC.length));
  if (!MAGIC.startsWith(start)) return { kind: 'damaged', reason: 'it does not begin as a queue file does' };
  if (bytes.length < PREAMBLE) return { kind: 'short', need: PREAMBLE };
  const [, head, size, hash] =
    /^(\d{10}) (\d{16}) ([0-9a-f]{64})\n$/.exec(bytes.toString('latin1', MAGIC.length, PREAMBLE)) ?? [];
  const headLength = Number(head);
  if (hash === undefined || headLength <= PREAMBLE || headLength > MAX_HEAD)
    return { kind: 'damaged', reason: 'its first line is damaged' };
  return { kind: 'ok', value: { headLength, size: Number(size), ...(hash === NO_HASH ? {} : { sha256: hash }) } };
}

/** Of at least the head's bytes; what is behind them does not matter. */
export function parseHead(bytes: Buffer): Parsed<Head> {
  const preamble = parsePreamble(bytes);
  if (preamble.kind !== 'ok') return preamble;
  const { headLength } = preamble.value;
  if (bytes.length < headLength) return { kind: 'short', need: headLength };
  if (bytes[headLength - 1] !== 10 || bytes[headLength - 2] !== 10) return damaged('its head does not end where it should');
  const end = bytes.indexOf(10, PREAMBLE);
  const envelope = end < headLength - 1 ? readEnvelope(bytes.toString('utf8', PREAMBLE, end)) : undefined;
  if (!envelope) return damaged('its envelope is damaged');
  const recipients: FileRecipient[] = [];
  for (let at = end + 1; at < headLength - 1;) {
    const lineEnd = bytes.indexOf(10, at);
    const recipient = readRecipient(bytes.toString('utf8', at, lineEnd), at);
    if (!recipient) return damaged(`recipient ${recipients.length} is damaged`);
    recipients.push(recipient);
    at = lineEnd + 1;
  }
  if (recipients.length === 0) return damaged('it has no recipients');
  return { kind: 'ok', value: { ...preamble.value, envelope, recipients } };
}
const damaged = (reason: string): { kind: 'damaged'; reason: string } => ({ kind: 'damaged', reason });

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
const isText = (value: unknown): value is string => typeof value === 'string' && !/[\r\n\0]/.test(value);
const isTextIfThere = (value: unknown): boolean => value === undefined || isText(value);
const BODY_TYPES: readonly unknown[] = ['7BIT', '8BITMIME', 'BINARYMIME'];

function readEnvelope(text: string): QueuedEnvelope | undefined {
  const value = readObject(text);
  if (!value) return undefined;
  const { id, sender, arrived, smtpUtf8, bodyType, ret, envid, requireTls, account, messageId, trace } = value;
  const good =
    isText(id) &&
    isQueueId(id) &&
    isText(sender) &&
    Number.isSafeInteger(arrived) &&
    typeof smtpUtf8 === 'boolean' &&
    BODY_TYPES.includes(bodyType) &&
    (ret === undefined || ret === 'FULL' || ret === 'HDRS') &&
    (requireTls === undefined || typeof requireTls === 'boolean') &&
    (trace === undefined || trace === 'verify' || trace === 'record') &&
    [envid, account, messageId].every(isTextIfThere);
  return good ? (value as unknown as QueuedEnvelope) : undefined;
}

const MARKS: readonly string[] = Object.values(MARK);
const NOTIFY: readonly unknown[] = ['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'];

function readRecipient(line: string, place: number): FileRecipient | undefined {
  const mark = line.slice(0, 1);
  const value = readObject(line.slice(1));
  if (!value || !MARKS.includes(mark)) return undefined;
  const { address, destination, notify, orcpt, hold } = value;
  const good =
    isText(address) &&
    isText(destination) &&
    [orcpt, hold].every(isTextIfThere) &&
    (notify === undefined || (Array.isArray(notify) && notify.every((word) => NOTIFY.includes(word))));
  if (!good) return undefined;
  return { ...(value as unknown as NewRecipient), mark: mark as Mark, place };
}
