// What is asked of queue.db.
import type { Failure, Job, QueuedMessage, QueueFilter, QueueStats, RecipientState } from '../types.ts';
import type { QueueDatabase } from './database.ts';
import { ofMessage } from './filter.ts';
import type { Cursor, Given, Page } from './protocol.ts';
import {
  assemble,
  MESSAGE_COLUMNS,
  RECIPIENT_COLUMNS,
  recipientsOf,
  toEnvelope,
  toRecipient,
  type MessageRow,
  type MessageTuple,
  type RawMessages,
  type RecipientTuple,
} from './rows.ts';

/** Messages looked at for one page: others have their turn in between. */
const SCANNED = 5_000;
/** A page has no more than this of either. */
const PAGE_MESSAGES = 1_000;
const PAGE_RECIPIENTS = 5_000;
/** Messages whose recipients are asked for at a time. */
const TOGETHER = 100;
const TOP_DESTINATIONS = 20;
const START: Cursor = { arrived: Number.MIN_SAFE_INTEGER, id: '' };

/** Ring from behind `after`: each one is a single search in the index, however many recipients it has (of those that are busy, as many steps as they have jobs). */
export function readyDestinations(db: QueueDatabase, { after, limit, busy }: Given<'ready'>): string[] {
  const found: string[] = [];
  const recipientsInJobs = new Map(busy);
  const hasMore = (destination: string): boolean => {
    const inJobs = recipientsInJobs.get(destination) ?? 0;
    return inJobs === 0 || countReady(db, destination, inJobs + 1) > inJobs;
  };
  const next = (behind: string): string | undefined =>
    db.get<{ destination: string }>(
      `SELECT destination FROM recipient INDEXED BY recipient_turn WHERE state = 'ready' AND destination > ? ORDER BY destination LIMIT 1`,
      behind,
    )?.destination;
  let wrapped = false;
  for (let at = after; found.length < limit;) {
    const destination = next(at);
    if (destination === undefined) {
      if (wrapped || after === '') break;
      wrapped = true;
      at = '';
    } else {
      if (wrapped && destination > after) break;
      if (hasMore(destination)) found.push(destination);
      at = destination;
    }
  }
  return found;
}

const countReady = (db: QueueDatabase, destination: string, most: number): number =>
  db.get<{ n: number }>(
    `SELECT count(*) AS n FROM (SELECT 1 FROM recipient INDEXED BY recipient_turn WHERE state = 'ready' AND destination BETWEEN ? AND ? LIMIT ?)`,
    destination,
    destination,
    most,
  )?.n ?? 0;

/** Neighbours in the order of turns that belong to one message make a job. */
export function jobs(db: QueueDatabase, { destination, limit, recipientsEach, busy }: Given<'jobs'>): Job[] {
  const taken = new Set(busy);
  const messages = new Map<number, MessageRow | undefined>();
  const messageOf = (serial: number): MessageRow | undefined => {
    if (!messages.has(serial))
      messages.set(serial, db.get<MessageRow>(`SELECT ${MESSAGE_COLUMNS} FROM message WHERE serial = ?`, serial));
    return messages.get(serial);
  };
  const groups: { readonly message: MessageRow; readonly rows: RecipientTuple[] }[] = [];
  for (const row of db.iterateTuples<RecipientTuple>(
    `SELECT ${RECIPIENT_COLUMNS} FROM recipient INDEXED BY recipient_turn WHERE state = 'ready' AND destination BETWEEN ? AND ? ORDER BY destination, turn, message, number`,
    destination,
    destination,
  )) {
    const [serial, number] = row;
    const message = messageOf(serial);
    if (!message || taken.has(`${message.id}/${number}`)) continue;
    const group = groups.at(-1);
    if (group?.message === message && group.rows.length < recipientsEach) group.rows.push(row);
    else if (groups.length < limit) groups.push({ message, rows: [row] });
    else break;
  }
  return groups.map(({ message, rows }) => {
    return { envelope: toEnvelope(message), size: message.size, destination, recipients: rows.map((row) => toRecipient(row)) };
  });
}

export const messageRow = (db: QueueDatabase, id: string): MessageRow | undefined =>
  db.get<MessageRow>(`SELECT ${MESSAGE_COLUMNS} FROM message WHERE id = ?`, id);

