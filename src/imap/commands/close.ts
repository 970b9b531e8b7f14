// CLOSE (RFC 3501 section 6.4.2): expunges without saying so, unless the mailbox is read-only.
import { ok } from '../status.ts';
import { deletedUids } from './expunge.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

export const close: CommandHandler = {
  states: SELECTED,
  sync: 'none',
  async run(session, { args }) {
    args.end();
    const { view } = session;
    if (!view.readOnly) {
      await view.mailbox.refresh();
      const uids = deletedUids(view.all());
      if (uids.length > 0) await view.mailbox.expunge(uids);
    }
    await session.unselect();
    return ok('Close completed');
  },
};
