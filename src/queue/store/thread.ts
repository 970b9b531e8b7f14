// The database thread as the serving side has it: questions with a limit on how many wait, a deadline for each answer.
import { Worker } from 'node:worker_threads';
import { MailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { FromThread, Given, OperationName, QueuePlace, Result, ToThread } from './protocol.ts';

/** Requests that may wait for the thread: more are told to come back (451 4.3.0). */
const MAX_WAITING = 2_000;
/** Well over what the thread itself waits for another process: a disk that hangs. */
const ANSWER_MS = 60_000;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

const unavailable = (detail: string): MailError =>
  new MailError('temporary', 'QUEUE_UNAVAILABLE', 'The queue is not available now, try again later', { detail });

/** An error after which nobody knows whether the request was carried out. */
export const isUnknownOutcome = (error: unknown): boolean => error instanceof MailError && error.code === 'QUEUE_UNAVAILABLE';

export class QueueThread {
  #worker: Worker | undefined;
  #ready: Promise<void> | undefined;
  #place: QueuePlace | undefined;
  #logger: Logger | undefined;
  /** The thread that was told whose database. */
  #sentTo: Worker | undefined;
  #closed = false;
  #last = 0;
  /** Of those that wait, how many the process stays alive for. */
  #kept = 0;
  readonly #waiting = new Map<number, Waiting>();

  /** Starts the thread: before the process gives up the rights that reading the program may need. It opens nothing yet. */
  warm(): Promise<void> {
    return (this.#ready ??= this.#start());
  }

  /** Whose database it opens with the first request. */
  use(place: QueuePlace, logger: Logger): void {
    this.#place = place;
    this.#logger = logger;
  }

  #start(): Promise<void> {
    // Beside this file, compiled or not.
    const file = import.meta.url.endsWith('.ts') ? './database-worker.ts' : './database-worker.js';
    const worker = new Worker(new URL(file, import.meta.url));
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromThread) => {
        if ('ready' in message) {
          // A process ends when there is nothing else to do.
          worker.unref();
          resolve();
        } else this.#take(message);
      });
      worker.on('error', (error: Error) => this.#logger?.error('queue.thread.failed', { error: error.message }));
      worker.on('exit', () => {
        this.#ended(worker);
        reject(unavailable('the database thread ended'));
      });
    });
  }

  /** The next request starts another. */
  #ended(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#ready = undefined;
    this.#sentTo = undefined;
    for (const number of [...this.#waiting.keys()]) this.#settle(number)?.reject(unavailable('the database thread ended'));
  }

  /** `long`: it may take its time. @throws MailError */
  async ask<K extends OperationName>(name: K, given: Given<K>, long = false): Promise<Result<K>> {
    if (this.#closed) throw unavailable('closed');
    await this.warm();
    if (this.#waiting.size >= MAX_WAITING)
      throw new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy, try again later', { detail: 'too many requests wait' });
    const worker = this.#worker;
    if (!worker || !this.#place) throw unavailable('the database thread does not run');
    if (this.#sentTo !== worker) {
      worker.postMessage({ place: this.#place } satisfies ToThread);
      this.#sentTo = worker;
    }
    const number = ++this.#last;
    return new Promise<Result<K>>((resolve, reject) => {
      const timer = long ? undefined : setTimeout(() => this.#settle(number)?.reject(unavailable('no answer')), ANSWER_MS);
      this.#waiting.set(number, { resolve: resolve as (value: unknown) => void, reject, timer });
      if (!long && this.#kept++ === 0) worker.ref();
      worker.postMessage({ number, name, given } satisfies ToThread);
    });
  }

  #take(message: Exclude<FromThread, { ready: true }>): void {
    if ('log' in message) return this.#logger?.log(...message.log);
    const waiting = this.#settle(message.number);
    if ('result' in message) return waiting?.resolve(message.result);
    const { kind, code, text, detail } = message.error;
    waiting?.reject(new MailError(kind, code, text, { detail }));
  }
  #settle(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (waiting?.timer && --this.#kept === 0) this.#worker?.unref();
    clearTimeout(waiting?.timer);
    return waiting;
  }

  /** Lets it finish what waits. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    if (!worker) return;
    await this.#ready?.catch(() => undefined);
    worker.ref();
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    worker.postMessage({ close: true } satisfies ToThread);
    const timer = setTimeout(() => void worker.terminate(), ANSWER_MS);
    await ended;
    clearTimeout(timer);
  }
}
