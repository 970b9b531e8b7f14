// What crashes leave under `tmp/`: messages that were never published, mailboxes half made or half removed. maildir(5): gone after 36 hours.
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { namesIn } from './files.ts';

const KEPT_MS = 36 * 3_600_000;

/**
 * Removes what has lain under `<folder>/tmp` for too long. Judged by the time of the last change of the file's inode: its mtime may be an
 * INTERNALDATE. Never throws.
 */
export async function sweepTmp(folder: string, now: number = Date.now()): Promise<void> {
  const tmp = join(folder, 'tmp');
  for (const name of await namesIn(tmp).catch(() => [])) {
    const path = join(tmp, name);
    const found = await stat(path).catch(() => undefined);
    if (found && now - found.ctimeMs > KEPT_MS) await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}
