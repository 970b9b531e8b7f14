// LIST and LSUB (RFC 3501 sections 6.3.8, 6.3.9), with the attributes of CHILDREN (RFC 3348) and SPECIAL-USE (RFC 6154).
import type { MailboxListEntry } from '../../storage/types.ts';
import { matchesPattern, toWire } from '../mailbox-name.ts';
import type { Session } from '../session.ts';
import { ok, type Answer } from '../status.ts';
import { astring, quoted } from '../syntax/quote.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';

const MAX_PATTERN = 1_000;

export async function list(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  const specialOnly = readSelection(scan);
  const pattern = readPattern(scan);
  readReturn(scan);
  scan.end();
  if (pattern.root) {
    session.writer.line(`* LIST (\\Noselect) ${quoted(session.options.namespace.separator)} ""`);
    return ok('List completed');
  }
  for (const { name, entry } of await matching(session, pattern.text))
    if (entry.exists || entry.hasChildren)
      if (!specialOnly || entry.specialUse.length > 0) write(session, 'LIST', attributes(entry), name);
  return ok('List completed');
}

/** RFC 6154 section 3: `(SPECIAL-USE)` before the reference. */
function readSelection(scan: Scanner): boolean {
  if (scan.peek() !== '(') return false;
  const options = scan.list(() => scan.atom('a selection option').toUpperCase());
  scan.space();
  if (options.some((option) => option !== 'SPECIAL-USE')) throw new BadSyntax('Unknown selection option');
  return options.length > 0;
}
/** RFC 6154 section 3: `RETURN (SPECIAL-USE)`: what is always returned here. */
function readReturn(scan: Scanner): void {
  if (!scan.take(' RETURN ')) return;
  const options = scan.list(() => scan.atom('a return option').toUpperCase());
  if (options.some((option) => option !== 'SPECIAL-USE' && option !== 'CHILDREN')) throw new BadSyntax('Unknown return option');
}

export async function lsub(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  const pattern = readPattern(scan);
  scan.end();
  const { separator } = session.options.namespace;
  const told = new Set<string>();
  const entries = (await session.store?.list()) ?? [];
  for (const entry of entries.filter((e) => e.subscribed)) {
    const name = toWire(entry.path, session.options.namespace);
    if (matchesPattern(pattern.text, name, separator)) {
      told.add(name);
      write(session, 'LSUB', entry.exists ? [] : ['\\Noselect'], name);
    }
  }
  // RFC 3501 6.3.9: with %, a level above a subscribed name that is not subscribed itself is told as \Noselect.
  for (const entry of entries.filter((e) => e.subscribed))
    for (let depth = 1; depth < entry.path.length; depth++) {
      const name = toWire(entry.path.slice(0, depth), session.options.namespace);
      if (told.has(name) || !pattern.text.includes('%') || !matchesPattern(pattern.text, name, separator)) continue;
      told.add(name);
      write(session, 'LSUB', ['\\Noselect'], name);
    }
  return ok('Lsub completed');
}

/** Reference and pattern joined (RFC 3501 6.3.8); `root` when an empty pattern asks for the separator only. */
function readPattern(scan: Scanner): { text: string; root: boolean } {
  const reference = scan.astring().toString('latin1');
  scan.space();
  const pattern = scan.listMailbox().toString('latin1');
  if (reference.length + pattern.length > MAX_PATTERN) throw new BadSyntax('The pattern is too long');
  return { text: reference + pattern, root: pattern === '' };
}

async function matching(session: Session, pattern: string): Promise<{ name: string; entry: MailboxListEntry }[]> {
  const { namespace } = session.options;
  const entries = (await session.store?.list()) ?? [];
  return entries.flatMap((entry) => {
    const name = toWire(entry.path, namespace);
    const inbox = name === 'INBOX' && matchesPattern(pattern.toUpperCase(), name, namespace.separator);
    return inbox || matchesPattern(pattern, name, namespace.separator) ? [{ name, entry }] : [];
  });
}

function attributes(entry: MailboxListEntry): string[] {
  return [...(entry.exists ? [] : ['\\Noselect']), entry.hasChildren ? '\\HasChildren' : '\\HasNoChildren', ...entry.specialUse];
}

function write(session: Session, kind: 'LIST' | 'LSUB', flags: readonly string[], name: string): void {
  session.writer.line(`* ${kind} (${flags.join(' ')}) ${quoted(session.options.namespace.separator)} ${astring(name)}`);
}
