// Counts with a limit (connections of an address, sessions of a user) that several holders share: the worker processes of a server, or just one.
// A holder's part is kept apart, so that what it held is free again when it dies.

/** Where a protocol counts what it serves. May be another process: then the answers are promises. */
export interface Counters {
  /** Counts one more of `key` unless there are `limit` already (0 or less: no limit); whether it did. */
  admit(scope: string, key: string, limit: number): boolean | Promise<boolean>;
  /** One less. */
  leave(scope: string, key: string): void;
}

/** Names that one holder may have counted: a process that is no longer ours to command must not fill the memory of the one that counts. */
const MAX_NAMES = 100_000;

export class SharedCounters {
  /** `scope key` → holder → count. */
  readonly #counts = new Map<string, Map<number, number>>();
  /** Holder → names it has in `#counts`. */
  readonly #names = new Map<number, number>();
  readonly #maxNames: number;

  constructor(maxNames = MAX_NAMES) {
    this.#maxNames = maxNames;
  }

  admit(holder: number, scope: string, key: string, limit: number): boolean {
    const name = `${scope} ${key}`;
    const parts = this.#counts.get(name) ?? new Map<number, number>();
    let all = 0;
    for (const count of parts.values()) all += count;
    if (limit > 0 && all >= limit) return false;
    const own = parts.get(holder);
    if (own === undefined && !this.#addName(holder, 1)) return false;
    parts.set(holder, (own ?? 0) + 1);
    this.#counts.set(name, parts);
    return true;
  }

  leave(holder: number, scope: string, key: string): void {
    const name = `${scope} ${key}`;
    const parts = this.#counts.get(name);
    const count = parts?.get(holder);
    if (!parts || count === undefined) return;
    if (count > 1) parts.set(holder, count - 1);
    else {
      parts.delete(holder);
      this.#addName(holder, -1);
    }
    if (parts.size === 0) this.#counts.delete(name);
  }

  /** Whether it may have so many more. */
  #addName(holder: number, more: 1 | -1): boolean {
    const names = (this.#names.get(holder) ?? 0) + more;
    if (names > this.#maxNames) return false;
    if (names > 0) this.#names.set(holder, names);
    else this.#names.delete(holder);
    return true;
  }

  /** A holder is gone, with everything it held. */
  forget(holder: number): void {
    this.#names.delete(holder);
    for (const [name, parts] of this.#counts) {
      parts.delete(holder);
      if (parts.size === 0) this.#counts.delete(name);
    }
  }

  /** Names counted now. */
  get size(): number {
    return this.#counts.size;
  }
}

/** Takes a place; gives what frees it (once, however often it is called), or undefined when there is none. @throws when nobody counts */
export async function takePlace(
  counters: Counters,
  scope: string,
  key: string,
  limit: number,
): Promise<(() => void) | undefined> {
  if (!(await counters.admit(scope, key, limit))) return undefined;
  let held = true;
  return () => {
    if (held) counters.leave(scope, key);
    held = false;
  };
}

/** The counts of one process that shares them with nobody. */
export function ownCounters(): Counters {
  const counters = new SharedCounters();
  return {
    admit: (scope, key, limit) => counters.admit(0, scope, key, limit),
    leave: (scope, key) => counters.leave(0, scope, key),
  };
}
