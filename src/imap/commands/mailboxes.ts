// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 3501 sections 6.3.3 to 6.3.7, 6.3.10).
import type { AccountStore, MailboxStatus } from '../../storage/types.ts';
import { toPath, toWire } from '../mailbox-name.ts';
import type { Session } from '../session.ts';
import { ok, type Answer } from '../status.ts';
import { astring } from '../syntax/quote.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';

function storeOf(session: Session): AccountStore {
  if (!session.store) throw new BadSyntax('Log in first');
  return session.store;
}

/** A name of one argument. CREATE may say with a trailing separator that mailboxes are to come below it (RFC 3501 6.3.3). */
function readName(scan: Scanner, separator?: string): Buffer {
  scan.space();
  const name = scan.astring();
  if (separator !== undefined && name.length > 1 && name.toString('latin1').endsWith(separator)) return name.subarray(0, -1);
  return name;
}

export async function create(session: Session, scan: Scanner): Promise<Answer> {
  const { namespace } = session.options;
  const name = readName(scan, namespace.separator);
  scan.end();
  await storeOf(session).create(toPath(name, namespace));
  return ok('Create completed');
}

export async function delete_(session: Session, scan: Scanner): Promise<Answer> {
  const name = readName(scan);
  scan.end();
  await storeOf(session).delete(toPath(name, session.options.namespace));
  return ok('Delete completed');
}

export async function rename(session: Session, scan: Scanner): Promise<Answer> {
  const from = readName(scan);
  const to = readName(scan, session.options.namespace.separator);
  scan.end();
  const { namespace } = session.options;
  await storeOf(session).rename(toPath(from, namespace), toPath(to, namespace));
  return ok('Rename completed');
}

export async function subscribe(session: Session, scan: Scanner): Promise<Answer> {
  const name = readName(scan);
  scan.end();
  await storeOf(session).subscribe(toPath(name, session.options.namespace));
  return ok('Subscribe completed');
}

export async function unsubscribe(session: Session, scan: Scanner): Promise<Answer> {
  const name = readName(scan);
  scan.end();
  await storeOf(session).unsubscribe(toPath(name, session.options.namespace));
  return ok('Unsubscribe completed');
}

const ITEMS: Readonly<Record<string, (status: MailboxStatus) => number>> = {
  MESSAGES: (s) => s.messages,
  RECENT: (s) => s.recent,
  UIDNEXT: (s) => s.uidNext,
  UIDVALIDITY: (s) => s.uidValidity,
  UNSEEN: (s) => s.unseen,
};

export async function status(session: Session, scan: Scanner): Promise<Answer> {
  const path = toPath(readName(scan), session.options.namespace);
  scan.space();
  const items = scan.list(() => scan.atom('a status item').toUpperCase());
  scan.end();
  if (items.length === 0 || items.length > 20) throw new BadSyntax('Bad number of status items');
  const readers = items.map((item) => {
    const read = Object.hasOwn(ITEMS, item) ? ITEMS[item] : undefined;
    if (!read) throw new BadSyntax('Unknown status item');
    return [item, read] as const;
  });
  const found = await storeOf(session).status(path);
  session.writer.line(
    `* STATUS ${astring(toWire(path, session.options.namespace))} (${readers.map(([item, read]) => `${item} ${read(found)}`).join(' ')})`,
  );
  return ok('Status completed');
}
