// The store's only importer of better-sqlite3. Its quirks: `synchronous` has to be set on every open, a busy database is told at once
// (timeout 0: never wait inside the loop).
import { closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';

const FILE_MODE = 0o640;

export type Sqlite = Database.Database;
export type Statement = Database.Statement<unknown[]>;

/** Opens (or makes) a cache database: WAL, NORMAL: losing the last commits costs nothing but work. @throws when the file is no database */
export function openCache(path: string): Sqlite {
  // SQLite would make it readable for everybody; its -wal and -shm get the same mode.
  closeSync(openSync(path, 'a', FILE_MODE));
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
