// Replies: every one with an enhanced status code (RFC 3463, RFC 5248), and every kind of error in one table.
import type { ErrorKind, MailError } from '../lib/errors.ts';

export interface Reply {
  readonly code: number;
  /** `5.1.1`; empty where RFC 2034 wants none (greeting, HELO, EHLO, 3xx). */
  readonly enhanced: string;
  readonly text: string | readonly string[];
}

export const reply = (code: number, enhanced: string, text: string | readonly string[]): Reply => ({ code, enhanced, text });

const TABLE: Readonly<Record<ErrorKind, readonly [code: number, enhanced: string]>> = {
  temporary: [451, '4.3.0'],
  'disk-full': [452, '4.3.1'],
  'over-quota': [452, '4.2.2'],
  'too-large': [552, '5.3.4'],
  'too-many': [452, '4.5.3'],
  'no-such-user': [550, '5.1.1'],
  'not-permitted': [550, '5.7.1'],
  'not-owner': [553, '5.7.1'],
  'mail-loop': [554, '5.4.6'],
  'bad-syntax': [501, '5.5.4'],
  'no-such-mailbox': [550, '5.1.1'],
  'already-exists': [451, '4.3.0'],
  cannot: [550, '5.1.1'],
  'in-use': [451, '4.3.0'],
  corrupt: [451, '4.3.0'],
  'auth-failed': [535, '5.7.8'],
  'auth-unavailable': [454, '4.7.0'],
  config: [451, '4.3.5'],
};

/** Errors with a reply of their own. A mailbox is full today and may have room tomorrow; what is larger than its quota never goes in. */
const BY_CODE: Readonly<Record<string, readonly [code: number, enhanced: string]>> = {
  NEVER_FITS: [552, '5.2.2'],
  SEND_LIMIT: [450, '4.7.1'],
  // RFC 7372 section 3.2, RFC 7208 section 8.6.
  SPF_REJECT: [550, '5.7.23'],
  AUTHENTICATION_TEMPFAIL: [451, '4.4.3'],
};

/** What the client is told. */
export function replyFor(error: MailError): Reply {
  const [code, enhanced] = BY_CODE[error.code] ?? TABLE[error.kind];
  return reply(code, enhanced, error.clientText);
}

/** RFC 5321 4.5.3.1.5: octets of a line, its CRLF included. */
const MAX_LINE = 512;

/** The bytes of a reply. Control characters in its text become spaces: nothing that a peer sent can begin a line of ours. */
export function formatReply({ code, enhanced, text }: Reply): string {
  const lines = typeof text === 'string' ? [text] : text;
  const prefix = enhanced === '' ? '' : `${enhanced} `;
  return lines
    .map((line, i) => `${cut(`${code}${i < lines.length - 1 ? '-' : ' '}${prefix}${line.replace(/[\x00-\x1f\x7f]/g, ' ')}`)}\r\n`)
    .join('');
}

/** At most what a line holds; never half a character. */
function cut(line: string): string {
  const bytes = Buffer.from(line, 'utf8');
  if (bytes.length <= MAX_LINE - 2) return line;
  let end = MAX_LINE - 2;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}
