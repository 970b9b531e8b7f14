// Dovecot's dot-locks: whoever creates `FILE.lock` exclusively holds the lock on FILE. A lock that has not been touched for two minutes
// belongs to a program that died, and is taken away (Dovecot's own rule).
import { open, stat, unlink, utimes } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';

const STALE_MS = 120_000;
const WAIT_MS = 30_000;
const TOUCH_MS = 20_000;

/**
 * Runs `fn` while holding `path + '.lock'`. `fn` may rename the lock file over the file itself: then nothing is left to remove.
 * @throws MailError in-use when the lock is not free within 30 s; whatever `fn` throws
 */
export async function withDotlock<T>(path: string, mode: number, fn: (lockPath: string) => Promise<T>): Promise<T> {
  const lockPath = `${path}.lock`;
  await acquire(lockPath, mode);
  const touch = setInterval(() => void utimes(lockPath, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  try {
    return await fn(lockPath);
  } finally {
    clearInterval(touch);
    await unlink(lockPath).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw toMailError(error, 'removing a lock');
    });
  }
}

async function acquire(lockPath: string, mode: number): Promise<void> {
  const end = Date.now() + WAIT_MS;
  for (let pause = 2; ; pause = Math.min(pause * 2, 50)) {
    try {
      await (await open(lockPath, 'wx', mode)).close();
      return;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    await removeStale(lockPath);
    if (Date.now() > end)
      throw new MailError('in-use', 'LOCKED', 'The mailbox is locked by another program', { detail: lockPath });
    await sleep(pause + Math.random() * pause);
  }
}

async function removeStale(lockPath: string): Promise<void> {
  try {
    const { mtimeMs } = await stat(lockPath);
    if (Date.now() - mtimeMs > STALE_MS) await unlink(lockPath);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
