// virtual_mailbox_maps and tables of domains: the text is changed, and where a compiled FILE.sqlite is there it is made anew, so that a running
// server sees the change at once. Postfix's FILE.db is left to postmap(1).
import { access } from 'node:fs/promises';
import { readMapSpec, type MapSpec } from '../../config/map-spec.ts';
import { compiledName, compileTable, updateCompiled } from '../../config/maps/compile.ts';
import { hasKey, withKey, withoutKey } from './table-text.ts';
import { asWriterOf, changeConfigText, readText } from './text-file.ts';

const COMPILED = ['hash', 'btree', 'lmdb'];

/** The table as a file that can be changed; undefined for other types (inline:, static:, regexp:, pcre:). */
export function editableTable(spec: string): MapSpec | undefined {
  const read = readMapSpec(spec, '/');
  return read.type === 'texthash' || COMPILED.includes(read.type) ? read : undefined;
}

/** Adds an entry. Gives what is still to be done by hand. @throws MailError config; the file system's errors */
export async function addEntry(table: MapSpec, key: string, value: string): Promise<readonly string[]> {
  return edit(
    table,
    (text) => (hasKey(text, key) ? undefined : withKey(text, key, value)),
    (entries) => !entries.has(key) && entries.set(key, value) !== undefined,
  );
}

/** Takes an entry out, if it is there. @throws as addEntry */
export async function removeEntry(table: MapSpec, key: string): Promise<readonly string[]> {
  return edit(
    table,
    (text) => (hasKey(text, key) ? withoutKey(text, key) : undefined),
    (entries) => entries.delete(key),
  );
}

async function edit(
  { type, name }: MapSpec,
  change: (text: string) => string | undefined,
  changeCompiled: (entries: Map<string, string>) => boolean,
): Promise<readonly string[]> {
  const compiled = COMPILED.includes(type) && (await isThere(compiledName(name)));
  const onlyCompiled = compiled && (await readText(name)) === undefined;
  if (!onlyCompiled) await changeConfigText(name, 0o644, (text) => change(text ?? ''));
  if (compiled) {
    await asWriterOf(compiledName(name), async () => {
      if (onlyCompiled) await updateCompiled(name, { create: false, inherit: true }, changeCompiled);
      else await compileTable(name);
    });
  }
  if (type === 'texthash' || !(await isThere(`${name}.db`))) return [];
  return [`${name}.db belongs to Postfix and was not changed: where Postfix still uses it, run "postmap ${name}"`];
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
