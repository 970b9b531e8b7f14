// How much each account has sent, counted in one SQLite file for all workers and over restarts. Only counts: when the file is lost or broken, counting
// begins anew. Every step is a matter of microseconds; one that meets another process's write is tried again later, off the loop.
//
//   sent(account, slot, …): sums of five minutes     known(account, recipient, last): who was written to, as a hash
//   alarms(account, name, until): what has been said already
import { createHash } from 'node:crypto';
import { sleep, yieldToLoop } from '../lib/async.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import { isBusy, openCounts, type CountsDatabase } from '../lib/sqlite.ts';

const SLOT_MS = 300_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
/** How long a recipient is one whom the account has written to. */
const KNOWN_MS = 90 * DAY_MS;
/** Steps between which others get a turn. */
const CHUNK = 200;
const BUSY_WAIT_MS = 5_000;
const FORGET_EVERY_MS = HOUR_MS;
const FORGET_AT_ONCE = 1_000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS sent (account TEXT NOT NULL, slot INTEGER NOT NULL, messages INTEGER NOT NULL, recipients INTEGER NOT NULL,
  fresh INTEGER NOT NULL, PRIMARY KEY (account, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (account TEXT NOT NULL, recipient BLOB NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (account, recipient));
CREATE INDEX IF NOT EXISTS known_last ON known (last);
CREATE TABLE IF NOT EXISTS alarms (account TEXT NOT NULL, name TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (account, name)) WITHOUT ROWID;
`;

export interface Amount {
  readonly messages: number;
  readonly recipients: number;
  /** Recipients not written to before. */
  readonly fresh: number;
}
export interface Usage {
  readonly hour: Amount;
  readonly day: Amount;
}

export class SendCounts {
  readonly #file: string;
  readonly #now: () => number;
  #db: CountsDatabase | undefined;
  #forgotAt = 0;

  /** Nothing is opened before the first question. `now`: milliseconds since the epoch. */
  constructor(file: string, now: () => number) {
    this.#file = file;
    this.#now = now;
  }

  /** @throws MailError temporary SEND_COUNTS_BUSY */
  usage(account: string): Promise<Usage> {
    return this.#run((db) => usageOf(db, account, this.#now()));
  }

  /** Whether the account has never (or long ago) written to this address. @throws as usage */
  isNew(account: string, recipient: string): Promise<boolean> {
    return this.#run((db) => !isKnown(db, account, recipient, this.#now()));
  }

  /** Adds to the account's sums, unless `refuse` says no to what they are now. Gives its answer. @throws as usage */
  async add<T>(
    account: string,
    amount: Amount,
    recipients: readonly string[],
    refuse: (usage: Usage) => T | undefined,
  ): Promise<T | undefined> {
    const at = this.#now();
    const refused = await this.#write((db) => {
      const no = refuse(usageOf(db, account, at));
      if (no === undefined) addTo(db, account, at, amount, 1);
      return no;
    });
    if (refused !== undefined) return refused;
    for (let i = 0; i < recipients.length; i += CHUNK) {
      const chunk = recipients.slice(i, i + CHUNK);
      await this.#write((db) => remember(db, account, chunk, at));
      await yieldToLoop();
    }
    await this.#forget(account, at);
    return undefined;
  }

  /** Takes back what `add` added: the message was not accepted after all. @throws as usage */
  async subtract(account: string, amount: Amount): Promise<void> {
    await this.#write((db) => addTo(db, account, this.#now(), amount, -1));
  }

  /** True the first time in `ms` that something is to be said of an account. @throws as usage */
  firstIn(account: string, name: string, ms: number): Promise<boolean> {
    const at = this.#now();
    return this.#write(
      (db) =>
        db
          .prepare(
            `INSERT INTO alarms VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until
             WHERE alarms.until <= ? OR alarms.until > ?`,
          )
          // An end beyond the window is of a clock that has been set back.
          .run(account, name, at + ms, at, at + ms).changes > 0,
    );
  }

  async #forget(account: string, at: number): Promise<void> {
    if (Math.abs(at - this.#forgotAt) < FORGET_EVERY_MS) return;
    this.#forgotAt = at;
    await this.#write((db) => {
      db.prepare('DELETE FROM sent WHERE account = ? AND slot < ?').run(account, at - 2 * DAY_MS);
      db.prepare('DELETE FROM known WHERE rowid IN (SELECT rowid FROM known WHERE last < ? LIMIT ?)').run(
        at - KNOWN_MS,
        FORGET_AT_ONCE,
      );
    });
  }

  #write<T>(fn: (db: CountsDatabase) => T): Promise<T> {
    return this.#run((db) => db.transaction(fn).immediate(db));
  }
  async #run<T>(fn: (db: CountsDatabase) => T): Promise<T> {
    for (let waited = 0, pause = 5; ; waited += pause, pause = Math.min(pause * 2, 100)) {
      try {
        this.#db ??= openCounts(this.#file, SCHEMA);
        return fn(this.#db);
      } catch (error) {
        const code = errnoOf(error) ?? '';
        if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) this.close();
        else if (!isBusy(error)) throw unavailable(error);
        if (waited > BUSY_WAIT_MS) throw unavailable(error);
      }
      await sleep(pause);
    }
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
  }
}

const unavailable = (error: unknown): MailError =>
  new MailError('temporary', 'SEND_COUNTS_BUSY', 'Temporary failure, try again later', {
    detail: `counts of sent mail: ${error instanceof Error ? error.message : String(error)}`,
    cause: error,
  });

function usageOf(db: CountsDatabase, account: string, at: number): Usage {
  const statement = db.prepare<[string, number], Record<keyof Amount, number | null>>(
    'SELECT sum(messages) AS messages, sum(recipients) AS recipients, sum(fresh) AS fresh FROM sent WHERE account = ? AND slot > ?',
  );
  const since = (ms: number): Amount => {
    const sums = statement.get(account, at - ms - SLOT_MS);
    return { messages: sums?.messages ?? 0, recipients: sums?.recipients ?? 0, fresh: sums?.fresh ?? 0 };
  };
  return { hour: since(HOUR_MS), day: since(DAY_MS) };
}

function addTo(db: CountsDatabase, account: string, at: number, { messages, recipients, fresh }: Amount, sign: 1 | -1): void {
  db.prepare(
    `INSERT INTO sent VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET messages = messages + excluded.messages,
     recipients = recipients + excluded.recipients, fresh = fresh + excluded.fresh`,
  ).run(account, at - (at % SLOT_MS), sign * messages, sign * recipients, sign * fresh);
}

function isKnown(db: CountsDatabase, account: string, recipient: string, at: number): boolean {
  const row = db
    .prepare<[string, Buffer], { last: number }>('SELECT last FROM known WHERE account = ? AND recipient = ?')
    .get(account, hashOf(recipient));
  return row !== undefined && row.last > at - KNOWN_MS;
}

function remember(db: CountsDatabase, account: string, recipients: readonly string[], at: number): void {
  const statement = db.prepare('INSERT INTO known VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last');
  for (const recipient of recipients) statement.run(account, hashOf(recipient), at);
}

/** Whom somebody writes to is nobody's business. */
const hashOf = (address: string): Buffer => createHash('sha256').update(address.toLowerCase()).digest().subarray(0, 12);
