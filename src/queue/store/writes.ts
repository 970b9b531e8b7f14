// What changes queue.db; each within a transaction of the thread.
import type { Failure, RecipientState, Settlement } from '../types.ts';
import type { QueueDatabase } from './database.ts';
import { ofRecipient } from './filter.ts';
import type { ChangeKind, FileWork, Given, Marking, PlacedRecipient, Result } from './protocol.ts';
import { MARK, type Mark } from './queue-file.ts';
import { messagePage } from './reads.ts';
import { domainOf, lowerCase } from './rows.ts';
import { partyOf, Turns } from './turns.ts';

/** Recipients that one step of promote moves. */
const PROMOTED = 500;
/** Messages that one step of a command changes. */
const CHANGED = 200;

const HELD: Failure['status'] = '4.7.0';

export const isGone = (db: QueueDatabase, id: string): boolean => db.get('SELECT 1 FROM gone WHERE id = ?', id) !== undefined;
const serialOf = (db: QueueDatabase, id: string): number | undefined =>
  db.get<{ serial: number }>('SELECT serial FROM message WHERE id = ?', id)?.serial;
export const isKnown = (db: QueueDatabase, id: string): boolean => serialOf(db, id) !== undefined;

export interface Numbered extends PlacedRecipient {
  readonly number: number;
}

/**
 * A message and those of its recipients that wait. Does nothing when it is there, or has left already: another process may have come upon the file between its
 * sync and this.
 */
