// The queue's only importer of better-sqlite3, in the database thread. Its quirks: `synchronous` has to be set on every open, a busy database is told at
// once (timeout 0: whoever waits does so in his own way), an error may or may not have ended the transaction.
import Database from 'better-sqlite3';
import { errnoOf } from '../../lib/errors.ts';

/** Beyond this a write-ahead log is cut back. */
const LOG_LIMIT = 64 * 1024 * 1024;

export type Sqlite = Database.Database;
export type Statement = Database.Statement<unknown[]>;
export type Value = string | number | null;

/** Opens a database (a file that is there) whose commits are on the disk. @throws as SQLite says it */
export function openDurable(path: string): Sqlite {
  const db = new Database(path, { timeout: 0, fileMustExist: true });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma(`journal_size_limit = ${LOG_LIMIT}`);
    // SQLite's own knows ASCII only.
    db.function('lower_case', { deterministic: true }, (text) => (typeof text === 'string' ? text.toLowerCase() : null));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

const says = (error: unknown, pattern: RegExp): boolean => pattern.test(errnoOf(error) ?? '');
/** Another process holds the lock. */
export const isBusy = (error: unknown): boolean => says(error, /^SQLITE_(BUSY|LOCKED|PROTOCOL)/);
/** The file is not what it was, or no database at all. */
export const isDamaged = (error: unknown): boolean => says(error, /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/);
export const isFull = (error: unknown): boolean => says(error, /^SQLITE_FULL/) || says(error, /^(ENOSPC|EDQUOT)$/);
/** The disk failed: the descriptors are given up. */
export const isDiskError = (error: unknown): boolean => says(error, /^SQLITE_(IOERR|FULL|CANTOPEN|READONLY)/);
