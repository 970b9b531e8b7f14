// CLOSE and EXPUNGE (RFC 3501 sections 6.4.2, 6.4.3), UNSELECT (RFC 3691), UID EXPUNGE (RFC 4315 section 2.1).
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';
import type { SequenceSet } from '../syntax/sequence-set.ts';

async function removeDeleted(session: Session, among?: SequenceSet): Promise<void> {
  const { selected } = session;
  if (!selected) return;
  await session.look();
  const { mailbox } = selected;
  const last = mailbox.messages.at(-1)?.uid ?? 0;
  const doomed = mailbox.messages.filter((row) => row.flags.includes('\\Deleted') && (!among || among.has(row.uid, last)));
  if (doomed.length > 0) await mailbox.expunge(doomed.map((row) => row.uid));
}

export async function close(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  if (session.selected && !session.selected.readOnly) await removeDeleted(session);
  await session.unselect();
  return ok('Close completed');
}

export async function unselect(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  await session.unselect();
  return ok('Unselect completed');
}

export async function expunge(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  if (session.selected?.readOnly) return no('The mailbox is read-only', 'NOPERM');
  await removeDeleted(session);
  return ok('Expunge completed');
}

export async function uidExpunge(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  const set = scan.sequenceSet();
  scan.end();
  if (session.selected?.readOnly) return no('The mailbox is read-only', 'NOPERM');
  await removeDeleted(session, set);
  return ok('Expunge completed');
}
