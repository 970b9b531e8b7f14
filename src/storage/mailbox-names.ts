// Maildir++: a mailbox's folder is its name in the account's Maildir, with a dot before each level: `.Archivo.2026`; INBOX is the Maildir
// itself. Levels are in modified UTF-7 on disk, as Dovecot writes them. A name that could leave the account's folder, or that two
// spellings could mean, cannot exist.
import { MailError } from '../lib/errors.ts';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../message/utf7.ts';
import type { MailboxPath } from './types.ts';

/** Bytes of a folder's name that file systems allow. */
const MAX_FOLDER = 255;
const MAX_LEVELS = 20;

export const INBOX: MailboxPath = ['INBOX'];
export const isInbox = (path: MailboxPath): boolean => path.length === 1 && path[0]?.toUpperCase() === 'INBOX';
/** One string a path, for maps: INBOX in one spelling, levels NFC. */
export const pathKey = (path: MailboxPath): string =>
  isInbox(path) ? 'INBOX' : path.map((level) => level.normalize('NFC')).join('\0');

/** @throws MailError cannot, for a name that no mailbox may have */
export function checkPath(path: MailboxPath): void {
  if (path.length === 0 || path.length > MAX_LEVELS) throw cannot('has too many levels');
  for (const level of path) checkLevel(level);
  if (folderOf(path).length > MAX_FOLDER) throw cannot('is too long');
}

function checkLevel(level: string): void {
  if (level === '') throw cannot('has an empty level');
  if (level === '.' || level === '..' || level.includes('.')) throw cannot('has a dot in a level');
  if (level.includes('/') || level.includes('\\')) throw cannot('has a slash in a level');
  if (/[\p{Cc}\p{Cs}\u2028\u2029\ufffd]/u.test(level)) throw cannot('has a control character');
  if (level.trim() !== level) throw cannot('has white space at an end of a level');
  if (level.includes('*') || level.includes('%')) throw cannot('has a wildcard');
}
const cannot = (why: string): MailError => new MailError('cannot', 'BAD_MAILBOX_NAME', `The mailbox name ${why}`);

/** Name of the folder in the account's Maildir; empty for INBOX. */
export function folderOf(path: MailboxPath): string {
  return isInbox(path) ? '' : path.map((level) => `.${encodeModifiedUtf7(level)}`).join('');
}

/** The path of a folder's name; undefined when it is none (`.`, `..`, empty levels). Levels that are not modified UTF-7 stay as they are. */
export function pathOf(folder: string): MailboxPath | undefined {
  if (!folder.startsWith('.') || folder === '.' || folder === '..') return undefined;
  const levels = folder.slice(1).split('.');
  if (levels.includes('')) return undefined;
  return levels.map((level) => decodeModifiedUtf7(level) ?? level);
}

const DEFAULT_SPECIAL_USE: Readonly<Record<string, string>> = {
  drafts: '\\Drafts',
  sent: '\\Sent',
  'sent messages': '\\Sent',
  'sent items': '\\Sent',
  trash: '\\Trash',
  'deleted items': '\\Trash',
  junk: '\\Junk',
  spam: '\\Junk',
  archive: '\\Archive',
};
/** RFC 6154 attributes of a mailbox, told by its name as Dovecot's 15-mailboxes.conf does. */
export function specialUseOf(path: MailboxPath): readonly string[] {
  const use = path.length === 1 ? DEFAULT_SPECIAL_USE[path[0]?.toLowerCase() ?? ''] : undefined;
  return use === undefined ? [] : [use];
}
