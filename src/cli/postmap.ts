// `buzon postmap`, and the drop-in `postmap` (postmap(1)): compiles tables to FILE.sqlite, asks and changes them.
import { MailError } from '../lib/errors.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { readMapSpec, type MapSpec } from '../config/map-spec.ts';
import { compileTable, updateCompiled } from '../config/maps/compile.ts';
import { openTable, type OpenTable } from '../config/maps/table.ts';
import { parseTable, type Duplicates, type TableWarning } from '../config/maps/text.ts';
import { ValueError } from '../config/values.ts';
import type { Command, CommandIo } from './command.ts';

const USAGE = `usage: postmap [-fimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...
  postmap FILE          compiles FILE to FILE.sqlite (hash:, btree: and lmdb: mean that file; FILE.db is left to Postfix)
  postmap -q KEY MAP    prints the value of KEY; with - for KEY, keys come from standard input
  postmap -d KEY MAP    removes KEY from the compiled table; with - for KEY, keys come from standard input
  postmap -i MAP        adds entries from standard input; -r replaces those that are there, -w leaves them without a warning
  postmap -s MAP        prints all entries
  -f keys keep their case; -p mode 0644 instead of the text's; -v more to say; -c, -n, -N, -o, -u, -U are accepted and change nothing
`;
/** Standard input of -q -, -d - and -i, in bytes. */
const MAX_INPUT = 64 * 1024 * 1024;

interface Options {
  query?: string;
  remove?: string;
  incremental: boolean;
  list: boolean;
  fold: boolean;
  inherit: boolean;
  duplicates: Duplicates;
  maps: string[];
}

export const postmapCommand: Command = {
  name: 'postmap',
  summary: 'compile, ask and change lookup tables',
  usage: USAGE,
  run: async (args, io) => {
    const options = readOptions(args);
    if (typeof options === 'string') {
      io.err(`postmap: fatal: ${options}\n${USAGE}`);
      return 2;
    }
    try {
      return await perform(options, io);
    } catch (error) {
      if (!(error instanceof MailError || error instanceof ValueError || (error instanceof Error && 'code' in error)))
        throw error;
      const hint = error instanceof ValueError ? `; ${error.right}` : '';
      io.err(
        `postmap: fatal: ${error instanceof MailError && error.detail && error.kind !== 'config' ? error.detail : error.message}${hint}\n`,
      );
      return 1;
    }
  },
};

async function perform(options: Options, io: CommandIo): Promise<number> {
  const specs = options.maps.map((text) => readMapSpec(text, io.cwd));
  if (options.remove !== undefined) return remove(options.remove, specs, options, io);
  if (options.query !== undefined) return query(options.query, specs, options, io);
  if (options.list) return list(specs, options, io);
  for (const spec of specs) {
    if (!isCompiled(spec)) {
      io.err(`postmap: fatal: unsupported dictionary type: ${spec.type} does not support bulk-mode creation.\n`);
      return 1;
    }
    if (options.incremental) await increment(spec, options, io);
    else say(io, spec.name, await compileTable(spec.name, options));
  }
  return 0;
}

async function query(key: string, specs: readonly MapSpec[], options: Options, io: CommandIo): Promise<number> {
  const tables = open(specs, options, io);
  try {
    let found = 0;
    const keys = key === '-' ? await inputLines(io) : [key];
    for (const one of keys) {
      const value = await first(tables, one);
      if (value === undefined) continue;
      found++;
      io.out(key === '-' ? `${one}\t${value}\n` : `${value}\n`);
    }
    return found > 0 ? 0 : 1;
  } finally {
    for (const table of tables) table.close();
  }
}

async function first(tables: readonly OpenTable[], key: string): Promise<string | undefined> {
  for (const table of tables) {
    const value = await table.get(key);
    if (value !== undefined) return value;
  }
  return undefined;
}

async function list(specs: readonly MapSpec[], options: Options, io: CommandIo): Promise<number> {
  for (const spec of specs) {
    if (spec.type === 'regexp' || spec.type === 'pcre' || spec.type === 'static') {
      io.err(`postmap: fatal: table ${spec.spec}: sequence operation is not supported\n`);
      return 1;
    }
    const [table] = open([spec], options, io);
    for (const [key, value] of (await table?.entries()) ?? []) io.out(`${key}\t${value}\n`);
    table?.close();
  }
  return 0;
}

