// The work of the database thread: what waits goes into one transaction (group commit), each request in a savepoint of its own. SQLite may block it; nobody
// else is blocked by that.
import { MailError, toMailError } from '../../lib/errors.ts';
import { sweep, takeUpOne } from './adopt.ts';
import { QueueDatabase, setAside } from './database.ts';
import type { FromThread, Given, OperationName, QueuePlace, Request, Result, SweepResult } from './protocol.ts';
import * as reads from './reads.ts';
import { isBusy, isDamaged, isDiskError, isFull } from './sqlite.ts';
import * as writes from './writes.ts';

const BUSY_PAUSE_MS = 3;
/** Requests of one transaction: more make all of them wait longer. */
const BATCH = 200;
/** A database that is damaged again when it has just been made anew is the disk's doing. */
const MOST_RECOVERIES = 3;

type Operation<K extends OperationName> = (db: QueueDatabase, given: Given<K>) => Result<K>;
type WriteName = 'add' | 'settle' | 'redirect' | 'promote' | 'change' | 'holdDamaged';
type ReadName = 'open' | 'ready' | 'jobs' | 'page' | 'find' | 'stats';

/** While not all files are known again, a message that is named is looked for among them first. */
const named = (db: QueueDatabase, id: string, now: number): void => {
  if (db.recovering) takeUpOne(db, id, now);
};

const WRITES: { readonly [K in WriteName]: Operation<K> } = {
  add: (db, given) => {
    writes.insert(db, { ...given, recipients: given.recipients.map((recipient, number) => ({ ...recipient, number })) });
    return null;
  },
  settle: (db, given) => {
    named(db, given.id, given.now);
    return writes.settle(db, given);
  },
  change: (db, given) => {
    for (const id of given.filter.ids ?? []) named(db, id, given.now);
    return writes.change(db, given);
  },
  redirect: writes.redirect,
  promote: writes.promote,
  holdDamaged: writes.holdDamaged,
};
const READS: { readonly [K in ReadName]: Operation<K> } = {
  open: (db) => ({ recovering: db.recovering }),
  ready: reads.readyDestinations,
  jobs: reads.jobs,
  page: reads.page,
  find: (db, { id }) => reads.find(db, id),
  stats: (db) => reads.stats(db),
};

interface Waiting {
  readonly request: Request;
  /** performance.now(). */
  readonly deadline: number;
  isAnswered?: boolean;
}
type Answer = { readonly waiting: Waiting; readonly result: unknown } | { readonly waiting: Waiting; readonly error: unknown };

export class Engine {
  readonly #directory: string;
  readonly #lockTimeout: number;
  readonly #post: (message: FromThread) => void;
  #db: QueueDatabase | undefined;
  #waiting: Waiting[] = [];
  #isScheduled = false;
  #recoveries = 0;
  #sweeping = new Map<Request, Generator<number, SweepResult>>();

  constructor({ directory, lockTimeout }: QueuePlace, post: (message: FromThread) => void) {
    this.#directory = directory;
    this.#lockTimeout = lockTimeout;
    this.#post = post;
  }

  take(request: Request): void {
    if (request.name === 'sweep') this.#beginSweep(request, request.given as Given<'sweep'>);
    else this.#waiting.push({ request, deadline: performance.now() + this.#lockTimeout });
    this.#schedule(0);
  }

  /** What waits is done first, as far as it can be now. */
  close(): void {
    if (this.#waiting.length > 0) this.#run();
    for (const steps of this.#sweeping.values()) steps.return({ adopted: 0, removed: 0, corrupt: 0, skipped: true });
    this.#sweeping.clear();
    this.#reset();
  }

  #schedule(pause: number): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const run = (): void => {
      this.#isScheduled = false;
      this.#run();
    };
    // Everything that has come by then is in the same transaction.
    if (pause === 0) setImmediate(run);
    else setTimeout(run, pause);
  }

  #run(): void {
    let pause = 0;
    const batch = this.#waiting.splice(0, BATCH);
    try {
      this.#serve(batch);
    } catch (error) {
      pause = this.#failed(batch, error);
    }
    if (pause === 0) pause = this.#stepSweeps();
    if (this.#waiting.length > 0 || this.#sweeping.size > 0) this.#schedule(pause);
  }

  #database(): QueueDatabase {
    if (this.#db && !this.#db.isCurrent) this.#reset();
    if (!this.#db) {
      this.#db = QueueDatabase.open(this.#directory);
      if (this.#db.recovering && this.#sweeping.size === 0) this.#beginSweep(undefined, { now: Date.now() });
    }
    return this.#db;
  }
  #reset(): void {
    const db = this.#db;
    this.#db = undefined;
    try {
      db?.close();
    } catch {
      // A disk that fails does so here as well.
    }
  }

