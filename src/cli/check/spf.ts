// Whether an SPF record lets an address send (RFC 7208), as far as a check of one's own records needs it: macros, exists and ptr make
// the answer unknown.
import { BlockList, isIP, isIPv4 } from 'node:net';
import type { Resolver } from '../../dns/resolver.ts';

export type SpfAnswer = 'pass' | 'no' | 'unknown';
/** RFC 7208 4.6.4. */
const MAX_LOOKUPS = 10;

export async function spfAllows(record: string, domain: string, address: string, resolver: Resolver): Promise<SpfAnswer> {
  return evaluate(record, domain, address, resolver, { left: MAX_LOOKUPS });
}

interface Budget {
  left: number;
}

async function evaluate(record: string, domain: string, address: string, resolver: Resolver, budget: Budget): Promise<SpfAnswer> {
  let redirect: string | undefined;
  let unknown = false;
  for (const term of record.trim().split(/\s+/).slice(1)) {
    const [, qualifier = '+', name = '', value = ''] = /^([+?~-]?)([a-z0-9]+)(?:[:=]?(.*))$/is.exec(term) ?? [];
    if (name.toLowerCase() === 'redirect') {
      redirect = value;
      continue;
    }
    const hit = await matches(name.toLowerCase(), value, { domain, address, resolver, budget });
    if (hit === 'unknown') unknown = true;
    else if (hit) return qualifier === '+' || qualifier === '' ? 'pass' : unknown ? 'unknown' : 'no';
  }
  if (redirect !== undefined && budget.left-- > 0) {
    const next = await spfRecord(redirect, resolver);
    if (next !== undefined) return evaluate(next, redirect, address, resolver, budget);
  }
  return unknown ? 'unknown' : 'no';
}

interface Question {
  readonly domain: string;
  readonly address: string;
  readonly resolver: Resolver;
  readonly budget: Budget;
}

async function matches(name: string, value: string, question: Question): Promise<boolean | 'unknown'> {
  const { domain, address, resolver, budget } = question;
  if (name === 'all') return true;
  if (name === 'ip4' || name === 'ip6') return inNetwork(address, value);
  if (!['a', 'mx', 'include'].includes(name)) return ['exp', 'v'].includes(name) ? false : 'unknown';
  if (value.includes('%') || budget.left-- <= 0) return 'unknown';
  if (name === 'include') {
    const record = await spfRecord(value, resolver);
    const answer = record === undefined ? 'unknown' : await evaluate(record, value, address, resolver, budget);
    return answer === 'pass' ? true : answer === 'unknown' ? 'unknown' : false;
  }
  const [, target = '', four, six] = /^([^/]*)(?:\/(\d+))?(?:\/\/(\d+))?$/.exec(value) ?? [];
  const hosts =
    name === 'a' ? [target || domain] : (await resolver.mx(target || domain)).slice(0, 10).map(({ exchange }) => exchange);
  const bits = isIPv4(address) ? (four ?? '32') : (six ?? '128');
  for (const host of hosts)
    for (const one of isIPv4(address) ? await resolver.a(host) : await resolver.aaaa(host))
      if (inNetwork(address, `${one}/${bits}`)) return true;
  return false;
}

/** The one SPF record of a domain; undefined when there is none or more than one. */
async function spfRecord(domain: string, resolver: Resolver): Promise<string | undefined> {
  const records = (await resolver.txt(domain)).filter((text) => /^v=spf1(\s|$)/i.test(text));
  return records.length === 1 ? records[0] : undefined;
}

function inNetwork(address: string, network: string): boolean {
  const [base = '', bits] = network.split('/');
  const family = isIP(base) === 4 ? 'ipv4' : 'ipv6';
  const width = family === 'ipv4' ? 32 : 128;
  const prefix = bits === undefined ? width : Number(bits);
  if (isIP(base) === 0 || isIP(base) !== isIP(address) || !(prefix >= 0 && prefix <= width)) return false;
  const list = new BlockList();
  list.addSubnet(base, prefix, family);
  return list.check(address, family);
}
