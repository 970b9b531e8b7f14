// Which policy another domain has now (RFC 8461 section 3): its record tells whether what was fetched before is still what it says; what cannot be found
// out leaves the policy that is known in force until its max_age is over (section 5.1).
import { Semaphore } from '../../lib/async.ts';
import { MailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { PolicyCache, type CachedPolicy } from './cache.ts';
import { fetchPolicy, type FetchOptions } from './fetch.ts';
import { parsePolicy, policyId, type StsPolicy } from './policy.ts';

/** How long an answer counts, also a failure: section 3.3 asks for limits on fetching. */
const RECHECK = 300_000;
/** A policy that goes on is fetched again after a day, so that it does not run out. */
const REFRESH = 86_400_000;
const MAX_FETCHES = 50;
const MAX_KNOWN = 5_000;

export interface DiscoveryOptions extends FetchOptions {
  readonly directory: string;
  readonly logger: Logger;
  readonly maxFiles?: number;
}

interface Known {
  /** Clock's time; until RECHECK later nothing is asked. */
  checked: number;
  policy: CachedPolicy | undefined;
  asking: Promise<void> | undefined;
}

export class MtaStsDiscovery {
  readonly #options: DiscoveryOptions;
  readonly #cache: PolicyCache;
  readonly #fetches = new Semaphore(MAX_FETCHES);
  /** By domain, the one used last at the end. */
  readonly #known = new Map<string, Known>();

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#cache = new PolicyCache(options);
  }

  /** `domain` in A-labels. Undefined where there is no policy, or none can be had. @throws MailError temporary when `signal` ends the wait */
  async find(domain: string, signal: AbortSignal): Promise<StsPolicy | undefined> {
    const known = this.#knownOf(domain);
    const { clock } = this.#options;
    if (Math.abs(clock.now() - known.checked) >= RECHECK) {
      known.asking ??= this.#ask(domain, known).finally(() => (known.asking = undefined));
      await unlessStopped(known.asking, signal);
    }
    return this.#inForce(known.policy);
  }

  #knownOf(domain: string): Known {
    const known = this.#known.get(domain) ?? { checked: -Infinity, policy: undefined, asking: undefined };
    this.#known.delete(domain);
    this.#known.set(domain, known);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return known;
  }
  #inForce(policy: CachedPolicy | undefined): CachedPolicy | undefined {
    return policy && this.#options.clock.now() < policy.fetched + policy.maxAge * 1000 ? policy : undefined;
  }

  async #ask(domain: string, known: Known): Promise<void> {
    const { clock } = this.#options;
    known.policy ??= await this.#cache.get(domain);
    const id = await this.#id(domain);
    const old = this.#inForce(known.policy);
    if (id !== undefined && old?.id !== id) await this.#renew(domain, id, known);
    known.checked = clock.now();
    // It serves meanwhile.
    if (id !== undefined && old?.id === id && clock.now() - old.fetched > Math.min(REFRESH, old.maxAge * 500))
      void this.#renew(domain, id, known);
  }

  /** What the record says; undefined without one, and when DNS gives no answer. */
  async #id(domain: string): Promise<string | undefined> {
    try {
      return policyId(await this.#options.resolver.txt(`_mta-sts.${domain}`));
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      this.#options.logger.info('mta-sts.dns-failed', { domain, reason: error.detail });
      return undefined;
    }
  }

  /** Keeps what there is when nothing better comes. */
  async #renew(domain: string, id: string, known: Known): Promise<void> {
    const { logger, clock } = this.#options;
    try {
      const read = parsePolicy(await this.#fetches.run(() => fetchPolicy(domain, this.#options)));
      if (typeof read === 'string') throw new Error(read);
      const policy = { ...read, id, fetched: clock.now() };
      known.policy = policy;
      logger.info('mta-sts.policy', { domain, id, mode: read.mode, mx: read.mx.slice(0, 20), maxAge: read.maxAge });
      await this.#cache.put(domain, policy);
    } catch (error) {
      const kept = this.#inForce(known.policy);
      logger.warn('mta-sts.fetch-failed', {
        domain,
        id,
        reason: String((error as Error).message).slice(0, 300),
        kept: kept?.mode ?? '',
      });
    }
  }
}

async function unlessStopped(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let stop: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(new MailError('temporary', 'STOPPED', 'delivery stopped before it began'));
  });
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
