// Carries one job to its next hop: sites of a list and their hosts in their order, sessions kept and new, recipients until each has an outcome.
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import type { DeliveryAgent, Job, JobResult, NextHop, Outcome, QueuedRecipient } from '../types.ts';
import { inetPeer, unixPeer, type Peer } from './connect.ts';
import { DeadAddresses } from './dead-addresses.ts';
import { findHosts, toAscii } from './hosts.ts';
import { open } from './open.ts';
import type { ClientOptions, TlsRules } from './options.ts';
import { Plans, profileOf, type Site } from './plans.ts';
import { ConnectionPool, type Line } from './pool.ts';
import type { SmtpSession } from './session.ts';
import { transact } from './transaction.ts';
import { trouble, type Trouble } from './wording.ts';

type HostHop = Extract<NextHop, { kind: 'smtp' | 'lmtp' | 'lmtp-unix' | 'list' }>;

/** What deliveries share, and what one learns for the next. */
interface Shared {
  readonly options: ClientOptions;
  readonly pool: ConnectionPool;
  readonly dead: DeadAddresses;
}

/** A host of the site that is being tried, and whether it is of the best that the destination has. */
interface Candidate {
  readonly site: Site;
  readonly peer: Peer;
  readonly best: boolean;
}

export function createDeliveryAgent(options: ClientOptions): DeliveryAgent {
  const { clock, limits } = options;
  const pool = new ConnectionPool(() => limits(), clock);
  const shared = { options, pool, dead: new DeadAddresses(clock, () => limits().minimal_backoff_time) };
  return {
    async deliver(job, hop, source, signal) {
      switch (hop.kind) {
        case 'discard':
          return everyone(
            job,
            { kind: 'delivered', relay: 'none', status: '2.0.0', reply: hop.reason, dsnPassedOn: false },
            'up',
          );
        case 'hold':
          return everyone(job, trouble('deferred', '4.7.1', hop.reason), 'up');
        case 'error':
          return everyone(job, trouble(hop.status.startsWith('4') ? 'deferred' : 'failed', hop.status, hop.reason), 'up');
        default:
          return withDeadline(options, source, signal, (stop) => new Delivery(job, hop, source, stop, shared).run());
      }
    },
    close: async () => pool.close(),
  };
}

function everyone(job: Job, outcome: Outcome, site: JobResult['site']): JobResult {
  return { outcomes: new Map(job.recipients.map(({ number }) => [number, outcome])), site };
}

/** Aborts with the reason `deadline` when a delivery has taken as long as its message may. */
async function withDeadline<T>(
  { limits, clock }: ClientOptions,
  source: MessageSource,
  signal: AbortSignal,
  run: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const { delivery_deadline: longest, smtp_min_data_rate: rate } = limits();
  const time = longest + (source.size / rate) * 1000;
  // A timer longer than this would fire at once.
  const stopTimer = clock.after(Math.min(time, 0x7fff_ffff), () => deadline.abort('deadline'));
  const stop = (): void => deadline.abort('aborted');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  try {
    return await run(deadline.signal);
  } finally {
    stopTimer();
    signal.removeEventListener('abort', stop);
  }
}

class Delivery {
  readonly #job: Job;
  readonly #sites: readonly Site[];
  readonly #source: MessageSource;
  readonly #signal: AbortSignal;
  readonly #options: ClientOptions;
  readonly #pool: ConnectionPool;
  readonly #dead: DeadAddresses;
  readonly #plans: Plans;
  readonly #outcomes = new Map<number, Outcome>();
  /** Why those that are left could not be delivered so far. */
  readonly #putOff = new Map<number, Trouble>();
  #siteTrouble: Trouble | undefined;
  #site: JobResult['site'] = 'down';
  /** A site takes no mail, or there is none: nothing is wrong with a destination whose every mail fails at once. */
  #nowhere = false;
  /** With the site that is being tried. */
  #sessions = 0;
  /** Relays that have had a say. */
  readonly #tried = new Set<string>();

