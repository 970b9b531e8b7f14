// `buzon.index.db` in an account's Maildir: what was found out about message files, so that it need not be found out again. A cache: it
// may be deleted at any time, a damaged one is thrown away and made anew, a busy one is passed over. Base names never change, nor does the
// content of their files, so entries never go stale; those of files that are gone are removed when the file is.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../lib/logger.ts';
import type { MessageStructure } from '../message/types.ts';
import { isBusy } from '../lib/sqlite.ts';
import { openCache, type Sqlite, type Statement } from './sqlite.ts';
import type { MessageFacts } from './types.ts';

/** In an account's Maildir. */
export const INDEX_FILE = 'buzon.index.db';
/** Counts up when what is stored changes its form. */
const VERSION = 1;
const FLUSH_MS = 250;
/** Rows written in one transaction: a few milliseconds. */
const FLUSH_ROWS = 200;
/** While another process holds the write lock, what is to be written waits: this long before the next try at most, and so many rows. */
const BUSY_MS = 5_000;
const MAX_WAITING = 1_000;
/** One that nobody asks for so long is closed: no idle session holds it. */
const IDLE_MS = 10_000;
/** Databases that are open at a time in a process (0.2 MB and three descriptors each). */
const MAX_OPEN = 32;

interface Entry {
  facts?: MessageFacts;
  structure?: MessageStructure;
}

/** Empties an account's index. A sound one is emptied in place, for those who have it open; a damaged one goes. @throws SQLITE_BUSY, or what removing it says */
export async function renewIndex(path: string): Promise<void> {
  try {
    const db = openCache(path);
    try {
      if (db.pragma('quick_check(1)', { simple: true }) !== 'ok') throw new Error('damaged');
      db.exec('DELETE FROM message');
    } finally {
      db.close();
    }
  } catch (error) {
    if (isBusy(error)) throw error;
    await removeDatabase(path);
  }
}

const removeDatabase = async (path: string): Promise<void> => {
  for (const suffix of ['', '-wal', '-shm']) await rm(path + suffix, { force: true });
};

