// OpenDKIM's settings and tables as they lie on disk: which keys there are, who signs with which, and whose mail is ours besides mynetworks.
//   opendkim.conf → KeyTable + SigningTable, or Domain + Selector + KeyFile → keys (their files are read by dkim-keys.ts)
import { aLabels } from '../../dns/a-labels.ts';
import { readNetwork } from '../../config/networks.ts';
import { readHostname, readSelector } from '../../config/readers.ts';
import { show, ValueError } from '../../config/values.ts';
import { readConf, readFlag, type ConfValue, type ReadText } from './conf.ts';
import { readDataset, type Dataset, type DatasetEntry } from './dataset.ts';
import { Problems } from './problems.ts';
import { singleKeyMatcher, tableMatcher, type MatchAuthor, type TableKey } from './tables.ts';
import { IGNORED_SILENTLY, UNSUPPORTED } from './unsupported.ts';

export interface OpenDkimSetup {
  readonly keys: readonly TableKey[];
  readonly match: MatchAuthor;
  /** InternalHosts, the most precise first: their mail is signed. Undefined when not given. */
  readonly internal: readonly string[] | undefined;
  /** What is in it and not done, where that changes what is signed. */
  readonly warnings: readonly OpenDkimWarning[];
  /** Names that mean nothing here. */
  readonly ignored: readonly string[];
}

export interface OpenDkimWarning {
  /** `/etc/opendkim.conf:12` */
  readonly place: string;
  readonly text: string;
  readonly right: string;
}

type Conf = ReadonlyMap<string, ConfValue>;

/** @throws MailError config `OPENDKIM_INVALID` with every line that cannot be, or as `read` does */
export async function loadOpenDkim(file: string, read: ReadText): Promise<OpenDkimSetup> {
  const problems = new Problems();
  const conf = await readConf(file, read, problems);
  const warnings: OpenDkimWarning[] = [];
  const internal = await internalHosts(conf.get('internalhosts'), read, problems, warnings);
  const { keys, match } = await signingOf(conf, file, read, problems);
  problems.stop();
  const ignored: string[] = [];
  for (const [name, { file: where, line, name: written, value }] of conf) {
    const told = UNSUPPORTED[name];
    if (told?.applies(value)) warnings.push({ place: `${where}:${line}`, text: `${written}: ${told.text}`, right: told.right });
    else if (!told && !IGNORED_SILENTLY.has(name)) ignored.push(written);
  }
  return { keys, match, internal, warnings, ignored };
}

interface Signing {
  readonly keys: readonly TableKey[];
  readonly match: MatchAuthor;
}
const NOTHING: Signing = { keys: [], match: () => [] };

async function signingOf(conf: Conf, file: string, read: ReadText, problems: Problems): Promise<Signing> {
  const [mode, keyTable, signingTable] = ['mode', 'keytable', 'signingtable'].map((name) => conf.get(name));
  if (mode && !mode.value.includes('s')) return NOTHING;
  if (keyTable && signingTable) return tablesOf(keyTable, signingTable, conf, read, problems);
  const only = keyTable ?? signingTable;
  if (only) {
    problems.add(only, `${only.name} without ${keyTable ? 'SigningTable' : 'KeyTable'} signs nothing`, 'both, or neither');
    return NOTHING;
  }
  return singleKey(conf, file, read, problems);
}

async function tablesOf(
  keyTable: ConfValue,
  signingTable: ConfValue,
  conf: Conf,
  read: ReadText,
  problems: Problems,
): Promise<Signing> {
  const keys = (await readDataset(keyTable, read, problems)).entries.flatMap((entry) => tableKey(entry, problems) ?? []);
  const table = await readDataset(signingTable, read, problems);
  checkNames(table, new Set(keys.map(({ name }) => name)), problems);
  const multiple = readFlag(conf.get('multiplesignatures'), false, problems);
  return { keys, match: tableMatcher(keys, table, multiple) };
}

