// Whether the disk does what it is asked to: bad from the first delivery that it failed, good again with the next one that it took. In a small
// file of each process, so that `buzon health` (and who watches the host with it) can tell; in the log in any case.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';

/** Codes of MailError (system errors keep their names) that the disk, not the message, is to blame for. */
const DISK_FAULTS: ReadonlySet<string> = new Set(['EIO', 'EROFS', 'DISK_FULL', 'DISK_QUOTA', 'ENODEV', 'ENXIO']);
const PREFIX = 'health.';

/** What a process noted. */
export interface Trouble {
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  readonly cause: string;
}

export class Health {
  readonly #file: string;
  readonly #logger: Logger;
  readonly #now: () => number;
  #bad = false;

  /** `now`: milliseconds since the epoch. */
  constructor(settings: Pick<Settings, 'data_directory'>, logger: Logger, now: () => number) {
    this.#file = join(settings.data_directory, `${PREFIX}${process.pid}`);
    this.#logger = logger;
    this.#now = now;
  }

  /** A delivery that succeeded. */
  good(): void {
    if (!this.#bad) return;
    this.#bad = false;
    rmSync(this.#file, { force: true });
    this.#logger.info('health.good', {});
  }

  /** A delivery that failed, for whatever reason. Never throws. */
  failed(error: unknown): void {
    if (this.#bad || !(error instanceof MailError) || !DISK_FAULTS.has(error.code)) return;
    this.#bad = true;
    const cause = `${error.code}: ${error.detail}`.slice(0, 500);
    this.#logger.error('health.bad', { cause });
    const trouble: Trouble = { pid: process.pid, since: new Date(this.#now()).toISOString(), cause };
    try {
      writeFileSync(this.#file, `${JSON.stringify(trouble)}\n`, { mode: 0o640 });
    } catch {
      // The disk that is in trouble may be this one: the log has said it.
    }
  }

  /** The server ends: what was wrong is no longer this process's to tell. */
  close(): void {
    if (this.#bad) rmSync(this.#file, { force: true });
    this.#bad = false;
  }
}

/** What the server's processes have noted; those of processes that are gone do not count. @throws the file system's error when the folder cannot be read */
export async function troubles({ data_directory }: Pick<Settings, 'data_directory'>): Promise<Trouble[]> {
  const found: Trouble[] = [];
  for (const name of await readdir(data_directory)) {
    const pid = Number(/^health\.(\d+)$/.exec(name)?.[1]);
    if (!(pid > 0) || !isAlive(pid)) continue;
    found.push((await noted(join(data_directory, name))) ?? { pid, since: '', cause: 'unknown' });
  }
  return found;
}

/** Undefined where a full disk has kept the file empty. */
const noted = (path: string): Promise<Trouble | undefined> =>
  readFile(path, 'utf8')
    .then(
      (text) => JSON.parse(text) as Trouble,
      () => undefined,
    )
    .catch(() => undefined);

/** The pid of the server that has the folder; undefined when none runs. */
export function runningServer(pidFile: string): number | undefined {
  let pid = 0;
  try {
    pid = Number(readFileSync(pidFile, 'utf8').trim());
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  return Number.isInteger(pid) && pid > 1 && isAlive(pid) ? pid : undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}
