// Homes and the passwd and shadow files in them, or one level up for a whole domain. Everything here runs with the rights of the tree's owner.
import { lstat, mkdir, chmod, rm, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { userFor, userIn, withLine, withoutUsers, withPassword, localOf } from '../../auth/passwd-edit.ts';
import { parsePasswd } from '../../auth/passwd-file.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { withDotlock } from '../../storage/dotlock.ts';
import { removeIfThere, syncFolder } from '../../storage/files.ts';
import { changeText, readText, writeText } from './text-file.ts';

const PASSWD_MODE = 0o640;
const SHADOW_MODE = 0o600;
const DAY_MS = 86_400_000;

export interface HomeOptions {
  readonly address: string;
  readonly home: string;
  /** virtual_mailbox_base. */
  readonly base: string;
}

/** Where passwd and shadow may lie, the home's own first. */
function foldersOf({ home, base }: HomeOptions): string[] {
  const above = dirname(home);
  return above === base ? [home] : [home, above];
}

/** Makes the home and the folders above it up to the base, mode 0750, each on the disk afterwards. @throws MailError config `BASE_MISSING` */
export async function makeHome({ home, base }: HomeOptions): Promise<void> {
  const found = await stat(base).catch(() => undefined);
  if (!found?.isDirectory())
    throw new MailError(
      'config',
      'BASE_MISSING',
      `there is no folder ${base}: make it, with the mail tree's owner and mode 0750`,
    );
  let path = base;
  for (const level of relative(base, home).split('/')) {
    path = join(path, level);
    try {
      await mkdir(path, 0o750);
      await chmod(path, 0o750);
      await syncFolder(dirname(path));
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      if (!(await lstat(path)).isDirectory())
        throw new MailError('config', 'BAD_HOME', `${path} is no folder: move it away first`);
    }
  }
}

/** One command at a time in a home. */
export const withHomeLock = <T>(home: string, fn: () => Promise<T>): Promise<T> =>
  withDotlock(join(home, 'buzon-account'), 0o600, fn);

/** Writes the entries of a new account: into the domain's files where it has such, else into the home's own. */
export async function addPasswordEntries(options: HomeOptions, stored: string, extra: string): Promise<void> {
  const folder = await newEntryFolder(options);
  const { home, address } = options;
  const { uid, gid } = await stat(home);
  await changeText(join(folder, 'passwd'), PASSWD_MODE, (text = '') => {
    const user = userIn(text, address) ?? userFor(text, address);
    return withLine(text, user, `${user}:x:${uid}:${gid}::${home}:/usr/sbin/nologin${extra === '' ? '' : `:${extra}`}`);
  });
  await changeText(join(folder, 'shadow'), SHADOW_MODE, (text = '') => {
    const user = userIn(text, address) ?? userFor(text, address);
    return withLine(text, user, `${user}:${stored}::::::`);
  });
}

async function newEntryFolder(options: HomeOptions): Promise<string> {
  const [own = options.home, above] = foldersOf(options);
  if (above === undefined) return own;
  const domainWide = await Promise.all(['passwd', 'shadow'].map((name) => readText(join(above, name))));
  return domainWide.some((text) => text !== undefined) ? above : own;
}

/** Replaces the password where the account's is; makes the entries where it has none. */
export async function setPassword(options: HomeOptions, stored: string): Promise<void> {
  const { address } = options;
  const day = Math.floor(Date.now() / DAY_MS);
  const change = (path: string, mode: number, lastChange?: number): Promise<boolean> =>
    changeText(path, mode, (text = '') => {
      const user = userIn(text, address);
      return user === undefined ? undefined : withPassword(text, user, stored, lastChange);
    });
  for (const folder of foldersOf(options)) if (await change(join(folder, 'shadow'), SHADOW_MODE, day)) return;
  for (const folder of foldersOf(options)) {
    const text = (await readText(join(folder, 'passwd'))) ?? '';
    const user = userIn(text, address);
    if (user === undefined) continue;
    const password = parsePasswd(text).get(user)?.password ?? '';
    if (password !== '' && password !== 'x' && (await change(join(folder, 'passwd'), PASSWD_MODE))) return;
    await changeText(join(folder, 'shadow'), SHADOW_MODE, (shadow = '') => withLine(shadow, user, `${user}:${stored}::::::`));
    return;
  }
  await addPasswordEntries(options, stored, '');
}

/** Takes the account's entries out; a file without any entry goes. */
export async function removePasswordEntries(options: HomeOptions): Promise<void> {
  const { address } = options;
  for (const [i, folder] of foldersOf(options).entries())
    for (const name of ['passwd', 'shadow']) {
      const path = join(folder, name);
      if ((await readText(path)) === undefined) continue;
      await withDotlock(path, 0o600, async () => {
        const text = (await readText(path)) ?? '';
        // In the domain's files only the entry that counts: a local part there may be another address's.
        const next = withoutUsers(text, i === 0 ? [address, localOf(address)] : [userIn(text, address) ?? address]);
        if (next === text) return;
        // The domain's files stay, empty: they say how the domain keeps its passwords.
        if (i === 0 && next.trim() === '') await removeIfThere(path);
        else await writeText(path, next, name === 'passwd' ? PASSWD_MODE : SHADOW_MODE);
        await syncFolder(folder);
      });
    }
}

/** Removes a folder of the tree with everything in it. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await syncFolder(dirname(path)).catch(() => undefined);
}
