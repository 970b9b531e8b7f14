// CREATE (RFC 3501 section 6.3.3): a separator at the end only says that mailboxes will follow below.
import { readMailboxName } from '../mailbox-name.ts';
import { ok } from '../status.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

export const create: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    args.space();
    const name = readMailboxName(args);
    args.end();
    const { separator } = session.namespace;
    await session.store.create(session.path(name.length > 1 && name.endsWith(separator) ? name.slice(0, -1) : name));
    return ok('Create completed');
  },
};
