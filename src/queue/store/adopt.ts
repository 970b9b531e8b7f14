// Files that no row knows: of a database that was lost, or of a process that was killed between writing a file and committing its row. They are taken
// up again, since their message may have been acknowledged. In the database thread, in steps: memory is one folder's names, and who waits has his turn.
//
//   whole, not known         taken up: at once while the database is made anew, else when it is two minutes old (its process is about to commit)
//   whole, has left lately   removed: its process was killed before it could
//   without a hash           is being written, or its process was killed: removed after 36 hours
//   damaged, cut off         set aside into corrupt/
import { closeSync, fstatSync, openSync, readdirSync, readSync, renameSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { LogFields, LogLevel } from '../../lib/logger.ts';
import { lockFile, type FolderLock } from '../../lib/sqlite.ts';
import { isMissing } from '../../storage/files.ts';
import type { QueueDatabase } from './database.ts';
import type { SweepResult } from './protocol.ts';
import { isQueueId, MARK, messagesFolder, parseHead, pathOf, type Head } from './queue-file.ts';
import { isBusy } from './sqlite.ts';
import { insert, isGone, isKnown } from './writes.ts';

/** Ten times what a commit may wait. */
const COMMIT_MARGIN_MS = 120_000;
/** As for drafts in a Maildir. */
const UNFINISHED_MS = 36 * 3_600_000;
/** Files looked at in one step. */
const STEP = 50;
const BUSY_PAUSE_MS = 20;
const FIRST_READ = 16 * 1024;
/** The bit of a file's mode by which its message is to be returned to its sender (files.ts). */
const EXPIRED = 0o100;

export interface SweepContext {
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The one that is open now. */
  readonly database: () => QueueDatabase;
  readonly log: (level: LogLevel, event: string, fields: LogFields) => void;
}

type Found =
  | { readonly kind: 'whole'; readonly head: Head; readonly modified: number }
  | { readonly kind: 'unfinished'; readonly modified: number }
  | { readonly kind: 'damaged'; readonly reason: string }
  | { readonly kind: 'missing' };

/** Looks at a file's head and length. Blocks. @throws what the file system says, but for a file that is not there */
export function inspect(directory: string, id: string): Found {
  let descriptor: number;
  try {
    descriptor = openSync(pathOf(directory, id), 'r');
  } catch (error) {
    if (isMissing(error)) return { kind: 'missing' };
    throw error;
  }
  try {
    const { size, mtimeMs, mode } = fstatSync(descriptor);
    let parsed = parseHead(readFirst(descriptor, FIRST_READ));
    if (parsed.kind === 'short' && parsed.need <= size) parsed = parseHead(readFirst(descriptor, parsed.need));
    // Nothing was ever synced of it.
    if (size === 0 || parsed.kind === 'short') return { kind: 'unfinished', modified: mtimeMs };
    if (parsed.kind === 'damaged') return parsed;
    const head = mode & EXPIRED ? expired(parsed.value) : parsed.value;
    if (head.sha256 === undefined) return { kind: 'unfinished', modified: mtimeMs };
    if (head.envelope.id !== id) return { kind: 'damaged', reason: `it is called ${id} and says it is ${head.envelope.id}` };
    if (size === head.headLength + head.size) return { kind: 'whole', head, modified: mtimeMs };
    return { kind: 'damaged', reason: `it has ${size} bytes, not ${head.headLength + head.size}` };
  } finally {
    closeSync(descriptor);
  }
}

const expired = (head: Head): Head => ({ ...head, envelope: { ...head.envelope, expire: true } });

function readFirst(descriptor: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let at = 0;
  for (let read = 1; at < length && read > 0; at += read) read = readSync(descriptor, buffer, at, length - at, at);
  return buffer.subarray(0, at);
}

/** Takes up a file that is whole; within a transaction. */
export function takeUp(db: QueueDatabase, { envelope, size, recipients }: Head, now: number): void {
  const waiting = recipients.flatMap(({ mark, hold, ...recipient }, number) => {
    if (mark === MARK.done) return [];
    return [{ ...recipient, number, ...(mark === MARK.held ? { hold: hold ?? 'held by an administrator' } : {}) }];
  });
  if (waiting.length > 0) insert(db, { envelope, size, recipients: waiting, now });
}

/** One message while not all are known yet; nothing when it is, or there is no such file. Within a transaction. */
export function takeUpOne(db: QueueDatabase, id: string, now: number): void {
  if (!isQueueId(id) || isKnown(db, id)) return;
  const found = inspect(db.directory, id);
  if (found.kind === 'whole') takeUp(db, found.head, now);
}

/** Yields between its steps, how many milliseconds to wait. @throws as SQLite says it, but for busy */
export function* sweep(context: SweepContext): Generator<number, SweepResult> {
  const result = { adopted: 0, removed: 0, corrupt: 0 };
  let lock: FolderLock;
  try {
    lock = lockFile(join(context.directory, 'sweep.lock'));
  } catch (error) {
    if (isBusy(error)) return { ...result, skipped: true };
    throw error;
  }
  try {
    const { recovering } = context.database();
    for (const folder of names(messagesFolder(context.directory))) {
      const ids = names(join(messagesFolder(context.directory), folder)).filter(isQueueId);
      for (let at = 0; at < ids.length; at += STEP) {
        const unknown = ids.slice(at, at + STEP).filter((id) => !isKnown(context.database(), id));
        if (unknown.length > 0) yield* inTransaction(context, (db) => lookAtAll(context, db, unknown, recovering, result));
        yield 0;
      }
    }
    yield* inTransaction(context, (db) => {
      db.run('DELETE FROM gone WHERE at < ?', context.now - COMMIT_MARGIN_MS);
      if (recovering) db.run(`UPDATE meta SET value = 0 WHERE name = 'recovering'`);
    });
    return { ...result, skipped: false };
  } finally {
    lock.release();
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function* inTransaction(context: SweepContext, fn: (db: QueueDatabase) => void): Generator<number, void> {
  for (;;) {
    const db = context.database();
    try {
      db.begin();
      fn(db);
      db.commit();
      return;
    } catch (error) {
      db.rollback();
      if (!isBusy(error)) throw error;
      yield BUSY_PAUSE_MS;
    }
  }
}

function lookAtAll(
  context: SweepContext,
  db: QueueDatabase,
  ids: readonly string[],
  recovering: boolean,
  result: { adopted: number; removed: number; corrupt: number },
): void {
  const { directory, now, log } = context;
  for (const id of ids) {
    const found = inspect(directory, id);
    // It may have come in meanwhile.
    if (found.kind === 'missing' || isKnown(db, id)) continue;
    if (found.kind === 'damaged') {
      renameSync(pathOf(directory, id), join(directory, 'corrupt', id));
      log('error', 'queue.corrupt', { id, reason: found.reason });
      result.corrupt++;
    } else if (found.kind === 'whole' && !isLeftOver(db, id, found.head)) {
      if (!recovering && now - found.modified < COMMIT_MARGIN_MS) continue;
      takeUp(db, found.head, now);
      // All of them, of a database that was lost: their number is told.
      if (!recovering) log('warn', 'queue.adopted', { id, from: found.head.envelope.sender });
      result.adopted++;
    } else if (found.kind === 'whole' || now - found.modified > UNFINISHED_MS) {
      unlinkSync(pathOf(directory, id));
      result.removed++;
    }
  }
}

const isLeftOver = (db: QueueDatabase, id: string, { recipients }: Head): boolean =>
  isGone(db, id) || recipients.every(({ mark }) => mark === MARK.done);
