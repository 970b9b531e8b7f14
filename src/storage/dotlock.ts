// Dovecot's dot-locks: whoever creates `FILE.lock` exclusively holds the lock on FILE. It holds `<pid>:<host>`, as Dovecot writes it: a lock
// whose process is dead, or one that has not been touched for two minutes, belongs to a program that died, and is taken away.
import { randomBytes } from 'node:crypto';
import { link, open, readFile, stat, unlink, utimes } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';

const STALE_MS = 120_000;
const WAIT_MS = 30_000;
const TOUCH_MS = 20_000;
/** The file system's clock may be so much behind. */
const CLOCK_STEP_MS = 50;

/**
 * Runs `fn` while holding `path + '.lock'`.
 * @throws MailError in-use when the lock is not free within 30 s; whatever `fn` throws
 */
export async function withDotlock<T>(path: string, mode: number, fn: () => Promise<T>): Promise<T> {
  const lockPath = `${path}.lock`;
  const ino = await acquire(lockPath, mode);
  const touch = setInterval(() => void utimes(lockPath, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  try {
    return await fn();
  } finally {
    clearInterval(touch);
    await release(lockPath, ino);
  }
}

/** Gives the lock file's inode. */
async function acquire(lockPath: string, mode: number): Promise<bigint> {
  const end = Date.now() + WAIT_MS;
  for (let pause = 2; ; pause = Math.min(pause * 2, 50)) {
    try {
      return await create(lockPath, mode);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    await removeStale(lockPath);
    if (Date.now() > end)
      throw new MailError('in-use', 'LOCKED', 'The mailbox is locked by another program', { detail: lockPath });
    await sleep(pause + Math.random() * pause);
  }
}

/** Written beside and linked into place: a lock is never there without saying whose it is. */
async function create(lockPath: string, mode: number): Promise<bigint> {
  const draft = `${lockPath}.${process.pid}.${randomBytes(6).toString('hex')}`;
  const handle = await open(draft, 'wx', mode);
  try {
    await handle.writeFile(`${process.pid}:${hostname()}`);
    await link(draft, lockPath);
    return (await handle.stat({ bigint: true })).ino;
  } finally {
    await handle.close();
    await unlink(draft).catch(() => undefined);
  }
}

/** Somebody may have thought that we died and made a lock of his own. */
async function release(lockPath: string, ino: bigint): Promise<void> {
  try {
    if ((await stat(lockPath, { bigint: true })).ino === ino) await unlink(lockPath);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw toMailError(error, 'removing a lock');
  }
}

async function removeStale(lockPath: string): Promise<void> {
  try {
    const { mtimeMs, ino } = await stat(lockPath, { bigint: true });
    const stale = Date.now() - Number(mtimeMs) > STALE_MS || (await holderIsDead(lockPath, Number(mtimeMs)));
    // It may be another's by now.
    if (stale && (await stat(lockPath, { bigint: true })).ino === ino) await unlink(lockPath);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

async function holderIsDead(lockPath: string, touched: number): Promise<boolean> {
  const m = /^(\d{1,10}):([^\n]{1,255})$/.exec(await readFile(lockPath, 'utf8'));
  if (!m || m[2] !== hostname()) return false;
  const pid = Number(m[1]);
  // Our own number on a lock from before our time was our predecessor's (a container's first process always has the same).
  const begin = pid === process.pid ? Date.now() - process.uptime() * 1000 : Date.now() - uptime() * 1000;
  return touched < begin - CLOCK_STEP_MS || (pid !== process.pid && !isRunning(pid));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ESRCH';
  }
}
