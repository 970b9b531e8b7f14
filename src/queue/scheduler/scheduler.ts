// Which job comes next. Destinations stand in a ring: whoever has ready recipients gets its turn, however many another has. Nothing of the queue is
// kept here but the jobs under way, a few fetched ahead for destinations that answer fast, and what was learnt of the last destinations.
//
// Places (smtp_process_limit) are shared by pace, so that hosts that take half a minute a reply cannot hold up those that do not: slow
// destinations have at most half of the places, they and those of which nothing is known yet at most three quarters. A job that goes on for longer
// (SLOW_MS) gives its place to others and waits beside them: it costs a connection, not a process as qmgr's do. So nobody's silence keeps mail from a
// destination of which nothing is known. Of those that wait there is a limit too.
import { toMailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Failure, Job, QueueStore } from '../types.ts';
import { Destination, type JobEnd, type Pace } from './destination.ts';
import type { LimitsOf } from './limits.ts';

export interface SchedulerOptions {
  readonly store: Pick<QueueStore, 'readyDestinations' | 'jobs'>;
  readonly limits: LimitsOf;
  /** Carries out a job; what it gives is what the destination is judged by. Never rejects. */
  readonly run: (job: Job) => Promise<JobEnd>;
  /** Puts a job off that goes to a dead destination. Never rejects. */
  readonly suspend: (job: Job, cause: Failure | undefined) => Promise<void>;
  readonly clock: Clock;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly logger: Logger;
  /** Destinations remembered; beyond, those that were used least lately are forgotten. Default 5,000. */
  readonly remembered?: number;
}

/** Destinations asked for at a time. */
const PAGE = 64;
/** Pages in a row of which nobody had a turn, before a pause. */
const IDLE_PAGES = 32;
/** Jobs of a dead destination that one turn puts off. */
const SUSPENDED = 50;
const REMEMBERED = 5_000;
/** When the store failed, or all that waits has to wait for others. */
const AGAIN_MS = 1_000;

/** The part of the places that slow destinations may have together, and they with those of which nothing is known. */
const SLOW_PART = 0.5;
const UNPROVEN_PART = 0.75;

/** Jobs that wait without a place, at most, for each place there is. */
const WAITING_EACH = 9;

/** Why a recipient at a dead destination waits, as Postfix says it. */
export const SUSPENDED_REASON = 'delivery temporarily suspended: ';

export class Scheduler {
  readonly #o: SchedulerOptions;
  /** Least lately used first. */
  readonly #destinations = new Map<string, Destination>();
  readonly #active = new Set<Destination>();
  readonly #jobs = new Set<Promise<void>>();
  #cursor = '';
  /** When many pages in a row were looked at in vain. */
  #walkedAt = -Infinity;
  #wanted = false;
  /** Goes up whenever something may have become ready. */
  #turnOfThings = 0;
  #round: Promise<void> | undefined;
  /** The last round left recipients behind for want of places. */
  #contended = false;
  #cancelAgain: () => void = () => undefined;
  #stopped = false;

  constructor(options: SchedulerOptions) {
    this.#o = options;
  }

  /** Jobs under way. */
  get running(): number {
    return this.#jobs.size;
  }
  /** Destinations of which something is known. */
  get remembered(): number {
    return this.#destinations.size;
  }

  /** Something may have become ready. */
  wake(): void {
    this.#turnOfThings++;
    this.#goOn();
  }

