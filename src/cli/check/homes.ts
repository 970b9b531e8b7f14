// The mail tree on disk: owners, modes, and the passwd and shadow files that decide who may log in.
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PasswdFiles } from '../../auth/passwd-file.ts';
import { unsupportedReason } from '../../auth/stored-password.ts';
import { Semaphore } from '../../lib/async.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { lookUpIdentity, type Identity } from '../../worker/privileges.ts';
import { domainOf, type Report, type World } from './finding.ts';

export async function checkHomes(world: World, report: Report): Promise<void> {
  const { settings } = world;
  const base = await statOrNothing(settings.virtual_mailbox_base);
  if (!base?.isDirectory()) {
    report.error(
      'BASE_MISSING',
      'virtual_mailbox_base',
      `there is no folder ${settings.virtual_mailbox_base}`,
      `run: install -d -o ${settings.user} -g ${settings.group} -m 750 ${settings.virtual_mailbox_base}`,
    );
    return;
  }
  const owner = await checkIdentity(world, report);
  const files = new PasswdFiles();
  const slots = new Semaphore(8);
  const boxes = [...world.mailboxes].filter(
    ([address, value]) =>
      address.includes('@') && !address.startsWith('@') && value.endsWith('/') && !value.split('/').includes('..'),
  );
  await Promise.all(boxes.map(([address, value]) => slots.run(() => checkHome(world, report, { address, value, owner, files }))));
}

/** Who serves: `static:` ids, else `user` and `group`. */
async function checkIdentity({ settings }: World, report: Report): Promise<Identity | undefined> {
  const id = (specs: readonly string[], name: string): string => /^static:\s*(\d+)\s*$/.exec(specs[0] ?? '')?.[1] ?? name;
  try {
    return await lookUpIdentity(id(settings.virtual_uid_maps, settings.user), id(settings.virtual_gid_maps, settings.group));
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    report.error(error.code, 'user', error.message, 'a user and a group that exist, or virtual_uid_maps and virtual_gid_maps');
    return undefined;
  }
}

interface Home {
  readonly address: string;
  readonly value: string;
  readonly owner: Identity | undefined;
  readonly files: PasswdFiles;
}

async function checkHome(world: World, report: Report, { address, value, owner, files }: Home): Promise<void> {
  const base = world.settings.virtual_mailbox_base;
  const home = resolve(base, `./${value}`);
  const found = await statOrNothing(home);
  // A home is made with the first mail; the domain's files may still let its owner in.
  if (found && !found.isDirectory()) {
    report.error('HOME_NOT_FOLDER', home, 'the mailbox is no folder', `the folder ${home}`);
    return;
  }
  if (found) checkOwnerAndMode(report, home, found, owner);
  await checkPasswords(world, report, { address, home, files });
}

function checkOwnerAndMode(report: Report, path: string, { uid, gid, mode }: Stats, owner: Identity | undefined): void {
  if (owner && (uid !== owner.uid || gid !== owner.gid))
    report.error(
      'HOME_OWNER',
      path,
      `it belongs to ${uid}:${gid} and not to ${owner.uid}:${owner.gid}`,
      `run: chown -R ${owner.uid}:${owner.gid} ${path}`,
    );
  if ((mode & 0o007) !== 0)
    report.error(
      'HOME_MODE',
      path,
      `everybody on this host may use it (mode ${(mode & 0o777).toString(8)})`,
      `run: chmod 750 ${path}`,
    );
  else if ((mode & 0o700) !== 0o700)
    report.error('HOME_MODE', path, `its owner may not use it (mode ${(mode & 0o777).toString(8)})`, `run: chmod 750 ${path}`);
}

/** Per-home files first, then those of the domain one level up. */
async function checkPasswords(
  world: World,
  report: Report,
  { address, home, files }: Pick<Home, 'address' | 'files'> & { home: string },
): Promise<void> {
  const user = address.slice(0, address.lastIndexOf('@'));
  let known = false;
  for (const folder of [home, join(world.settings.virtual_mailbox_base, domainOf(address))])
    for (const name of ['passwd', 'shadow']) {
      const path = join(folder, name);
      const found = await statOrNothing(path);
      if (!found) continue;
      if (
        (found.mode & 0o007) !== 0 &&
        !report.findings.some(({ code, subject }) => code === 'PASSWD_EXPOSED' && subject === path)
      )
        report.error(
          'PASSWD_EXPOSED',
          path,
          `everybody on this host may use it (mode ${(found.mode & 0o777).toString(8)})`,
          `run: chmod 640 ${path}`,
        );
      const entries = await readEntries(files, path, report);
      const entry = entries?.get(address) ?? entries?.get(user);
      if (!entry) continue;
      known = true;
      const bare = ['', 'x', '*', '!'].includes(entry.password);
      const reason = bare ? undefined : unsupportedReason(entry.password, world.settings.default_pass_scheme);
      if (reason !== undefined)
        report.warn(
          'PASSWORD_UNSUPPORTED',
          `${path} ${entry.user}`,
          `${address} cannot log in: ${reason}`,
          `buzon user passwd ${address}`,
        );
    }
  if (!known)
    report.warn(
      'ACCOUNT_NO_PASSWD',
      address,
      `no passwd or shadow file has it: nobody can log in`,
      `run: buzon user passwd ${address}`,
    );
}

async function readEntries(files: PasswdFiles, path: string, report: Report) {
  try {
    return await files.read(path);
  } catch (error) {
    report.error(
      'PASSWD_UNREADABLE',
      path,
      errnoOf(error) ?? (error as Error).message,
      'a file that the mail tree’s owner may read',
    );
    return undefined;
  }
}

async function statOrNothing(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR' || errnoOf(error) === 'EACCES') return undefined;
    throw error;
  }
}
