// The folders of the maildrop, below queue_directory:
//
//   maildrop/  3733, the mail owner's: whoever may run programs on the host puts a file in, nobody but the owner sees what is there
//   pickup/    0700: files that were taken, named by their queue id, until they are accepted for all recipients
//   corrupt/   0700: files that are none of sendmail's, for an administrator to look at
//
// Why this is safe without a set-group-id program (which Node cannot be) and without root. The owner of a file, which the kernel wrote, is who sends. No read bit
// on the folder: names cannot be listed or watched (inotify needs that bit). Sticky: nobody moves or removes what somebody else put in. Set-group-id on the folder:
// a new file belongs to the mail owner's group, so that mode 0640 lets the pickup read it and no other user, whatever its name. Pickup takes
// only what looks as if made there: a regular file with that group, exactly that mode and one name. So neither a link to somebody's file, nor somebody's
// file moved in from a folder that others may write, passes for a message of his; symbolic links are never followed, pipes and devices
// never opened. A taken file is renamed into a folder of the mail owner alone before it is opened: nobody can exchange it. Its
// owner may still write into it through a descriptor: its bytes are read once, into the spool, and only that is looked at.
import type { Stats } from 'node:fs';
import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MailError } from '../lib/errors.ts';

export const DROP_MODE = 0o640;
const MAILDROP_MODE = 0o3733;
/** Bits that let others come through to the maildrop without seeing what lies beside it. */
const PASSAGE = 0o011;

/** Begins the names of files that are still being written. */
export const UNFINISHED = 'new.';
/** Names of complete files: 128 random bits. */
export const COMPLETE_NAME = /^[0-9a-f]{32}$/;
export const UNFINISHED_NAME = /^new\.[0-9a-f]{32}$/;

export const maildropFolder = (queueDirectory: string): string => join(queueDirectory, 'maildrop');
export const pickupFolder = (queueDirectory: string): string => join(queueDirectory, 'pickup');
export const corruptFolder = (queueDirectory: string): string => join(queueDirectory, 'corrupt');

/**
 * Makes the folders, or mends their modes. As root they are given to `owner`; else they are the process's own.
 * @throws MailError config `NO_MAILDROP`
 */
export async function makeMaildrop(
  queueDirectory: string,
  owner?: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const give = process.geteuid?.() === 0 ? owner : undefined;
  try {
    const made = await mkdir(queueDirectory, { recursive: true, mode: 0o711 });
    if (made !== undefined && give) await chown(queueDirectory, give.uid, give.gid);
    await allowPassage(queueDirectory);
    for (const path of [pickupFolder(queueDirectory), corruptFolder(queueDirectory)]) await makeFolder(path, 0o700, give);
    await makeFolder(maildropFolder(queueDirectory), MAILDROP_MODE, give);
  } catch (error) {
    throw new MailError(
      'config',
      'NO_MAILDROP',
      `cannot make the folder ${maildropFolder(queueDirectory)}: make it, or set another queue_directory`,
      {
        cause: error,
      },
    );
  }
}

async function makeFolder(path: string, mode: number, give: { uid: number; gid: number } | undefined): Promise<void> {
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  });
  const now = await stat(path);
  if (give && (now.uid !== give.uid || now.gid !== give.gid)) await chown(path, give.uid, give.gid);
  // Behind chown, which takes the set-group-id bit away.
  if ((now.mode & 0o7777) !== mode || give) await chmod(path, mode);
}

async function allowPassage(path: string): Promise<void> {
  const { mode, uid } = await stat(path);
  if ((mode & PASSAGE) === PASSAGE) return;
  const me = process.geteuid?.();
  if (me === 0 || me === uid) await chmod(path, (mode & 0o7777) | PASSAGE);
}

/** Why a file in the maildrop (lstat or fstat) is not one that sendmail made there; undefined when it may be. `gid` is the folder's. */
export function whyForeign(file: Stats, gid: number): string | undefined {
  if (!file.isFile()) return 'it is not a regular file';
  if (file.nlink !== 1) return 'it has other names';
  if (file.gid !== gid) return 'it was not made in the maildrop';
  return (file.mode & 0o7777) === DROP_MODE ? undefined : `its mode is ${(file.mode & 0o7777).toString(8).padStart(4, '0')}`;
}