  constructor(job: Job, hop: HostHop, source: MessageSource, signal: AbortSignal, { options, pool, dead }: Shared) {
    this.#job = job;
    this.#sites = hop.kind === 'list' ? hop.hops : [hop];
    this.#source = source;
    this.#signal = signal;
    this.#options = options;
    this.#pool = pool;
    this.#dead = dead;
    this.#plans = new Plans(job, options);
  }

  async run(): Promise<JobResult> {
    try {
      await this.#trySites();
    } catch (error) {
      // A map that cannot be read: ours to mend, the recipients wait.
      if (!(error instanceof MailError)) throw error;
      this.#note(trouble('deferred', '4.3.0', error.clientText));
    }
    for (const { number } of this.#left()) {
      const why = [this.#putOff.get(number), this.#siteTrouble].filter((one) => one !== undefined);
      const stopped = trouble('deferred', '4.3.2', 'delivery stopped before it began');
      this.#outcomes.set(number, why.find(({ kind }) => kind === 'deferred') ?? why[0] ?? stopped);
    }
    const failedAtOnce = this.#nowhere && this.#siteTrouble?.kind === 'failed';
    return { outcomes: this.#outcomes, site: failedAtOnce ? 'up' : this.#site };
  }

  #left(): readonly QueuedRecipient[] {
    return this.#job.recipients.filter(({ number }) => !this.#outcomes.has(number));
  }

  /** As smtp(8) with a list: the next site when one could not be reached, put recipients off or does not exist. */
  async #trySites(): Promise<void> {
    const destination = await this.#plans.destinationKey();
    for (const [i, site] of this.#sites.entries()) {
      if (this.#isDone()) return;
      this.#sessions = 0;
      // A connection kept for the destination spares the look-ups too.
      if (i === 0) await this.#tryKept(site, destination);
      if (this.#isDone() || !(await this.#trySite(site, i === 0 ? destination : undefined))) return;
    }
  }

  #isDone(): boolean {
    return this.#signal.aborted || this.#left().length === 0;
  }

  async #tryKept(site: Site, destination: string): Promise<void> {
    const suits = await this.#plans.suitable(this.#pool, destination, site);
    for (let line; !this.#signal.aborted && (line = this.#pool.takeFor(destination, suits));) if (await this.#use(line)) return;
  }

  /** False when no other site is to be tried. `destination`: what connections to its best hosts are kept for. */
  async #trySite(site: Site, destination: string | undefined): Promise<boolean> {
    const { hosts, last } = await this.#candidates(site);
    for (const candidate of hosts) {
      if (this.#isDone()) return false;
      const limit = this.#options.limits().smtp_mx_session_limit;
      if (limit > 0 && this.#sessions >= limit) break;
      if (!this.#tried.has(candidate.peer.relay) && !(await this.#tryHost(candidate, destination))) return false;
    }
    return !last;
  }

  /** False when nobody else is to be tried. */
  async #tryHost({ site, peer, best }: Candidate, destination: string | undefined): Promise<boolean> {
    const plan = await this.#plans.planFor(site, peer, this.#signal);
    if (plan.policy.level === 'refused') {
      const { status, reason } = plan.policy;
      this.#options.logger.info('queue.host-refused', { relay: peer.relay, reason });
      this.#note(trouble('deferred', status, reason, { remote: peer.name }));
      return true;
    }
    const profile = profileOf(plan);
    for (let kept; (kept = this.#pool.takeTo(peer.relay, profile));) if (await this.#use(kept)) return true;
    const opened = await open(peer, plan, this.#options, this.#signal);
    if (opened.kind === 'closed') {
      if (opened.dead) this.#dead.note(peer);
      this.#options.logger.info('queue.host-failed', { relay: peer.relay, reason: opened.trouble.reason });
      this.#note(opened.trouble);
      return opened.next;
    }
    this.#dead.forget(peer);
    this.#tellTesting(plan.policy, peer, opened.session);
    await this.#use({
      session: opened.session,
      peer,
      profile,
      user: plan.credentials?.user,
      destination: best ? destination : undefined,
      opened: this.#options.clock.now(),
      used: 0,
    });
    return true;
  }

  /** RFC 8461 section 5: a policy in testing mode is told about, and mail goes through. */
  #tellTesting({ testing }: TlsRules, peer: Peer, { tls }: SmtpSession): void {
    if (testing === undefined) return;
    const problem = testing === '' ? (tls ? tls.problem : 'there is no TLS') : testing;
    if (problem !== '')
      this.#options.logger.warn('mta-sts.testing-failed', {
        destination: this.#job.destination,
        relay: peer.relay,
        reason: problem,
      });
  }

