// DELETE (RFC 3501 section 6.3.4).
import { readMailboxName } from '../mailbox-name.ts';
import { ok } from '../status.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';
import { leaveIfBelow } from './rename.ts';

export const deleteMailbox: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    args.space();
    const path = session.path(readMailboxName(args));
    args.end();
    await session.store.delete(path);
    await leaveIfBelow(session, path, false);
    return ok('Delete completed');
  },
};
