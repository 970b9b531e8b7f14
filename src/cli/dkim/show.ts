// The records of the keys in the settings.
import { resolve } from 'node:path';
import { aLabels } from '../../dns/a-labels.ts';
import { loadSettings } from '../../config/settings.ts';
import { MailError } from '../../lib/errors.ts';
import { loadDkimKey } from '../../policy/dkim-keys.ts';
import { signingKeyFiles } from '../../policy/signing-sources.ts';
import { dkimRecord, zoneLine } from '../../policy/dkim-record.ts';
import type { CommandIo } from '../command.ts';

/** 1 when there is no key, or one cannot be used; the others are shown. @throws MailError config for settings that cannot be read */
export async function showKeys({ config, domain }: { config: string; domain?: string }, io: CommandIo): Promise<number> {
  const settings = await loadSettings(resolve(io.cwd, config));
  // A key for every author's domain is shown for the one that is asked for.
  const wanted = (await signingKeyFiles(settings))
    .map((entry) => (entry.domain === '%' && domain !== undefined ? { ...entry, domain: domain.toLowerCase() } : entry))
    .filter((entry) => entry.domain !== '%' && (domain === undefined || entry.domain === domain.toLowerCase()));
  let status = wanted.length === 0 ? 1 : 0;
  if (status === 1) io.err(`buzon dkim: there is no key${domain === undefined ? '' : ` for ${domain}`} in the settings\n`);
  for (const entry of wanted) {
    try {
      const { key } = await loadDkimKey(entry);
      io.out(`; ${entry.file}\n${zoneLine(aLabels(entry.domain), entry.selector, dkimRecord(key))}`);
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      io.err(`buzon dkim: ${error.message}\n`);
      status = 1;
    }
  }
  return status;
}