  /** What may pass counts for more than what will not. */
  #note(why: Trouble): void {
    if (this.#siteTrouble?.kind !== 'deferred' || why.kind === 'deferred') this.#siteTrouble = why;
  }

  /** One session's transactions. False when a kept connection turned out to be dead: nothing has happened. */
  async #use(line: Line): Promise<boolean> {
    const { session, peer } = line;
    const stop = (): void => session.abort(this.#signal.reason === 'deadline' ? 'deadline' : 'aborted');
    if (this.#signal.aborted) stop();
    this.#signal.addEventListener('abort', stop);
    const kept = line.used > 0;
    try {
      for (let recipients = this.#left(), first = true; recipients.length > 0; first = false) {
        const done = await transact(session, peer, this.#job, recipients, this.#source, this.#options);
        if (done.untouched && kept && first && !this.#signal.aborted) return false;
        line.used++;
        if (!done.sentAway) this.#site = 'up';
        this.#sessions += Number(first);
        this.#tried.add(peer.relay);
        for (const [number, outcome] of done.outcomes) this.#outcomes.set(number, outcome);
        for (const [number, why] of [...done.elsewhere, ...done.again]) this.#putOff.set(number, why);
        if (done.open && session.alive) await reset(session);
        recipients = session.alive ? this.#left().filter(({ number }) => done.again.has(number)) : [];
      }
    } finally {
      this.#signal.removeEventListener('abort', stop);
    }
    this.#pool.give(line);
    return true;
  }

  /** Hosts of a site in their order; `last`: no other site is to be tried after them. */
  async #candidates(site: Site): Promise<{ readonly hosts: readonly Candidate[]; readonly last: boolean }> {
    if (site.kind === 'lmtp-unix') {
      const peer = unixPeer(this.#options.hostname, site.path);
      return { hosts: [{ site, peer, best: true }], last: true };
    }
    const host = toAscii(site.host);
    const configured = !site.mx || this.#job.recipients.some(({ address }) => toAscii(domainOf(address)) !== host);
    const found = await findHosts(site, configured, this.#options, (address, port) => this.#dead.has(address, port));
    if (found.kind === 'hosts') {
      const hosts = found.hosts.map(({ name, address, port, best }) => ({ site, peer: inetPeer(name, address, port), best }));
      return { hosts, last: found.ours };
    }
    if (configured && found.status === '4.3.5')
      this.#options.logger.warn('queue.next-hop-unknown', { destination: this.#job.destination, reason: found.reason });
    this.#note(trouble(found.kind, found.status, found.reason));
    if (found.kind === 'failed') this.#nowhere = true;
    return { hosts: [], last: found.status === LOOP };
  }
}

/** RFC 3463 section 3.5: others would only send it round once more. */
const LOOP = '5.4.6';

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1);

/** Ends the transaction that stands half done; the session too where that cannot be. */
async function reset(session: SmtpSession): Promise<void> {
  const [reply] = await Promise.allSettled(session.send([{ stage: 'rset', line: 'RSET' }]));
  if (reply?.status !== 'fulfilled' || reply.value.code >= 300) session.quit();
}
