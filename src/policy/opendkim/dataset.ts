// OpenDKIM's data sets (opendkim(8)): a file with a key and its values a line (`file:/path`, `/path`), one with patterns for keys (`refile:/path`), or a
// list with commas (`a,b`, `a=x,b=y`). Data bases and scripts are not read.
import { show } from '../../config/values.ts';
import { contentLines, type ConfValue, type ReadText } from './conf.ts';
import type { Place, Problems } from './problems.ts';

export interface DatasetEntry extends Place {
  readonly key: string;
  /** What stands behind the key, parted at colons; empty where there is only a key. */
  readonly values: readonly string[];
}

export interface Dataset {
  /** Keys are patterns in which `*` stands for any text. */
  readonly patterns: boolean;
  readonly entries: readonly DatasetEntry[];
}

const OTHER_KINDS = /^(?:db|dsn|ldap[si]?|lua|memcache|erlang|mdb|repute|socket):|\.db$/i;
const NONE: Dataset = { patterns: false, entries: [] };

/** @throws MailError config when its file cannot be read */
export async function readDataset(given: ConfValue, read: ReadText, problems: Problems): Promise<Dataset> {
  const { name, value } = given;
  if (OTHER_KINDS.test(value)) {
    problems.add(given, `${name}: ${show(value)} is a kind of table that is not read`, 'file:/path or refile:/path');
    return NONE;
  }
  const [, kind = '', rest = ''] = /^(?:(file|refile|csl):)?(.*)$/i.exec(value) ?? [];
  if (kind.toLowerCase() === 'csl' || (kind === '' && !rest.startsWith('/')))
    return { patterns: false, entries: listEntries(rest, given) };
  if (rest.startsWith('/')) return { patterns: kind.toLowerCase() === 'refile', entries: fileEntries(await read(rest), rest) };
  problems.add(given, `${name}: ${show(rest)} is no absolute path`, 'the whole path of the file');
  return NONE;
}

const parted = (value: string): string[] => (value === '' ? [] : value.split(':').map((one) => one.trim()));

function fileEntries(content: string, file: string): DatasetEntry[] {
  return [...contentLines(content, file)].map(({ text, ...place }) => {
    const [, key = '', value = ''] = /^(\S+)(?:\s+(.*))?$/.exec(text) ?? [];
    return { ...place, key, values: parted(value) };
  });
}

function listEntries(list: string, { file, line }: Place): DatasetEntry[] {
  return list
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
    .map((item) => {
      const [key = '', value = ''] = item.split(/=(.*)/s, 2);
      return { file, line, key: key.trim(), values: parted(value.trim()) };
    });
}
