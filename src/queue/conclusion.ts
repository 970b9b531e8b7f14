// What became of a job's recipients: reported where somebody has to know, settled, logged.
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { MessageSource } from '../message/source.ts';
import { recipientFields, type Passage } from './delivery-log.ts';
import type { Ages } from './scheduler/ages.ts';
import { backoff } from './scheduler/back-off.ts';
import type { QueueLimits } from './scheduler/limits.ts';
import type { Settler } from './settler.ts';
import type { Failure, Job, Outcome, ReportedRecipient, Reporter, Settlement } from './types.ts';

export interface ConclusionOptions {
  readonly reporter: Reporter;
  readonly settler: Settler;
  readonly limits: () => QueueLimits;
  readonly ages: Ages;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly logger: Logger;
  /** A recipient was put off until then (milliseconds since the epoch). */
  readonly onDeferred?: (nextAttempt: number) => void;
}

/** A recipient whose end somebody may have to be told. */
type Ended = ReportedRecipient & { readonly event: 'queue.delivered' | 'queue.bounced' | 'queue.expired' };
type PutOff = ReportedRecipient & { readonly outcome: Outcome & { readonly kind: 'deferred' } };

/** Recipients of a job, by what is to be done. */
interface Sorted {
  /** Delivered, and nobody wants to hear of it. */
  readonly quiet: Ended[];
  readonly successes: Ended[];
  readonly failures: Ended[];
  readonly putOff: PutOff[];
}

export class Conclusion {
  readonly #o: ConclusionOptions;

  constructor(options: ConclusionOptions) {
    this.#o = options;
  }

  /**
   * `aborted`: the server stopped the try; who was not delivered by then stays as if it had not been. Never rejects.
   */
  async conclude(
    passage: Passage,
    outcomes: ReadonlyMap<number, Outcome>,
    source: MessageSource,
    aborted: boolean,
  ): Promise<void> {
    const { trace } = passage.job.envelope;
    if (trace === 'verify') return aborted ? undefined : this.#verified(passage, outcomes, source);
    if (trace === 'record' && !aborted) await this.#recorded(passage.job, outcomes, source);
    const { quiet, successes, failures, putOff } = this.#sort(passage.job, outcomes);
    const { id } = passage.job.envelope;
    for (const ended of [...quiet, ...successes]) this.#log(passage, ended);
    const waiting = aborted ? [] : await this.#putOff(passage, putOff, source);
    await this.#o.settler.settle(id, [...quiet.map(doneOf), ...waiting]);
    if (successes.length > 0) await this.#succeeded(passage, successes, source);
    if (failures.length > 0) await this.#failed(passage, failures, source);
  }

  /** Nothing was to be delivered: the answers are reported, then all of them leave, whatever they are. */
  async #verified(passage: Passage, outcomes: ReadonlyMap<number, Outcome>, source: MessageSource): Promise<void> {
    const { job } = passage;
    const answers = reportedOf(job, outcomes);
    const age = this.#o.ages.age(job.envelope.arrived);
    if (!(await this.#traced(job, answers, source)) && age < this.#lifetime(job)) {
      const again = answers.map(({ recipient: { number, attempts, delayReported }, outcome }) =>
        this.#deferral(number, failureOf(outcome), { age, attempts }, delayReported),
      );
      return this.#o.settler.settle(job.envelope.id, again);
    }
    for (const one of answers)
      this.#log(passage, { ...one, event: one.outcome.kind === 'delivered' ? 'queue.deliverable' : 'queue.undeliverable' });
    await this.#o.settler.settle(job.envelope.id, answers.map(doneOf));
  }

