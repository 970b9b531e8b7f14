// LIST (RFC 3501 section 6.3.8) with the attributes of CHILDREN (RFC 3348) and SPECIAL-USE, its selection and return options (RFC 6154).
import type { MailboxListEntry } from '../../storage/types.ts';
import { fromPath, nameText } from '../mailbox-name.ts';
import { matchesPattern } from '../list-pattern.ts';
import type { ImapSession } from '../session.ts';
import { ok } from '../status.ts';
import { astring, quoted } from '../syntax/quote.ts';
import { bad, type Scanner } from '../syntax/scanner.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

const MAX_PATTERN = 1_000;
const SELECTION = ['SPECIAL-USE', 'SUBSCRIBED'];
const RETURN = ['SPECIAL-USE', 'SUBSCRIBED', 'CHILDREN'];

interface ListArguments {
  readonly selection: ReadonlySet<string>;
  readonly returned: ReadonlySet<string>;
  readonly reference: string;
  /** Reference and pattern joined; empty asks for the separator only. */
  readonly patterns: readonly string[];
}

function readList(args: Scanner): ListArguments {
  args.space();
  const selection = args.next === '(' ? readOptions(args, SELECTION) : undefined;
  if (selection) args.space();
  const { reference, patterns } = readPatterns(args);
  let returned: Set<string> | undefined;
  if (!args.atEnd) {
    args.expect(' RETURN ');
    returned = readOptions(args, RETURN);
  }
  args.end();
  return { selection: selection ?? new Set(), returned: returned ?? new Set(), reference, patterns };
}

function readOptions(args: Scanner, known: readonly string[]): Set<string> {
  const options = new Set<string>();
  args.list(() => {
    const option = args.keyword();
    if (!known.includes(option)) throw bad('Unknown LIST option');
    options.add(option);
  });
  return options;
}

function readPatterns(args: Scanner): { reference: string; patterns: string[] } {
  const reference = nameText(args.astring());
  args.space();
  const patterns: string[] = [];
  const one = (): void => void patterns.push(nameText(args.listMailbox()));
  if (args.next === '(') args.list(one);
  else one();
  if (patterns.length === 0 || patterns.length > 20) throw bad('Bad number of patterns');
  for (const pattern of patterns) if (reference.length + pattern.length > MAX_PATTERN) throw bad('The pattern is too long');
  return { reference, patterns };
}

/** Reference and pattern of LSUB. */
export function readPattern(args: Scanner): string {
  args.space();
  const reference = nameText(args.astring());
  args.space();
  const pattern = nameText(args.listMailbox());
  args.end();
  if (reference.length + pattern.length > MAX_PATTERN) throw bad('The pattern is too long');
  return reference + pattern;
}

/** `* LIST (…) "." name`. */
export function writeEntry(session: ImapSession, kind: 'LIST' | 'LSUB', attributes: readonly string[], name: string): void {
  session.untagged(`${kind} (${attributes.join(' ')}) ${quoted(session.namespace.separator)} ${astring(name)}`);
}

function attributesOf(entry: MailboxListEntry, args: ListArguments): string[] {
  const subscribed = args.returned.has('SUBSCRIBED') || args.selection.has('SUBSCRIBED');
  return [
    ...(entry.exists ? [] : [entry.hasChildren ? '\\Noselect' : '\\NonExistent']),
    entry.hasChildren ? '\\HasChildren' : '\\HasNoChildren',
    ...(subscribed && entry.subscribed ? ['\\Subscribed'] : []),
    ...entry.specialUse,
  ];
}

function isWanted(entry: MailboxListEntry, { selection }: ListArguments): boolean {
  if (selection.has('SUBSCRIBED') && !entry.subscribed) return false;
  if (selection.has('SPECIAL-USE') && entry.specialUse.length === 0) return false;
  return entry.exists || entry.hasChildren || selection.has('SUBSCRIBED');
}

export const list: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    const parsed = readList(args);
    const { namespace } = session;
    // RFC 3501 6.3.8: an empty pattern asks for the separator and the root of the reference.
    if (parsed.patterns.length === 1 && parsed.patterns[0] === '') {
      const root = parsed.reference.startsWith(namespace.prefix) ? namespace.prefix : '';
      session.untagged(`LIST (\\Noselect) ${quoted(namespace.separator)} ${quoted(root)}`);
      return ok('List completed');
    }
    for (const entry of await session.store.list()) {
      const name = fromPath(entry.path, namespace);
      if (name === undefined || !isWanted(entry, parsed)) continue;
      if (!parsed.patterns.some((pattern) => matchesPattern(parsed.reference + pattern, name, namespace.separator))) continue;
      writeEntry(session, 'LIST', attributesOf(entry, parsed), name);
      await session.writer.breathe();
    }
    return ok('List completed');
  },
};
