// Runs the queue: in one process at a time, however many take mail in. The lease is a place that the supervisor counts (lib/counters.ts) and frees when
// the process that has it dies; it is asked for every few seconds by those that do not have it.
//
//   lease → store's changes and due times → scheduler → jobs (job-run.ts)
//   stop: nothing new begins → what is under way may end → is aborted → kept connections say goodbye → lease given back
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import { JobRun, type JobRunOptions } from './job-run.ts';
import { Ages } from './scheduler/ages.ts';
import { longestBackoff } from './scheduler/back-off.ts';
import { Scheduler } from './scheduler/scheduler.ts';
import type { DeliveryAgent, QueueStore } from './types.ts';

export interface QueueRunnerOptions extends Omit<JobRunOptions, 'store' | 'agent' | 'ages' | 'signal' | 'onDeferred'> {
  readonly store: QueueStore;
  /** Closed with the runner. */
  readonly agent: DeliveryAgent;
  /** Takes the one place of the runner; gives what frees it, undefined while another has it. */
  readonly lease: () => Promise<(() => void) | undefined>;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
}

const LEASE_MS = 3_000;
/** The clocks are compared, and the store is asked, at least this often. */
const LOOK_MS = 60_000;
/** After an error of the store. */
const AGAIN_MS = 1_000;
/** No two looks closer than this: what comes due meanwhile comes with the next. */
const LEAST_MS = 50;
/** How long what was aborted may take to notice: the supervisor kills who takes longer than five seconds. */
const ABORT_MS = 3_000;

export class QueueRunner {
  readonly #o: QueueRunnerOptions;
  readonly #abort = new AbortController();
  #cancelLease: () => void = () => undefined;
  #leasing: Promise<void> = Promise.resolve();
  #run: LeasedRun | undefined;
  #stopped = false;

  constructor(options: QueueRunnerOptions) {
    this.#o = options;
  }

  /** Whether this process has the lease. */
  get isRunning(): boolean {
    return this.#run !== undefined;
  }

  /** Runs the queue as soon as nobody else does. */
  start(): void {
    this.#leasing = this.#takeLease();
  }

  async #takeLease(): Promise<void> {
    const release = await this.#o.lease().catch((error: unknown) => {
      this.#o.logger.warn('queue.lease.failed', { error: toMailError(error, 'lease').message });
      return undefined;
    });
    if (this.#stopped) return release?.();
    if (release) {
      this.#o.logger.info('queue.runner.started', {});
      this.#run = new LeasedRun(this.#o, this.#abort.signal, release);
    } else this.#cancelLease = this.#o.clock.after(LEASE_MS, () => this.start());
  }

  /** Resolves when nothing is under way any more: within `grace` milliseconds what is may end by itself, then it is aborted. */
  async stop(grace: number): Promise<void> {
    this.#stopped = true;
    this.#cancelLease();
    await this.#leasing;
    const cancel = this.#o.clock.after(grace, () => this.#abort.abort());
    await this.#run?.stop(grace + ABORT_MS);
    cancel();
    await this.#o.agent.close().catch(() => undefined);
    this.#run?.release();
    this.#run = undefined;
  }
}

/** While the lease is held. */
class LeasedRun {
  readonly #o: QueueRunnerOptions;
  readonly #ages: Ages;
  readonly #scheduler: Scheduler;
  readonly release: () => void;
  readonly #unlisten: () => void;
  #cancelLook: () => void = () => undefined;
  /** By the clock that nobody sets. */
  #lookAt = Infinity;
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(options: QueueRunnerOptions, signal: AbortSignal, release: () => void) {
    this.#o = options;
    this.release = release;
    const { clock, monotonic } = options;
    this.#ages = new Ages(() => clock.now(), monotonic);
    const jobs = new JobRun({ ...options, signal, ages: this.#ages, onDeferred: (at) => this.#lookIn(at - clock.now()) });
    this.#scheduler = new Scheduler({ ...options, run: jobs.run, suspend: jobs.suspend });
    this.#unlisten = options.store.onChange(() => this.#scheduler.wake());
    this.#look();
  }

  /** Not later than in `ms` milliseconds. */
  #lookIn(ms: number): void {
    const wait = Math.min(Math.max(ms, LEAST_MS), LOOK_MS);
    const at = this.#o.monotonic() + wait;
    if (this.#stopped || at >= this.#lookAt) return;
    this.#cancelLook();
    this.#lookAt = at;
    this.#cancelLook = this.#o.clock.after(wait, () => this.#look());
  }

  /** Makes ready what is due. */
  #look(): void {
    this.#lookAt = Infinity;
    this.#looking ??= this.#promote().finally(() => {
      this.#looking = undefined;
    });
  }

  async #promote(): Promise<void> {
    const { store, clock, limits, logger } = this.#o;
    const jump = this.#ages.observe();
    if (jump !== 0) logger.warn('queue.clock.jumped', { seconds: Math.round(jump / 1000) });
    const now = clock.now();
    try {
      const next = await store.promote(now, now + longestBackoff(limits()));
      this.#lookIn(next === undefined ? LOOK_MS : next - clock.now());
    } catch (error) {
      logger.warn('queue.promote.failed', { error: toMailError(error, 'promote').message });
      this.#lookIn(AGAIN_MS);
    }
    this.#scheduler.wake();
  }

  /** Resolves when everything has ended, at the latest after `most` milliseconds. */
  async stop(most: number): Promise<void> {
    this.#stopped = true;
    this.#cancelLook();
    this.#unlisten();
    const given = deadline(this.#o.clock, most);
    const ended = Promise.all([this.#scheduler.stop(), this.#looking]).then(() => true);
    if (!(await Promise.race([ended, given.over])))
      this.#o.logger.error('queue.runner.cut-off', { jobs: this.#scheduler.running });
    given.cancel();
  }
}

function deadline(clock: Clock, ms: number): { readonly over: Promise<false>; cancel(): void } {
  let cancel: () => void = () => undefined;
  const over = new Promise<false>((resolve) => {
    cancel = clock.after(ms, () => resolve(false));
  });
  return { over, cancel: () => cancel() };
}
