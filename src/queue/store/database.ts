// queue.db, opened: made when it is not there, set aside when it is damaged. For the database thread: everything here blocks.
import { chownSync, closeSync, existsSync, fsyncSync, openSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MailError } from '../../lib/errors.ts';
import { lockFile } from '../../lib/sqlite.ts';
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { isDamaged, openDurable, type Sqlite, type Statement, type Value } from './sqlite.ts';

/** Up to this size a database is looked through when it is opened; a bigger one shows its damage when it is used. */
const CHECK_BYTES = 4 * 1024 * 1024;
const FILE_MODE = 0o600;

export const databasePath = (directory: string): string => join(directory, 'queue.db');

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino;

export class QueueDatabase {
  readonly directory: string;
  readonly #db: Sqlite;
  readonly #inode: number | undefined;
  readonly #statements = new Map<string, Statement>();

  private constructor(directory: string, db: Sqlite) {
    this.directory = directory;
    this.#db = db;
    this.#inode = inodeOf(databasePath(directory));
  }

  /** @throws as SQLite says it (busy, damaged), MailError config for one of another version */
  static open(directory: string): QueueDatabase {
    const path = databasePath(directory);
    const owner = ownerOf(directory);
    const isNew = !existsSync(path);
    if (isNew) exclusively(directory, () => makeEmpty(directory, owner));
    const db = openDurable(path);
    try {
      prepare(db);
      if (!isNew && statSync(path).size <= CHECK_BYTES) check(db, 'quick_check');
      return new QueueDatabase(directory, db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** False when another process has put a new one in its place: what is committed here is lost then. */
  get isCurrent(): boolean {
    return this.#inode === inodeOf(databasePath(this.directory));
  }
  /** Not all queue files have been looked at since the database was made. */
  get recovering(): boolean {
    return this.get<{ value: number }>(`SELECT value FROM meta WHERE name = 'recovering'`)?.value === 1;
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
  // `column = ?` with ORDER BY makes SQLite (3.54, STAT4) prepare the statement anew each time it runs, at ten times the cost: where it matters,
  // `column BETWEEN ? AND ?` says the same.
  get<T>(sql: string, ...values: Value[]): T | undefined {
    return this.#statement(sql).get(...values) as T | undefined;
  }
  all<T>(sql: string, ...values: Value[]): T[] {
    return this.#statement(sql).all(...values) as T[];
  }
  /** Rows as lists of their columns. */
  tuples<T>(sql: string, ...values: Value[]): T[] {
    return this.#statement(sql)
      .raw(true)
      .all(...values) as T[];
  }
  iterateTuples<T>(sql: string, ...values: Value[]): IterableIterator<T> {
    return this.#statement(sql)
      .raw(true)
      .iterate(...values) as IterableIterator<T>;
  }
  /** Gives the number of rows changed. */
  run(sql: string, ...values: Value[]): number {
    return this.#statement(sql).run(...values).changes;
  }

  /** @throws busy when another process writes */
  begin(): void {
    this.run('BEGIN IMMEDIATE');
  }
  beginReading(): void {
    this.run('BEGIN');
  }
  commit(): void {
    this.run('COMMIT');
  }
  rollback(): void {
    if (this.#db.inTransaction) this.run('ROLLBACK');
  }
  /** `fn` in a savepoint of the transaction: when it throws nothing of it stays, and the transaction goes on unless `inTransaction` has become false. */
  savepoint<T>(fn: () => T): T {
    this.run('SAVEPOINT request');
    try {
      const result = fn();
      this.run('RELEASE request');
      return result;
    } catch (error) {
      if (this.#db.inTransaction) {
        this.run('ROLLBACK TO request');
        this.run('RELEASE request');
      }
      throw error;
    }
  }
  get inTransaction(): boolean {
    return this.#db.inTransaction;
  }
  close(): void {
    this.#db.close();
  }
}

function prepare(db: Sqlite): void {
  const version = (): number => Number(db.pragma('user_version', { simple: true }));
  const isEmpty = (): boolean => version() === 0 && db.prepare('SELECT count(*) AS n FROM sqlite_master').pluck().get() === 0;
  if (isEmpty()) {
    db.exec('BEGIN IMMEDIATE');
    // Another process may have been quicker.
    if (isEmpty()) {
      db.exec(SCHEMA);
      db.pragma(`application_id = ${APPLICATION_ID}`);
      db.pragma(`user_version = ${SCHEMA_VERSION}`);
    }
    db.exec('COMMIT');
  }
  if (db.pragma('application_id', { simple: true }) !== APPLICATION_ID)
    throw new MailError('config', 'QUEUE_FOREIGN', 'queue.db is not a queue of this program: move it away');
  if (version() !== SCHEMA_VERSION)
    throw new MailError(
      'config',
      'QUEUE_VERSION',
      `queue.db is of version ${version()}, this program knows version ${SCHEMA_VERSION}: run the program that made it until the queue is empty, or move queue.db away to have it made anew`,
    );
}

function check(db: Sqlite, how: 'quick_check' | 'integrity_check'): void {
  const found = db.pragma(`${how}(1)`, { simple: true });
  if (found !== 'ok') throw Object.assign(new Error(`${how}: ${String(found)}`), { code: 'SQLITE_CORRUPT' });
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Whose the files are that root makes; undefined when they are those of the process anyway. */
function ownerOf(directory: string): Owner | undefined {
  const { uid, gid } = statSync(directory);
  return process.geteuid?.() === 0 && uid !== 0 ? { uid, gid } : undefined;
}

/** A file for a new database, and nothing beside it: the log of one that is gone would be played back into it. */
function makeEmpty(directory: string, owner: Owner | undefined): void {
  const path = databasePath(directory);
  if (existsSync(path)) return;
  moveAway(directory, 'left');
  // SQLite would make it readable for everybody; its -wal and -shm get the same mode and owner.
  closeSync(openSync(path, 'wx', FILE_MODE));
  if (owner) chownSync(path, owner.uid, owner.gid);
  syncDirectory(directory);
}

/** @throws busy while another process does the same */
function exclusively(directory: string, fn: () => void): void {
  const lock = lockFile(join(directory, 'recover.lock'));
  try {
    fn();
  } finally {
    lock.release();
  }
}

/**
 * Puts a damaged database out of the way, `queue.db.damaged-20261125T170855`, with what belongs to it. Gives the new name, or undefined when it turns out to be
 * whole (another process has put a new one there). `db` is closed when there is one.
 */
export function setAside(directory: string, now: number): string | undefined {
  let name: string | undefined;
  exclusively(directory, () => {
    if (isWhole(directory)) return;
    name = `damaged-${new Date(now).toISOString().replace(/[-:]|\.\d+Z/g, '')}`;
    moveAway(directory, name);
  });
  return name === undefined ? undefined : `queue.db.${name}`;
}

function isWhole(directory: string): boolean {
  const path = databasePath(directory);
  if (!existsSync(path)) return false;
  let db: Sqlite | undefined;
  try {
    db = openDurable(path);
    prepare(db);
    check(db, 'integrity_check');
    return true;
  } catch (error) {
    if (isDamaged(error)) return false;
    throw error;
  } finally {
    db?.close();
  }
}

function moveAway(directory: string, name: string): void {
  const path = databasePath(directory);
  for (const suffix of ['', '-wal', '-shm']) if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.${name}${suffix}`);
  syncDirectory(directory);
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
