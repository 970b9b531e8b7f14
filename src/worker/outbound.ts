// The outbound queue of one process: taken into by every worker, run by one of them. What it is made of (store, client, reports, signing) comes
// from `makeParts`; here it begins and ends with the server.
//
//   warm (while root) → open: store → runner asks for its lease … stop: runner ends → close: store
import type { Settings } from '../config/settings.ts';
import type { OutboundQueue, ReceivedMessage } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import { takePlace, type Counters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';
import type { FolderLock } from '../lib/sqlite.ts';
import type { MessageSource } from '../message/source.ts';
import { noQueue } from '../queue/no-queue.ts';
import { StoreQueue } from '../queue/outbound.ts';
import { lockRunner } from '../queue/runner-lock.ts';
import { QueueRunner } from '../queue/runner.ts';
import type { LimitsOf, QueueLimits } from '../queue/scheduler/limits.ts';
import type { DkimKeys } from '../policy/dkim-keys.ts';
import type { DeliveryAgent, QueuedMessage, QueueStore, Reporter, Transports } from '../queue/types.ts';
import type { Parts } from './parts.ts';
import { perSettings } from './per-settings.ts';

/** What the parts of the queue may ask of the server. */
export interface QueueContext {
  /** Of now: a reload changes them. */
  readonly parts: () => Parts;
  readonly dkimKeys: () => DkimKeys | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Reports on what the queue carries, and on mail for mailboxes here whose sender asked for a report of success. */
export interface FullReporter extends Reporter {
  reportStored(message: ReceivedMessage): Promise<void>;
}

export interface QueueParts {
  /** Before root is given up: what comes from the program's folder, and threads. */
  warm?(): Promise<void>;
  openStore(): Promise<QueueStore>;
  /** Asked for each try: answers by the tables as they are. */
  readonly transports: Transports;
  readonly agent: DeliveryAgent;
  readonly reporter: FullReporter;
  /** Normalises and signs. */
  prepare?(message: ReceivedMessage): Promise<MessageSource>;
  /** Tells the postmaster of a message that was set aside. */
  onCorrupt?(message: QueuedMessage, detail: string): Promise<void>;
}

export interface OutboundOptions {
  readonly parts: QueueParts;
  /** As they are now: a reload changes them. */
  readonly settings: () => Settings;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class Outbound implements OutboundQueue {
  readonly #o: OutboundOptions;
  #store: QueueStore | undefined;
  #queue: OutboundQueue = noQueue;
  #runner: QueueRunner | undefined;

  constructor(options: OutboundOptions) {
    this.#o = options;
  }

  get available(): boolean {
    return this.#queue.available;
  }
  enqueue(...message: Parameters<OutboundQueue['enqueue']>): Promise<void> {
    return this.#queue.enqueue(...message);
  }

  async warm(): Promise<void> {
    await this.#o.parts.warm?.();
  }

  /** Before connections are served. @throws MailError when the store cannot be opened */
  async open(): Promise<void> {
    const { parts, clock, logger } = this.#o;
    const { transports, agent, reporter } = parts;
    const store = await parts.openStore();
    this.#store = store;
    this.#queue = new StoreQueue({
      store,
      transports,
      clock,
      logger,
      ...(parts.prepare ? { prepare: (message) => parts.prepare?.(message) ?? Promise.resolve(message.source) } : {}),
    });
    this.#runner = new QueueRunner({
      store,
      transports,
      agent,
      reporter,
      limits: limitsBySettings(this.#o.settings),
      lease: () => this.#lease(),
      onCorrupt: async (message, detail) => parts.onCorrupt?.(message, detail),
      clock,
      monotonic: () => performance.now(),
      random: Math.random,
      logger,
    });
  }

  get reporter(): FullReporter {
    return this.#o.parts.reporter;
  }

  /** From when on what waits is delivered: reports need the rest of the server. */
  run(): void {
    this.#runner?.start();
  }

  /** One place among the workers, and a lock of the folder: servers with a data_directory of their own may have been given the same queue. */
  async #lease(): Promise<(() => void) | undefined> {
    const place = await takePlace(this.#o.counters, 'queue', 'runner', 1);
    if (!place) return undefined;
    let lock: FolderLock | undefined;
    try {
      lock = lockRunner(this.#o.settings().queue_directory);
    } finally {
      if (!lock) place();
    }
    return (
      lock &&
      (() => {
        lock.release();
        place();
      })
    );
  }

  /** Ends what is under way, within about `grace` milliseconds; messages are still taken in. */
  async stopRunning(grace: number): Promise<void> {
    await this.#runner?.stop(grace);
  }
  /** When nobody takes messages in any more. */
  async close(): Promise<void> {
    this.#queue = noQueue;
    await this.#store?.close();
  }
}

/** Made once for each settings: the scheduler asks at every turn of a destination. */
export function limitsBySettings(settings: () => Settings): LimitsOf {
  const limits = perSettings(settings, (now) => ({
    all: queueLimits(now),
    smtp: queueLimits(now, 'smtp'),
    lmtp: queueLimits(now, 'lmtp'),
  }));
  return (destination = '') =>
    limits()[destination.startsWith('smtp:') ? 'smtp' : destination.startsWith('lmtp:') ? 'lmtp' : 'all'];
}

/** The settings' limits as the runner takes them. `transport`: its own where it has some. */
export function queueLimits(settings: Settings, transport?: 'smtp' | 'lmtp'): QueueLimits {
  return {
    processes: settings.smtp_process_limit,
    initialConcurrency: settings.initial_destination_concurrency,
    concurrency: settings.default_destination_concurrency_limit,
    failedCohorts: settings.default_destination_concurrency_failed_cohort_limit,
    recipients: settings.default_destination_recipient_limit,
    minimalBackoff: settings.minimal_backoff_time,
    maximalBackoff: settings.maximal_backoff_time,
    lifetime: settings.maximal_queue_lifetime,
    bounceLifetime: settings.bounce_queue_lifetime,
    delayWarning: settings.delay_warning_time,
    ...(transport === undefined ? {} : destinationLimits(settings, transport)),
  };
}

type DestinationLimits = Pick<QueueLimits, 'initialConcurrency' | 'concurrency' | 'failedCohorts' | 'recipients'>;

/** TRANSPORT_destination_concurrency_limit and the like (postconf(5)); where they are not set they are the defaults for all. */
function destinationLimits(settings: Settings, transport: 'smtp' | 'lmtp'): DestinationLimits {
  return {
    initialConcurrency: settings[`${transport}_initial_destination_concurrency`],
    concurrency: settings[`${transport}_destination_concurrency_limit`],
    failedCohorts: settings[`${transport}_destination_concurrency_failed_cohort_limit`],
    recipients: settings[`${transport}_destination_recipient_limit`],
  };
}
