// The queue's runner in a world where time is turned by hand: a store in memory (in the order of a plain list), an agent that the test scripts.
import { Scheduler, type SchedulerOptions } from '../../src/queue/scheduler/scheduler.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { MailError } from '../../src/lib/errors.ts';
import { memorySource, type MessageSource } from '../../src/message/source.ts';
import type { JobEnd } from '../../src/queue/scheduler/destination.ts';
import { DEFAULT_QUEUE_LIMITS, type QueueLimits } from '../../src/queue/scheduler/limits.ts';
import type {
  Job,
  NewMessage,
  QueuedEnvelope,
  QueuedRecipient,
  QueueStore,
  RecipientState,
  Settlement,
} from '../../src/queue/types.ts';
import { captureLog } from './log-capture.ts';

/** Lets everything run that waits for nothing but its turn: promises, and the word of a change. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Two clocks: one that can be set, and one that only runs forward. Timers go by the latter. */
export class TwoClocks implements Clock {
  #steady = 0;
  #offset = Date.UTC(2026, 10, 25);
  #timers: { readonly at: number; readonly fn: () => void }[] = [];

  now(): number {
    return this.#offset + this.#steady;
  }
  readonly monotonic = (): number => this.#steady;
  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#steady + ms, fn };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }
  /** Somebody sets the clock: forward, or back when negative. */
  set(by: number): void {
    this.#offset += by;
  }
  /** Time goes by; each timer runs when its time has come, and what follows from it. */
  async pass(ms: number): Promise<void> {
    const end = this.#steady + ms;
    await settled();
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#steady = Math.max(this.#steady, next.at);
      next.fn();
      await settled();
    }
    this.#steady = end;
    await settled();
  }
}

interface Row {
  readonly message: NewMessage;
  readonly number: number;
  recipient: QueuedRecipient;
}

/** What the runner uses of a QueueStore. */
export class ListStore {
  rows: Row[] = [];
  readonly calls = { readyDestinations: 0, jobs: 0, settle: 0 };
  /** The next calls of a method fail with this. */
  readonly failing = new Map<keyof QueueStore, Error>();
  readonly #listeners = new Set<() => void>();
  #told = false;
  readonly settlements: { readonly id: string; readonly settlements: readonly Settlement[] }[] = [];

