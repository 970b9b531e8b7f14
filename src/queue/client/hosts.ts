// Which hosts take the mail of a next hop (RFC 5321 section 5.1): MX records by preference, addresses where there are none.
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import type { Resolver } from '../../dns/resolver.ts';
import { MailError } from '../../lib/errors.ts';
import type { InetHop } from '../types.ts';

/** MX hosts whose addresses are asked for. */
const MAX_MX_HOSTS = 20;
const DEFAULT_PORT = { smtp: 25, lmtp: 24 } as const;

export interface NextHost {
  /** Name that certificates and logs go by; the address where there is none. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Of the best MX, or of no MX at all: what is kept open for the destination's next message. */
  readonly best: boolean;
}

export type HostList =
  /** `ours`: we are an MX of it ourselves, so that nobody stands behind it (RFC 5321 section 5.1). */
  | { readonly kind: 'hosts'; readonly hosts: readonly NextHost[]; readonly ours: boolean }
  | { readonly kind: 'deferred' | 'failed'; readonly status: string; readonly reason: string };

export interface HostOptions {
  readonly resolver: Resolver;
  readonly hostname: string;
  readonly isOwnAddress: (address: string) => boolean;
  readonly protocols: readonly (4 | 6)[];
  readonly smtp_address_preference: 'any' | 'ipv4' | 'ipv6';
  readonly smtp_balance_inet_protocols: boolean;
  readonly limits: () => { readonly smtp_mx_address_limit: number };
  /** From 0 up to (not including) 1. */
  readonly random: () => number;
}

/** Whether nobody answered at an address a moment ago (`DeadAddresses`). */
type IsDead = (address: string, port: number) => boolean;

interface MailHost {
  readonly name: string;
  readonly preference: number;
}
type Found = MailHost & { readonly addresses: readonly string[]; readonly failed: boolean };

/**
 * In the order they are to be tried, at most smtp_mx_address_limit. `configured`: an administrator named the host, so that one that does not
 * exist is our mistake, and its mail waits. Never throws: what DNS cannot say now is deferred with 4.4.3, never failed.
 */
export async function findHosts(
  hop: InetHop,
  configured: boolean,
  options: HostOptions,
  isDead: IsDead = () => false,
): Promise<HostList> {
  if (isIP(hop.host) !== 0) return listed([{ name: hop.host, address: hop.host, port: hop.port, best: true }]);
  const domain = toAscii(hop.host);
  if (domain === undefined) return notFound(hop.host, 'A', configured);
  let mx: readonly MailHost[];
  try {
    mx = hop.mx ? await mailHosts(domain, options) : [];
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    return tryAgain(domain, 'MX');
  }
  if (mx.length === 1 && mx[0]?.name === '')
    // RFC 7505 section 4.2: the domain says itself that it takes no mail.
    return { kind: 'failed', status: '5.1.10', reason: `Domain ${domain} does not accept mail (nullMX)` };
  const named = mx.filter((host) => host.name !== '').slice(0, MAX_MX_HOSTS);
  const asked = named.length > 0 ? named : [{ name: domain, preference: 0 }];
  const found = await Promise.all(asked.map((host) => withAddresses(host, options)));
  const loop = hop.mx && hop.port === DEFAULT_PORT[hop.kind] ? ownPreference(found, options) : Infinity;
  const best = Math.min(...found.filter((host) => host.addresses.length > 0).map((host) => host.preference));
  // RFC 5321 section 5.1: nobody at our own preference or behind it.
  const usable = found.filter((host) => host.preference < loop);
  if (usable.length === 0) return { kind: 'failed', status: '5.4.6', reason: `mail for ${domain} loops back to myself` };
  const hosts = inOrder(usable, options, (address) => isDead(address, hop.port)).map(({ host, address }) => ({
    name: host.name,
    address,
    port: hop.port,
    best: host.preference === best,
  }));
  if (hosts.length > 0) return listed(limited(hosts, options), loop !== Infinity);
  const failed = usable.find((host) => host.failed);
  if (failed) return tryAgain(failed.name, 'A');
  return named.length > 0 ? notFound(named[0]?.name ?? '', 'A', configured, '5.4.4') : notFound(domain, 'A', configured);
}

