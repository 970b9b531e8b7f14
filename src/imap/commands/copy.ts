// COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 section 3).
import { MailError } from '../../lib/errors.ts';
import { toPath } from '../mailbox-name.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';
import { formatSet } from '../syntax/sequence-set.ts';
import { targets } from './targets.ts';

type How = 'copy' | 'move';
export const copy = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, 'copy', false);
export const uidCopy = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, 'copy', true);
export const move = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, 'move', false);
export const uidMove = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, 'move', true);

async function run(session: Session, scan: Scanner, how: How, byUid: boolean): Promise<Answer> {
  scan.space();
  const set = scan.sequenceSet();
  scan.space();
  const name = scan.astring();
  scan.end();
  const { selected } = session;
  if (!selected) return no('No mailbox is selected');
  if (how === 'move' && selected.readOnly) return no('The mailbox is read-only', 'NOPERM');
  const wanted = targets(selected, set, byUid);
  if (wanted.length === 0) return ok('No messages');
  try {
    const uids = wanted.map(({ row }) => row.uid);
    const path = toPath(name, session.options.namespace);
    const { uidValidity, pairs } = await (how === 'copy' ? selected.mailbox.copy(uids, path) : selected.mailbox.move(uids, path));
    const code =
      pairs.length === 0
        ? undefined
        : `COPYUID ${uidValidity} ${formatSet(pairs.map(([from]) => from))} ${formatSet(pairs.map(([, to]) => to))}`;
    if (how === 'copy') return ok('Copy completed', code);
    // RFC 6851 4.3: COPYUID comes before the EXPUNGEs.
    if (code !== undefined) session.writer.line(`* OK [${code}] Moved`);
    return ok('Move completed');
  } catch (error) {
    if (error instanceof MailError && error.code === 'NO_MAILBOX') return no('The mailbox does not exist', 'TRYCREATE');
    throw error;
  }
}
