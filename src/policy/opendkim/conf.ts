// opendkim.conf(5): `Name value` a line, `#` begins a comment anywhere, names in any case, the last line of a name counts.
import type { PemFile } from '../../config/certificates.ts';
import { show } from '../../config/values.ts';
import type { Place, Problems } from './problems.ts';

export interface ConfValue extends Place {
  /** As it stands in the file. */
  readonly name: string;
  readonly value: string;
}

/** Reads a whole file. @throws MailError config when it cannot be read */
export type ReadText = (path: string) => Promise<string>;

/** OpenDKIM's own limit. */
const MAX_INCLUDES = 5;

/** Over a reader of files. */
export const textReader =
  (readPem: (path: string) => Promise<PemFile>): ReadText =>
  async (path) =>
    (await readPem(path)).bytes.toString('utf8');

/** By name in lower case. @throws MailError config when a file cannot be read */
export async function readConf(file: string, read: ReadText, problems: Problems, depth = 0): Promise<Map<string, ConfValue>> {
  const values = new Map<string, ConfValue>();
  for (const { text, ...place } of contentLines(await read(file), file)) {
    const [, name = '', value = ''] = /^(\S+)(?:\s+(.*))?$/.exec(text) ?? [];
    if (value === '') problems.add(place, `${show(name)} has no value`, `${name}, a blank and the value`);
    else if (name.toLowerCase() !== 'include') values.set(name.toLowerCase(), { ...place, name, value });
    else if (!value.startsWith('/')) problems.add(place, `${show(value)} is no absolute path`, 'the whole path of the file');
    else if (depth === MAX_INCLUDES)
      problems.add(place, `Include goes deeper than ${MAX_INCLUDES} files`, 'its lines here in its place');
    else for (const [key, one] of await readConf(value, read, problems, depth + 1)) values.set(key, one);
  }
  return values;
}

/** Lines without comments and blanks around; empty ones are left out. */
export function* contentLines(content: string, file: string): Generator<Place & { readonly text: string }> {
  for (const [i, whole] of content.split('\n').entries()) {
    const text = whole.replace(/#.*/s, '').trim();
    if (text !== '') yield { file, line: i + 1, text };
  }
}

/** OpenDKIM looks at the first letter only. */
export function readFlag(given: ConfValue | undefined, otherwise: boolean, problems: Problems): boolean {
  if (!given) return otherwise;
  if (/^[ty1]/i.test(given.value)) return true;
  if (!/^[fn0]/i.test(given.value)) problems.add(given, `${given.name}: ${show(given.value)} is neither yes nor no`, 'yes or no');
  return false;
}
