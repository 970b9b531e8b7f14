// Files that commands change: read, changed under a lock, written beside, synced, renamed over, folder synced. As root nothing is written where
// somebody else can turn the way: there the command becomes that somebody first.
import { randomBytes } from 'node:crypto';
import { lstat, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { withDotlock } from '../../storage/dotlock.ts';
import { syncFolder } from '../../storage/files.ts';
import { actAs, type Identity } from '../../worker/privileges.ts';

/** Bytes of the largest file that is changed. */
const MAX_BYTES = 64 * 1024 * 1024;

/** The text of a file; undefined when there is none. @throws MailError config for what is too large or not UTF-8; the file system's errors */
export async function readText(path: string): Promise<string | undefined> {
  try {
    if ((await stat(path)).size > MAX_BYTES)
      throw new MailError('config', 'FILE_TOO_LARGE', `${path} is over ${MAX_BYTES} bytes`);
    const text = (await readFile(path)).toString('utf8');
    if (text.includes('\ufffd')) throw new MailError('config', 'NOT_UTF8', `${path} is not UTF-8: change it by hand`);
    return text;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Whole or not at all. Owner (as far as the process may) and mode stay those of the file that was there; a new one has `mode`. */
export async function writeText(path: string, text: string, mode: number): Promise<void> {
  const before = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  const model = before?.isFile() ? before : undefined;
  const temporary = join(dirname(path), `${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await using handle = await open(temporary, 'wx', 0o600);
    await handle.writeFile(text);
    if (model && process.geteuid?.() === 0) await handle.chown(model.uid, model.gid);
    await handle.chmod(model ? model.mode & 0o777 : mode);
    await handle.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Changes a file's text (undefined: there is no file) under its lock; `change` gives undefined when all is well as it is. */
export async function changeText(
  path: string,
  mode: number,
  change: (text: string | undefined) => string | undefined,
): Promise<boolean> {
  return withDotlock(path, 0o600, async () => {
    const next = change(await readText(path));
    if (next === undefined) return false;
    await writeText(path, next, mode);
    return true;
  });
}

/** Where a file really lies, so that a link to it stays a link. */
async function realFile(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return join(await realpath(dirname(path)), basename(path));
  }
}

/**
 * As whom a process of root may write `path`: undefined (itself) where all folders and links on the way are root's, else the first owner that
 * is not. @throws MailError config `FOLDER_OPEN` where everybody may turn the way
 */
async function writerOf(path: string): Promise<Identity | undefined> {
  if (process.geteuid?.() !== 0) return undefined;
  for (const way of [resolve(path), await realFile(path)]) {
    const owner = await firstForeigner(way);
    if (owner) return owner;
  }
  return undefined;
}

async function firstForeigner(way: string): Promise<Identity | undefined> {
  const parts = way.split('/').slice(1);
  for (let i = 0; i <= parts.length; i++) {
    const here = `/${parts.slice(0, i).join('/')}`;
    let found;
    try {
      found = await lstat(here);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    // The file itself is replaced, not followed.
    if (i === parts.length && !found.isSymbolicLink()) return undefined;
    if (found.uid !== 0) return { uid: found.uid, gid: found.gid };
    if (found.isDirectory() && (found.mode & 0o1002) === 0o002)
      throw new MailError('config', 'FOLDER_OPEN', `everybody may write in ${here}: run: chmod o-w ${here}`);
  }
  return undefined;
}

/** `changeText` of a file outside of the mail tree, as whoever may write there. */
export async function changeConfigText(
  path: string,
  mode: number,
  change: (text: string | undefined) => string | undefined,
): Promise<boolean> {
  return asWriterOf(path, async () => changeText(await realFile(path), mode, change));
}

export async function asWriterOf<T>(path: string, fn: () => Promise<T>): Promise<T> {
  return actAs(undefined, async () => actAs(await writerOf(path), fn));
}
