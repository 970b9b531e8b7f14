// Reads the openspf.org test suite: scenarios of zone data and questions about them.
import { readFile } from 'node:fs/promises';
import { parseAllDocuments } from 'yaml';
import { MailError } from '../../src/lib/errors.ts';
import type { Resolver } from '../../src/dns/resolver.ts';

export interface SpfCase {
  readonly scenario: string;
  readonly name: string;
  readonly question: { readonly ip: string; readonly helo: string; readonly sender: string };
  /** Any of these is right. */
  readonly results: readonly string[];
  /** `DEFAULT` for none of the domain's own. */
  readonly explanation?: string;
  readonly zone: Zone;
  readonly resolver: Resolver;
}
/** By name, lower case: `TIMEOUT`, or `{TYPE: data}`. */
type Zone = Readonly<Record<string, readonly (string | Readonly<Record<string, unknown>>)[]>>;

interface Scenario {
  readonly description: string;
  readonly tests: Readonly<
    Record<
      string,
      Readonly<Record<'host' | 'helo', string> & Partial<Record<'mailfrom' | 'explanation', string>>> & {
        readonly result: string | readonly string[];
      }
    >
  >;
  readonly zonedata: Zone;
}

export async function spfSuite(): Promise<SpfCase[]> {
  const text = await readFile(new URL('./suites/rfc7208-tests.yml', import.meta.url), 'utf8');
  const documents = parseAllDocuments(text, { logLevel: 'error' });
  const scenarios = (Array.isArray(documents) ? documents : []).map((document) => document.toJS() as Scenario | null);
  return scenarios.flatMap((scenario) => (scenario ? casesOf(scenario) : []));
}

function casesOf({ description, tests, zonedata }: Scenario): SpfCase[] {
  const zone = Object.fromEntries(
    Object.entries(zonedata).map(([name, records]) => [name.toLowerCase().replace(/\.$/, ''), records]),
  );
  const resolver = suiteResolver(zone);
  return Object.entries(tests).map(([name, { host, helo, mailfrom, result, explanation }]) => ({
    scenario: description,
    name,
    question: { ip: String(host), helo: String(helo), sender: String(mailfrom ?? '') },
    results: [result].flat().map((one) => one.toLowerCase()),
    ...(explanation === undefined ? {} : { explanation: String(explanation) }),
    zone,
    resolver,
  }));
}

/** As the suite's own driver reads its zones: SPF records are TXT records unless the name has such, or says it has none; TIMEOUT is for types that no record above it has. */
function suiteResolver(zone: Zone): Resolver {
  const find = async (name: string, type: string, depth = 0): Promise<unknown[]> => {
    const records = zone[name.toLowerCase().replace(/\.$/, '')] ?? [];
    const hasTxt = records.some((record) => typeof record === 'object' && 'TXT' in record);
    const found: unknown[] = [];
    let seen = false;
    for (const record of records) {
      if (record === 'TIMEOUT' && seen) break;
      if (record === 'TIMEOUT') throw new MailError('temporary', 'DNS_TIMEOUT', 'Temporary DNS failure');
      if (typeof record === 'string') continue;
      for (const [key, data] of Object.entries(record)) {
        if (key === type || (key === 'SPF' && type === 'TXT' && !hasTxt)) {
          seen ||= data !== 'NONE';
          if (data === 'TIMEOUT') throw new MailError('temporary', 'DNS_TIMEOUT', 'Temporary DNS failure');
          if (data !== 'NONE') found.push(data);
        }
        if (key === 'CNAME' && type !== 'CNAME' && depth < 8) found.push(...(await find(String(data), type, depth + 1)));
      }
    }
    return found;
  };
  const texts = async (name: string, type: string): Promise<string[]> => (await find(name, type)).map(String);
  return {
    txt: async (name) => (await find(name, 'TXT')).map((data) => (Array.isArray(data) ? data.join('') : String(data))),
    a: (name) => texts(name, 'A'),
    aaaa: (name) => texts(name, 'AAAA'),
    ptr: (address) => texts(reverseName(address), 'PTR'),
    mx: async (name) =>
      (await find(name, 'MX'))
        .map((data) => ({
          priority: Number((data as unknown[])[0]),
          exchange: String((data as unknown[])[1])
            .toLowerCase()
            .replace(/\.$/, ''),
        }))
        .sort((a, b) => a.priority - b.priority),
    exists: async (name) => zone[name.toLowerCase()] !== undefined,
  };
}

function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const [head = '', tail = ''] = address.split('::');
  const words = (text: string): string[] => (text === '' ? [] : text.split(':').map((word) => word.padStart(4, '0')));
  const [front, back] = [words(head), words(tail)];
  const all = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => '0000'), ...back].join('');
  return `${[...all].reverse().join('.')}.ip6.arpa`;
}
