// How long a message has been in the queue, whatever becomes of the clock.
//
// A message carries when it came, by the server's clock. When that clock is set (by hand, by NTP after a start with a wrong one), a second one that
// only ever runs forward shows it: whatever the two differ by, over what a good clock drifts, is a jump, and is taken off the age of messages that came
// before it. Jumps are known as long as the process lives. For those in between (a restart; the machine was off) there is a rule: nothing
// expires that has not been tried, and put off, since the clock is known to be steady.
//
// The second clock may stand still while a machine sleeps: messages live longer by that.

/** Two looks at both clocks may differ by this: what is less is taken for drift, and followed. */
const DRIFT_MS = 10_000;
/** Jumps kept; more are added to the oldest. */
const MAX_JUMPS = 32;

interface Jump {
  /** A message that came no later than this (by the clock as it was, and as it became) is of before the jump. */
  readonly before: number;
  /** Milliseconds; negative when the clock was set back. */
  readonly by: number;
}

export class Ages {
  readonly #now: () => number;
  readonly #monotonic: () => number;
  #jumps: Jump[] = [];
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
    const expected = this.#last.wall + (steady - this.#last.steady);
    this.#last = { wall, steady };
    const by = wall - expected;
    if (Math.abs(by) <= DRIFT_MS) return 0;
    this.#jumps.push({ before: Math.min(expected, wall), by });
    this.#steadySince = wall;
    const [first, second] = this.#jumps;
    if (first && second && this.#jumps.length > MAX_JUMPS)
      this.#jumps.splice(0, 2, { before: Math.max(first.before, second.before), by: first.by + second.by });
    return by;
  }

  /** Milliseconds since the epoch, by the clock as it is now: since when it is known to be steady. */
  get steadySince(): number {
    return this.#steadySince;
  }

  /** Milliseconds, never less than 0. When in doubt about a jump the message is taken for the younger. */
  age(arrived: number): number {
    this.observe();
    let age = this.#last.wall - arrived;
    for (const { before, by } of this.#jumps) if (arrived <= before) age -= by;
    return Math.max(0, age);
  }

  /** Whether a recipient has been in the queue for longer than `lifetime` allows; asked after a try that failed. */
  isExpired(arrived: number, lifetime: number, tried: { readonly attempts: number; readonly nextAttempt: number }): boolean {
    if (lifetime === 0) return true;
    if (this.age(arrived) < lifetime) return false;
    // The time of this try was set by a failure since then.
    return tried.attempts > 0 && tried.nextAttempt >= this.#steadySince;
  }
}
