// SEARCH and UID SEARCH (RFC 3501 sections 6.4.4, 6.4.8).
import { yieldToLoop } from '../../lib/async.ts';
import { MailError } from '../../lib/errors.ts';
import { arrange, SearchedMessage, type SearchPlace } from '../search-message.ts';
import type { ImapSession } from '../session.ts';
import { no, ok } from '../status.ts';
import { readSearch, SEARCH_CHARSETS, type SearchKey } from '../syntax/search.ts';
import { resolveSet, type NumberRange, type SequenceSet } from '../syntax/sequence-set.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

/** Messages looked at before other sessions get a turn. */
const BATCH = 200;

function placeOf(session: ImapSession): SearchPlace {
  const { view } = session;
  const resolved = new Map<SequenceSet, NumberRange[]>();
  return {
    mailbox: view.mailbox,
    isRecent: (row) => view.isRecent(row.uid),
    lastSeq: view.exists,
    lastUid: view.lastUid,
    ranges(set, last) {
      let ranges = resolved.get(set);
      if (!ranges) resolved.set(set, (ranges = resolveSet(set, last)));
      return ranges;
    },
  };
}

/** A message that has just gone matches nothing. */
async function matches(message: SearchedMessage, key: SearchKey): Promise<boolean> {
  try {
    return await message.matches(key);
  } catch (error) {
    if (error instanceof MailError && error.kind === 'no-such-mailbox') return false;
    throw error;
  } finally {
    await message.close();
  }
}

export const search = (byUid: boolean): CommandHandler => ({
  states: SELECTED,
  sync: byUid ? 'known' : 'flags',
  async run(session, { args }) {
    args.space();
    const parsed = readSearch(args);
    if (!parsed) return no('Unknown charset', `BADCHARSET (${SEARCH_CHARSETS.join(' ')})`);
    const key = arrange(parsed);
    const place = placeOf(session);
    const found: number[] = [];
    for (const [i, { seq, uid, row }] of session.view.all().entries()) {
      if (i % BATCH === BATCH - 1) await yieldToLoop();
      if (session.transport.reader.closed) break;
      if (row && (await matches(new SearchedMessage(place, row, seq), key))) found.push(byUid ? uid : seq);
    }
    session.untagged(`SEARCH${found.map((n) => ` ${n}`).join('')}`);
    return ok('Search completed');
  },
});
