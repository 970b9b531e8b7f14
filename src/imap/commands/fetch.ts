// FETCH and UID FETCH (RFC 3501 sections 6.4.5, 6.4.8).
import { yieldToLoop } from '../../lib/async.ts';
import { MailError } from '../../lib/errors.ts';
import type { Uid } from '../../storage/types.ts';
import { setsSeen, writeFetch } from '../fetch-message.ts';
import type { ImapSession } from '../session.ts';
import { badReply, ok } from '../status.ts';
import { readFetchItems, type FetchItem } from '../syntax/fetch.ts';
import type { Scanner } from '../syntax/scanner.ts';
import { readSequenceSet, type SequenceSet } from '../syntax/sequence-set.ts';
import { formatFlags } from '../untagged.ts';
import type { Addressed } from '../view.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

/** Messages marked \Seen and answered before other sessions get a turn. */
const BATCH = 50;
const FLAGS: FetchItem = { kind: 'FLAGS' };

function readFetch(args: Scanner, byUid: boolean): { set: SequenceSet; items: FetchItem[] } {
  args.space();
  const set = readSequenceSet(args);
  args.space();
  const items = readFetchItems(args);
  args.end();
  // UID FETCH always tells the UID (6.4.8).
  return { set, items: byUid && !items.some(({ kind }) => kind === 'UID') ? [{ kind: 'UID' }, ...items] : items };
}

/** Sets \Seen where an item asks for it; gives the UIDs that did not have it. */
async function markSeen(session: ImapSession, batch: readonly Addressed[]): Promise<Set<Uid>> {
  const { mailbox } = session.view;
  const unseen = batch.filter(({ row }) => row && !row.flags.includes('\\Seen')).map(({ uid }) => uid);
  if (unseen.length > 0) await mailbox.store(unseen, { mode: 'add', flags: ['\\Seen'] });
  return new Set(unseen);
}

/** False when the message is gone. */
async function fetchOne(session: ImapSession, { seq, uid }: Addressed, items: readonly FetchItem[]): Promise<boolean> {
  const { view, writer } = session;
  const row = view.currentRow(uid);
  if (!row) return false;
  try {
    await writeFetch(
      { mailbox: view.mailbox, row, seq, flags: () => formatFlags(view, row), writer, resume: view.resume },
      items,
    );
  } catch (error) {
    if (error instanceof MailError && error.kind === 'no-such-mailbox') return false;
    throw error;
  }
  if (items.some(({ kind }) => kind === 'FLAGS')) view.told(seq, row);
  return true;
}

export const fetch = (byUid: boolean): CommandHandler => ({
  states: SELECTED,
  sync: byUid ? 'known' : 'flags',
  async run(session, { args }) {
    const { set, items } = readFetch(args, byUid);
    const { view } = session;
    const messages = view.resolve(set, byUid);
    if (!messages) return badReply('No such message', 'CLIENTBUG');
    const marks = !view.readOnly && items.some(setsSeen);
    const asksFlags = items.some(({ kind }) => kind === 'FLAGS');
    let missing = 0;
    for (let at = 0; at < messages.length; at += BATCH) {
      const batch = messages.slice(at, at + BATCH);
      const seen = marks ? await markSeen(session, batch) : undefined;
      // Flags that this very command changed are told with it.
      for (const message of batch)
        if (!(await fetchOne(session, message, !asksFlags && seen?.has(message.uid) ? [...items, FLAGS] : items))) missing++;
      await yieldToLoop();
    }
    // RFC 5530: the client learns at the next chance which ones.
    if (missing > 0) return ok('Some of the messages have been expunged', 'EXPUNGEISSUED');
    return ok('Fetch completed');
  },
});
