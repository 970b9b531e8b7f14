// What the settings say about the queue, under their names' meanings; times in milliseconds. Those of destinations may be other ones by transport.

/** As they are now (a reload changes them), for a destination, or for all where none is given. */
export type LimitsOf = (destination?: string) => QueueLimits;

export interface QueueLimits {
  /** smtp_process_limit: jobs under way at a time, all destinations together. */
  readonly processes: number;
  /** initial_destination_concurrency, or TRANSPORT_initial_destination_concurrency. */
  readonly initialConcurrency: number;
  /** default_destination_concurrency_limit, or TRANSPORT_destination_concurrency_limit. */
  readonly concurrency: number;
  /** default_destination_concurrency_failed_cohort_limit, or TRANSPORT_…; 0: no destination is ever taken for dead. */
  readonly failedCohorts: number;
  /** default_destination_recipient_limit, or TRANSPORT_destination_recipient_limit: recipients of one transaction. */
  readonly recipients: number;
  /** minimal_backoff_time; also how long a dead destination is remembered. */
  readonly minimalBackoff: number;
  /** maximal_backoff_time. */
  readonly maximalBackoff: number;
  /** maximal_queue_lifetime; 0: one try. */
  readonly lifetime: number;
  /** bounce_queue_lifetime, for mail from `<>`. */
  readonly bounceLifetime: number;
  /** delay_warning_time; 0: none. */
  readonly delayWarning: number;
}

const SECOND = 1000;
const DAY = 86_400 * SECOND;

export const DEFAULT_QUEUE_LIMITS: QueueLimits = {
  processes: 100,
  initialConcurrency: 5,
  concurrency: 20,
  failedCohorts: 1,
  recipients: 50,
  minimalBackoff: 300 * SECOND,
  maximalBackoff: 4000 * SECOND,
  lifetime: 5 * DAY,
  bounceLifetime: 5 * DAY,
  delayWarning: 0,
};
