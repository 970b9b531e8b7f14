// How the settings want other hosts to be spoken to: the policy table, then the level for all.
import { readFile } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import type { Settings } from '../config/settings.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { TlsPolicy } from '../queue/client/options.ts';
import { policyOf, tlsDefaults } from '../queue/tls-policy.ts';
import type { InetHop } from '../queue/types.ts';
import type { Parts } from './parts.ts';

/** @throws MailError temporary when the table cannot be read */
export async function outboundTls(
  { tlsPolicy, settings }: Parts,
  logger: Logger,
  site: InetHop,
  _host: string,
): Promise<TlsPolicy> {
  return (await tlsPolicy(site)) ?? policyOf(settings.smtp_tls_security_level, site.host, tlsDefaults(settings), logger);
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
