// How the settings want other hosts to be spoken to: the policy table, then the level for all.
import { readFile } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import type { Settings } from '../config/settings.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
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

/** @throws MailError temporary when the table cannot be read, or `signal` ends the wait for a policy */
export async function outboundTls(
  { tlsPolicy, settings }: Pick<Parts, 'tlsPolicy' | 'settings'>,
  policies: Pick<MtaStsDiscovery, 'find'>,
  logger: Logger,
  { site, host, signal }: TlsQuestion,
): Promise<TlsPolicy> {
  const own = await tlsPolicy(site);
  if (own) return own;
  const usual = policyOf(settings.smtp_tls_security_level, site.host, tlsDefaults(settings), logger);
  // A host that an administrator named is his own matter (RFC 8461 section 2: policies are about a domain's MX).
  if (usual.level === 'refused' || usual.level === 'none' || !site.mx || settings.smtp_mta_sts === 'off') return usual;
  const domain = toAscii(site.host) ?? site.host;
  const policy = await policies.find(domain, signal);
  if (!policy || policy.mode === 'none') return usual;
  const problem = allowsHost(policy, host) ? '' : `MX host ${host} is not in the MTA-STS policy of ${domain}`;
  if (policy.mode === 'testing' || settings.smtp_mta_sts === 'testing') return { ...usual, testing: problem };
  return problem === '' ? verified(usual) : { level: 'refused', status: '4.7.5', reason: problem };
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
