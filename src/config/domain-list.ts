// mydestination, virtual_mailbox_domains, virtual_alias_domains: names, tables whose keys are names, and files with names
// (postconf(5): "type:table", "/file/name"). Whether a domain is one of ours, and which there are.
import { isIP } from 'node:net';
import { openTable, type OpenTable, type TableDeps } from './maps/table.ts';
import { FileTable } from './maps/file-table.ts';
import { logicalLines } from './maps/text.ts';
import { looksLikeMap } from './map-spec.ts';
import { systemClock } from '../lib/clock.ts';
import { isDomainName, splitList } from './values.ts';

export interface DomainList {
  /** In any case; a table that has the name as a key has the domain. @throws MailError temporary when a file cannot be read */
  has(domain: string): Promise<boolean>;
  /** Those that can be told: names, and keys of tables that are names (addresses and `@domain` keys are none). */
  names(): Promise<readonly string[]>;
  close(): void;
}

/** Opens a list of the settings. Files are looked at for changes at each question. */
export function openDomainList(entries: readonly string[], deps: TableDeps): DomainList {
  const plain = new Set(entries.filter((entry) => !looksLikeMap(entry)).map((entry) => entry.toLowerCase()));
  const tables = entries
    .filter(looksLikeMap)
    .map((entry) => (entry.startsWith('/') ? openNameFile(entry, deps) : openTable(entry, deps)));
  return {
    has: async (domain) => {
      const name = domain.toLowerCase();
      if (plain.has(name)) return true;
      for (const table of tables) if ((await table.get(name)) !== undefined) return true;
      return false;
    },
    names: async () => {
      const keys = await Promise.all(tables.map(async (table) => (await table.entries()).map(([key]) => key)));
      return [...new Set([...plain, ...keys.flat().filter((key) => isDomainName(key) && isIP(key) === 0)])];
    },
    close: () => {
      for (const table of tables) table.close();
    },
  };
}

/** `/etc/postfix/domains`: names between white space and commas, with comments and continuation lines. */
function openNameFile(path: string, deps: TableDeps): Pick<OpenTable, 'get' | 'entries' | 'close'> {
  const file = new FileTable({
    file: path,
    spec: path,
    compiled: false,
    logger: deps.logger,
    clock: deps.clock ?? systemClock,
    parse: async (bytes) => {
      const names = new Set<string>();
      const lines = await logicalLines(bytes, () => undefined);
      for (const { text } of lines) for (const name of splitList(text)) names.add(name.toLowerCase());
      return {
        get: (key) => (names.has(key) ? key : undefined),
        entries: () => [...names].map((name) => [name, name] as const),
        warnings: [],
      };
    },
  });
  return {
    get: async (key) => (await file.contents()).get(key),
    entries: async () => (await file.contents()).entries(),
    close: () => file.close(),
  };
}
