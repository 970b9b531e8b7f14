// Keys for signing: private to their owner, and what can sign.
import { readPemFile } from '../../config/certificates.ts';
import { MailError } from '../../lib/errors.ts';
import { loadDkimKey } from '../../policy/dkim-keys.ts';
import { readSources, type DkimKeyFile } from '../../policy/signing-sources.ts';
import { textReader } from '../../policy/opendkim/conf.ts';
import { loadOpenDkim } from '../../policy/opendkim/load.ts';
import type { Report, World } from './finding.ts';

export async function checkDkimKeys({ settings }: World, report: Report): Promise<void> {
  for (const entry of [
    ...settings.dkim_keys,
    ...(await directoryKeys(settings.dkim_directory, report)),
    ...(await openDkimKeys(settings.opendkim_config, report)),
  ]) {
    try {
      await loadDkimKey(entry);
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      const right =
        error.code === 'DKIM_KEY_EXPOSED'
          ? `run: chmod 600 ${entry.file}`
          : 'a key that `buzon dkim keygen` or `opendkim-genkey` made';
      report.error(error.code, entry.file, error.message, right);
    }
  }
}

async function directoryKeys(directory: string | undefined, report: Report): Promise<readonly DkimKeyFile[]> {
  try {
    return (await readSources({ dkim_directory: directory })).directory;
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    report.error(error.code, directory ?? '', error.message, 'the file as `buzon dkim rotate` writes it');
    return [];
  }
}

/** Keys of OpenDKIM's tables; its settings are told of where they cannot be, or mean what is not done. */
async function openDkimKeys(file: string | undefined, report: Report): Promise<readonly DkimKeyFile[]> {
  if (file === undefined) return [];
  try {
    const { keys, warnings } = await loadOpenDkim(file, textReader(readPemFile));
    for (const { place, text, right } of warnings) report.warn('OPENDKIM_NOT_DONE', place, text, right);
    return keys.filter((key, i) => keys.findIndex((other) => other.file === key.file) === i);
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    if (error.code !== 'OPENDKIM_INVALID') report.error('OPENDKIM_UNREADABLE', file, error.message, 'a file that root can read');
    else
      for (const line of error.message.split('\n')) {
        const [, place = file, text = line, right = ''] = /^(.*?:\d+): (.*); write (.*)$/.exec(line) ?? [];
        report.error('OPENDKIM_INVALID', place, text, right);
      }
    return [];
  }
}
