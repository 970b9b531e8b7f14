// STORE and UID STORE (RFC 3501 section 6.4.6).
import type { StoreChange, Uid } from '../../storage/types.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';
import { SYSTEM_FLAGS } from './select.ts';
import { targets } from './targets.ts';

export const store = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, false);
export const uidStore = (session: Session, scan: Scanner): Promise<Answer> => run(session, scan, true);

const MAX_FLAGS = 100;

async function run(session: Session, scan: Scanner, byUid: boolean): Promise<Answer> {
  scan.space();
  const set = scan.sequenceSet();
  scan.space();
  const mode: StoreChange['mode'] = scan.take('+') ? 'add' : scan.take('-') ? 'remove' : 'replace';
  scan.expect('FLAGS');
  const silent = scan.take('.SILENT');
  scan.space();
  const flags = readFlags(scan);
  const { selected } = session;
  if (!selected) return no('No mailbox is selected');
  if (selected.readOnly) return no('The mailbox is read-only', 'NOPERM');
  const wanted = targets(selected, set, byUid);
  const uids = wanted.map(({ row }) => row.uid);
  const { rejected } = await selected.mailbox.store(uids, { mode, flags });
  await session.announce({ mayExpunge: false, withUid: byUid, silent: new Set<Uid>(uids) });
  if (!silent)
    for (const { seq } of wanted) {
      const now = selected.view.rows[seq - 1];
      if (now) session.writer.line(`* ${seq} FETCH (${byUid ? `UID ${now.uid} ` : ''}FLAGS ${selected.view.flags(now)})`);
    }
  if (rejected.length > 0) return no(`The mailbox has no room for more keywords`, 'LIMIT');
  return ok('Store completed');
}

/** `(\Seen work)` or flags without parentheses. */
function readFlags(scan: Scanner): string[] {
  const flags: string[] = [];
  if (scan.peek() === '(') flags.push(...scan.list(() => scan.flag()));
  else {
    flags.push(scan.flag());
    while (scan.take(' ')) flags.push(scan.flag());
  }
  scan.end();
  if (flags.length > MAX_FLAGS) throw new BadSyntax('Too many flags');
  for (const flag of flags) {
    const isSystem = SYSTEM_FLAGS.some((known) => known.toLowerCase() === flag.toLowerCase());
    if (flag.startsWith('\\') && !isSystem) throw new BadSyntax('That flag cannot be set');
    if (flag.length > 200) throw new BadSyntax('The keyword is too long');
  }
  return flags;
}
