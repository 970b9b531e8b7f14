// Opens what a setting names: `hash:/etc/postfix/vmailbox`, `inline:{ … }`, `static:…`, `regexp:…`, `pcre:…`.
import { systemClock, type Clock } from '../../lib/clock.ts';
import { MailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { LookupTable } from '../lookup.ts';
import { readMapSpec, type MapSpec } from '../map-spec.ts';
import { ValueError } from '../values.ts';
import { FileTable, type Contents } from './file-table.ts';
import { parseInline, parseStatic } from './inline.ts';
import { parsePatterns } from './pattern.ts';
import { logicalLines, parseAliases, parseTable, type ParsedTable, type TableWarning } from './text.ts';

export interface TableDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
  /** False: keys are taken as they are (`postmap -f`). */
  readonly fold?: boolean;
}

/** A table and what its owner may ask of it. Nothing is read before the first question. */
export interface OpenTable extends LookupTable {
  /** Reads it now and gives the warnings for its lines. @throws MailError temporary when it cannot be read */
  load(): Promise<readonly TableWarning[]>;
  close(): void;
}

/** @throws MailError config `MAP_INVALID` for a spec that no table can have */
export function openTable(spec: string, deps: TableDeps): OpenTable {
  const read = readSpec(spec);
  const fold = deps.fold ?? true;
  const lower = (key: string): string => (fold ? key.toLowerCase() : key);
  switch (read.type) {
    case 'static': {
      const value = parseStatic(read.name);
      return fixed(spec, () => value, []);
    }
    case 'inline': {
      const entries = parseInline(read.name, spec);
      return fixed(spec, (key) => entries.get(lower(key)), [...entries]);
    }
    case 'regexp':
    case 'pcre':
      return inFile(read, deps, { whole: true, compiled: false, key: (key) => key, parse: patternsOf(read.type, spec) });
    default:
      return inFile(read, deps, {
        whole: false,
        compiled: read.type !== 'texthash',
        key: lower,
        parse: async (bytes) => contentsOf(await parseTable(bytes, { fold })),
      });
  }
}

/** A table of alias_maps: files are in aliases(5)'s format (`name: value`) and read as text; other types as everywhere. */
export function openAliases(spec: string, deps: TableDeps): OpenTable {
  const read = readSpec(spec);
  if (read.type === 'static' || read.type === 'inline' || read.type === 'regexp' || read.type === 'pcre')
    return openTable(spec, deps);
  return inFile(read, deps, {
    whole: false,
    compiled: false,
    key: (key) => key.toLowerCase(),
    parse: async (bytes) => contentsOf(await parseAliases(bytes)),
  });
}

interface FileKind {
  readonly whole: boolean;
  readonly compiled: boolean;
  readonly key: (key: string) => string;
  readonly parse: (bytes: Buffer) => Promise<Contents>;
}

function inFile(read: MapSpec, deps: TableDeps, kind: FileKind): OpenTable {
  const { logger, clock = systemClock } = deps;
  const file = new FileTable({ file: read.name, spec: read.spec, compiled: kind.compiled, parse: kind.parse, logger, clock });
  return {
    spec: read.spec,
    whole: kind.whole,
    get: async (key) => (await file.contents()).get(kind.key(key)),
    entries: async () => (await file.contents()).entries(),
    load: async () => (await file.contents()).warnings,
    close: () => file.close(),
  };
}

function fixed(
  spec: string,
  get: (key: string) => string | undefined,
  entries: readonly (readonly [string, string])[],
): OpenTable {
  return {
    spec,
    whole: false,
    get: async (key) => get(key),
    entries: async () => entries,
    load: async () => [],
    close: () => undefined,
  };
}

function contentsOf({ entries, warnings }: ParsedTable): Contents {
  return {
    get: (key) => entries.get(key)?.value,
    entries: () => [...entries.values()].map(({ key, value }) => [key, value] as const),
    warnings,
  };
}

function patternsOf(dialect: 'regexp' | 'pcre', spec: string): (bytes: Buffer) => Promise<Contents> {
  return async (bytes) => {
    const warnings: TableWarning[] = [];
    const warn = (warning: TableWarning): void => void warnings.push(warning);
    const table = parsePatterns(await logicalLines(bytes, warn), dialect, spec, warn);
    return { get: (key) => table.get(key), entries: () => [], warnings };
  };
}

function readSpec(spec: string): MapSpec {
  try {
    return readMapSpec(spec, '/');
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new MailError('config', 'MAP_INVALID', `${error.message}; write ${error.right}`);
  }
}