  /** Of the first try; a report that cannot be sent holds nothing up. */
  async #recorded(job: Job, outcomes: ReadonlyMap<number, Outcome>, source: MessageSource): Promise<void> {
    const first = reportedOf(job, outcomes).filter(({ recipient }) => recipient.attempts === 0);
    if (first.length > 0) await this.#traced(job, first, source);
  }

  async #traced({ envelope }: Job, recipients: readonly ReportedRecipient[], source: MessageSource): Promise<boolean> {
    try {
      await this.#o.reporter.trace({ envelope }, recipients, source);
      return true;
    } catch (error) {
      this.#o.logger.warn('queue.report.failed', { id: envelope.id, error: toMailError(error, 'report').message });
      return false;
    }
  }

  #sort(job: Job, outcomes: ReadonlyMap<number, Outcome>): Sorted {
    const sorted: Sorted = { quiet: [], successes: [], failures: [], putOff: [] };
    for (const recipient of job.recipients) {
      const outcome = outcomes.get(recipient.number) ?? NO_OUTCOME;
      if (outcome.kind === 'delivered') {
        const wanted = recipient.notify?.includes('SUCCESS') && job.envelope.sender !== '' && !outcome.dsnPassedOn;
        (wanted ? sorted.successes : sorted.quiet).push({ recipient, outcome, event: 'queue.delivered' });
      } else if (outcome.kind === 'failed') sorted.failures.push({ recipient, outcome, event: 'queue.bounced' });
      else if (this.#isExpired(job, recipient)) {
        const final = job.envelope.expire ? { ...outcome, kind: 'failed' as const } : expiredOf(outcome);
        sorted.failures.push({ recipient, outcome: final, event: 'queue.expired' });
      } else sorted.putOff.push({ recipient, outcome });
    }
    return sorted;
  }

  #lifetime({ envelope }: Job): number {
    const { lifetime, bounceLifetime } = this.#o.limits();
    return envelope.sender === '' ? bounceLifetime : lifetime;
  }
  #isExpired(job: Job, recipient: ReportedRecipient['recipient']): boolean {
    if (job.envelope.expire) return true;
    return this.#o.ages.isExpired(job.envelope.arrived, this.#lifetime(job), recipient);
  }

  /** The warning that it takes long goes out first (RFC 3461 section 4.1, DELAY). */
  async #putOff(passage: Passage, putOff: readonly PutOff[], source: MessageSource): Promise<Settlement[]> {
    const { job } = passage;
    const { delayWarning } = this.#o.limits();
    const age = this.#o.ages.age(job.envelope.arrived);
    const isLate = delayWarning > 0 && age >= delayWarning && job.envelope.sender !== '';
    const late = putOff.filter(({ recipient }) => isLate && !recipient.delayReported);
    const warned = late.length > 0 && (await this.#report(passage.job, late, source, true));
    return putOff.map(({ recipient, outcome }) => {
      this.#log(passage, { recipient, outcome, event: 'queue.deferred' });
      const { number, attempts, delayReported } = recipient;
      return this.#deferral(number, failureOf(outcome), { age, attempts }, delayReported || (warned && isLate));
    });
  }

  #deferral(
    number: number,
    failure: Failure,
    { age, attempts }: { age: number; attempts: number },
    delayReported: boolean,
  ): Settlement {
    const { limits, random, clock, onDeferred } = this.#o;
    const nextAttempt = clock.now() + backoff({ age, attempts, failure }, limits(), random);
    onDeferred?.(nextAttempt);
    return { number, kind: 'deferred', nextAttempt, failure, delayReported };
  }

  /** They have been delivered: they leave, whether the report of that could be sent or not. */
  async #succeeded({ job }: Passage, successes: readonly Ended[], source: MessageSource): Promise<void> {
    await this.#report(job, successes, source, false);
    await this.#o.settler.settle(job.envelope.id, successes.map(doneOf));
  }

  /** They leave when the report is accepted. When it is not they are tried again, up to twice as long as anything is. */
  async #failed(passage: Passage, failures: readonly Ended[], source: MessageSource): Promise<void> {
    const { job } = passage;
    const { id, arrived } = job.envelope;
    const age = this.#o.ages.age(arrived);
    const reported = await this.#report(job, failures, source, false);
    if (!reported && age < this.#lifetime(job) + this.#o.limits().bounceLifetime) {
      const again = failures.map(({ recipient: { number, attempts, delayReported }, outcome }) =>
        this.#deferral(number, failureOf(outcome), { age, attempts }, delayReported),
      );
      return this.#o.settler.settle(id, again);
    }
    if (!reported) this.#o.logger.error('queue.report.lost', { id, to: failures.map(({ recipient }) => recipient.address) });
    for (const ended of failures) this.#log(passage, ended);
    await this.#o.settler.settle(id, failures.map(doneOf));
  }

  async #report(job: Job, recipients: readonly ReportedRecipient[], source: MessageSource, delay: boolean): Promise<boolean> {
    try {
      const told = recipients.map(({ recipient, outcome }) => ({ recipient, outcome }));
      await this.#o.reporter.report({ envelope: job.envelope, size: job.size, recipients: job.recipients }, told, source, delay);
      return true;
    } catch (error) {
      const { message } = toMailError(error, 'report');
      this.#o.logger.warn('queue.report.failed', { id: job.envelope.id, error: message });
      return false;
    }
  }

  #log(passage: Passage, { recipient, outcome, event }: ReportedRecipient & { readonly event: string }): void {
    const forced = event === 'queue.expired' && passage.job.envelope.expire ? { forced: true } : {};
    this.#o.logger.info(event, { ...recipientFields(passage, recipient, outcome), ...forced });
  }
}

const NO_OUTCOME: Outcome = { kind: 'deferred', status: '4.3.0', reason: 'delivery ended without a result' };

const reportedOf = ({ recipients }: Job, outcomes: ReadonlyMap<number, Outcome>): ReportedRecipient[] =>
  recipients.map((recipient) => ({ recipient, outcome: outcomes.get(recipient.number) ?? NO_OUTCOME }));

const doneOf = ({ recipient }: ReportedRecipient): Settlement => ({ number: recipient.number, kind: 'done' });

/** What a recipient's place in the queue keeps of it. */
export function failureOf(outcome: Outcome): Failure {
  if (outcome.kind === 'delivered') return { status: outcome.status, reason: outcome.reply };
  const { status, reason, remote, reply } = outcome;
  return { status, reason, ...(remote === undefined ? {} : { remote }), ...(reply === undefined ? {} : { reply }) };
}

/** RFC 3463 section 3.5: X.4.7, delivery time expired. The last reason tells the sender more than the time does. */
function expiredOf(outcome: Outcome & { readonly kind: 'deferred' }): Outcome {
  return { ...outcome, kind: 'failed', status: '4.4.7', reason: `message expired: ${outcome.reason}`.slice(0, 1000) };
}
