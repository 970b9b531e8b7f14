// EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1). The EXPUNGE responses come with the session's catching up.
import type { Uid } from '../../storage/types.ts';
import type { ImapSession } from '../session.ts';
import { no, ok, type Completion } from '../status.ts';
import { readSequenceSet } from '../syntax/sequence-set.ts';
import type { Addressed } from '../view.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

/** Those with \Deleted as the files have it now. */
export function deletedUids(messages: readonly Addressed[]): Uid[] {
  return messages.filter(({ row }) => row?.flags.includes('\\Deleted')).map(({ uid }) => uid);
}

async function run(session: ImapSession, choose: () => readonly Addressed[]): Promise<Completion> {
  const { view } = session;
  if (view.readOnly) return no('The mailbox is open read-only', 'NOPERM');
  await view.mailbox.refresh();
  const uids = deletedUids(choose());
  if (uids.length > 0) await view.mailbox.expunge(uids);
  return ok('Expunge completed');
}

export const expunge: CommandHandler = {
  states: SELECTED,
  sync: 'all',
  async run(session, { args }) {
    args.end();
    return run(session, () => session.view.all());
  },
};

export const uidExpunge: CommandHandler = {
  states: SELECTED,
  sync: 'all',
  async run(session, { args }) {
    args.space();
    const set = readSequenceSet(args);
    args.end();
    return run(session, () => session.view.resolve(set, true) ?? []);
  },
};