/** `name  domain:selector:/path`. */
function tableKey(entry: DatasetEntry, problems: Problems): TableKey | undefined {
  const { key: name, values } = entry;
  const [domain = '', selector = '', file = '', ...more] = values;
  const right = `${name} example.com:default:/etc/dkimkeys/default.private`;
  if (file === '' || more.length > 0) {
    problems.add(entry, `key ${show(name)}: ${values.length} values with colons between them instead of three`, right);
    return undefined;
  }
  if (!file.startsWith('/')) {
    const what = file.startsWith('.') ? 'a relative path' : 'a key in the table itself';
    problems.add(entry, `key ${show(name)}: ${what} is not read`, 'the whole path of the file with the key');
    return undefined;
  }
  if (file.includes('%')) {
    problems.add(entry, `key ${show(name)}: a path with the author's domain in it is not read`, 'a line for each domain');
    return undefined;
  }
  return checked(entry, problems, () => ({
    name,
    domain: domain === '%' ? domain : aLabels(readHostname(domain)),
    selector: readSelector(selector),
    file,
  }));
}

function checkNames(table: Dataset, names: ReadonlySet<string>, problems: Problems): void {
  for (const entry of table.entries) {
    const [name = ''] = entry.values;
    if (name === '') problems.add(entry, `${show(entry.key)} has no key`, 'the name of a key of KeyTable behind it');
    else if (name !== '%' && !names.has(name))
      problems.add(
        entry,
        `${show(entry.key)}: KeyTable has no key ${show(name)}`,
        names.size === 0 ? 'a key in KeyTable, which has none' : `one of ${[...names].slice(0, 5).join(', ')}`,
      );
  }
}

async function singleKey(conf: Conf, file: string, read: ReadText, problems: Problems): Promise<Signing> {
  const parts = ['domain', 'selector', 'keyfile'].map((name) => conf.get(name));
  const [domain, selector, keyFile] = parts;
  if (!domain || !selector || !keyFile) {
    const given = parts.find((part) => part !== undefined);
    if (given) problems.add(given, `${given.name} needs Domain, Selector and KeyFile beside it`, 'all three');
    return NOTHING;
  }
  if (!keyFile.value.startsWith('/'))
    problems.add(keyFile, `KeyFile: ${show(keyFile.value)} is no absolute path`, 'the whole path');
  const domains = await readDataset(domain, read, problems);
  const keys = domains.entries.flatMap(
    (entry) =>
      checked(entry, problems, () => ({
        name: entry.key,
        domain: aLabels(readHostname(entry.key)),
        selector: readSelector(selector.value),
        file: keyFile.value,
      })) ?? [],
  );
  if (keys.length === 0) problems.add({ file, line: domain.line }, 'Domain names no domain', 'Domain example.com');
  return { keys, match: singleKeyMatcher(keys, readFlag(conf.get('subdomains'), false, problems)) };
}

function checked<T>(entry: DatasetEntry, problems: Problems, make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    problems.add(entry, error.message, error.right);
    return undefined;
  }
}

/** Addresses and networks; names would have to be looked up for each client, and are told instead. */
async function internalHosts(
  given: ConfValue | undefined,
  read: ReadText,
  problems: Problems,
  warnings: OpenDkimWarning[],
): Promise<readonly string[] | undefined> {
  if (!given) return undefined;
  const found: { readonly text: string; readonly bits: number }[] = [];
  for (const { key, file, line } of (await readDataset(given, read, problems)).entries) {
    if (key.toLowerCase() === 'localhost') {
      found.push({ text: '127.0.0.1', bits: 128 }, { text: '::1', bits: 128 });
      continue;
    }
    const text = key.replace(/^(!?)\[([^\]]*)\]/, '$1$2').toLowerCase();
    try {
      const { bits, family } = readNetwork(text);
      found.push({ text, bits: family === 'ipv4' ? bits + 96 : bits });
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const right = 'the addresses of these hosts';
      warnings.push({ place: `${file}:${line}`, text: `InternalHosts: ${show(key)} is no address: it is left out`, right });
    }
  }
  return found.sort((a, b) => b.bits - a.bits).map(({ text }) => text);
}
