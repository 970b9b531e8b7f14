// Which uid and gid the process serves with. Done once, after the privileged ports are bound and the root-only files are read.
import { readFile, stat } from 'node:fs/promises';
import { openTable } from '../config/maps/table.ts';
import type { Settings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import { silentLogger, type Logger } from '../lib/logger.ts';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** The numeric ids of a user and group (names or numbers) as /etc/passwd and /etc/group have them. @throws MailError config */
export async function lookUpIdentity(user: string, group: string, root = '/etc'): Promise<Identity> {
  const uid = /^\d+$/.test(user) ? Number(user) : await idOf(`${root}/passwd`, user);
  const gid = /^\d+$/.test(group) ? Number(group) : await idOf(`${root}/group`, group);
  if (uid === undefined)
    throw new MailError(
      'config',
      'NO_SUCH_USER',
      `there is no user "${user}" on this host: create it (adduser --system --group ${user})`,
    );
  if (gid === undefined)
    throw new MailError(
      'config',
      'NO_SUCH_GROUP',
      `there is no group "${group}" on this host: create it (addgroup --system ${group})`,
    );
  return { uid, gid };
}

async function idOf(file: string, name: string): Promise<number | undefined> {
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    const [entry, , id] = line.split(':');
    if (entry === name && id !== undefined && /^\d+$/.test(id)) return Number(id);
  }
  return undefined;
}

/** The owner of a folder. */
export async function ownerOf(path: string): Promise<Identity> {
  const { uid, gid } = await stat(path);
  return { uid, gid };
}

/**
 * Gives up root for good: no supplementary groups, then gid, then uid (the order matters: after setuid the others are refused).
 * Does nothing when the process is not root, or when `to` is root itself.
 */
export function dropPrivileges(to: Identity): void {
  if (process.getuid?.() !== 0 || to.uid === 0) return;
  process.setgroups?.([]);
  process.setgid?.(to.gid);
  process.setuid?.(to.uid);
}

/** The one owner of the mail tree: of virtual_uid_maps and virtual_gid_maps when they are there, else the settings' user and group. */
export async function mailIdentity(settings: Settings, logger: Logger = silentLogger): Promise<Identity> {
  const idOf = async (specs: readonly string[], otherwise: string): Promise<string> => {
    const [spec] = specs;
    if (spec === undefined) return otherwise;
    const table = openTable(spec, { logger });
    try {
      return (await table.get('*')) ?? (await table.entries())[0]?.[1] ?? otherwise;
    } finally {
      table.close();
    }
  };
  return lookUpIdentity(
    await idOf(settings.virtual_uid_maps, settings.user),
    await idOf(settings.virtual_gid_maps, settings.group),
  );
}

/**
 * Runs `fn` with the rights of somebody else (undefined: root's own) and takes back afterwards those that were: for a command that writes
 * root's files and the mail tree's. The real uid stays root's. Nothing else may run in the process meanwhile. Does nothing but `fn` when the
 * process is not root's.
 */
export async function actAs<T>(to: Identity | undefined, fn: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return fn();
  const before = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };
  become(to ?? { uid: 0, gid: process.getgid?.() ?? 0 }, []);
  try {
    return await fn();
  } finally {
    become(before, before.groups);
  }
}

/** As root first: nobody else may change groups. */
function become({ uid, gid }: Identity, groups: number[]): void {
  process.seteuid?.(0);
  process.setgroups?.(groups);
  process.setegid?.(gid);
  process.seteuid?.(uid);
}
