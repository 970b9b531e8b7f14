// Keys for signing: private to their owner, and what can sign.
import { MailError } from '../../lib/errors.ts';
import { loadDkimKey } from '../../policy/dkim-keys.ts';
import type { Report, World } from './finding.ts';

export async function checkDkimKeys({ settings }: World, report: Report): Promise<void> {
  for (const entry of settings.dkim_keys) {
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
