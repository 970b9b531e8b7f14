// FETCH and UID FETCH (RFC 3501 sections 6.4.5, 6.4.8).
import { yieldToLoop } from '../../lib/async.ts';
import { MailError } from '../../lib/errors.ts';
import { setsSeen, writeFetch } from '../fetch-message.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import { readFetchItems, type FetchItem } from '../syntax/fetch.ts';
import type { Scanner } from '../syntax/scanner.ts';
import { targets, type Target } from './targets.ts';

export const fetch = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, false);
export const uidFetch = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, true);

/** Messages answered before other sessions get a turn. */
const BATCH = 50;

async function run(session: Session, scan: Scanner, byUid: boolean): Promise<Answer> {
  scan.space();
  const set = scan.sequenceSet();
  scan.space();
  const items = readFetchItems(scan);
  scan.end();
  const { selected } = session;
  if (!selected) return no('No mailbox is selected');
  const wanted = targets(selected, set, byUid);
  const all: FetchItem[] = byUid && !items.some((item) => item.kind === 'UID') ? [{ kind: 'UID' }, ...items] : [...items];
  const seen = !selected.readOnly && items.some(setsSeen) ? await markSeen(session, wanted) : new Set<number>();
  let missing = 0;
  for (const [i, { row, seq }] of wanted.entries()) {
    if (i % BATCH === BATCH - 1) await yieldToLoop();
    const now = selected.view.rows[seq - 1] ?? row;
    // Flags that this very command changed are told with it.
    const told = seen.has(row.uid) && !all.some((item) => item.kind === 'FLAGS') ? [{ kind: 'FLAGS' } as const, ...all] : all;
    const target = { mailbox: selected.mailbox, row: now, seq, flags: () => selected.view.flags(now), writer: session.writer };
    try {
      await writeFetch(target, told);
    } catch (error) {
      if (!(error instanceof MailError) || error.kind !== 'no-such-mailbox') throw error;
      missing++;
    }
  }
  if (missing > 0) {
    // RFC 5530: the client learns at the next chance which ones.
    await session.look();
    return no('Some of the messages have been expunged', 'EXPUNGEISSUED');
  }
  return ok('Fetch completed');
}

/** Sets \Seen before the messages are sent; gives the UIDs that did not have it. */
async function markSeen(session: Session, wanted: readonly Target[]): Promise<Set<number>> {
  const { selected } = session;
  const unseen = wanted.filter(({ row }) => !row.flags.includes('\\Seen')).map(({ row }) => row.uid);
  if (!selected || unseen.length === 0) return new Set();
  await selected.mailbox.store(unseen, { mode: 'add', flags: ['\\Seen'] });
  const told = new Set(unseen);
  await session.announce({ mayExpunge: false, silent: told });
  return told;
}