export function find(db: QueueDatabase, id: string): QueuedMessage | null {
  const row = messageRow(db, id);
  if (!row) return null;
  const message: MessageTuple = [row.serial, row.id, row.arrived, row.size, row.envelope];
  return assemble({ messages: [message], recipients: recipientsOf(db, [row.serial]) })[0] ?? null;
}

/** The next messages that are meant, oldest first; may be none of those it looked at. */
export function messagePage(db: QueueDatabase, filter: QueueFilter, from: Cursor | null, most: number): Page<MessageTuple[]> {
  const after = from ?? START;
  // Named ones are looked up each, not looked for.
  const end = filter.ids
    ? undefined
    : db.get<Cursor>(
        'SELECT arrived, id FROM message WHERE (arrived, id) > (?, ?) ORDER BY arrived, id LIMIT 1 OFFSET ?',
        after.arrived,
        after.id,
        SCANNED - 1,
      );
  const { sql, values } = ofMessage(filter);
  const items = db.tuples<MessageTuple>(
    `SELECT ${MESSAGE_COLUMNS} FROM message WHERE (arrived, id) > (?, ?) ${end ? 'AND (arrived, id) <= (?, ?)' : ''} AND ${sql} ORDER BY arrived, id LIMIT ?`,
    after.arrived,
    after.id,
    ...(end ? [end.arrived, end.id] : []),
    ...values,
    most,
  );
  const last = items.length === most ? items.at(-1) : undefined;
  const cursor = last ? cursorAt(last) : end;
  return { items, ...(cursor ? { cursor } : {}) };
}

const cursorAt = ([, id, arrived]: MessageTuple): Cursor => ({ arrived, id });

export function page(db: QueueDatabase, { filter, cursor }: Given<'page'>): Page<RawMessages> {
  const { items: messages, cursor: next } = messagePage(db, filter, cursor, PAGE_MESSAGES);
  const recipients: RecipientTuple[] = [];
  for (let at = 0; at < messages.length; at += TOGETHER) {
    const some = messages.slice(at, at + TOGETHER);
    const serials = some.map(([serial]) => serial);
    for (const recipient of recipientsOf(db, serials)) recipients.push(recipient);
    const last = messages[at + TOGETHER - 1];
    if (recipients.length >= PAGE_RECIPIENTS && last)
      return { items: { messages: messages.slice(0, at + TOGETHER), recipients }, cursor: cursorAt(last) };
  }
  return { items: { messages, recipients }, ...(next ? { cursor: next } : {}) };
}

export function stats(db: QueueDatabase): QueueStats {
  const total = db.get<{ messages: number; bytes: number | null; oldest: number | null }>(
    'SELECT count(*) AS messages, sum(size) AS bytes, min(arrived) AS oldest FROM message INDEXED BY message_arrived',
  );
  const recipients: Record<RecipientState, number> = { ready: 0, deferred: 0, held: 0 };
  for (const { state, n } of db.all<{ state: RecipientState; n: number }>(
    'SELECT state, count(*) AS n FROM recipient INDEXED BY recipient_state GROUP BY state',
  ))
    recipients[state] = n;
  const top = db.all<{ destination: string; n: number }>(
    'SELECT destination, count(*) AS n FROM recipient INDEXED BY recipient_state GROUP BY destination ORDER BY n DESC, destination LIMIT ?',
    TOP_DESTINATIONS,
  );
  return {
    messages: total?.messages ?? 0,
    bytes: total?.bytes ?? 0,
    recipients,
    ...(typeof total?.oldest === 'number' ? { oldest: total.oldest } : {}),
    destinations: top.map(({ destination, n }) => ({ destination, recipients: n, ...lastFailureAt(db, destination) })),
  };
}

/** Of some recipient there that waits after a failure. */
function lastFailureAt(db: QueueDatabase, destination: string): { failure?: Failure } {
  const row = db.get<{ failure: string | null }>(
    `SELECT failure FROM recipient INDEXED BY recipient_state WHERE destination = ? AND state = 'deferred' LIMIT 1`,
    destination,
  );
  return row && row.failure !== null ? { failure: JSON.parse(row.failure) as Failure } : {};
}
