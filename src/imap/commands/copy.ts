// COPY and UID COPY (RFC 3501 section 6.4.7) with COPYUID (RFC 4315).
import type { CopyResult, MailboxPath, Uid } from '../../storage/types.ts';
import { mailboxExists } from '../existing.ts';
import { readMailboxName } from '../mailbox-name.ts';
import type { ImapSession } from '../session.ts';
import { badReply, no, ok, type Completion } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';
import { formatSet, readSequenceSet, type SequenceSet } from '../syntax/sequence-set.ts';
import { SELECTED, type CommandHandler } from './handler.ts';

export function readCopy(args: Scanner): { set: SequenceSet; name: string } {
  args.space();
  const set = readSequenceSet(args);
  args.space();
  const name = readMailboxName(args);
  args.end();
  return { set, name };
}

/** `COPYUID validity from to` in ascending source order; undefined when nothing was copied. */
export function copyUid({ uidValidity, pairs }: CopyResult): string | undefined {
  if (pairs.length === 0) return undefined;
  return `COPYUID ${uidValidity} ${formatSet(pairs.map(([from]) => from))} ${formatSet(pairs.map(([, to]) => to))}`;
}

/** The messages and the target, or the answer when there is nothing to do. */
export async function sources(
  session: ImapSession,
  { set, name }: { set: SequenceSet; name: string },
  byUid: boolean,
): Promise<{ uids: Uid[]; target: MailboxPath } | Completion> {
  const target = session.path(name);
  const messages = session.view.resolve(set, byUid);
  if (!messages) return badReply('No such message', 'CLIENTBUG');
  // All or nothing (RFC 2180 section 4.4): a message that is gone cannot be copied.
  if (!byUid && messages.some(({ row }) => !row)) return no('Some of the messages no longer exist', 'EXPUNGEISSUED');
  const uids = messages.filter(({ row }) => row).map(({ uid }) => uid);
  if (uids.length > 0) return { uids, target };
  // Nothing to copy, but a missing mailbox is still said.
  if (!(await mailboxExists(session.store, target))) return no('The mailbox does not exist', 'TRYCREATE');
  return ok('No messages found');
}

export const copy = (byUid: boolean): CommandHandler => ({
  states: SELECTED,
  sync: 'all',
  tryCreate: true,
  async run(session, { args }) {
    const found = await sources(session, readCopy(args), byUid);
    if ('status' in found) return found;
    return ok('Copy completed', copyUid(await session.view.mailbox.copy(found.uids, found.target)));
  },
});
