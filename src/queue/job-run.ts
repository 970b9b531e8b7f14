// One job: asked anew where it goes, delivered, reported, settled, logged. In this order, so that what is cut off in between is repeated and never
// forgotten: a report is accepted before its recipient leaves the queue.
//
//   routes → (others redirected, held, put off) → source opened → agent → conclusion
import { MailError, toMailError } from '../lib/errors.ts';
import type { MessageSource } from '../message/source.ts';
import { Conclusion, failureOf, type ConclusionOptions } from './conclusion.ts';
import { formatNextHop } from './next-hop.ts';
import type { JobEnd } from './scheduler/destination.ts';
import { SUSPENDED_REASON } from './scheduler/scheduler.ts';
import { Settler } from './settler.ts';
import type {
  DeliveryAgent,
  Failure,
  Job,
  JobResult,
  NextHop,
  QueuedMessage,
  QueuedRecipient,
  QueueStore,
  Transports,
} from './types.ts';

export interface JobRunOptions extends Omit<ConclusionOptions, 'settler'> {
  readonly store: Pick<QueueStore, 'open' | 'redirect' | 'settle'>;
  readonly transports: Transports;
  readonly agent: Pick<DeliveryAgent, 'deliver'>;
  /** A message was set aside because its file is damaged. */
  readonly onCorrupt?: (message: QueuedMessage, detail: string) => Promise<void>;
  /** Aborts what is under way. */
  readonly signal: AbortSignal;
}

/** A next hop with the recipients that still go there. */
interface Routed {
  readonly hop: NextHop;
  readonly recipients: QueuedRecipient[];
}

const NOBODY_ASKED: JobEnd = { site: 'none' };
const INTERNAL: Failure = { status: '4.3.0', reason: 'internal error, see the log of the server' };
/** As qmgr(8) says it. */
const EXPIRED: Failure = { status: '4.7.0', reason: 'message is administratively expired' };
const UNRESOLVED: Failure = { status: '4.3.0', reason: 'Temporary lookup failure' };

export class JobRun {
  readonly #o: JobRunOptions;
  readonly #settler: Settler;
  readonly #conclusion: Conclusion;

  constructor(options: JobRunOptions) {
    this.#o = options;
    this.#settler = new Settler(options);
    this.#conclusion = new Conclusion({ ...options, settler: this.#settler });
  }

  /** Never rejects: what goes wrong puts the recipients off. */
  readonly run = async (job: Job): Promise<JobEnd> => {
    try {
      return await this.#run(job);
    } catch (error) {
      const { message } = toMailError(error, 'queue');
      this.#o.logger.error('queue.job.failed', { id: job.envelope.id, destination: job.destination, error: message });
      await this.#defer(job, { kind: 'error', ...INTERNAL }, INTERNAL).catch(() => undefined);
      return NOBODY_ASKED;
    }
  };

  /** Puts a job off that goes to a dead destination; `cause` is why it is. Never rejects. */
  readonly suspend = async (job: Job, cause: Failure | undefined): Promise<void> => {
    const reason = `${SUSPENDED_REASON}${cause?.reason ?? 'the destination cannot be reached'}`.slice(0, 1000);
    const failure = { ...cause, status: cause?.status ?? '4.4.1', reason };
    await this.#defer(job, { kind: 'error', ...failure }, failure).catch(() => undefined);
  };

