// `postmap FILE`: the text form becomes FILE.sqlite, written beside, synced, renamed over the old one, directory synced. Running
// servers see either the old or the new table, never half of one. Berkeley's FILE.db is never touched.
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { serializeTable, TableFile } from '../../lib/sqlite.ts';
import { MAX_TABLE_BYTES, parseTable, type TableWarning } from './text.ts';

/** The compiled form of the table whose text is in `file`. */
export const compiledName = (file: string): string => `${file}.sqlite`;

export interface CompileOptions {
  /** Turn keys to lower case (default yes; `postmap -f` does not). */
  readonly fold?: boolean;
  /** Take over owner and mode of the text (default yes); mode 0644 otherwise (`postmap -p`). */
  readonly inherit?: boolean;
}

/** Compiles `file`. @throws MailError config `MAP_UNREADABLE`; errors of the file system while writing */
export async function compileTable(file: string, options: CompileOptions = {}): Promise<readonly TableWarning[]> {
  const { entries, warnings } = await parseTable(await readTableText(file), options.fold ?? true);
  await writeCompiled(
    file,
    [...entries.values()].map(({ key, value }) => [key, value] as const),
    options.inherit ?? true,
  );
  return warnings;
}

/** Replaces FILE.sqlite by one with these entries; owner and mode come from `file`, or from the compiled form when there is no text. */
export async function writeCompiled(
  file: string,
  entries: readonly (readonly [string, string])[],
  inherit: boolean,
): Promise<void> {
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
export async function readCompiled(file: string): Promise<(readonly [string, string])[] | undefined> {
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
export async function readTableText(file: string): Promise<Buffer> {
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
