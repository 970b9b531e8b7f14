// RENAME (RFC 3501 section 6.3.5).
import { readMailboxName } from '../mailbox-name.ts';
import type { ImapSession } from '../session.ts';
import { ok } from '../status.ts';
import type { MailboxPath } from '../../storage/types.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

/** The session's own mailbox was deleted or renamed by itself: it is closed, and the session goes on. `below` counts what lies under `path` too. */
export async function leaveIfBelow(session: ImapSession, path: MailboxPath, below: boolean): Promise<void> {
  const selected = session.selected?.mailbox.path;
  if (!selected || (below ? selected.length < path.length : selected.length !== path.length)) return;
  if (!path.every((level, i) => level.normalize('NFC') === selected[i]?.normalize('NFC'))) return;
  await session.unselect();
  session.untagged('OK [CLOSED] The selected mailbox is no longer there');
}

export const rename: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'all',
  async run(session, { args }) {
    args.space();
    const from = session.path(readMailboxName(args));
    args.space();
    const to = session.path(readMailboxName(args));
    args.end();
    await session.store.rename(from, to);
    // INBOX stays, only its messages move.
    if (!(from.length === 1 && from[0] === 'INBOX')) await leaveIfBelow(session, from, true);
    return ok('Rename completed');
  },
};
