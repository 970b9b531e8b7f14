// Which keys OpenDKIM signs a message with, by the address in its From (opendkim.conf(5): KeyTable, SigningTable, Domain, MultipleSignatures).
import { isDomainName } from '../../config/values.ts';
import type { Dataset } from './dataset.ts';

/** A key as a table has it; `domain` is `%` where it is the author's. */
export interface TableKey {
  readonly name: string;
  readonly domain: string;
  readonly selector: string;
  readonly file: string;
}

export interface TableMatch {
  readonly key: TableKey;
  /** `d=`, in lower case. */
  readonly domain: string;
  /** `i=`, where the table says so and it lies within `d=`. */
  readonly identity?: string;
}

/** All in lower case. */
export type MatchAuthor = (local: string, domain: string) => readonly TableMatch[];

/** Longer ones have no key: RFC 5321 section 4.5.3.1. */
const MAX_ADDRESS = 320;
/** What may stand in `i=` as it is (RFC 6376 section 3.5). */
const IDENTITY = /^[!-:<>-~]{0,200}@([a-z0-9._-]{1,253})$/i;
/** A key's name that stands for the author's domain. */
const AUTHORS_DOMAIN = '%';

interface SigningRule {
  readonly pattern: string;
  readonly keyName: string;
  readonly signer: string | undefined;
}

/** `table` has been checked: its values are names of `keys`, or `%`. */
export function tableMatcher(keys: readonly TableKey[], table: Dataset, multiple: boolean): MatchAuthor {
  const byName = new Map(keys.map((key) => [key.name, key]));
  const rules = table.entries.map(({ key, values: [keyName = '', signer] }): SigningRule => ({
    pattern: key.toLowerCase(),
    keyName,
    signer,
  }));
  const exact = new Map([...rules].reverse().map((rule) => [rule.pattern, rule]));
  return (local, domain) => {
    const address = `${local}@${domain}`;
    // The author's domain may become `d=`.
    if (address.length > MAX_ADDRESS || !isDomainName(domain)) return [];
    const found = table.patterns
      ? rules.filter(({ pattern }) => matchesWildcard(pattern, address))
      : lookupKeys(local, domain).flatMap((key) => exact.get(key) ?? []);
    const matches = (multiple ? found : found.slice(0, 1)).flatMap((rule) => matchOf(rule, byName, domain) ?? []);
    return matches.filter((one, i) => matches.findIndex((other) => other.key === one.key) === i);
  };
}

function matchOf(rule: SigningRule, keys: ReadonlyMap<string, TableKey>, author: string): TableMatch | undefined {
  const key = keys.get(rule.keyName === AUTHORS_DOMAIN ? author : rule.keyName);
  if (!key) return undefined;
  const domain = key.domain === AUTHORS_DOMAIN ? author : key.domain;
  const identity = rule.signer?.replaceAll('%', author);
  const within = IDENTITY.exec(identity ?? '')?.[1]?.toLowerCase() ?? '';
  const fits = within === domain || within.endsWith(`.${domain}`);
  return { key, domain, ...(identity !== undefined && fits ? { identity } : {}) };
}

/** Domain, Selector, KeyFile: the one key. `d=` is the domain of the list, also for what lies below it. */
export function singleKeyMatcher(keys: readonly TableKey[], subDomains: boolean): MatchAuthor {
  const byDomain = new Map(keys.map((key) => [key.domain, key]));
  return (_local, author) => {
    for (let domain = author; domain !== '' && author.length <= MAX_ADDRESS; domain = domain.slice(parentAt(domain))) {
      const key = byDomain.get(domain);
      if (key) return [{ key, domain, ...(domain === author ? {} : { identity: `@${domain}` }) }];
      if (!subDomains) break;
    }
    return [];
  };
}
const parentAt = (domain: string): number => (domain.includes('.') ? domain.indexOf('.') + 1 : domain.length);

/** In OpenDKIM's order. */
function lookupKeys(local: string, domain: string): string[] {
  const keys = [`${local}@${domain}`, domain];
  for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1))
    keys.push(`${local}@${domain.slice(dot)}`, domain.slice(dot));
  return [...keys, `${local}@*`, '*'];
}

/** `*` is any text, everything else itself; in time that grows with the text only. */
export function matchesWildcard(pattern: string, text: string): boolean {
  const [first = '', ...parts] = pattern.split('*');
  if (parts.length === 0) return pattern === text;
  const last = parts.pop() ?? '';
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}
