// Small tables in SQLite files that are written once and replaced whole (compiled lookup tables). The only importer of
// better-sqlite3 outside of storage/. Looking up one key in an open file is a matter of microseconds and done in place.
import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { errnoOf } from './errors.ts';

/** "Bzmp": told apart from other programs' SQLite files. */
const APPLICATION_ID = 0x427a6d70;
const SCHEMA_VERSION = 1;

/** The bytes of a table file with these entries, in this order. Keys must differ. */
export function serializeTable(entries: Iterable<readonly [key: string, value: string]>): Buffer {
  const db = new Database(':memory:');
  try {
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
    db.exec('CREATE TABLE entries (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT NOT NULL)');
    const insert = db.prepare('INSERT INTO entries (key, value) VALUES (?, ?)');
    db.transaction(() => {
      for (const [key, value] of entries) insert.run(key, value);
    })();
    return db.serialize();
  } finally {
    db.close();
  }
}

/** An open table file; it stays readable when the file is replaced or removed. Whoever opened it closes it. */
export class TableFile {
  readonly #db: Database.Database;
  readonly #get: Database.Statement<[string], { value: string }>;

  /** @throws Error when the file is missing, is no SQLite file, or not one of ours */
  constructor(file: string) {
    this.#db = new Database(file, { readonly: true, fileMustExist: true, timeout: 0 });
    try {
      const id = this.#db.pragma('application_id', { simple: true });
      const version = this.#db.pragma('user_version', { simple: true });
      if (id !== APPLICATION_ID || version !== SCHEMA_VERSION) throw new Error('not a lookup table of this version');
      // The file is never written again, only replaced: its lock is kept instead of being taken for each look-up (eight system calls).
      this.#db.pragma('locking_mode = EXCLUSIVE');
      this.#get = this.#db.prepare('SELECT value FROM entries WHERE key = ?');
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }
  get(key: string): string | undefined {
    return this.#get.get(key)?.value;
  }
  /** All entries in the order they were written. */
  entries(): (readonly [key: string, value: string])[] {
    const rows = this.#db.prepare<[], { key: string; value: string }>('SELECT key, value FROM entries ORDER BY id').all();
    return rows.map(({ key, value }) => [key, value] as const);
  }
  close(): void {
    this.#db.close();
  }
}

/** Loads the package's native half, which otherwise comes with the first database. */
export function loadSqlite(): void {
  new Database(':memory:').close();
}

/** A lock on a folder that ends with the process, however it ends: SQLite's lock on a database file of no content. */
export interface FolderLock {
  release(): void;
}

/** Another process holds the lock. */
export const isBusy = (error: unknown): boolean => /^SQLITE_(BUSY|LOCKED)/.test(errnoOf(error) ?? '');

/** @throws Error `SQLITE_BUSY` when another process holds it, or whatever opening the file says */
export function lockFile(file: string): FolderLock {
  const db = new Database(file, { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    throw error;
  }
  return { release: () => db.close() };
}

/** Undefined when another process holds it. @throws whatever else opening the file says */
export function tryLockFile(file: string): FolderLock | undefined {
  try {
    return lockFile(file);
  } catch (error) {
    if (isBusy(error)) return undefined;
    throw error;
  }
}

/** A lock that any number of processes hold at a time; `lockFile` on the same file fails while one does. @throws as lockFile */
export function shareFile(file: string): FolderLock {
  const db = new Database(file, { timeout: 0 });
  try {
    // A transaction that has read holds SQLite's SHARED lock.
    db.exec('BEGIN');
    db.prepare('SELECT count(*) FROM sqlite_master').get();
  } catch (error) {
    db.close();
    throw error;
  }
  return { release: () => db.close() };
}

export type CountsDatabase = Database.Database;

/**
 * A file of counts that several processes write: nothing is synced (what a power cut takes was not worth a wait), and nobody is waited for, so that
 * an open or a write throws `SQLITE_BUSY` while another process writes: try again later. A file that is none, or broken, is begun anew.
 * `schema` makes the tables where they are missing. @throws Error with SQLite's code
 */
export function openCounts(file: string, schema: string): CountsDatabase {
  try {
    return openCountsOnce(file, schema);
  } catch (error) {
    if (!/^SQLITE_(CORRUPT|NOTADB)/.test((error as { code?: string }).code ?? '')) throw error;
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
    return openCountsOnce(file, schema);
  }
}
function openCountsOnce(file: string, schema: string): CountsDatabase {
  const db = new Database(file, { timeout: 0 });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = OFF');
    db.exec(schema);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
