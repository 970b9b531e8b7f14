// How long a message has been in the queue, whatever becomes of the clock.
//
// A message carries when it came, by the server's clock. When that clock is set (by hand, by NTP after a start with a wrong one), a second one that
// only ever runs forward shows it: whatever the two differ by, over what a good clock drifts, is a jump, and time between two jumps is a stretch.
// A time that could be of several stretches is taken for the one that makes the message the youngest. Stretches are known as long as the process
// lives. For jumps in between (a restart; the machine was off) there is a rule: nothing expires that has not been tried, and put off, since the clock
// is known to be steady.
//
// The second clock may stand still while a machine sleeps: messages live longer by that.

/** Two looks at both clocks may differ by this: what is less is taken for drift, and followed. */
const DRIFT_MS = 10_000;
/** Stretches kept; the oldest become one. */
const MAX_STRETCHES = 32;

/** Between two jumps; all in milliseconds, the first two of the clock as it was then. */
interface Stretch {
  readonly start: number;
  readonly end: number;
  /** How far the clock jumped at its end; negative when it was set back. */
  readonly by: number;
}

export class Ages {
  readonly #now: () => number;
  readonly #monotonic: () => number;
  /** Oldest first, without the one that lasts. */
  #stretches: Stretch[] = [];
  /** Of the one that lasts. */
  #start = -Infinity;
  #last: { readonly wall: number; readonly steady: number };
  #steadySince: number;

  /** `now`: milliseconds since the epoch; `monotonic`: milliseconds of a clock that nobody sets. */
  constructor(now: () => number, monotonic: () => number) {
    this.#now = now;
    this.#monotonic = monotonic;
    this.#last = { wall: now(), steady: monotonic() };
    this.#steadySince = this.#last.wall;
  }

  /** Looks at both clocks; gives the milliseconds that the one has jumped since the last look, 0 when it has not. Call it every minute or so. */
  observe(): number {
    const wall = this.#now();
    const steady = this.#monotonic();
    const before = this.#last;
    const expected = before.wall + (steady - before.steady);
    this.#last = { wall, steady };
    const by = wall - expected;
    if (Math.abs(by) <= DRIFT_MS) return 0;
    this.#stretches.push({ start: this.#start, end: expected, by });
    // It may have happened right after the last look.
    this.#start = wall - (steady - before.steady);
    this.#steadySince = wall;
    this.#forget();
    return by;
  }

  #forget(): void {
    const [first, second, ...rest] = this.#stretches;
    if (!first || !second || this.#stretches.length <= MAX_STRETCHES) return;
    const merged = { start: -Infinity, end: Math.max(first.end, second.end), by: Math.max(first.by + second.by, second.by) };
    this.#stretches = [merged, ...rest];
  }

  /** Milliseconds since the epoch, by the clock as it is now: since when it is known to be steady. */
  get steadySince(): number {
    return this.#steadySince;
  }

  /** Milliseconds, never less than 0. */
  age(arrived: number): number {
    this.observe();
    let age = this.#last.wall - arrived;
    // Nothing comes in the future.
    let youngest = arrived >= this.#start - DRIFT_MS && age >= -DRIFT_MS ? age : Infinity;
    let least = age;
    for (const { start, end, by } of this.#stretches.toReversed()) {
      age -= by;
      least = Math.min(least, age);
      if (arrived >= start - DRIFT_MS && arrived <= end + DRIFT_MS) youngest = Math.min(youngest, age);
    }
    return Math.max(0, youngest === Infinity ? least : youngest);
  }

  /** Whether a recipient has been in the queue for longer than `lifetime` allows; asked after a try that failed. */
  isExpired(arrived: number, lifetime: number, tried: { readonly attempts: number; readonly nextAttempt: number }): boolean {
    if (lifetime === 0) return true;
    if (this.age(arrived) < lifetime) return false;
    // The time of this try was set by a failure since then.
    return tried.attempts > 0 && tried.nextAttempt >= this.#steadySince;
  }
}