  #check(method: keyof QueueStore): void {
    const error = this.failing.get(method);
    if (error) throw error;
  }
  /** One word for many changes, as the store on the disk. */
  #changed(): void {
    if (this.#told) return;
    this.#told = true;
    setImmediate(() => {
      this.#told = false;
      for (const listener of this.#listeners) listener();
    });
  }

  async add(message: NewMessage): Promise<void> {
    this.#check('add');
    message.recipients.forEach((recipient, number) => {
      const state: RecipientState = recipient.hold === undefined ? 'ready' : 'held';
      this.rows.push({
        message,
        number,
        recipient: { ...recipient, number, state, attempts: 0, nextAttempt: message.envelope.arrived, delayReported: false },
      });
    });
    this.#changed();
  }
  async promote(now: number, latest = Infinity): Promise<number | undefined> {
    this.#check('promote');
    let next: number | undefined;
    for (const row of this.rows) {
      const { state, nextAttempt } = row.recipient;
      if (state !== 'deferred') continue;
      if (nextAttempt <= now || nextAttempt > latest) row.recipient = { ...row.recipient, state: 'ready' };
      else next = Math.min(next ?? Infinity, nextAttempt);
    }
    return next;
  }
  async readyDestinations(after: string, limit: number, busy: ReadonlyMap<string, number> = new Map()): Promise<string[]> {
    this.calls.readyDestinations++;
    this.#check('readyDestinations');
    const ready = new Map<string, number>();
    for (const { recipient } of this.rows)
      if (recipient.state === 'ready') ready.set(recipient.destination, (ready.get(recipient.destination) ?? 0) + 1);
    const names = [...ready].flatMap(([name, count]) => (count > (busy.get(name) ?? 0) ? [name] : [])).sort();
    return [...names.filter((name) => name > after), ...names.filter((name) => name <= after)].slice(0, limit);
  }
  async jobs(destination: string, limit: number, recipientsEach: number, busy: ReadonlySet<string>): Promise<Job[]> {
    this.calls.jobs++;
    this.#check('jobs');
    const groups: Row[][] = [];
    for (const row of this.rows) {
      if (row.recipient.state !== 'ready' || row.recipient.destination !== destination) continue;
      if (busy.has(`${row.message.envelope.id}/${row.number}`)) continue;
      const last = groups.at(-1);
      if (last && last[0]?.message === row.message && last.length < recipientsEach) last.push(row);
      else if (groups.length < limit) groups.push([row]);
      else break;
    }
    return groups.flatMap((group) => {
      const [first] = group;
      if (!first) return [];
      const { envelope, source } = first.message;
      return [{ envelope, size: source.size, destination, recipients: group.map(({ recipient }) => recipient) }];
    });
  }
  async settle(id: string, settlements: readonly Settlement[]): Promise<boolean> {
    this.calls.settle++;
    this.#check('settle');
    this.settlements.push({ id, settlements });
    for (const settlement of settlements) {
      const row = this.#row(id, settlement.number);
      if (!row) continue;
      if (settlement.kind === 'done') this.rows = this.rows.filter((other) => other !== row);
      else {
        const { kind, failure } = settlement;
        const times = kind === 'deferred' ? { nextAttempt: settlement.nextAttempt, delayReported: settlement.delayReported } : {};
        row.recipient = { ...row.recipient, ...times, state: kind, attempts: row.recipient.attempts + 1, lastFailure: failure };
      }
    }
    return settlements.length > 0 && !this.rows.some(({ message }) => message.envelope.id === id);
  }
  async redirect(id: string, numbers: readonly number[], destination: string): Promise<void> {
    for (const number of numbers) {
      const row = this.#row(id, number);
      if (row) row.recipient = { ...row.recipient, destination };
    }
    this.#changed();
  }
  /** As `postsuper -e`. */
  expire(id: string): void {
    const found = this.rows.find(({ message }) => message.envelope.id === id)?.message;
    const message = found && { ...found, envelope: { ...found.envelope, expire: true as const } };
    this.rows = this.rows.map((row) => (message && row.message === found ? { ...row, message } : row));
    this.#changed();
  }
  /** As `buzon queue flush`. */
  retry(now: number): void {
    for (const row of this.rows)
      if (row.recipient.state === 'deferred')
        row.recipient = { ...row.recipient, state: 'ready', nextAttempt: Math.min(row.recipient.nextAttempt, now) };
    this.#changed();
  }
  async open(id: string): Promise<MessageSource> {
    this.#check('open');
    const row = this.rows.find(({ message }) => message.envelope.id === id);
    if (!row) throw new MailError('corrupt', 'QUEUE_FILE', 'the queue file is missing');
    return row.message.source;
  }
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #row(id: string, number: number): Row | undefined {
    return this.rows.find((row) => row.message.envelope.id === id && row.number === number);
  }
  recipient(id: string, number = 0): QueuedRecipient | undefined {
    return this.#row(id, number)?.recipient;
  }

  /** For what takes a whole store; commands are not here. */
  get asStore(): QueueStore {
    return this as unknown as QueueStore;
  }
}

export interface MessageOptions {
  readonly sender?: string;
  readonly arrived?: number;
  readonly notify?: readonly ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[];
  readonly expire?: true;
  readonly trace?: QueuedEnvelope['trace'];
}

/** One with `recipients` of one destination, `smtp:example.com` from the addresses' domain. */
export function newMessage(id: string, recipients: readonly string[], options: MessageOptions = {}): NewMessage {
  const { sender = 'ana@example.test', arrived = Date.UTC(2026, 10, 25), notify, expire, trace } = options;
  return {
    envelope: {
      id,
      sender,
      arrived,
      smtpUtf8: false,
      bodyType: '7BIT',
      ...(expire ? { expire } : {}),
      ...(trace ? { trace } : {}),
    },
    source: memorySource(Buffer.from('Subject: x\r\n\r\nhello\r\n')),
    recipients: recipients.map((address) => ({
      address,
      destination: `smtp:${address.split('@')[1] ?? ''}`,
      ...(notify ? { notify } : {}),
    })),
  };
}