export function insert(
  db: QueueDatabase,
  { envelope, size, recipients, now }: Omit<Given<'add'>, 'recipients'> & { readonly recipients: readonly Numbered[] },
): void {
  if (isGone(db, envelope.id)) return;
  const added = db.run(
    'INSERT OR IGNORE INTO message (id, arrived, size, sender, envelope) VALUES (?, ?, ?, ?, ?)',
    envelope.id,
    envelope.arrived,
    size,
    lowerCase(envelope.sender),
    JSON.stringify(envelope),
  );
  const serial = added === 0 ? undefined : serialOf(db, envelope.id);
  if (serial === undefined) return;
  const turns = new Turns(db);
  const party = partyOf(envelope.sender, envelope.account);
  for (const { number, address, destination, notify, orcpt, hold, place } of recipients)
    db.run(
      `INSERT INTO recipient (message, number, address, domain, destination, state, turn, party, next_attempt, failure, orcpt, notify, place)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      serial,
      number,
      address,
      domainOf(address),
      destination,
      hold === undefined ? 'ready' : 'held',
      hold === undefined ? turns.next(serial, destination, party) : 0,
      party,
      now,
      hold === undefined ? null : JSON.stringify({ status: HELD, reason: hold } satisfies Failure),
      orcpt ?? null,
      notify === undefined ? null : notify.join(','),
      place,
    );
}

interface Row {
  /** Its serial. */
  readonly message: number;
  readonly number: number;
  readonly destination: string;
  readonly party: string;
  readonly state: RecipientState;
  readonly place: number;
}
const COLUMNS = 'message, number, destination, party, state, place';
const KEY = 'message = ? AND number = ?';

export function settle(db: QueueDatabase, { id, settlements, now }: Given<'settle'>): FileWork {
  const places: Record<Mark, number[]> = { W: [], H: [], D: [] };
  const serial = serialOf(db, id);
  if (serial === undefined) return { marks: [], gone: [] };
  for (const settlement of settlements) {
    const row = db.get<Row>(`SELECT ${COLUMNS} FROM recipient WHERE ${KEY}`, serial, settlement.number);
    if (!row) continue;
    if (settlement.kind === 'done') {
      db.run(`DELETE FROM recipient WHERE ${KEY}`, serial, settlement.number);
      places.D.push(row.place);
    } else if (putOff(db, row, settlement)) places.H.push(row.place);
  }
  return fileWork(id, places, leaveIfDone(db, serial, id, now));
}

/** Says whether it is held from now on. One that was held meanwhile stays so. */
function putOff(db: QueueDatabase, row: Row, settlement: Exclude<Settlement, { kind: 'done' }>): boolean {
  const state = settlement.kind === 'held' || row.state === 'held' ? 'held' : 'deferred';
  db.run(
    `UPDATE recipient SET state = ?, attempts = attempts + 1, failure = ? WHERE ${KEY}`,
    state,
    JSON.stringify(settlement.failure),
    row.message,
    row.number,
  );
  // Expired while it was being tried: it waits no longer.
  if (settlement.kind === 'deferred')
    db.run(
      `UPDATE recipient SET next_attempt = iif((SELECT envelope ->> '$.expire' FROM message WHERE serial = ?), 0, ?), delay_reported = ? WHERE ${KEY}`,
      row.message,
      settlement.nextAttempt,
      settlement.delayReported ? 1 : 0,
      row.message,
      row.number,
    );
  return state === 'held' && row.state !== 'held';
}

/** A message without recipients leaves; says whether it did. */
function leaveIfDone(db: QueueDatabase, serial: number, id: string, now: number): boolean {
  if (db.get('SELECT 1 FROM recipient WHERE message = ? LIMIT 1', serial) !== undefined) return false;
  db.run('DELETE FROM message WHERE serial = ?', serial);
  db.run('INSERT OR REPLACE INTO gone (id, at) VALUES (?, ?)', id, now);
  return true;
}

function fileWork(id: string, places: Readonly<Record<Mark, readonly number[]>>, gone: boolean): FileWork {
  if (gone) return { marks: [], gone: [id] };
  const marks = Object.entries(places).map(([mark, at]): Marking => ({ id, mark: mark as Mark, places: at }));
  return { marks: marks.filter((marking) => marking.places.length > 0), gone: [] };
}

function makeReady(db: QueueDatabase, turns: Turns, row: Row): void {
  const turn = turns.next(row.message, row.destination, row.party);
  db.run(`UPDATE recipient SET state = 'ready', turn = ? WHERE ${KEY}`, turn, row.message, row.number);
}

export function redirect(db: QueueDatabase, { id, numbers, destination }: Given<'redirect'>): null {
  const turns = new Turns(db);
  const serial = serialOf(db, id);
  if (serial === undefined) return null;
  for (const number of numbers) {
    const row = db.get<Row>(`SELECT ${COLUMNS} FROM recipient WHERE ${KEY}`, serial, number);
    if (!row || row.destination === destination) continue;
    const turn = row.state === 'ready' ? turns.next(serial, destination, row.party) : 0;
    db.run(`UPDATE recipient SET destination = ?, turn = ? WHERE ${KEY}`, destination, turn, serial, number);
  }
  return null;
}

export function promote(db: QueueDatabase, { now, latest }: Given<'promote'>): Result<'promote'> {
  const turns = new Turns(db);
  // Two searches: with OR it would be a walk through the whole index.
  const due = ['next_attempt <= ?', 'next_attempt > ?'].flatMap((when, i) =>
    db.all<Row>(
      `SELECT ${COLUMNS} FROM recipient INDEXED BY recipient_due WHERE state = 'deferred' AND ${when} ORDER BY next_attempt, message, number LIMIT ?`,
      i === 0 ? now : latest,
      PROMOTED,
    ),
  );
  for (const row of due) makeReady(db, turns, row);
  const next = db.get<{ next_attempt: number }>(
    `SELECT next_attempt FROM recipient INDEXED BY recipient_due WHERE state = 'deferred' ORDER BY next_attempt LIMIT 1`,
  );
  return { more: due.length >= PROMOTED, next: next?.next_attempt ?? null };
}

/** Which recipients a command changes. */
const CHANGES: Readonly<Record<ChangeKind, string>> = {
  hold: `state <> 'held'`,
  release: `state = 'held'`,
  retry: `state = 'deferred'`,
  requeue: `state <> 'held'`,
  expire: 'true',
  remove: 'true',
};

export function change(db: QueueDatabase, { kind, filter, cursor, now }: Given<'change'>): Result<'change'> {
  const found = messagePage(db, filter, cursor, CHANGED);
  const wanted = ofRecipient(filter);
  const turns = new Turns(db);
  const work: { changed: number; marks: Marking[]; gone: string[]; expired: string[] } = {
    changed: 0,
    marks: [],
    gone: [],
    expired: [],
  };
  for (const [serial, id] of found.items) {
    if (kind === 'expire' && !expire(db, serial)) continue;
    const rows = db.all<Row>(
      `SELECT ${COLUMNS} FROM recipient WHERE message BETWEEN ? AND ? AND ${CHANGES[kind]} AND ${wanted.sql} ORDER BY message, number`,
      serial,
      serial,
      ...wanted.values,
    );
    const places: Record<Mark, number[]> = { W: [], H: [], D: [] };
    for (const row of rows) {
      const mark = changeOne(db, turns, kind, row, now);
      if (mark) places[mark].push(row.place);
    }
    const { marks, gone } = fileWork(id, places, kind === 'remove' && leaveIfDone(db, serial, id, now));
    if (rows.length > 0) work.changed++;
    work.marks.push(...marks);
    work.gone.push(...gone);
    if (kind === 'expire') work.expired.push(id);
  }
  return { items: work, ...(found.cursor ? { cursor: found.cursor } : {}) };
}

/** Says whether that is new. */
const expire = (db: QueueDatabase, serial: number): boolean =>
  db.run(
    `UPDATE message SET envelope = json_set(envelope, '$.expire', json('true')) WHERE serial = ? AND envelope ->> '$.expire' IS NULL`,
    serial,
  ) > 0;

/** Gives the mark that the recipient gets in its file, when it gets another one. */
function changeOne(db: QueueDatabase, turns: Turns, kind: ChangeKind, row: Row, now: number): Mark | undefined {
  const key = [row.message, row.number] as const;
  switch (kind) {
    case 'hold':
      db.run(`UPDATE recipient SET state = 'held' WHERE ${KEY}`, ...key);
      return MARK.held;
    case 'remove':
      db.run(`DELETE FROM recipient WHERE ${KEY}`, ...key);
      return MARK.done;
    case 'requeue':
      db.run(`UPDATE recipient SET attempts = 0, failure = NULL WHERE ${KEY}`, ...key);
      tryAgain(db, turns, row, now);
      return undefined;
    case 'expire':
      if (row.state !== 'held') tryAgain(db, turns, row, now);
      return undefined;
    case 'retry':
      tryAgain(db, turns, row, now);
      return undefined;
    case 'release':
      // Held since it came: what it says is why.
      db.run(`UPDATE recipient SET failure = NULL WHERE ${KEY} AND attempts = 0`, ...key);
      tryAgain(db, turns, row, now);
      return MARK.waiting;
  }
}

function tryAgain(db: QueueDatabase, turns: Turns, row: Row, now: number): void {
  db.run(`UPDATE recipient SET next_attempt = min(next_attempt, ?) WHERE ${KEY}`, now, row.message, row.number);
  if (row.state !== 'ready') makeReady(db, turns, row);
}

/** Its file cannot be sent: an administrator has to look. */
export function holdDamaged(db: QueueDatabase, { id, reason }: Given<'holdDamaged'>): null {
  const failure: Failure = { status: '4.3.0', reason };
  db.run(`UPDATE recipient SET state = 'held', failure = ? WHERE message = ?`, JSON.stringify(failure), serialOf(db, id) ?? -1);
  return null;
}