  #serve(batch: readonly Waiting[]): void {
    if (batch.length === 0) return;
    const isWrite = ({ request }: Waiting): boolean => request.name in WRITES;
    const changes = batch.filter(isWrite);
    const questions = batch.filter((waiting) => !isWrite(waiting));
    // Another process that holds the lock does not keep anybody from reading.
    if (questions.length > 0) this.#answer(this.#transaction(questions, READS, false));
    if (changes.length > 0) this.#answer(this.#transaction(changes, WRITES, true));
  }

  /** Each request's answer, once all of it is on the disk. */
  #transaction(batch: readonly Waiting[], operations: object, isWrite: boolean): Answer[] {
    const db = this.#database();
    try {
      if (isWrite) db.begin();
      else db.beginReading();
      const answers = batch.map((waiting) => runOne(db, waiting, operations, isWrite));
      db.commit();
      // Committed into a database that was set aside meanwhile: nobody will ever see it.
      if (isWrite && !db.isCurrent) return this.#transaction(batch, operations, isWrite);
      this.#recoveries = 0;
      return answers;
    } catch (error) {
      db.rollback();
      throw error;
    }
  }

  #answer(answers: readonly Answer[]): void {
    for (const answer of answers) {
      answer.waiting.isAnswered = true;
      this.#post(toMessage(answer));
    }
  }

  /** Gives how long to wait before the next try. */
  #failed(batch: readonly Waiting[], error: unknown): number {
    const left = batch.filter(({ isAnswered }) => isAnswered !== true);
    if (isBusy(error)) return this.#again(left, error);
    if (isDamaged(error) && this.#recoveries < MOST_RECOVERIES) {
      try {
        this.#recover(error);
        return this.#again(left, error);
      } catch (failure) {
        if (isBusy(failure)) return this.#again(left, failure);
        error = failure;
      }
    }
    // Its descriptors may have lost what was written through them.
    if (isDiskError(error) || isDamaged(error)) this.#reset();
    for (const waiting of left) this.#post(toMessage({ waiting, error }));
    return 0;
  }

  #again(left: readonly Waiting[], error: unknown): number {
    const now = performance.now();
    const late = left.filter(({ deadline }) => deadline <= now);
    for (const waiting of late) this.#post(toMessage({ waiting, error }));
    this.#waiting.unshift(...left.filter(({ deadline }) => deadline > now));
    return BUSY_PAUSE_MS;
  }

  #recover(error: unknown): void {
    this.#recoveries++;
    this.#reset();
    const name = setAside(this.#directory, Date.now());
    if (name !== undefined)
      this.#log('error', 'queue.database.damaged', {
        error: error instanceof Error ? error.message : String(error),
        setAside: name,
      });
  }

  readonly #log = (...log: Extract<FromThread, { log: unknown }>['log']): void => this.#post({ log });

  // ---- looking through the files

  #beginSweep(request: Request | undefined, { now }: Given<'sweep'>): void {
    const context = { directory: this.#directory, now, database: () => this.#database(), log: this.#log };
    this.#sweeping.set(request ?? { number: -1, name: 'sweep', given: { now } }, sweep(context));
  }

  /** One step of each. Gives how long to wait before the next. */
  #stepSweeps(): number {
    let pause = 0;
    for (const [request, steps] of this.#sweeping) {
      try {
        const { done, value } = steps.next();
        if (done !== true) {
          pause = Math.max(pause, value);
          continue;
        }
        if (request.number >= 0) this.#post({ number: request.number, result: value });
        this.#recovered(value);
      } catch (error) {
        this.#failed([], error);
        if (request.number >= 0) this.#post(toMessage({ waiting: { request, deadline: 0 }, error }));
      }
      this.#sweeping.delete(request);
    }
    return pause;
  }
  #recovered({ adopted, removed, corrupt }: SweepResult): void {
    if (adopted > 0 || corrupt > 0) this.#log('warn', 'queue.recovered', { adopted, removed, corrupt });
  }
}

function runOne(db: QueueDatabase, waiting: Waiting, operations: object, isWrite: boolean): Answer {
  const { name, given } = waiting.request;
  const operation = (operations as Record<string, (db: QueueDatabase, given: unknown) => unknown>)[name];
  if (!operation) return { waiting, error: new Error(`there is no operation ${name}`) };
  try {
    const run = (): unknown => operation(db, given);
    return { waiting, result: isWrite ? db.savepoint(run) : run() };
  } catch (error) {
    // That of the whole transaction, not of this request.
    if (isDamaged(error) || isDiskError(error) || isBusy(error) || !db.inTransaction) throw error;
    return { waiting, error };
  }
}

function toMessage(answer: Answer): FromThread {
  const { number } = answer.waiting.request;
  if ('result' in answer) return { number, result: answer.result };
  const { kind, code, clientText, detail } = toQueueError(answer.error);
  return { number, error: { kind, code, text: clientText, detail } };
}

function toQueueError(error: unknown): MailError {
  const what = { cause: error };
  if (isBusy(error)) return new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy, try again later', what);
  if (isFull(error)) return new MailError('disk-full', 'DISK_FULL', 'Insufficient system storage', what);
  if (isDamaged(error)) return new MailError('corrupt', 'QUEUE_DAMAGED', 'The queue is damaged', what);
  return toMailError(error, 'queue.db');
}
