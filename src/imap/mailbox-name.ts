// Mailbox names on the wire (modified UTF-7, the namespace's prefix and separator) and the paths that storage knows.
import { MailError } from '../lib/errors.ts';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../message/utf7.ts';
import type { MailboxPath } from '../storage/types.ts';

/** The personal namespace (RFC 2342). `prefix` is empty or ends with the separator: `INBOX.`. */
export interface Namespace {
  readonly separator: string;
  readonly prefix: string;
}

const isInbox = (name: string): boolean => name.toUpperCase() === 'INBOX';

/** The path of a name as it came. @throws MailError cannot, for one that can be no mailbox; no-such-mailbox outside the namespace */
export function toPath(wire: Buffer, ns: Namespace): MailboxPath {
  const name = decodeModifiedUtf7(wire.toString('latin1'));
  if (name === undefined) throw new MailError('cannot', 'BAD_UTF7', 'The mailbox name is not valid modified UTF-7');
  return decodedToPath(name, ns);
}

function decodedToPath(name: string, ns: Namespace): MailboxPath {
  if (isInbox(name)) return ['INBOX'];
  let rest = name;
  if (ns.prefix !== '') {
    const prefix = name.slice(0, ns.prefix.length);
    const matches = isInbox(ns.prefix.slice(0, -1)) ? prefix.toUpperCase() === ns.prefix.toUpperCase() : prefix === ns.prefix;
    if (!matches) throw new MailError('no-such-mailbox', 'OUTSIDE_NAMESPACE', `Mailbox names begin with ${ns.prefix}`);
    rest = name.slice(ns.prefix.length);
  }
  const levels = rest.split(ns.separator);
  // `INBOX.x` with an empty prefix is a folder below INBOX's name, kept in the one spelling that disks have.
  return levels.length > 1 && isInbox(levels[0] ?? '') ? ['INBOX', ...levels.slice(1)] : levels;
}

/** The name on the wire. */
export function toWire(path: MailboxPath, ns: Namespace): string {
  if (path.length === 1 && path[0] === 'INBOX') return 'INBOX';
  return ns.prefix + path.map(encodeModifiedUtf7).join(ns.separator);
}

/** Whether a LIST pattern matches a name: `*` any characters, `%` any but the separator. Linear in pattern × name, without backtracking further. */
export function matchesPattern(pattern: string, name: string, separator: string): boolean {
  // Places in the pattern that are possible after each character of the name.
  let places = closure(new Set([0]), pattern);
  for (const c of name) {
    const next = new Set<number>();
    for (const place of places) {
      const p = pattern.charAt(place);
      if (p === '*' || (p === '%' && c !== separator)) next.add(place);
      else if (p === c && p !== '%') next.add(place + 1);
    }
    if (next.size === 0) return false;
    places = closure(next, pattern);
  }
  return places.has(pattern.length);
}

/** Wildcards match nothing, too. */
function closure(places: Set<number>, pattern: string): Set<number> {
  for (const place of places) if (pattern.charAt(place) === '*' || pattern.charAt(place) === '%') places.add(place + 1);
  return places;
}
