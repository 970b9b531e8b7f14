// MOVE and UID MOVE (RFC 6851): COPYUID untagged, then the EXPUNGE responses, then the tagged answer.
import { no, ok } from '../status.ts';
import { copyUid, readCopy, sources } from './copy.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

export const move = (byUid: boolean): CommandHandler => ({
  states: SELECTED,
  sync: 'all',
  tryCreate: true,
  async run(session, { args }) {
    const parsed = readCopy(args);
    if (session.view.readOnly) return no('The mailbox is open read-only', 'NOPERM');
    const found = await sources(session, parsed, byUid);
    if ('status' in found) return found;
    const code = copyUid(await session.view.mailbox.move(found.uids, found.target));
    if (code !== undefined) session.untagged(`OK [${code}] Moved`);
    return ok('Move completed');
  },
});
