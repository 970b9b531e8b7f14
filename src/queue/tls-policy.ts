// smtp_tls_policy_maps (TLS_README, "TLS policy table"): how the hosts of a next hop must be spoken to. After Postfix's smtp_tls_policy.c: what is wrong with an
// entry never makes TLS weaker. Mail for such a next hop waits, with 4.7.5, and the log says what to mend.
import type { SecureVersion } from 'node:tls';
import type { LookupTable } from '../config/lookup.ts';
import type { Logger } from '../lib/logger.ts';
import { toAscii } from './client/hosts.ts';
import type { TlsLevel, TlsRefusal, TlsRules } from './client/options.ts';
import { formatNextHop } from './next-hop.ts';
import type { InetHop } from './types.ts';

/** Hex digits of a digest. */
const DIGESTS = { sha256: 64, sha384: 96, sha512: 128, sha1: 40 } as const;
type FingerprintDigest = keyof typeof DIGESTS;

/** What the settings say where an entry says nothing. */
interface TlsDefaults {
  /** smtp_tls_fingerprint_digest. */
  readonly digest: FingerprintDigest;
  /** smtp_tls_fingerprint_cert_match, smtp_tls_verify_cert_match, smtp_tls_secure_cert_match. */
  readonly fingerprints: readonly string[];
  readonly verifyNames: readonly string[];
  readonly secureNames: readonly string[];
}

export const tlsDefaults = (settings: {
  readonly smtp_tls_fingerprint_digest: FingerprintDigest;
  readonly smtp_tls_fingerprint_cert_match: readonly string[];
  readonly smtp_tls_verify_cert_match: readonly string[];
  readonly smtp_tls_secure_cert_match: readonly string[];
}): TlsDefaults => ({
  digest: settings.smtp_tls_fingerprint_digest,
  fingerprints: settings.smtp_tls_fingerprint_cert_match,
  verifyNames: settings.smtp_tls_verify_cert_match,
  secureNames: settings.smtp_tls_secure_cert_match,
});

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
/** Known to Postfix, and not spoken here. */
const OLD = ['SSLv2', 'SSLv3', 'TLSv1', 'TLSv1.1'];
const LEVELS = ['none', 'may', 'encrypt', 'fingerprint', 'verify', 'secure', 'dane', 'dane-only'] as const;

/** smtp_tls_mandatory_ciphers' grades; the lower ones are medium, which is what Node and this server allow at most. */
const GRADES: Readonly<Record<string, string | undefined>> = { high: 'HIGH:!aNULL:!eNULL', medium: '', low: '', export: '' };

/** As written: what DANE comes to is found out for each host. */
export type TlsEntry = Omit<TlsRules, 'level'> & { readonly level: TlsLevel | 'dane-only' };

/** An entry (or a level alone), or what is wrong with it in a few words. */
export function parseTlsPolicy(value: string, defaults: TlsDefaults): TlsEntry | string {
  const [level = '', ...attributes] = value.split(/[\s,]+/).filter((word) => word !== '');
  if (level === '')
    return 'the entry is empty; write a level: none, may, encrypt, dane, dane-only, fingerprint, verify or secure';
  const known = LEVELS.find((one) => one === level.toLowerCase());
  if (known === undefined)
    return `"${level}" is no level; write none, may, encrypt, dane, dane-only, fingerprint, verify or secure`;
  let rules: TlsEntry = { level: known };
  const seen = new Set<string>();
  for (const attribute of attributes) {
    const equals = attribute.indexOf('=');
    const name = attribute.slice(0, Math.max(0, equals)).toLowerCase();
    const text = attribute.slice(equals + 1);
    if (name === '' || text === '') return `"${attribute}" is no attribute; write name=value`;
    if (known === 'none') return `"${attribute}" means nothing without TLS; write none alone`;
    if (name !== 'match' && seen.has(name)) return `${name} is there twice; write it once`;
    seen.add(name);
    const read = readAttribute(rules, name, text, defaults.digest);
    if (typeof read === 'string') return read;
    rules = read;
  }
  return withDefaults(rules, defaults);
}

function readAttribute(rules: TlsEntry, name: string, text: string, digest: FingerprintDigest): TlsEntry | string {
  switch (name) {
    case 'match':
      if (rules.level === 'fingerprint') {
        const more = readFingerprints(text.split('|'), digest);
        return typeof more === 'string' ? more : { ...rules, fingerprints: [...(rules.fingerprints ?? []), ...more] };
      }
      if (rules.level === 'verify' || rules.level === 'secure')
        return {
          ...rules,
          names: [
            ...(rules.names ?? []),
            ...text
              .toLowerCase()
              .split(':')
              .filter((one) => one !== ''),
          ],
        };
      return `match= means nothing at level ${rules.level}; write it with fingerprint, verify or secure`;
    case 'protocols': {
      const versions = readProtocols(text);
      return typeof versions === 'string' ? versions : { ...rules, ...versions };
    }
    case 'ciphers': {
      const list = GRADES[text.toLowerCase()];
      if (list === undefined) return `ciphers=${text} is no grade; write high or medium`;
      return list === '' ? rules : { ...rules, ciphers: list };
    }
    default:
      return `${name}= is not known here; match=, protocols= and ciphers= are`;
  }
}

