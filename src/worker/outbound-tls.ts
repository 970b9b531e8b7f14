// How the settings want other hosts to be spoken to: the policy table, then the level for all.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Settings } from '../config/settings.ts';
import type { SecureResolver } from '../dns/secure-resolver.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { findTlsa } from '../policy/dane/tlsa.ts';
import { allowsHost } from '../policy/mta-sts/policy.ts';
import type { MtaStsDiscovery } from '../policy/mta-sts/discovery.ts';
import { toAscii } from '../queue/client/hosts.ts';
import type { TlsPolicy, TlsRules } from '../queue/client/options.ts';
import { policyOf, tlsDefaults } from '../queue/tls-policy.ts';
import type { InetHop } from '../queue/types.ts';
import type { Parts } from './parts.ts';

/** Whom it is about. */
export interface TlsQuestion {
  readonly site: InetHop;
  /** The MX that is spoken to. */
  readonly host: string;
  readonly signal: AbortSignal;
}

export interface TlsDeps {
  readonly policies: Pick<MtaStsDiscovery, 'find'>;
  readonly dnssec: SecureResolver;
  readonly logger: Logger;
}

/** @throws MailError temporary when the table cannot be read, or `signal` ends the wait for a policy */
export async function outboundTls(
  { tlsPolicy, settings }: Pick<Parts, 'tlsPolicy' | 'settings'>,
  { policies, dnssec, logger }: TlsDeps,
  { site, host, signal }: TlsQuestion,
): Promise<TlsPolicy> {
  const own = await tlsPolicy(site);
  const written = own ?? policyOf(settings.smtp_tls_security_level, site.host, tlsDefaults(settings), logger);
  if (written.level === 'refused') return written;
  const domain = toAscii(site.host) ?? site.host;
  if (written.level === 'dane' || written.level === 'dane-only') {
    // DANE comes first (RFC 8461 section 2).
    const found = await byDane({ ...written, level: written.level }, dnssec, { site, domain, host });
    if (found) return found;
  } else if (own) return { ...written, level: written.level };
  const usual: TlsRules = {
    ...written,
    level: written.level === 'dane' || written.level === 'dane-only' ? 'may' : written.level,
  };
  // A host that an administrator named is his own matter (RFC 8461 section 2: policies are about a domain's MX).
  if (usual.level === 'none' || !site.mx || settings.smtp_mta_sts === 'off') return usual;
  const policy = await policies.find(domain, signal);
  if (!policy || policy.mode === 'none') return usual;
  const problem = allowsHost(policy, host) ? '' : `MX host ${host} is not in the MTA-STS policy of ${domain}`;
  if (policy.mode === 'testing' || settings.smtp_mta_sts === 'testing') return { ...usual, testing: problem };
  return problem === '' ? verified(usual) : { level: 'refused', status: '4.7.5', reason: problem };
}

/** RFC 7672 section 2.2. Undefined where `dane` is no more than `may`. */
async function byDane(
  written: Omit<TlsRules, 'level'> & { readonly level: 'dane' | 'dane-only' },
  dnssec: SecureResolver,
  { site, domain, host }: { readonly site: InetHop; readonly domain: string; readonly host: string },
): Promise<TlsPolicy | undefined> {
  const refused = (reason: string): TlsPolicy => ({ level: 'refused', status: '4.7.5', reason });
  if (isIP(host) !== 0) return written.level === 'dane' ? undefined : refused(`no TLSA records for the address ${host}`);
  const found = await findTlsa(dnssec, { domain: site.mx ? domain : undefined, host, port: site.port });
  if (found.kind === 'failed') return refused(`TLSA lookup error for ${host}: ${found.reason}`);
  if (found.kind === 'none') return written.level === 'dane' ? undefined : refused(found.reason);
  if (found.usable.length > 0) return { ...written, level: 'dane', tlsa: found.usable, tlsaBase: found.base };
  return written.level === 'dane' ? { ...written, level: 'encrypt' } : refused(`no usable TLSA records for ${host}`);
}

/** RFC 8461 section 4.2: a certificate for the host that a root vouches for; never less than the settings ask for. */
function verified(usual: TlsRules): TlsRules {
  return usual.level === 'may' || usual.level === 'encrypt' ? { ...usual, level: 'verify' } : usual;
}

/** smtp_tls_CAfile, read once for each settings. Mail waits while it cannot be read: trusting others instead would be another promise. */
export function rootsOf(settings: () => Settings): () => Promise<SecureContextOptions['ca'] | undefined> {
  let read: { readonly of: Settings; readonly roots: Promise<Buffer | undefined> } | undefined;
  return async () => {
    const of = settings();
    if (read?.of !== of) read = { of, roots: readRoots(of.smtp_tls_CAfile) };
    try {
      return await read.roots;
    } catch (error) {
      read = undefined;
      throw error;
    }
  };
}

async function readRoots(file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new MailError('temporary', 'CAFILE_UNREADABLE', 'client TLS configuration problem', {
      detail: `smtp_tls_CAfile ${file}: ${errnoOf(error) ?? String(error)}`,
      cause: error,
    });
  }
}
