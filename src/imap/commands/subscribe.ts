// SUBSCRIBE and UNSUBSCRIBE (RFC 3501 sections 6.3.6, 6.3.7). A name that is not there can be unsubscribed, but not subscribed, as with Dovecot.
import { findEntry } from '../existing.ts';
import { readMailboxName } from '../mailbox-name.ts';
import { no, ok } from '../status.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

export const subscribe: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    args.space();
    const path = session.path(readMailboxName(args));
    args.end();
    const entry = await findEntry(session.store, path);
    if (!entry || !(entry.exists || entry.hasChildren)) return no('The mailbox does not exist', 'NONEXISTENT');
    await session.store.subscribe(path);
    return ok('Subscribe completed');
  },
};

export const unsubscribe: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'flags',
  async run(session, { args }) {
    args.space();
    const path = session.path(readMailboxName(args));
    args.end();
    await session.store.unsubscribe(path);
    return ok('Unsubscribe completed');
  },
};