async function increment(spec: MapSpec, options: Options, io: CommandIo): Promise<void> {
  const parsed = await parseTable(await input(io), options);
  say(io, 'standard input', parsed.warnings);
  await updateCompiled(spec.name, { create: true, inherit: options.inherit }, (entries) => {
    for (const { key, value } of parsed.entries.values()) {
      if (!entries.has(key) || options.duplicates === 'replace') entries.set(key, value);
      else if (options.duplicates === 'warn') io.err(`postmap: warning: ${spec.name}.sqlite: duplicate entry: "${key}"\n`);
    }
    return true;
  });
}

async function remove(key: string, specs: readonly MapSpec[], options: Options, io: CommandIo): Promise<number> {
  const keys = (key === '-' ? await inputLines(io) : [key]).map((one) => (options.fold ? one.toLowerCase() : one));
  let found = 0;
  for (const spec of specs) {
    if (!isCompiled(spec))
      throw new MailError('config', 'MAP_READ_ONLY', `table ${spec.spec}: delete operation is not supported`);
    await updateCompiled(spec.name, { create: false, inherit: options.inherit }, (entries) => {
      const before = found;
      for (const one of keys) if (entries.delete(one)) found++;
      return found > before;
    });
  }
  return found > 0 ? 0 : 1;
}

function isCompiled({ type }: MapSpec): boolean {
  return type === 'hash' || type === 'btree' || type === 'lmdb';
}

function open(specs: readonly MapSpec[], options: Options, io: CommandIo): OpenTable[] {
  const logger: Logger = createLogger((_level, _event, fields) => {
    const place = fields['line'] === undefined ? '' : `${String(fields['map'])}, line ${String(fields['line'])}: `;
    io.err(`postmap: warning: ${place}${String(fields['warning'])}\n`);
  });
  return specs.map((spec) => openTable(spec.spec, { logger, fold: options.fold }));
}

function say(io: CommandIo, file: string, warnings: readonly TableWarning[]): void {
  for (const { line, text, ignored } of warnings)
    io.err(`postmap: warning: ${file}, line ${line}: ${text}${ignored ? ' -- ignoring this line' : ''}\n`);
}

async function input(io: CommandIo): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of io.stdin) {
    size += chunk.length;
    if (size > MAX_INPUT) throw new MailError('config', 'INPUT_TOO_LARGE', `standard input is over ${MAX_INPUT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function inputLines(io: CommandIo): Promise<string[]> {
  const lines = (await input(io)).toString('utf8').split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** As getopt(3): flags may stand together, an argument may follow its flag at once. Gives what is wrong as text. */
function readOptions(args: readonly string[]): Options | string {
  const options: Options = { incremental: false, list: false, fold: true, inherit: true, duplicates: 'warn', maps: [] };
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '--') {
      i++;
      break;
    }
    if (!arg.startsWith('-') || arg === '-') break;
    for (let at = 1; at < arg.length; at++) {
      const flag = arg.charAt(at);
      if ('dqc'.includes(flag)) {
        const value = at + 1 < arg.length ? arg.slice(at + 1) : args[++i];
        if (value === undefined) return `option requires an argument -- '${flag}'`;
        if (flag === 'd') options.remove = value;
        if (flag === 'q') options.query = value;
        break;
      }
      const wrong = applyFlag(options, flag);
      if (wrong) return wrong;
    }
  }
  options.maps = args.slice(i);
  if (options.maps.length === 0) return 'no table is named';
  const ways = [options.query, options.remove, options.list || undefined, options.incremental || undefined];
  if (ways.filter((way) => way !== undefined).length > 1) return 'specify only one of -q, -d, -s or -i';
  return options;
}

function applyFlag(options: Options, flag: string): string | undefined {
  if (flag === 'i') options.incremental = true;
  else if (flag === 's') options.list = true;
  else if (flag === 'f') options.fold = false;
  else if (flag === 'p') options.inherit = false;
  else if (flag === 'r') options.duplicates = 'replace';
  else if (flag === 'w') options.duplicates = 'ignore';
  else if ('bhmF'.includes(flag)) return `option -${flag} (message and file contents as keys and values) is not supported`;
  else if (!'nNouUv'.includes(flag)) return `invalid option -- '${flag}'`;
  return undefined;
}
