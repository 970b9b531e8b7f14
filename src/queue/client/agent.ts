// Carries one job to its next hop: hosts in their order, sessions kept and new, recipients until each has an outcome.
import { isIP } from 'node:net';
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import type { DeliveryAgent, Job, JobResult, NextHop, Outcome, QueuedRecipient } from '../types.ts';
import { inetPeer, unixPeer, type Peer } from './connect.ts';
import { findHosts, toAscii } from './hosts.ts';
import { open, type Plan } from './open.ts';
import type { ClientOptions, Credentials, TlsPolicy } from './options.ts';
import { ConnectionPool, type Line } from './pool.ts';
import type { SmtpSession } from './session.ts';
import { transact } from './transaction.ts';
import { trouble, type Trouble } from './wording.ts';

type HostHop = Extract<NextHop, { kind: 'smtp' | 'lmtp' | 'lmtp-unix' }>;

/** A host and whether it is of the best that the destination has. */
interface Candidate {
  readonly peer: Peer;
  readonly best: boolean;
}

export function createDeliveryAgent(options: ClientOptions): DeliveryAgent {
  const pool = new ConnectionPool(options.limits, options.clock);
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
          return withDeadline(options, source, signal, (stop) => new Delivery(job, hop, source, stop, options, pool).run());
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
  const time = limits.delivery_deadline + (source.size / limits.smtp_min_data_rate) * 1000;
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
  readonly #hop: HostHop;
  readonly #source: MessageSource;
  readonly #signal: AbortSignal;
  readonly #options: ClientOptions;
  readonly #pool: ConnectionPool;
  readonly #outcomes = new Map<number, Outcome>();
  #found: Promise<Credentials | undefined> | undefined;
  /** Why those that are left could not be delivered so far. */
  readonly #putOff = new Map<number, Trouble>();
  #siteTrouble: Trouble | undefined;
  #site: JobResult['site'] = 'down';
  #sessions = 0;
  /** Relays that have had a say. */
  readonly #tried = new Set<string>();

  constructor(job: Job, hop: HostHop, source: MessageSource, signal: AbortSignal, options: ClientOptions, pool: ConnectionPool) {
    this.#job = job;
    this.#hop = hop;
    this.#source = source;
    this.#signal = signal;
    this.#options = options;
    this.#pool = pool;
  }

  async run(): Promise<JobResult> {
    try {
      await this.#tryHosts();
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
    return { outcomes: this.#outcomes, site: this.#site };
  }

  #left(): readonly QueuedRecipient[] {
    return this.#job.recipients.filter(({ number }) => !this.#outcomes.has(number));
  }

  async #tryHosts(): Promise<void> {
    if (await this.#tryKept()) return;
    for (const candidate of await this.#candidates()) {
      if (this.#signal.aborted || this.#left().length === 0) return;
      const limit = this.#options.limits.smtp_mx_session_limit;
      if (limit > 0 && this.#sessions >= limit) return;
      if (!this.#tried.has(candidate.peer.relay) && !(await this.#tryHost(candidate))) return;
    }
  }

  /** A connection kept for the destination spares the look-ups too. True when nobody is left. */
  async #tryKept(): Promise<boolean> {
    const destination = await this.#destinationKey();
    for (let line; !this.#signal.aborted && (line = this.#pool.takeFor(destination));)
      if (await this.#use(line)) return this.#left().length === 0;
    return false;
  }

  /** False when no other host is to be tried. */
  async #tryHost({ peer, best }: Candidate): Promise<boolean> {
    const plan = await this.#plan(peer);
    const profile = profileOf(plan);
    for (let kept; (kept = this.#pool.takeTo(peer.relay, profile));) if (await this.#use(kept)) return true;
    const opened = await open(peer, plan, this.#options, this.#signal);
    if (opened.kind === 'closed') {
      this.#options.logger.info('queue.host-failed', { relay: peer.relay, reason: opened.trouble.reason });
      this.#note(opened.trouble);
      return opened.next;
    }
    const destination = best ? await this.#destinationKey() : undefined;
    const now = this.#options.clock.now();
    await this.#use({ session: opened.session, peer, profile, destination, opened: now, used: 0 });
    return true;
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

  async #candidates(): Promise<readonly Candidate[]> {
    const hop = this.#hop;
    if (hop.kind === 'lmtp-unix') return [{ peer: unixPeer(this.#options.hostname, hop.path), best: true }];
    const host = toAscii(hop.host);
    const configured = !hop.mx || this.#job.recipients.some(({ address }) => toAscii(domainOf(address)) !== host);
    const found = await findHosts(hop, configured, this.#options);
    if (found.kind === 'hosts')
      return found.hosts.map(({ name, address, port, best }) => ({ peer: inetPeer(name, address, port), best }));
    if (configured && found.status === '4.3.5')
      this.#options.logger.warn('queue.next-hop-unknown', { destination: this.#job.destination, reason: found.reason });
    this.#note(trouble(found.kind, found.status, found.reason));
    // Nothing is wrong with a destination whose every mail fails at once.
    if (found.kind === 'failed') this.#site = 'up';
    return [];
  }

  async #plan(peer: Peer): Promise<Plan> {
    const hop = this.#hop;
    const unix = hop.kind === 'lmtp-unix';
    const destination = unix ? peer.name : hop.host;
    const credentials = await this.#credentials();
    const localAddress = 'address' in peer.at ? await this.#bindAddress(isIP(peer.at.address) === 6 ? 6 : 4) : undefined;
    const policy: TlsPolicy = unix ? { level: 'none' } : await this.#options.tlsPolicy(destination, peer.name);
    const requireTls = this.#job.envelope.requireTls === true;
    const weak = policy.level === 'none' || policy.level === 'may';
    return {
      lmtp: hop.kind !== 'smtp',
      policy: requireTls && weak && !unix ? { ...policy, level: 'encrypt' } : policy,
      destination,
      detectLoop: hop.kind === 'smtp' && hop.mx && hop.port === 25,
      requireTls,
      ...(credentials ? { credentials } : {}),
      ...(localAddress === undefined ? {} : { localAddress }),
    };
  }

  /** Looked up once: the tables are files. */
  #credentials(): Promise<Credentials | undefined> {
    return (this.#found ??= Promise.resolve(this.#options.credentials?.(this.#hop, this.#job.envelope.sender)));
  }
  async #bindAddress(family: 4 | 6): Promise<string | undefined> {
    return this.#options.bindAddress?.(this.#job.envelope.sender, family);
  }

  /** What a connection kept for the destination must have in common with this job. */
  async #destinationKey(): Promise<string> {
    const credentials = await this.#credentials();
    return JSON.stringify([
      this.#job.destination,
      this.#job.envelope.requireTls === true,
      credentials?.user,
      await this.#bindAddress(4),
      await this.#bindAddress(6),
    ]);
  }
}

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1);

/** Equal for plans that may share a connection to the same host. */
function profileOf({ lmtp, policy, destination, credentials, localAddress }: Plan): string {
  const names = policy.level === 'secure' ? [destination, ...(policy.names ?? [])] : policy.names;
  return JSON.stringify([lmtp, policy.level, names, credentials?.user, localAddress]);
}

/** Ends the transaction that stands half done; the session too where that cannot be. */
async function reset(session: SmtpSession): Promise<void> {
  const [reply] = await Promise.allSettled(session.send([{ stage: 'rset', line: 'RSET' }]));
  if (reply?.status !== 'fulfilled' || reply.value.code >= 300) session.quit();
}
