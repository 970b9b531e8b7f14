// Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3) levels joined by the namespace's separator behind its prefix;
// INBOX in any case is INBOX.
import { MailError } from '../lib/errors.ts';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../message/utf7.ts';
import type { MailboxPath } from '../storage/types.ts';
import { bad, type Scanner } from './syntax/scanner.ts';

export interface Namespace {
  /** One character: `.` or `/`. */
  readonly separator: string;
  /** Empty, or ends with the separator: `INBOX.`. */
  readonly prefix: string;
}

const cannot = (text: string): MailError => new MailError('cannot', 'BAD_MAILBOX_NAME', text);

/** Reads a mailbox argument as it stands on the wire. Control characters are BAD (RELIABILITY row 24). */
export function readMailboxName(scanner: Scanner): string {
  return nameText(scanner.astring());
}
export function nameText(bytes: Buffer): string {
  for (const byte of bytes) if (byte < 0x20 || byte === 0x7f) throw bad('Control character in a mailbox name');
  return bytes.toString('latin1');
}

/** @throws MailError cannot for a name that no mailbox can have */
export function toPath(wire: string, { separator, prefix }: Namespace): MailboxPath {
  if (wire.toUpperCase() === 'INBOX') return ['INBOX'];
  if (wire === '') throw cannot('The mailbox name is empty');
  if (prefix !== '' && !hasPrefix(wire, prefix)) throw cannot(`Mailbox names begin with ${prefix}`);
  const levels = wire.slice(prefix.length).split(separator).map(decodeLevel);
  // `inbox.x` lies below INBOX, which has one spelling on disk.
  return levels.length > 1 && levels[0]?.toUpperCase() === 'INBOX' ? ['INBOX', ...levels.slice(1)] : levels;
}

/** A prefix that begins with INBOX is found in any case. */
function hasPrefix(wire: string, prefix: string): boolean {
  const start = wire.slice(0, prefix.length);
  return start === prefix || (/^inbox/i.test(prefix) && start.toUpperCase() === prefix.toUpperCase());
}

function decodeLevel(level: string): string {
  const decoded = decodeModifiedUtf7(level);
  if (decoded === undefined) throw cannot('The mailbox name is not valid modified UTF-7');
  if (decoded === '') throw cannot('The mailbox name has an empty level');
  return decoded;
}

/** The name on the wire; undefined for a path that this namespace cannot say (a level with the separator in it). */
export function fromPath(path: MailboxPath, { separator, prefix }: Namespace): string | undefined {
  if (path.length === 1 && path[0]?.toUpperCase() === 'INBOX') return 'INBOX';
  if (path.some((level) => level === '' || level.includes(separator))) return undefined;
  return prefix + path.map(encodeModifiedUtf7).join(separator);
}
