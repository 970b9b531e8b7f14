// The machine's part of a report: message/delivery-status (RFC 3464 section 2), and message/global-delivery-status where addresses may be UTF-8
// (RFC 6533 section 3). Pure; whatever stands in the values, a field is a field.
import { formatRfc5322 } from '../../message/date.ts';
import { decodeUtf8Address, decodeXtext, encodeUtf8Address } from '../../message/xtext.ts';
import type { QueuedEnvelope } from '../types.ts';

/** RFC 3464 section 2.3.3; the last two are Postfix's, of mail that only asked. */
export type Action = 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded' | 'deliverable' | 'undeliverable';

/** What a report says of one recipient. Times in milliseconds since the epoch. */
export interface ReportRecipient {
  readonly address: string;
  readonly orcpt?: string;
  readonly action: Action;
  /** RFC 3463. */
  readonly status: string;
  /** For people. */
  readonly reason: string;
  /** Name of the host that said it. */
  readonly remote?: string;
  /** What it said. */
  readonly reply?: string;
  readonly lastAttempt?: number;
  readonly retryUntil?: number;
}

/** Characters of one value. */
const VALUE_LIMIT = 900;
const FOLD_AT = 76;

/** One line of text: control characters and what a terminal or another reader might take for them are gone. Cut at `limit` characters. */
export function oneLine(text: string, ascii: boolean, limit = VALUE_LIMIT): string {
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufffd\ud800-\udfff]/gu, '?');
  const readable = ascii ? plain.replace(/[^ -~]/gu, '?') : plain;
  return [...readable].slice(0, limit).join('').trim();
}

/** `Name: value` with its line end, folded at blanks. */
function field(name: string, value: string, ascii: boolean): string {
  let out = `${name}:`;
  let column = out.length;
  for (const word of oneLine(value, ascii).split(' ')) {
    // A line of blanks only would end the block for some readers.
    const fold = column + 1 + word.length > FOLD_AT && column > name.length + 1 && word !== '';
    out += fold ? `\r\n    ${word}` : ` ${word}`;
    column = fold ? 4 + word.length : column + 1 + word.length;
  }
  return `${out.trimEnd()}\r\n`;
}

const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);

/** `rfc822; address`, or the type of addresses in UTF-8, in the form that the block can hold. */
function typedAddress(address: string, ascii: boolean): string {
  if (isAscii(address)) return `rfc822; ${address}`;
  return `utf-8; ${ascii ? encodeUtf8Address(address) : address}`;
}

/** ORCPT as it was given, decoded (RFC 3461 section 4.2). */
function originalAddress(orcpt: string, ascii: boolean): string {
  const semicolon = orcpt.indexOf(';');
  const [type, text] = [orcpt.slice(0, semicolon).toLowerCase(), orcpt.slice(semicolon + 1)];
  if (type !== 'utf-8') return `${type}; ${decodeXtext(text)}`;
  const address = decodeUtf8Address(text);
  return `utf-8; ${ascii ? encodeUtf8Address(address) : address}`;
}

/** The block. `ascii` where it must not hold anything else (message/delivery-status). */
export function statusFields(
  hostname: string,
  { id, sender, arrived, envid }: QueuedEnvelope,
  recipients: readonly ReportRecipient[],
  ascii: boolean,
): string {
  const add = (name: string, value: string | undefined): string => (value === undefined ? '' : field(name, value, ascii));
  const message =
    add('Reporting-MTA', `dns; ${hostname}`) +
    add('Original-Envelope-Id', envid === undefined ? undefined : decodeXtext(envid)) +
    add('X-Buzon-Queue-ID', id) +
    add('X-Buzon-Sender', sender === '' ? undefined : typedAddress(sender, ascii)) +
    add('Arrival-Date', formatRfc5322(arrived));
  const date = (at: number | undefined): string | undefined => (at === undefined ? undefined : formatRfc5322(at));
  const blocks = recipients.map(
    ({ address, orcpt, action, status, reason, remote, reply, lastAttempt, retryUntil }) =>
      add('Original-Recipient', orcpt === undefined ? undefined : originalAddress(orcpt, ascii)) +
      add('Final-Recipient', typedAddress(address, ascii)) +
      add('Action', action) +
      add('Status', status) +
      add('Remote-MTA', remote === undefined ? undefined : `dns; ${remote}`) +
      add('Diagnostic-Code', reply === undefined ? `X-Buzon; ${reason}` : `smtp; ${reply}`) +
      add('Last-Attempt-Date', date(lastAttempt)) +
      add('Will-Retry-Until', date(retryUntil)),
  );
  return [message, ...blocks].join('\r\n');
}
