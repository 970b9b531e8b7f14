// DANE for SMTP (RFC 7672): the TLSA records of an MX host, when DNSSEC vouches for the whole way there, and certificates held against them.
import { createHash, type X509Certificate } from 'node:crypto';
import type { SecureResolver } from '../../dns/secure-resolver.ts';
import { MailError } from '../../lib/errors.ts';

export interface Tlsa {
  /** 2: an authority's certificate (DANE-TA); 3: the host's own (DANE-EE). */
  readonly usage: 2 | 3;
  /** 0: the certificate; 1: its public key. */
  readonly selector: 0 | 1;
  /** 0: itself; 1: SHA-256; 2: SHA-512. */
  readonly matching: 0 | 1 | 2;
  /** Lower-case hex digits. */
  readonly data: string;
}

export type DaneFound =
  /** DNSSEC does not vouch for the way, or for there being records. */
  | { readonly kind: 'none'; readonly reason: string }
  /** `usable` may be empty: then TLS is wanted, and no certificate can be right (RFC 7672 section 2.2). */
  | { readonly kind: 'records'; readonly usable: readonly Tlsa[]; readonly base: string }
  /** What may be an attack: the host is not spoken to now (section 2.1.1). */
  | { readonly kind: 'failed'; readonly reason: string };

export interface DaneQuestion {
  /** In A-labels; undefined where the host was named by an administrator (section 2.2.2: no MX to be believed). */
  readonly domain: string | undefined;
  readonly host: string;
  readonly port: number;
}

/** Records of one host that are looked at. */
const MAX_TLSA = 50;

/** Never throws for what DNS does. */
export async function findTlsa(resolver: SecureResolver, { domain, host, port }: DaneQuestion): Promise<DaneFound> {
  const none = (reason: string): DaneFound => ({ kind: 'none', reason });
  try {
    if (domain !== undefined) {
      const mx = await resolver.ask(domain, 'MX');
      // Section 2.2.1. That the host is among them: the list it was taken from came from another look-up.
      if (!mx.secure) return none(`no DNSSEC for the MX of ${domain}`);
      if (!(mx.names.length === 0 ? [domain] : mx.names).includes(host.toLowerCase()))
        return none(`${host} is no MX of ${domain}`);
    }
    const [ipv4, ipv6] = await Promise.all([resolver.ask(host, 'A'), resolver.ask(host, 'AAAA')]);
    // Section 2.2.2: where addresses have no proof, TLSA is not even asked for.
    if (!ipv4.secure || !ipv6.secure) return none(`no DNSSEC for the addresses of ${host}`);
    const canonical = ipv4.canonical ?? ipv6.canonical;
    for (const base of new Set([canonical ?? host, host])) {
      const { secure, records } = await resolver.ask(`_${port}._tcp.${base}`, 'TLSA');
      if (secure && records.length > 0)
        return { kind: 'records', usable: records.slice(0, MAX_TLSA).flatMap((record) => readTlsa(record) ?? []), base };
    }
    return none(`no TLSA records for ${host}`);
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    return { kind: 'failed', reason: error.detail };
  }
}

/** Undefined for what is not usable with SMTP (section 3.1.3: usages 0 and 1 are not) or not known. */
function readTlsa(record: Buffer): Tlsa | undefined {
  const [usage, selector, matching] = record;
  if ((usage !== 2 && usage !== 3) || (selector !== 0 && selector !== 1)) return undefined;
  if (matching !== 0 && matching !== 1 && matching !== 2) return undefined;
  const data = record.subarray(3);
  if (data.length === 0 || (matching > 0 && data.length !== (matching === 1 ? 32 : 64))) return undefined;
  return { usage, selector, matching, data: data.toString('hex') };
}

/** Certificates between a host's own and the one that vouches. */
const MAX_CHAIN = 10;

/** Why a certificate is none of those that the records name; undefined when it is. `names`: of which an authority must have made it for one. */
export function tlsaProblem(
  records: readonly Tlsa[],
  leaf: X509Certificate,
  names: readonly string[],
  now: number,
): string | undefined {
  // Section 3.1.1: neither names nor dates count, the record does.
  if (records.some((record) => record.usage === 3 && matches(record, leaf))) return undefined;
  const authorities = records.filter(({ usage }) => usage === 2);
  if (authorities.length === 0) return 'the certificate is not that of the TLSA records';
  if (!isVouchedFor(authorities, leaf, now)) return 'no certificate of the TLSA records vouches for the host’s';
  // Section 3.1.2: with an authority the name counts.
  return names.some((name) => leaf.checkHost(name) !== undefined) ? undefined : `certificate is not for ${names.join(', ')}`;
}

/** Up the chain that was shown: each made by the next, all in date, to one that a record names. */
function isVouchedFor(authorities: readonly Tlsa[], leaf: X509Certificate, now: number): boolean {
  let at = leaf;
  for (let i = 0; i < MAX_CHAIN; i++) {
    if (now < at.validFromDate.getTime() || now > at.validToDate.getTime()) return false;
    if (authorities.some((record) => matches(record, at))) return true;
    const issuer = at.issuerCertificate;
    if (!issuer?.ca || !at.checkIssued(issuer) || !at.verify(issuer.publicKey)) return false;
    at = issuer;
  }
  return false;
}

function matches({ selector, matching, data }: Tlsa, certificate: X509Certificate): boolean {
  const bytes = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: 'spki', format: 'der' });
  return (
    (matching === 0
      ? bytes
      : createHash(matching === 1 ? 'sha256' : 'sha512')
          .update(bytes)
          .digest()
    ).toString('hex') === data
  );
}