  async #run(job: Job): Promise<JobEnd> {
    this.#logRetry(job);
    if (job.envelope.expire) return this.#expire(job);
    const routed = await this.#route(job);
    if (!routed) return NOBODY_ASKED;
    const { hop, recipients } = routed;
    const part: Job = { ...job, recipients };
    if (hop.kind === 'hold' && job.envelope.trace !== 'verify') return this.#hold(part, hop.reason);
    const source = await this.#open(part, hop);
    if (!source) return NOBODY_ASKED;
    try {
      return await this.#deliver(part, hop, source);
    } finally {
      await source.dispose();
    }
  }

  // ---- where to

  /** The maps may have changed: who goes elsewhere now waits there. Undefined when nobody is left. */
  async #route(job: Job): Promise<Routed | undefined> {
    const elsewhere = new Map<string, number[]>();
    const here: QueuedRecipient[] = [];
    let found: NextHop | undefined;
    try {
      for (const recipient of job.recipients) {
        const hop = await this.#o.transports.resolve(recipient.address, job.envelope.sender);
        const destination = formatNextHop(hop);
        if (destination !== job.destination)
          elsewhere.set(destination, [...(elsewhere.get(destination) ?? []), recipient.number]);
        else {
          here.push(recipient);
          found = hop;
        }
      }
    } catch (error) {
      this.#o.logger.warn('queue.route.failed', { id: job.envelope.id, error: toMailError(error, 'route').message });
      await this.#defer(job, { kind: 'error', ...UNRESOLVED }, UNRESOLVED);
      return undefined;
    }
    for (const [destination, numbers] of elsewhere) await this.#o.store.redirect(job.envelope.id, numbers, destination);
    return found && { hop: found, recipients: here };
  }

  /** The administrator's word; why it waited tells its sender more. */
  async #expire(job: Job): Promise<JobEnd> {
    await this.#defer(job, { kind: 'error', ...EXPIRED }, ({ lastFailure }) => lastFailure ?? EXPIRED);
    return NOBODY_ASKED;
  }

  async #hold(job: Job, text: string): Promise<JobEnd> {
    const { id } = job.envelope;
    const failure: Failure = { status: '4.7.0', reason: text === '' ? 'held by the transport table' : text };
    for (const { address } of job.recipients) this.#o.logger.info('queue.held', { id, to: address, reason: failure.reason });
    await this.#settler.settle(
      id,
      job.recipients.map(({ number }) => ({ number, kind: 'held', failure })),
    );
    return NOBODY_ASKED;
  }

  // ---- there

  async #open(job: Job, hop: NextHop): Promise<MessageSource | undefined> {
    try {
      return await this.#o.store.open(job.envelope.id);
    } catch (error) {
      if (error instanceof MailError && error.kind === 'corrupt') await this.#setAside(job, error);
      else {
        const { message } = toMailError(error, 'open');
        this.#o.logger.warn('queue.open.failed', { id: job.envelope.id, error: message });
        await this.#defer(job, hop, { status: '4.3.0', reason: 'queue file cannot be read now' });
      }
      return undefined;
    }
  }

  async #deliver(job: Job, hop: NextHop, source: MessageSource): Promise<JobEnd> {
    const { agent, clock, signal } = this.#o;
    const began = clock.now();
    let result: JobResult;
    try {
      result = await agent.deliver(job, hop, source, signal);
    } catch (error) {
      if (!(error instanceof MailError) || error.kind !== 'corrupt') throw error;
      await this.#setAside(job, error);
      return NOBODY_ASKED;
    }
    const passage = { job, hop, began, ended: clock.now() };
    await this.#conclusion.conclude(passage, result.outcomes, source, signal.aborted);
    if (signal.aborted) return NOBODY_ASKED;
    const failure = [...result.outcomes.values()].find((outcome) => outcome.kind !== 'delivered');
    return { site: result.site, ...(result.site === 'down' && failure ? { failure: failureOf(failure) } : {}) };
  }

  /** Its file is damaged: nothing of it is sent, an administrator has to look. */
  async #setAside(job: Job, error: MailError): Promise<void> {
    const { id } = job.envelope;
    const detail = error.detail || error.message;
    this.#o.logger.error('queue.corrupt', { id, error: detail });
    const failure: Failure = { status: '5.3.0', reason: 'queue file damaged' };
    await this.#settler.settle(
      id,
      job.recipients.map(({ number }) => ({ number, kind: 'held', failure })),
    );
    await this.#o
      .onCorrupt?.({ envelope: job.envelope, size: job.size, recipients: job.recipients }, detail)
      .catch((cause: unknown) => this.#o.logger.warn('queue.notice.failed', { id, error: toMailError(cause, 'notice').message }));
  }

  /** Without a try. */
  async #defer(job: Job, hop: NextHop, why: Failure | ((recipient: QueuedRecipient) => Failure)): Promise<void> {
    const now = this.#o.clock.now();
    const failure = typeof why === 'function' ? why : (): Failure => why;
    const outcomes = new Map(job.recipients.map((one) => [one.number, { kind: 'deferred', ...failure(one) } as const]));
    const source = lazySource(() => this.#o.store.open(job.envelope.id), job.size);
    try {
      await this.#conclusion.conclude({ job, hop, began: now, ended: now }, outcomes, source, false);
    } finally {
      await source.dispose();
    }
  }

  /** As qmgr says that a message which was put off is on its way again. */
  #logRetry({ envelope, size, recipients }: Job): void {
    if (recipients.some(({ attempts }) => attempts > 0))
      this.#o.logger.info('queue.active', { id: envelope.id, from: envelope.sender, size, recipients: recipients.length });
  }
}

/** Opened when a report wants something of it. */
function lazySource(open: () => Promise<MessageSource>, size: number): MessageSource {
  let opened: Promise<MessageSource> | undefined;
  return {
    size,
    async *chunks() {
      yield* (await (opened ??= open())).chunks();
    },
    dispose: async () => {
      await (await opened?.catch(() => undefined))?.dispose();
    },
  };
}
