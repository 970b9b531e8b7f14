// `postmap FILE`: the text form becomes FILE.sqlite, written beside, synced, renamed over the old one, directory synced. Running
// servers see either the old or the new table, never half of one. Berkeley's FILE.db is never touched.
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sleep } from '../../lib/async.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { serializeTable, TableFile } from '../../lib/sqlite.ts';
import { MAX_TABLE_BYTES, parseTable, type ParseTableOptions, type TableWarning } from './text.ts';

/** The compiled form of the table whose text is in `file`. */
export const compiledName = (file: string): string => `${file}.sqlite`;

export interface CompileOptions extends ParseTableOptions {
  /** Take over owner and mode of the text (default yes); mode 0644 otherwise (`postmap -p`). */
  readonly inherit?: boolean;
}

/** Compiles `file`. @throws MailError config `MAP_UNREADABLE`; errors of the file system while writing */
export async function compileTable(file: string, options: CompileOptions = {}): Promise<readonly TableWarning[]> {
  return withLock(file, async () => {
    const { entries, warnings } = await parseTable(await readTableText(file), options);
    const pairs = [...entries.values()].map(({ key, value }) => [key, value] as const);
    await writeCompiled(file, pairs, options.inherit ?? true);
    return warnings;
  });
}

/**
 * Changes a compiled table in place of its text (`postmap -i`, `-d`): `change` gets its entries (empty when there is none yet and `create`
 * says so) and gives whether something is to be written. @throws MailError config `MAP_UNREADABLE`, `MAP_LOCKED`
 */
export async function updateCompiled(
  file: string,
  options: { readonly create: boolean; readonly inherit: boolean },
  change: (entries: Map<string, string>) => boolean,
): Promise<void> {
  await withLock(file, async () => {
    const before = await readCompiled(file);
    if (!before && !options.create)
      throw new MailError('config', 'MAP_UNREADABLE', `open database ${compiledName(file)}: No such file or directory`);
    const entries = new Map(before ?? []);
    if (change(entries)) await writeCompiled(file, [...entries], options.inherit);
  });
}

const LOCK_WAIT_MS = 10_000;
const LOCK_RETRY_MS = 50;
/** A lock this old was left by a program that died. */
const LOCK_STALE_MS = 60_000;

/** One writer of FILE.sqlite at a time, by FILE.sqlite.lock. @throws MailError config `MAP_LOCKED` */
async function withLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  const lock = `${compiledName(file)}.lock`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      break;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      const held = await statOrNothing(lock);
      if (held && Date.now() - held.mtimeMs > LOCK_STALE_MS) await rm(lock, { force: true });
      else if (Date.now() > deadline) throw new MailError('config', 'MAP_LOCKED', `${lock} is held by another program`);
      else await sleep(LOCK_RETRY_MS);
    }
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

/** Replaces FILE.sqlite by one with these entries; owner and mode come from `file`, or from the compiled form when there is no text. */
async function writeCompiled(file: string, entries: readonly (readonly [string, string])[], inherit: boolean): Promise<void> {
  const target = compiledName(file);
  const model = (await statOrNothing(file)) ?? (await statOrNothing(target));
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await using handle = await open(temporary, 'wx', 0o600);
    await handle.writeFile(serializeTable(entries));
    if (inherit && model && process.getuid?.() === 0) await handle.chown(model.uid, model.gid);
    await handle.chmod(inherit && model ? model.mode & 0o666 : 0o644);
    await handle.sync();
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using directory = await open(dirname(target), 'r');
  await directory.sync();
}

/** The entries of FILE.sqlite; undefined when there is none. @throws MailError config `MAP_UNREADABLE` */
async function readCompiled(file: string): Promise<(readonly [string, string])[] | undefined> {
  if (!(await statOrNothing(compiledName(file)))) return undefined;
  try {
    const table = new TableFile(compiledName(file));
    try {
      return table.entries();
    } finally {
      table.close();
    }
  } catch (error) {
    throw new MailError('config', 'MAP_UNREADABLE', `open database ${compiledName(file)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** @throws MailError config `MAP_UNREADABLE` */
async function readTableText(file: string): Promise<Buffer> {
  try {
    if ((await stat(file)).size > MAX_TABLE_BYTES) throw new Error(`over ${MAX_TABLE_BYTES} bytes`);
    return await readFile(file);
  } catch (error) {
    const reason = errnoOf(error) === 'ENOENT' ? 'No such file or directory' : (error as Error).message;
    throw new MailError('config', 'MAP_UNREADABLE', `open ${file}: ${reason}`, { cause: error });
  }
}

async function statOrNothing(file: string) {
  try {
    return await stat(file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
