// The server's own folder: made, locked against a second server, and with the process id in it for those who signal.
import { chown, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import { sleep } from '../lib/async.ts';
import { MailError } from '../lib/errors.ts';
import { isBusy, lockFile, shareFile, type FolderLock } from '../lib/sqlite.ts';
import type { Identity } from './privileges.ts';

/** Where the running server's process id is: `buzon reload` and logrotate send it SIGHUP. */
export const pidFile = (settings: Pick<Settings, 'data_directory'>): string => join(settings.data_directory, 'buzon.pid');

/** Held by every worker: one whose supervisor was killed finishes what it is at, and until then no other server may touch that. */
const workersFile = (settings: Pick<Settings, 'data_directory'>): string => join(settings.data_directory, 'workers.lock');
/** Beyond shutdown_timeout, for workers of a killed supervisor to end. */
const ORPHANS_MARGIN_MS = 5_000;
const ORPHANS_STEP_MS = 50;

/** What one server holds of its data_directory while it runs; a supervisor holds it for its workers. */
export class DataFolder {
  readonly #settings: Settings;
  readonly #lock: FolderLock;

  private constructor(settings: Settings, lock: FolderLock) {
    this.#settings = settings;
    this.#lock = lock;
  }

  /**
   * Makes the folders for `identity` and locks them; that of the queue too unless somebody else takes its mail. @throws MailError config when that cannot
   * be, or another server has them
   */
  static async take(settings: Settings, identity: Identity | undefined, withQueue = true): Promise<DataFolder> {
    const { data_directory, queue_directory } = settings;
    await makeFolder('data_directory', data_directory, 0o750, identity);
    await makeFolder('data_directory', join(data_directory, 'spool'), 0o750, identity);
    if (withQueue) await makeFolder('queue_directory', queue_directory, 0o711, identity);
    const path = join(settings.data_directory, 'lock');
    const lock = await lockFolder(path, settings);
    if (identity && process.getuid?.() === 0) await chown(path, identity.uid, identity.gid);
    await outliveOrphans(settings, identity).catch((error: unknown) => {
      lock.release();
      throw error;
    });
    await writeFile(pidFile(settings), `${process.pid}\n`).catch(() => undefined);
    return new DataFolder(settings, lock);
  }

  /** A worker's part of what its supervisor has taken. @throws when the file cannot be opened */
  static join(settings: Settings): FolderLock {
    return shareFile(workersFile(settings));
  }

  async release(): Promise<void> {
    await unlink(pidFile(this.#settings)).catch(() => undefined);
    this.#lock.release();
  }
}

async function lockFolder(path: string, settings: Settings): Promise<FolderLock> {
  try {
    return lockFile(path);
  } catch (error) {
    const { data_directory } = settings;
    if (!isBusy(error)) throw noFolder(`cannot lock ${path}: ${error instanceof Error ? error.message : String(error)}`);
    const pid = (await readFile(pidFile(settings), 'utf8').catch(() => '')).trim();
    throw new MailError(
      'config',
      'DATA_IN_USE',
      `another server${pid === '' ? '' : ` (process ${pid})`} runs with the data_directory ${data_directory}: stop it, or set another one`,
    );
  }
}

/** Waits until no worker of an earlier server is left. @throws MailError config when they do not end in time */
async function outliveOrphans(settings: Settings, identity: Identity | undefined): Promise<void> {
  const path = workersFile(settings);
  const steps = Math.ceil((settings.shutdown_timeout + ORPHANS_MARGIN_MS) / ORPHANS_STEP_MS);
  for (let step = 0; ; step++) {
    try {
      lockFile(path).release();
      break;
    } catch (error) {
      if (!isBusy(error)) throw noFolder(`cannot lock ${path}: ${error instanceof Error ? error.message : String(error)}`);
      if (step >= steps)
        throw new MailError(
          'config',
          'DATA_IN_USE',
          `workers of an earlier server still run with the data_directory ${settings.data_directory}: end them`,
        );
    }
    await sleep(ORPHANS_STEP_MS);
  }
  if (identity && process.getuid?.() === 0) await chown(path, identity.uid, identity.gid);
}
const noFolder = (text: string): MailError => new MailError('config', 'NO_DATA_FOLDER', text);

/** One of the server's own folders: made as whoever started it, given to whom it serves as. */
async function makeFolder(setting: string, folder: string, mode: number, identity: Identity | undefined): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode });
    if (identity && process.getuid?.() === 0) await chown(folder, identity.uid, identity.gid);
  } catch (error) {
    throw new MailError('config', 'NO_DATA_FOLDER', `cannot make the folder ${folder}: make it, or set another ${setting}`, {
      cause: error,
    });
  }
}
