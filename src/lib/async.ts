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