  /** A place may have become free. */
  #goOn(): void {
    this.#wanted = true;
    if (this.#stopped || this.#round) return;
    this.#round = this.#rounds().finally(() => {
      this.#round = undefined;
      if (this.#wanted && !this.#stopped) this.#goOn();
    });
  }

  /** Begins nothing more; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelAgain();
    await this.#round;
    while (this.#jobs.size > 0) await Promise.all(this.#jobs);
  }

  // ---- rounds

  async #rounds(): Promise<void> {
    this.#cancelAgain();
    try {
      while (this.#wanted && !this.#stopped) {
        this.#wanted = false;
        await this.#goRound();
      }
    } catch (error) {
      this.#o.logger.warn('queue.scheduler.failed', { error: toMailError(error, 'queue').detail });
      this.#again();
    }
  }

  #again(): void {
    this.#cancelAgain();
    if (!this.#stopped) this.#cancelAgain = this.#o.clock.after(AGAIN_MS, () => this.#goOn());
  }

  async #goRound(): Promise<void> {
    /** Of the first page that nobody of had a use for: seen again, the ring has been gone round. */
    let first: string | undefined;
    // Not for each message that comes while others wait for places.
    const most = this.#o.monotonic() - this.#walkedAt >= AGAIN_MS ? IDLE_PAGES : 1;
    for (let idle = 0; !this.#stopped && this.#free() > 0;) {
      const names = await this.#o.store.readyDestinations(this.#cursor, PAGE, this.#inJobs());
      if ((await this.#serve(names)) > 0) {
        idle = 0;
        first = undefined;
        continue;
      }
      const isWholeRing = names.length < PAGE || (first !== undefined && names.includes(first));
      first ??= names[0];
      if (!isWholeRing && ++idle < most) continue;
      if (most > 1) this.#walkedAt = this.#o.monotonic();
      // Those that are left have what they may have, until jobs end or turn out to be long.
      this.#contended = names.length === PAGE;
      if (names.length > 0) this.#again();
      return;
    }
    this.#contended = true;
  }

  /** A turn for each, in order; gives the number of jobs begun or put off. The ring goes on behind the last that had one. */
  async #serve(names: readonly string[]): Promise<number> {
    const share = Math.max(1, Math.floor(this.#free() / Math.max(1, names.length)));
    const turns: Promise<number>[] = [];
    for (const name of names) {
      if (this.#free() === 0) break;
      this.#cursor = name;
      if (this.#mayHaveTurn(name)) turns.push(this.#turn(this.#destination(name), share));
    }
    // All of them, also when one fails: two turns of a destination at a time would get the same jobs.
    const results = await Promise.allSettled(turns);
    let begun = 0;
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
      begun += result.value;
    }
    return begun;
  }

  /** Recipients in jobs, by destination; those that have fetched jobs to begin are to be named in any case. */
  #inJobs(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { name, busy, hasKept } of this.#active) if (!hasKept) counts.set(name, busy.size);
    return counts;
  }

  /** A quick look: many of a page may be new ones for which there is no place. */
  #mayHaveTurn(name: string): boolean {
    const known = this.#destinations.get(name);
    if (known && this.#isDrained(known)) return false;
    return this.#allowance(known) > 0 || known?.dead(this.#o.monotonic()) !== undefined;
  }

  #isDrained(destination: Destination): boolean {
    return destination.drained === this.#turnOfThings && !destination.hasKept;
  }

  async #turn(destination: Destination, share: number): Promise<number> {
    const dead = destination.dead(this.#o.monotonic());
    if (dead) return this.#suspend(destination, dead.failure);
    const places = Math.min(share, destination.room, this.#allowance(destination));
    if (places === 0) return 0;
    let begun = 0;
    for (let job = destination.next(this.#o.monotonic()); job && begun < places; begun++) {
      this.#begin(destination, job);
      job = begun + 1 < places ? destination.next(this.#o.monotonic()) : undefined;
    }
    return begun + (begun < places && !this.#isDrained(destination) ? await this.#fetch(destination, places - begun) : 0);
  }

  async #fetch(destination: Destination, places: number): Promise<number> {
    const { store, limits, monotonic } = this.#o;
    const ahead = !this.#contended && destination.pace(monotonic()) === 'proven' ? destination.window : 0;
    const turnOfThings = this.#turnOfThings;
    this.#reserve(destination, places);
    try {
      const jobs = await store.jobs(destination.name, places + ahead + 1, limits(destination.name).recipients, destination.busy);
      if (this.#stopped) return 0;
      // One more than there is a use for says whether there is more.
      if (jobs.length <= places + ahead) destination.drained = turnOfThings;
      for (const job of jobs.slice(0, places)) this.#begin(destination, job);
      destination.keep(jobs.slice(places, places + ahead), monotonic());
      return Math.min(jobs.length, places);
    } finally {
      this.#reserve(destination, -places);
    }
  }

  #reserve(destination: Destination, places: number): void {
    destination.reserved += places;
    this.#note(destination);
  }

  /** Puts off what is ready at a dead destination. */
  async #suspend(destination: Destination, cause: Failure | undefined): Promise<number> {
    const jobs = await this.#o.store.jobs(
      destination.name,
      SUSPENDED,
      this.#o.limits(destination.name).recipients,
      destination.busy,
    );
    const [first] = jobs;
    if (this.#stopped || !first) return 0;
    const asked = jobs.find(({ recipients }) =>
      recipients.some(({ lastFailure }) => lastFailure?.reason.startsWith(SUSPENDED_REASON)),
    );
    if (asked && destination.revive(this.#o.monotonic())) {
      this.#begin(destination, first);
      return 1;
    }
    await Promise.all(jobs.map((job) => this.#o.suspend(job, cause)));
    return jobs.length;
  }

  // ---- jobs

  #begin(destination: Destination, job: Job): void {
    destination.started(job, this.#o.monotonic());
    this.#note(destination);
    const done: Promise<void> = this.#o.run(job).then((end) => {
      this.#jobs.delete(done);
      this.#ended(destination, job, end);
    });
    this.#jobs.add(done);
  }

  #ended(destination: Destination, job: Job, end: JobEnd): void {
    const now = this.#o.monotonic();
    if (destination.finished(job, end, now))
      this.#o.logger.warn('queue.destination.dead', { destination: destination.name, reason: end.failure?.reason });
    this.#note(destination);
    if (this.#stopped) return;
    // While others wait the place goes round the ring.
    while (!this.#contended && destination.room > 0 && this.#allowance(destination) > 0) {
      const next = destination.next(now);
      if (!next) return this.#goOn();
      this.#begin(destination, next);
    }
    if (this.#contended || destination.room > 0) this.#goOn();
  }

  // ---- places

  /** Places in use, by the pace of who has them. */
  #taken(): Record<Pace, number> {
    const now = this.#o.monotonic();
    const taken: Record<Pace, number> = { slow: 0, new: 0, proven: 0 };
    let mayWait = this.#o.limits().processes * WAITING_EACH;
    for (const one of this.#active) {
      const waiting = Math.min(one.waiting(now), mayWait);
      mayWait -= waiting;
      taken[one.pace(now)] += one.taken - waiting;
    }
    return taken;
  }
  #free(): number {
    const { slow, new: unknown, proven } = this.#taken();
    return Math.max(0, this.#o.limits().processes - slow - unknown - proven);
  }

  /** Places that a destination may have more, by its pace; undefined stands for one of which nothing is known. */
  #allowance(destination: Destination | undefined): number {
    const taken = this.#taken();
    const places = this.#o.limits().processes;
    const left = (part: number, used: number): number => Math.max(1, Math.floor(places * part)) - used;
    const pace = destination?.pace(this.#o.monotonic()) ?? 'new';
    const some = left(1, taken.slow + taken.new + taken.proven);
    if (pace === 'proven') return Math.max(0, some);
    const unproven = Math.min(some, left(UNPROVEN_PART, taken.slow + taken.new));
    return Math.max(0, pace === 'new' ? unproven : Math.min(unproven, left(SLOW_PART, taken.slow)));
  }

  // ---- memory

  #destination(name: string): Destination {
    const known = this.#destinations.get(name) ?? new Destination(name, () => this.#o.limits(name));
    this.#destinations.delete(name);
    this.#destinations.set(name, known);
    if (this.#destinations.size > (this.#o.remembered ?? REMEMBERED))
      for (const [oldest, destination] of this.#destinations) {
        if (!destination.isIdle || destination === known) continue;
        this.#destinations.delete(oldest);
        break;
      }
    return known;
  }

  #note(destination: Destination): void {
    if (destination.taken > 0) this.#active.add(destination);
    else this.#active.delete(destination);
  }
}
