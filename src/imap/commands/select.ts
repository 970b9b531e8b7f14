// SELECT and EXAMINE (RFC 3501 sections 6.3.1, 6.3.2).
import { toPath } from '../mailbox-name.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';
import type { Mailbox } from '../../storage/types.ts';

export const SYSTEM_FLAGS = ['\\Answered', '\\Flagged', '\\Deleted', '\\Seen', '\\Draft'] as const;

export const select = (session: Session, scan: Scanner): Promise<Answer> => open(session, scan, false);
export const examine = (session: Session, scan: Scanner): Promise<Answer> => open(session, scan, true);

async function open(session: Session, scan: Scanner, readOnly: boolean): Promise<Answer> {
  scan.space();
  const name = scan.astring();
  scan.end();
  // A failed SELECT leaves no mailbox selected either.
  const had = session.selected !== undefined;
  await session.unselect();
  if (had) session.writer.line('* OK [CLOSED] The previous mailbox is closed');
  const mailbox = await session.store?.open(toPath(name, session.options.namespace));
  if (!mailbox) return no('No mailbox');
  await describe(session, mailbox, readOnly);
  return ok(readOnly ? 'Examine completed' : 'Select completed', readOnly ? 'READ-ONLY' : 'READ-WRITE');
}

async function describe(session: Session, mailbox: Mailbox, readOnly: boolean): Promise<void> {
  const { view } = await session.select(mailbox, readOnly);
  const { writer } = session;
  const flags = [...SYSTEM_FLAGS, ...mailbox.keywords];
  writer.line(`* FLAGS (${flags.join(' ')})`);
  const permanent = readOnly ? [] : [...flags, ...(mailbox.acceptsNewKeywords ? ['\\*'] : [])];
  writer.line(`* OK [PERMANENTFLAGS (${permanent.join(' ')})] ${readOnly ? 'Read-only mailbox' : 'Flags permitted'}`);
  writer.line(`* ${view.rows.length} EXISTS`);
  writer.line(`* ${view.recentCount} RECENT`);
  const unseen = view.rows.findIndex((row) => !row.flags.includes('\\Seen'));
  if (unseen >= 0) writer.line(`* OK [UNSEEN ${unseen + 1}] First unseen`);
  writer.line(`* OK [UIDVALIDITY ${mailbox.uidValidity}] UIDs valid`);
  writer.line(`* OK [UIDNEXT ${mailbox.uidNext}] Predicted next UID`);
}