const listed = (hosts: readonly NextHost[], ours = false): HostList => ({ kind: 'hosts', hosts, ours });

/** Hosts of equal preference in random order (RFC 5321 section 5.1). */
async function mailHosts(domain: string, options: HostOptions): Promise<readonly MailHost[]> {
  const records = await options.resolver.mx(domain);
  return shuffled(records, options.random)
    .map(({ exchange, priority }) => ({ name: toAscii(exchange) ?? exchange, preference: priority }))
    .sort((one, other) => one.preference - other.preference);
}

async function withAddresses(host: MailHost, { resolver, protocols }: HostOptions): Promise<Found> {
  if (isIP(host.name) !== 0) return { ...host, addresses: [host.name], failed: false };
  const answers = await Promise.allSettled(
    protocols.map((protocol) => (protocol === 4 ? resolver.a(host.name) : resolver.aaaa(host.name))),
  );
  const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  return { ...host, addresses, failed: answers.some((answer) => answer.status === 'rejected') };
}

/** The best preference that is ours; infinite when none is. */
function ownPreference(found: readonly Found[], { hostname, isOwnAddress }: HostOptions): number {
  const own = found.filter(({ name, addresses }) => name === hostname.toLowerCase() || addresses.some(isOwnAddress));
  return Math.min(...own.map((host) => host.preference));
}

/** By preference; within one, addresses in random order, those of the preferred protocol first, those that are dead last. */
function inOrder(
  found: readonly Found[],
  options: HostOptions,
  isDead: (address: string) => boolean,
): { host: Found; address: string }[] {
  const first = { any: 0, ipv4: 4, ipv6: 6 }[options.smtp_address_preference];
  const each = found.flatMap((host) => host.addresses.map((address) => ({ host, address })));
  return shuffled(each, options.random).sort(
    (one, other) =>
      one.host.preference - other.host.preference ||
      Number(isDead(one.address)) - Number(isDead(other.address)) ||
      Number(isIP(other.address) === first) - Number(isIP(one.address) === first),
  );
}

/** smtp_balance_inet_protocols: the limit never leaves out the only protocol that works. */
function limited(hosts: readonly NextHost[], options: HostOptions): readonly NextHost[] {
  const limit = options.limits().smtp_mx_address_limit;
  if (limit === 0 || hosts.length <= limit) return hosts;
  if (!options.smtp_balance_inet_protocols || limit < 2) return hosts.slice(0, limit);
  const count = (family: number): number => hosts.filter((host) => isIP(host.address) === family).length;
  const half = Math.floor(limit / 2);
  const left = new Map([
    [4, Math.max(limit - half, limit - count(6))],
    [6, Math.max(half, limit - count(4))],
  ]);
  return hosts
    .filter(({ address }) => {
      const rest = left.get(isIP(address)) ?? 0;
      left.set(isIP(address), rest - 1);
      return rest > 0;
    })
    .slice(0, limit);
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  return list
    .map((item) => ({ item, place: random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ item }) => item);
}

/** A-labels (RFC 5890 section 2.3.2.1): what DNS is asked. Undefined for what is no name. */
export function toAscii(domain: string): string | undefined {
  const ascii = /[^\0-\x7f]/.test(domain) ? domainToASCII(domain) : domain.toLowerCase();
  return ascii === '' || ascii.length > 253 ? undefined : ascii;
}

function tryAgain(name: string, type: string): HostList {
  return { kind: 'deferred', status: '4.4.3', reason: nameError(name, type, 'Host not found, try again') };
}
function notFound(name: string, type: string, configured: boolean, status = '5.1.2'): HostList {
  const reason = nameError(name, type, 'Host not found');
  return configured ? { kind: 'deferred', status: '4.3.5', reason } : { kind: 'failed', status, reason };
}
const nameError = (name: string, type: string, why: string): string =>
  `Host or domain name not found. Name service error for name=${name} type=${type}: ${why}`;
