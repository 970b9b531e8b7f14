// A file of the maildrop: one line of text with the envelope, then the message.
//
//   buzon-maildrop-1 {"sender":"ana@example.com","recipients":["info@example.com"]}\n
//   message, CRLF line ends
//
// Any local user can write such a file, so nothing in it is taken for granted: this parser is where it is looked at.
import type { Trace } from '../delivery/types.ts';
import { parseMailbox, type MailboxAddress } from '../message/address-spec.ts';

const MAGIC = 'buzon-maildrop-1 ';
/** Bytes of the first line. */
export const MAX_HEAD = 2 * 1024 * 1024;
/** Recipients of one file. */
export const MAX_DROP_RECIPIENTS = 10_000;
const MAX_ENVID = 100;

export const NOTIFY_WORDS = ['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'] as const;
export type NotifyWord = (typeof NOTIFY_WORDS)[number];

/** The envelope. Addresses have a domain; `sender` is empty for `<>`. */
export interface DropEnvelope {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly bodyType?: '7BIT' | '8BITMIME';
  /** RFC 3461, for all recipients. */
  readonly notify?: readonly NotifyWord[];
  readonly ret?: 'FULL' | 'HDRS';
  /** Decoded (no xtext), printable ASCII. */
  readonly envid?: string;
  readonly trace?: Trace;
}

export function formatHead(envelope: DropEnvelope): Buffer {
  return Buffer.from(`${MAGIC}${JSON.stringify(envelope)}\n`, 'utf8');
}

/** Why a file is none of the maildrop's; fit for a log. */
export class BadDrop extends Error {}

/** Reads the first line, without its line end. @throws BadDrop */
export function parseHead(line: Buffer): DropEnvelope {
  const text = line.toString('utf8');
  if (!text.startsWith(MAGIC)) throw new BadDrop('it does not begin as a file of sendmail');
  const given = record(text.slice(MAGIC.length));
  const { sender, recipients, bodyType, notify, ret, envid, trace } = given;
  if (typeof sender !== 'string' || (sender !== '' && !full(sender))) throw new BadDrop('its sender is no address');
  if (!Array.isArray(recipients) || recipients.length === 0) throw new BadDrop('it has no recipients');
  if (recipients.length > MAX_DROP_RECIPIENTS) throw new BadDrop(`it has more than ${MAX_DROP_RECIPIENTS} recipients`);
  if (!recipients.every((one): one is string => typeof one === 'string' && full(one) !== undefined))
    throw new BadDrop('one of its recipients is no address');
  return {
    sender,
    recipients: [...new Set(recipients)],
    ...(bodyType === undefined ? {} : { bodyType: oneOf(bodyType, ['7BIT', '8BITMIME'] as const, 'body type') }),
    ...(notify === undefined ? {} : { notify: notifyOf(notify) }),
    ...(ret === undefined ? {} : { ret: oneOf(ret, ['FULL', 'HDRS'] as const, 'RET') }),
    ...(envid === undefined ? {} : { envid: envidOf(envid) }),
    ...(trace === undefined ? {} : { trace: oneOf(trace, ['verify', 'record'] as const, 'trace') }),
  };
}

function record(json: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new BadDrop('its envelope cannot be read');
}

/** An address with its domain. */
function full(address: string): MailboxAddress | undefined {
  const mailbox = parseMailbox(address);
  return mailbox && mailbox.domain !== '' ? mailbox : undefined;
}

function oneOf<T extends string>(value: unknown, words: readonly T[], what: string): T {
  const found = words.find((word) => word === value);
  if (found === undefined) throw new BadDrop(`its ${what} is none`);
  return found;
}

function notifyOf(value: unknown): readonly NotifyWord[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > NOTIFY_WORDS.length) throw new BadDrop('its NOTIFY is none');
  const words = value.map((word) => oneOf(word, NOTIFY_WORDS, 'NOTIFY'));
  // RFC 3461 section 4.1: NEVER stands alone.
  if (words.includes('NEVER') && words.length > 1) throw new BadDrop('its NOTIFY is none');
  return words;
}

function envidOf(value: unknown): string {
  if (typeof value === 'string' && value.length <= MAX_ENVID && /^[\x20-\x7e]+$/.test(value)) return value;
  throw new BadDrop('its ENVID is none');
}
