// STORE and UID STORE (RFC 3501 section 6.4.6).
import type { StoreChange } from '../../storage/types.ts';
import type { ImapSession } from '../session.ts';
import { badReply, no, ok } from '../status.ts';
import { readFlag, readFlagList } from '../syntax/flags.ts';
import { bad, type Scanner } from '../syntax/scanner.ts';
import { readSequenceSet, type SequenceSet } from '../syntax/sequence-set.ts';
import { formatFetchFlags } from '../untagged.ts';
import type { Addressed } from '../view.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

interface StoreArguments {
  readonly set: SequenceSet;
  readonly change: StoreChange;
  readonly silent: boolean;
}

function readStore(args: Scanner): StoreArguments {
  args.space();
  const set = readSequenceSet(args);
  args.space();
  const mode = args.accept('+') ? 'add' : args.accept('-') ? 'remove' : 'replace';
  const item = args.keyword();
  if (item !== 'FLAGS' && item !== 'FLAGS.SILENT') throw bad('Expected FLAGS or FLAGS.SILENT');
  args.space();
  const flags = args.next === '(' ? readFlagList(args) : readBareFlags(args);
  args.end();
  return { set, change: { mode, flags }, silent: item === 'FLAGS.SILENT' };
}

/** flag *(SP flag) without parentheses. */
function readBareFlags(args: Scanner): string[] {
  const flags = [readFlag(args)];
  while (!args.atEnd) {
    args.space();
    flags.push(readFlag(args));
    args.count();
  }
  return flags;
}

/** The flags as they are now: of every message, or (`silent`) only where another one changed them too. */
async function writeStored(
  session: ImapSession,
  messages: readonly Addressed[],
  silent: boolean,
  withUid: boolean,
): Promise<void> {
  const { view } = session;
  for (const { seq, uid } of messages) {
    const row = view.currentRow(uid);
    if (!row) continue;
    view.told(seq, row);
    if (!silent) session.untagged(formatFetchFlags(view, seq, row, withUid));
    await session.writer.breathe();
  }
}

export const store = (byUid: boolean): CommandHandler => ({
  states: SELECTED,
  sync: byUid ? 'known' : 'flags',
  async run(session, { args }) {
    const { set, change, silent } = readStore(args);
    const { view } = session;
    if (view.readOnly) return no('The mailbox is open read-only', 'NOPERM');
    // Others' changes first, so that SILENT hides only our own.
    await session.sync({ refresh: false, expunge: false });
    const messages = view.resolve(set, byUid);
    if (!messages) return badReply('No such message', 'CLIENTBUG');
    const present = messages.filter(({ row }) => row);
    const { rejected } = await view.mailbox.store(
      present.map(({ uid }) => uid),
      change,
    );
    // New keywords are told before a message bears them.
    session.announceKeywords();
    await writeStored(session, present, silent, byUid);
    if (rejected.length > 0) return no('Some keywords could not be stored: the mailbox has no room for more', 'LIMIT');
    if (!byUid && present.length < messages.length) return ok('Some of the messages no longer exist', 'EXPUNGEISSUED');
    return ok('Store completed');
  },
});
