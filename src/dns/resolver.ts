// DNS as the rest of the house asks for it: a name that does not exist is an empty answer, everything that may pass (SERVFAIL, no
// answer in time, refused) is a temporary error, never "there is none" (RELIABILITY row 44).
import { Resolver as NodeResolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { systemClock, type Clock } from '../lib/clock.ts';
import { errnoOf, MailError } from '../lib/errors.ts';

export interface MxRecord {
  /** Lower case, without a dot at the end; empty for a null MX (RFC 7505). */
  readonly exchange: string;
  readonly priority: number;
}

/** All answers are empty arrays for NXDOMAIN and NODATA. @throws MailError temporary `DNS_FAILED`, `DNS_TIMEOUT`; each call ends in a bounded time */
export interface Resolver {
  /** By ascending priority. */
  mx(domain: string): Promise<MxRecord[]>;
  a(name: string): Promise<string[]>;
  aaaa(name: string): Promise<string[]>;
  /** Each record's strings joined (RFC 7208 3.3). */
  txt(name: string): Promise<string[]>;
  /** Names of an IPv4 or IPv6 address. */
  ptr(address: string): Promise<string[]>;
  /** False for NXDOMAIN only: a name with other records, or with names below it, is there (RFC 8020). */
  exists(name: string): Promise<boolean>;
}

export interface SystemResolverOptions {
  /** With a port where it is not 53; those of /etc/resolv.conf when empty. */
  readonly servers?: readonly string[];
  /** Milliseconds for one look-up in all; default 5,000. */
  readonly timeout?: number;
  readonly clock?: Clock;
}

/** EBADNAME: what cannot be a name in DNS is none. */
const NOTHING = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);

/** Asks real name servers (c-ares: neither /etc/hosts nor nsswitch). */
export function systemResolver({ servers = [], timeout = 5000, clock = systemClock }: SystemResolverOptions = {}): Resolver {
  const ask = async <T>(name: string, look: (resolver: NodeResolver) => Promise<T[]>): Promise<T[]> => {
    // One resolver a question: cancel() ends this question only.
    const resolver = new NodeResolver({ timeout: Math.max(100, Math.floor(timeout / 3)), tries: 2 });
    if (servers.length > 0) resolver.setServers([...servers]);
    let late = false;
    const stop = clock.after(timeout, () => {
      late = true;
      resolver.cancel();
    });
    try {
      return await look(resolver);
    } catch (error) {
      const code = errnoOf(error) ?? '';
      if (NOTHING.has(code)) return [];
      const timedOut = late || code === 'ETIMEOUT' || code === 'ECANCELLED';
      throw new MailError('temporary', timedOut ? 'DNS_TIMEOUT' : 'DNS_FAILED', 'Temporary DNS failure', {
        detail: `${name}: ${code}`,
        cause: error,
      });
    } finally {
      stop();
    }
  };
  return {
    mx: async (domain) => sortMx(await ask(domain, (resolver) => resolver.resolveMx(domain))),
    a: (name) => ask(name, (resolver) => resolver.resolve4(name)),
    aaaa: (name) => ask(name, (resolver) => resolver.resolve6(name)),
    txt: async (name) => (await ask(name, (resolver) => resolver.resolveTxt(name))).map((parts) => parts.join('')),
    ptr: async (address) => (isIP(address) === 0 ? [] : (await ask(address, (resolver) => resolver.reverse(address))).map(bare)),
    exists: async (name) => (await ask(name, (resolver) => existing(resolver, name))).length > 0,
  };
}

/** The name, or nothing (or an error that says so) where there is none. NXDOMAIN may be of what its CNAME leads to (RFC 6604 section 3). */
async function existing(resolver: NodeResolver, name: string): Promise<string[]> {
  try {
    await resolver.resolve4(name);
  } catch (error) {
    if (errnoOf(error) === 'ENOTFOUND') return resolver.resolveCname(name);
    if (errnoOf(error) !== 'ENODATA') throw error;
  }
  return [name];
}

/** What a static resolver knows of one name (or, for `ptr`, of one address). `fails` makes every question about it a temporary error. */
export interface StaticRecords {
  readonly mx?: readonly (MxRecord | string)[];
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly txt?: readonly string[];
  readonly ptr?: readonly string[];
  readonly fails?: boolean;
}

/** Answers from what it is given, at once; names in any case. Everything else does not exist. An MX as text has priority 10. */
export function staticResolver(records: Readonly<Record<string, StaticRecords>> = {}): Resolver {
  const known = new Map(Object.entries(records).map(([name, record]) => [bare(name), record]));
  const find = async (name: string): Promise<StaticRecords> => {
    const record = known.get(bare(name)) ?? {};
    if (record.fails) throw new MailError('temporary', 'DNS_FAILED', 'Temporary DNS failure', { detail: `${name}: SERVFAIL` });
    return record;
  };
  return {
    mx: async (domain) =>
      sortMx(
        ((await find(domain)).mx ?? []).map((record) =>
          typeof record === 'string' ? { exchange: record, priority: 10 } : record,
        ),
      ),
    a: async (name) => [...((await find(name)).a ?? [])],
    aaaa: async (name) => [...((await find(name)).aaaa ?? [])],
    txt: async (name) => [...((await find(name)).txt ?? [])],
    ptr: async (address) => ((await find(address)).ptr ?? []).map(bare),
    exists: async (name) => {
      await find(name);
      return [...known.keys()].some((key) => key === bare(name) || key.endsWith(`.${bare(name)}`));
    },
  };
}

const bare = (name: string): string => name.toLowerCase().replace(/\.$/, '');

function sortMx(records: readonly MxRecord[]): MxRecord[] {
  return records
    .map(({ exchange, priority }) => ({ exchange: bare(exchange), priority }))
    .sort((one, other) => one.priority - other.priority);
}
