// When a recipient is tried again. RFC 5321 section 4.5.4.1 leaves the intervals to the sender; these are Postfix's: a message waits as long
// again as it has waited already, within bounds, and a little longer by chance, so that what failed together does not come back together.
import type { Failure } from '../types.ts';
import type { QueueLimits } from './limits.ts';

/** A wait becomes longer by up to this part of itself. */
export const JITTER = 0.2;

/** After a greylisting host that does not say how long. Most want one to five minutes; who is still too early then waits as ever. */
const GREYLIST_MS = 120_000;
/** Of what a host says itself. */
const GREYLIST_MIN_MS = 60_000;
const GREYLIST_MAX_MS = 3_600_000;
/** Clocks that count in whole minutes. */
const GREYLIST_MARGIN_MS = 5_000;

type BackoffLimits = Pick<QueueLimits, 'minimalBackoff' | 'maximalBackoff'>;

export interface Tried {
  /** Milliseconds that the message has been in the queue. */
  readonly age: number;
  /** Tries before this one. */
  readonly attempts: number;
  readonly failure: Failure;
}

/** Milliseconds until the next try. `random` gives 0 to 1. */
export function backoff({ age, attempts, failure }: Tried, limits: BackoffLimits, random: () => number): number {
  const usual = Math.min(Math.max(age, limits.minimalBackoff), Math.max(limits.minimalBackoff, limits.maximalBackoff));
  const wait = attempts === 0 && isGreylisting(failure) ? greylistWait(failure, usual) : usual;
  return Math.round(wait * (1 + JITTER * random()));
}

/** The longest that `backoff` gives: a time further off is of another clock. */
export const longestBackoff = ({ minimalBackoff, maximalBackoff }: BackoffLimits): number =>
  Math.max(minimalBackoff, maximalBackoff, GREYLIST_MAX_MS) * (1 + JITTER);

/** RFC 6647: a host that does not know us yet says 450 or 451, mostly with 4.7.1, and means minutes. */
export function isGreylisting({ status, reply = '' }: Failure): boolean {
  return /^45[01]\b/.test(reply) && (status === '4.7.1' || /gr[ea]y-?list/i.test(reply));
}

/** What the host asks for, when it says so (`in 300 seconds`, `5 minutes`, `00:05:00`). */
function greylistWait({ reply = '' }: Failure, usual: number): number {
  const told = toldWait(reply);
  if (told === undefined) return Math.min(GREYLIST_MS, usual);
  return Math.min(Math.max(told + GREYLIST_MARGIN_MS, GREYLIST_MIN_MS), GREYLIST_MAX_MS);
}

function toldWait(reply: string): number | undefined {
  const [, hours, minutes, seconds] = /\b(\d{1,2}):(\d{2}):(\d{2})\b/.exec(reply) ?? [];
  if (seconds !== undefined) return (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  const [, count, unit = ''] = /\b(\d{1,5}) ?(s|secs?|seconds?|m|mins?|minutes?)\b/i.exec(reply) ?? [];
  return count === undefined ? undefined : Number(count) * (unit.toLowerCase().startsWith('m') ? 60_000 : 1000);
}