/** `sha256` digests and the like as hex digits, with or without colons. */
function readFingerprints(texts: readonly string[], digest: FingerprintDigest): readonly string[] | string {
  const found: string[] = [];
  for (const text of texts.filter((one) => one !== '')) {
    const digits = text.replaceAll(':', '').toLowerCase();
    if (!/^[0-9a-f]+$/.test(digits) || digits.length !== DIGESTS[digest])
      return `"${text.slice(0, 150)}" is no ${digest} fingerprint (smtp_tls_fingerprint_digest); write ${DIGESTS[digest]} hex digits`;
    found.push(digits);
  }
  return found;
}

/** smtp_tls_mandatory_protocols: `TLSv1.3`, `!TLSv1:!TLSv1.1`, `>=TLSv1.2`. */
function readProtocols(text: string): { minVersion: SecureVersion; maxVersion: SecureVersion } | string {
  const all = [...OLD, ...VERSIONS];
  const listed = new Set<string>();
  const excluded = new Set<string>();
  for (const word of text.split(':').filter((one) => one !== '')) {
    const [, sign = '', name = ''] = /^(!|>=|<=)?(.*)$/.exec(word) ?? [];
    const at = all.findIndex((one) => one.toLowerCase() === name.toLowerCase());
    if (at < 0) return `protocols=${text}: "${word}" is no protocol; write TLSv1.2 or TLSv1.3, with !, >= or <= in front`;
    if (sign === '!') excluded.add(all[at] ?? '');
    else if (sign === '') listed.add(all[at] ?? '');
    else for (const [i, one] of all.entries()) if (sign === '>=' ? i < at : i > at) excluded.add(one);
  }
  const [first, last = first] = VERSIONS.filter((one) => (listed.size === 0 || listed.has(one)) && !excluded.has(one));
  if (first === undefined || last === undefined) return `protocols=${text} leaves none that is spoken here; write >=TLSv1.2`;
  return { minVersion: first, maxVersion: last };
}

function withDefaults(rules: TlsEntry, { digest, fingerprints, verifyNames, secureNames }: TlsDefaults): TlsEntry | string {
  switch (rules.level) {
    case 'fingerprint': {
      const wanted = rules.fingerprints ?? fingerprints;
      if (wanted.length === 0) return 'fingerprint without one to match; write fingerprint match=SHA256';
      return { ...rules, fingerprints: wanted, digest };
    }
    case 'verify':
      return { names: verifyNames, ...rules };
    case 'secure':
      return { names: secureNames, ...rules };
    default:
      return rules;
  }
}

export interface TlsPolicyOptions {
  readonly maps: readonly LookupTable[];
  readonly defaults: TlsDefaults;
  readonly logger: Logger;
}

/** What the table says of a next hop; undefined when nothing. @throws MailError temporary when it cannot be read */
export type FindTlsPolicy = (site: InetHop) => Promise<TlsEntry | TlsRefusal | undefined>;

export function tlsPolicyFinder({ maps, defaults, logger }: TlsPolicyOptions): FindTlsPolicy {
  return async (site) => {
    for (const [i, key] of policyKeys(site).entries())
      for (const table of maps) {
        // Patterns are asked with what is written, as everywhere.
        const value = table.whole && i > 0 ? undefined : await table.get(key);
        if (value !== undefined) return policyOf(value, key, defaults, logger);
      }
    return undefined;
  };
}

/** In smtp(8)'s words. */
const BAD_POLICY = { level: 'refused', status: '4.7.5', reason: 'client TLS configuration problem' } as const;

/** An entry, or smtp_tls_security_level alone. `destination` is for the log. */
export function policyOf(value: string, destination: string, defaults: TlsDefaults, logger: Logger): TlsEntry | TlsRefusal {
  const read = parseTlsPolicy(value, defaults);
  if (typeof read !== 'string') return read;
  logger.error('queue.tls-policy-bad', { destination, reason: read });
  return BAD_POLICY;
}

/**
 * As the next hop is written, brackets and port and all; for a domain alone also the domains above it, as `.example.com`. Postfix takes the very text; here
 * a port is also found by its name, or where it is the usual one: what somebody wrote down must not go unnoticed.
 */
function policyKeys(site: InetHop): string[] {
  const { kind, host, port, mx } = site;
  const written = formatNextHop(site).slice(kind.length + 1);
  const names = [String(port), ...(port === 25 ? ['smtp'] : port === 587 ? ['submission'] : [])];
  const place = mx ? host : `[${host}]`;
  const ascii = toAscii(host) ?? host;
  const exact = new Set([written, ...names.map((name) => `${place}:${name}`), ...(mx && written === host ? [ascii] : [])]);
  if (written !== host) return [...exact];
  const above: string[] = [];
  for (let dot = ascii.indexOf('.', 1); dot > 0; dot = ascii.indexOf('.', dot + 1)) above.push(ascii.slice(dot));
  return [...exact, ...above];
}
