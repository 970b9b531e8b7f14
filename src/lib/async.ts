// Small tools for concurrent work: every wait has an owner, an order and a deadline.

/** Runs callbacks one after another, in the order they came. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  run<T>(fn: () => Promise<T> | T): Promise<T> {
    this.#waiting++;
    const result = this.#tail.then(fn);
    this.#tail = result.then(
      () => void this.#waiting--,
      () => void this.#waiting--,
    );
    return result;
  }
  /** True while nothing runs or waits. */
  get idle(): boolean {
    return this.#waiting === 0;
  }
}

/** One Mutex a key, forgotten when idle. */
export class KeyedMutex {
  readonly #locks = new Map<string, Mutex>();

  async run<T>(key: string, fn: () => Promise<T> | T): Promise<T> {
    let lock = this.#locks.get(key);
    if (!lock) this.#locks.set(key, (lock = new Mutex()));
    try {
      return await lock.run(fn);
    } finally {
      if (lock.idle && this.#locks.get(key) === lock) this.#locks.delete(key);
    }
  }
}

/** One piece of work for many who want it: those who come while it is under way share one more run, which begins after they came. */
export class SharedRun {
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  readonly #work: () => Promise<void>;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }
  /** True while nothing runs or waits. */
  get idle(): boolean {
    return !this.#running && !this.#next;
  }
  /** Resolves when a run that began after this call has ended. @throws what that run throws */
  run(): Promise<void> {
    if (!this.#running) return this.#start();
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }
  #start(): Promise<void> {
    const running = this.#work().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}

/** At most `limit` callbacks run at once; others wait in order. */
export class Semaphore {
  #free: number;
  readonly #queue: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }
  async run<T>(fn: () => Promise<T> | T): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    try {
      return await fn();
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

/** Resolves after `ms` milliseconds. */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Gives other sessions a turn: I/O and timers run before this resolves. */
export const yieldToLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