/** The caches of all accounts of a process: keeps the number of open databases down. */
export class IndexCaches {
  readonly #open = new Map<string, AccountIndex>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }
  of(maildir: string): AccountIndex {
    const found = this.#open.get(maildir);
    if (found) {
      // Most recently used last.
      this.#open.delete(maildir);
      this.#open.set(maildir, found);
      return found;
    }
    for (const [key, index] of this.#open) {
      if (this.#open.size < MAX_OPEN) break;
      index.close();
      this.#open.delete(key);
    }
    const index = new AccountIndex(maildir, this.#log);
    this.#open.set(maildir, index);
    return index;
  }
  close(): void {
    for (const index of this.#open.values()) index.close();
    this.#open.clear();
  }
}

/** The table of this version; several processes may come here at a time. @throws SQLITE_BUSY when another one makes it */
function makeTable(db: Sqlite): void {
  const isMade = (): boolean => db.pragma('user_version', { simple: true }) === VERSION;
  if (isMade()) return;
  const make = db.transaction(() => {
    if (isMade()) return;
    db.exec(`DROP TABLE IF EXISTS message;
      CREATE TABLE message (base TEXT PRIMARY KEY, date REAL, wire INTEGER, structure TEXT) WITHOUT ROWID;
      PRAGMA user_version = ${VERSION}`);
  });
  make.immediate();
}

export class AccountIndex {
  readonly #path: string;
  readonly #log: Logger;
  #db: Sqlite | undefined;
  #get: Statement | undefined;
  #put: Statement | undefined;
  #del: Statement | undefined;
  /** A failed open is not tried again at once. */
  #blockedUntil = 0;
  #pending = new Map<string, Entry | null>();
  #timer: NodeJS.Timeout | undefined;
  #wait = FLUSH_MS;
  #idle: NodeJS.Timeout | undefined;

  constructor(maildir: string, log: Logger) {
    this.#path = join(maildir, INDEX_FILE);
    this.#log = log;
  }

  /** What is known of a message; undefined when nothing is. Never throws. */
  get(base: string): Entry | undefined {
    const pending = this.#pending.get(base);
    if (pending !== undefined) return pending ?? undefined;
    return this.#try((): Entry | undefined => {
      const row = this.#get?.get(base) as { date: number | null; wire: number | null; structure: string | null } | undefined;
      if (!row) return undefined;
      const entry: Entry = {};
      if (row.date !== null && row.wire !== null) entry.facts = { internalDate: row.date, wireSize: row.wire };
      if (row.structure !== null) entry.structure = JSON.parse(row.structure) as MessageStructure;
      return entry;
    });
  }

  put(base: string, entry: Entry): void {
    this.#pending.set(base, { ...(this.#pending.get(base) ?? {}), ...entry });
    this.#schedule();
  }
  remove(base: string): void {
    this.#pending.set(base, null);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const written = this.#flush(FLUSH_ROWS);
      this.#wait = written ? FLUSH_MS : Math.min(this.#wait * 2, BUSY_MS);
      if (!written) for (const base of [...this.#pending.keys()].slice(0, -MAX_WAITING)) this.#pending.delete(base);
      if (this.#pending.size > 0) this.#schedule();
    }, this.#wait);
    this.#timer.unref();
  }

  /** Says whether it was written; what was not waits on. */
  #flush(rows: number): boolean {
    const batch = [...this.#pending].slice(0, rows);
    const written = this.#try(() => {
      this.#db
        ?.transaction(() => {
          for (const [base, entry] of batch) {
            if (entry === null) this.#del?.run(base);
            else
              this.#put?.run(
                base,
                entry.facts?.internalDate ?? null,
                entry.facts?.wireSize ?? null,
                entry.structure ? JSON.stringify(entry.structure) : null,
              );
          }
        })
        .immediate();
      return true;
    });
    if (written) for (const [base] of batch) this.#pending.delete(base);
    return written === true;
  }

  /** Runs `fn` on the open database; a busy one, a full disk, a damaged file cost only the cache. */
  #try<T>(fn: () => T): T | undefined {
    try {
      if (!this.#ready()) return undefined;
      this.#touch();
      return fn();
    } catch (error) {
      if (isBusy(error)) return undefined;
      this.#discard(error);
      return undefined;
    }
  }

  #ready(): boolean {
    if (this.#db) return true;
    if (Date.now() < this.#blockedUntil) return false;
    this.#blockedUntil = Date.now() + 1_000;
    const db = openCache(this.#path);
    try {
      makeTable(db);
      this.#get = db.prepare('SELECT date, wire, structure FROM message WHERE base = ?');
      this.#put =
        db.prepare(`INSERT INTO message VALUES (?, ?, ?, ?) ON CONFLICT (base) DO UPDATE SET date = coalesce(excluded.date, date),
        wire = coalesce(excluded.wire, wire), structure = coalesce(excluded.structure, structure)`);
      this.#del = db.prepare('DELETE FROM message WHERE base = ?');
    } catch (error) {
      db.close();
      throw error;
    }
    this.#db = db;
    return true;
  }

  #touch(): void {
    if (this.#idle) this.#idle.refresh();
    else this.#idle = setTimeout(() => this.#shut(), IDLE_MS).unref();
  }

  #discard(error: unknown): void {
    this.#log.warn('index.discarded', { file: this.#path, error: error instanceof Error ? error.message : String(error) });
    this.#shut();
    this.#blockedUntil = Date.now() + 1_000;
    void removeDatabase(this.#path).catch(() => undefined);
  }
  #shut(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
    // Closed on purpose: the next question may open it at once.
    this.#blockedUntil = 0;
    try {
      this.#db?.close();
    } catch {
      // A damaged database may refuse even that.
    }
    this.#db = undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size > 0) this.#flush(this.#pending.size);
    this.#shut();
  }
}
