// SEARCH and UID SEARCH (RFC 3501 section 6.4.4).
import { yieldToLoop } from '../../lib/async.ts';
import { MailError } from '../../lib/errors.ts';
import { arrange, SearchedMessage } from '../search-message.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';
import { readSearch } from '../syntax/search.ts';

export const search = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, false);
export const uidSearch = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, true);

const BATCH = 200;

async function run(session: Session, scan: Scanner, byUid: boolean): Promise<Answer> {
  scan.space();
  const key = arrange(readSearch(scan, session.options.limits.searchDepth));
  const { selected } = session;
  if (!selected) return no('No mailbox is selected');
  const { mailbox, view } = selected;
  const rows = [...view.rows];
  const place = {
    mailbox,
    isRecent: (row: (typeof rows)[number]) => view.isRecent(row.uid),
    lastSeq: rows.length,
    lastUid: rows.at(-1)?.uid ?? 0,
  };
  const found: number[] = [];
  for (const [i, row] of rows.entries()) {
    if (i % BATCH === BATCH - 1) await yieldToLoop();
    if (session.ended) break;
    const message = new SearchedMessage(place, row, i + 1);
    try {
      if (await message.matches(key)) found.push(byUid ? row.uid : i + 1);
    } catch (error) {
      // A message that has just gone matches nothing.
      if (!(error instanceof MailError) || error.kind !== 'no-such-mailbox') throw error;
    } finally {
      await message.close();
    }
  }
  session.writer.line(`* SEARCH${found.map((n) => ` ${n}`).join('')}`);
  return ok('Search completed');
}