/** A job under way, which the test ends. */
export interface Running {
  readonly job: Job;
  /** By the clock that only runs forward. */
  readonly began: number;
  end(end?: JobEnd): void;
}

/** A scheduler over a ListStore: its jobs stand until the test (or `took` milliseconds) ends them; what was `up` is delivered. */
export class SchedulerWorld {
  readonly clocks = new TwoClocks();
  readonly store = new ListStore();
  readonly running: Running[] = [];
  /** Destinations of all jobs begun, in order. */
  readonly begun: string[] = [];
  readonly suspended: Job[] = [];
  readonly log = captureLog();
  /** Milliseconds that a job takes and how it ends; undefined: the test ends it. */
  answer: (job: Job) => { readonly took: number; readonly end?: JobEnd } | undefined = () => undefined;
  limits: QueueLimits;
  /** In place of these, by destination. */
  readonly limitsOf: Record<string, Partial<QueueLimits>> = {};
  readonly scheduler: Scheduler;

  constructor(limits: Partial<QueueLimits> = {}) {
    this.limits = { ...DEFAULT_QUEUE_LIMITS, ...limits };
    const options: SchedulerOptions = {
      store: this.store,
      limits: (destination = '') => ({ ...this.limits, ...this.limitsOf[destination] }),
      run: (job) => this.#run(job),
      suspend: async (job, cause) => {
        this.suspended.push(job);
        await this.#defer(job, `delivery temporarily suspended: ${cause?.reason ?? ''}`);
      },
      clock: this.clocks,
      monotonic: this.clocks.monotonic,
      logger: this.log.logger,
      remembered: 200,
    };
    this.scheduler = new Scheduler(options);
    this.store.onChange(() => this.scheduler.wake());
  }

  #run(job: Job): Promise<JobEnd> {
    this.begun.push(job.destination);
    return new Promise((resolve) => {
      const running: Running = {
        job,
        began: this.clocks.monotonic(),
        end: (end = { site: 'up' }) => {
          this.running.splice(this.running.indexOf(running), 1);
          const settling =
            end.site === 'up'
              ? this.store.settle(
                  job.envelope.id,
                  job.recipients.map(({ number }) => ({ number, kind: 'done' })),
                )
              : this.#defer(job, end.failure?.reason ?? 'refused');
          void settling.then(() => resolve(end));
        },
      };
      this.running.push(running);
      const answer = this.answer(job);
      if (answer) this.clocks.after(answer.took, () => running.end(answer.end));
    });
  }

  async #defer(job: Job, reason: string): Promise<void> {
    const nextAttempt = this.clocks.now() + this.limits.minimalBackoff;
    await this.store.settle(
      job.envelope.id,
      job.recipients.map(({ number }) => ({
        number,
        kind: 'deferred',
        nextAttempt,
        failure: { status: '4.4.1', reason },
        delayReported: false,
      })),
    );
  }

  /** `count` messages of one recipient each to a domain. */
  async queue(domain: string, count: number, name = domain): Promise<void> {
    for (let i = 0; i < count; i++)
      await this.store.add(newMessage(`${name}-${i}`, [`user${i}@${domain}`], { arrived: this.clocks.now() }));
    await settled();
  }
  runningAt(domain: string): number {
    return this.running.filter(({ job }) => job.destination === `smtp:${domain}`).length;
  }
  /** Jobs that have been under way for less than `ms` milliseconds. */
  youngerThan(ms: number): number {
    return this.running.filter(({ began }) => this.clocks.monotonic() - began < ms).length;
  }
  /** Ends the oldest jobs to a domain, `count` of them. */
  async end(domain: string, count: number, end?: JobEnd): Promise<void> {
    for (const running of this.running.filter(({ job }) => job.destination === `smtp:${domain}`).slice(0, count))
      running.end(end);
    await settled();
  }
}
