// How the hosts of one job are spoken to: TLS, log-in, own address. Tables are files: what they say is asked for once a job.
import { isIP } from 'node:net';
import type { Credentials } from '../credentials.ts';
import type { InetHop, Job, NextHop } from '../types.ts';
import type { Peer } from './connect.ts';
import type { Plan } from './open.ts';
import type { ClientOptions, TlsPolicy } from './options.ts';
import type { ConnectionPool, Line } from './pool.ts';

/** One next hop of a job's: it alone, or one of its list. */
export type Site = InetHop | Extract<NextHop, { kind: 'lmtp-unix' }>;

export class Plans {
  readonly #job: Job;
  readonly #options: ClientOptions;
  readonly #credentials = new Map<string, Promise<Credentials | undefined>>();
  readonly #bindAddresses = new Map<4 | 6, Promise<string | undefined>>();

  constructor(job: Job, options: ClientOptions) {
    this.#job = job;
    this.#options = options;
  }

  /** @throws MailError temporary when a table cannot be read */
  async planFor(site: Site, peer: Peer, signal: AbortSignal): Promise<Plan> {
    const unix = site.kind === 'lmtp-unix';
    const destination = unix ? peer.name : site.host;
    const credentials = await this.#credentialsFor(site, peer.name);
    const localAddress = 'address' in peer.at ? await this.#bindAddress(isIP(peer.at.address) === 6 ? 6 : 4) : undefined;
    const policy: TlsPolicy = unix ? { level: 'none' } : await this.#options.tlsPolicy(site, peer.name, signal);
    const requireTls = this.#job.envelope.requireTls === true;
    const weak = policy.level === 'none' || policy.level === 'may';
    return {
      lmtp: site.kind !== 'smtp',
      policy: requireTls && weak && !unix ? { ...policy, level: 'encrypt' } : policy,
      destination,
      detectLoop: site.kind === 'smtp' && site.mx && site.port === 25,
      requireTls,
      ...(credentials ? { credentials } : {}),
      ...(localAddress === undefined ? {} : { localAddress }),
    };
  }

  /** What a connection kept for the destination must have in common with this job, beside the log-in. */
  async destinationKey(): Promise<string> {
    const { destination, envelope } = this.#job;
    const addresses = [await this.#bindAddress(4), await this.#bindAddress(6)];
    return JSON.stringify([destination, envelope.requireTls === true, ...addresses]);
  }

  /** Whether a connection that is kept for the destination is logged in as this job wants it: that may depend on the host. */
  async suitable(pool: ConnectionPool, destination: string, site: Site): Promise<(line: Line) => boolean> {
    const users = new Map<string, string | undefined>();
    for (const host of pool.hostsOf(destination)) users.set(host, (await this.#credentialsFor(site, host))?.user);
    return ({ peer, user }) => users.has(peer.name) && users.get(peer.name) === user;
  }

  #credentialsFor(site: Site, host: string): Promise<Credentials | undefined> {
    const key = JSON.stringify([site, host]);
    const found =
      this.#credentials.get(key) ?? Promise.resolve(this.#options.credentials?.(site, this.#job.envelope.sender, host));
    this.#credentials.set(key, found);
    return found;
  }
  #bindAddress(family: 4 | 6): Promise<string | undefined> {
    const found =
      this.#bindAddresses.get(family) ?? Promise.resolve(this.#options.bindAddress?.(this.#job.envelope.sender, family));
    this.#bindAddresses.set(family, found);
    return found;
  }
}

/** Equal for plans that may share a connection to the same host. */
export function profileOf({ lmtp, policy, destination, credentials, localAddress }: Plan): string {
  const named = policy.level === 'secure' || (policy.level === 'verify' && policy.names !== undefined);
  return JSON.stringify([lmtp, policy, named ? destination : '', credentials?.user, localAddress]);
}
