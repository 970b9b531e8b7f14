// What is known of one destination while the runner lives: how many jobs it takes at a time, whether it is dead, how fast it answers. After
// Postfix's qmgr (SCHEDULER_README): the window grows by one with each success and shrinks by one with each failure of the site; when failures come to
// a whole window's worth (failed cohort) the destination is dead for a time. Times here are of a clock that only runs forward.
import type { Failure, Job } from '../types.ts';
import type { QueueLimits } from './limits.ts';

/** A job that takes longer makes its destination a slow one. */
export const SLOW_MS = 5_000;
/** The weight of the newest job in the mean of what jobs take. */
const NEWEST = 0.25;
/** A dead destination is tried with one job when somebody seems to have asked for it (`revive`), this often at most. */
const REVIVE_MS = 60_000;
/** Jobs fetched and not begun; later an administrator may have thought better of them. */
const FETCHED_MS = 2_000;

/** How a job ended for its destination: `none` when nobody was asked. */
export interface JobEnd {
  readonly site: 'up' | 'down' | 'none';
  /** Of a recipient, when the site was down. */
  readonly failure?: Failure;
}

/** `proven`: its last job went well, and quickly; `new`: nothing is known, or it failed. */
export type Pace = 'proven' | 'new' | 'slow';

export const busyKeys = (job: Job): string[] => job.recipients.map(({ number }) => `${job.envelope.id}/${number}`);

export class Destination {
  readonly name: string;
  readonly #limits: () => QueueLimits;
  /** Recipients (`ID/NUMBER`) of jobs that run or are fetched. */
  readonly busy = new Set<string>();
  /** Jobs under way, oldest first, with their beginning. */
  readonly #running = new Map<Job, number>();
  #fetched: Job[] = [];
  #fetchedAt = 0;
  /** Places that are taken while jobs are asked for. */
  reserved = 0;
  /** Nothing more was ready there, as of this turn of things (`Scheduler.wake`). */
  drained = -1;
  #window: number;
  #cohorts = 0;
  #dead: { readonly until: number; readonly failure: Failure | undefined } | undefined;
  #probedAt = -Infinity;
  #mean: number | undefined;
  #good = false;

  constructor(name: string, limits: () => QueueLimits) {
    this.name = name;
    this.#limits = limits;
    this.#window = Math.min(limits().initialConcurrency, limits().concurrency);
  }

  /** Jobs that it takes at a time. */
  get window(): number {
    return Math.min(this.#window, this.#limits().concurrency);
  }
  /** Places in use. */
  get taken(): number {
    return this.#running.size + this.reserved;
  }
  /** Jobs that have been under way for long. */
  waiting(now: number): number {
    let count = 0;
    for (const began of this.#running.values()) {
      if (now - began < SLOW_MS) break;
      count++;
    }
    return count;
  }
  get room(): number {
    return Math.max(0, this.window - this.taken);
  }
  get isIdle(): boolean {
    return this.taken === 0 && this.#fetched.length === 0;
  }

  pace(now: number): Pace {
    const [oldest = now] = this.#running.values();
    if (now - oldest >= SLOW_MS || (this.#mean ?? 0) >= SLOW_MS) return 'slow';
    return this.#good ? 'proven' : 'new';
  }

  // ---- jobs

  started(job: Job, now: number): void {
    for (const key of busyKeys(job)) this.busy.add(key);
    this.#running.set(job, now);
  }

  /** Says whether the destination is dead because of it. */
  finished(job: Job, end: JobEnd, now: number): boolean {
    const took = now - (this.#running.get(job) ?? now);
    this.#running.delete(job);
    for (const key of busyKeys(job)) this.busy.delete(key);
    if (end.site === 'none') {
      // Some may still be ready.
      this.drained = -1;
      return false;
    }
    this.#mean = this.#mean === undefined ? took : this.#mean * (1 - NEWEST) + took * NEWEST;
    this.#good = end.site === 'up';
    const wasDead = this.#dead !== undefined;
    if (end.site === 'up') this.#succeeded();
    else this.#failed(end.failure, now);
    return !wasDead && this.#dead !== undefined;
  }

  /** Keeps jobs for places that become free soon. */
  keep(jobs: readonly Job[], now: number): void {
    if (jobs.length === 0) return;
    this.#fetched.push(...jobs);
    this.#fetchedAt = now;
    for (const job of jobs) for (const key of busyKeys(job)) this.busy.add(key);
  }
  get hasKept(): boolean {
    return this.#fetched.length > 0;
  }
  /** The next one that was kept; undefined when there is none that may still be used. */
  next(now: number): Job | undefined {
    if (now - this.#fetchedAt > FETCHED_MS) this.forgetKept();
    return this.#fetched.shift();
  }
  forgetKept(): void {
    for (const job of this.#fetched) for (const key of busyKeys(job)) this.busy.delete(key);
    if (this.#fetched.length > 0) this.drained = -1;
    this.#fetched = [];
  }

  // ---- feedback

  #succeeded(): void {
    const { initialConcurrency, concurrency } = this.#limits();
    this.#cohorts = 0;
    this.#dead = undefined;
    // Only a window that is made use of grows.
    if (this.#window < this.taken + 1 + initialConcurrency) this.#window = Math.min(this.#window + 1, concurrency);
  }

  #failed(failure: Failure | undefined, now: number): void {
    const { failedCohorts, minimalBackoff } = this.#limits();
    this.#cohorts += 1 / this.#window;
    this.#window = Math.max(1, this.#window - 1);
    if (failedCohorts > 0 && this.#cohorts >= failedCohorts) {
      this.#dead = { until: now + minimalBackoff, failure };
      this.#probedAt = now;
      this.forgetKept();
    }
  }

  /** Why nothing is sent there now; undefined when it is not dead. When its time is over, one job goes first. */
  dead(now: number): { readonly failure: Failure | undefined } | undefined {
    if (this.#dead && now >= this.#dead.until) this.#probe();
    return this.#dead;
  }

  /**
   * An administrator seems to want a try: one of those that were put off without one is ready again early. Whether one job may go, instead of being put
   * off once more.
   */
  revive(now: number): boolean {
    if (!this.#dead || now - this.#probedAt < REVIVE_MS) return false;
    this.#probedAt = now;
    this.#probe();
    return true;
  }

  #probe(): void {
    this.#dead = undefined;
    this.#cohorts = 0;
    this.#window = 1;
  }
}
