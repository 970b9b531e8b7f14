// The text formats of Postfix's tables: postmap(1) (`key whitespace value`) and aliases(5) (`name: value`). Both are made of logical
// lines: a line that starts with white space continues the one before; blank lines and lines whose first character that is not
// white space is `#` are nothing, also between a line and its continuation.
import { yieldToLoop } from '../../lib/async.ts';

/** The largest table in text form, in bytes. */
export const MAX_TABLE_BYTES = 64 * 1024 * 1024;
/** Lines read before other sessions get a turn. */
const LINES_A_TURN = 2000;

export interface LogicalLine {
  readonly text: string;
  /** The number of its first physical line, from 1. */
  readonly line: number;
}

/** Something wrong with one line, in Postfix's words. The line was left out where `ignored`. */
export interface TableWarning {
  readonly line: number;
  readonly text: string;
  readonly ignored: boolean;
}

export interface TableEntry extends LogicalLine {
  readonly key: string;
  readonly value: string;
}

export interface ParsedTable {
  /** The first of each key, in order. */
  readonly entries: ReadonlyMap<string, TableEntry>;
  readonly warnings: readonly TableWarning[];
}

/** Logical lines of a file. Lines that are not UTF-8, and continuations of nothing, give a warning. */
export async function logicalLines(bytes: Buffer, warn: (warning: TableWarning) => void): Promise<LogicalLine[]> {
  const found: LogicalLine[] = [];
  let text: string | undefined;
  let first = 0;
  const flush = (): void => {
    if (text !== undefined && text.includes('\ufffd'))
      warn({ line: first, text: `non-UTF-8 input ${quote(text)}`, ignored: true });
    else if (text !== undefined) found.push({ text: text.trimEnd(), line: first });
    text = undefined;
  };
  for (const [index, line] of bytes.toString('utf8').split('\n').entries()) {
    if (index % LINES_A_TURN === LINES_A_TURN - 1) await yieldToLoop();
    const start = line.trimStart();
    if (start === '' || start.startsWith('#')) continue;
    if (start === line) {
      flush();
      [text, first] = [line, index + 1];
    } else if (text === undefined) {
      if (found.length === 0)
        warn({ line: index + 1, text: `logical line must not start with whitespace: ${quote(line)}`, ignored: true });
    } else text += line;
  }
  flush();
  return found;
}

export interface ParseTableOptions {
  /** Turn keys to lower case (default yes). */
  readonly fold?: boolean;
  /** A key that was there before: left out with a warning (the default), left out, or put in its place. */
  readonly duplicates?: Duplicates;
}
export type Duplicates = 'warn' | 'ignore' | 'replace';

/** Reads a table in postmap(1)'s format. */
export async function parseTable(bytes: Buffer, options: ParseTableOptions = {}): Promise<ParsedTable> {
  return collect(bytes, options, splitEntry);
}

/** Reads a table in aliases(5)'s format: keys are local parts without their quotes. */
export async function parseAliases(bytes: Buffer): Promise<ParsedTable> {
  return collect(bytes, {}, splitAlias);
}

type Split = { readonly key: string; readonly value: string; readonly warning?: string } | { readonly wrong: string };

async function collect(bytes: Buffer, options: ParseTableOptions, split: (line: string) => Split): Promise<ParsedTable> {
  const { fold = true, duplicates = 'warn' } = options;
  const entries = new Map<string, TableEntry>();
  const warnings: TableWarning[] = [];
  const lines = await logicalLines(bytes, (warning) => warnings.push(warning));
  for (const [index, { text, line }] of lines.entries()) {
    if (index % LINES_A_TURN === LINES_A_TURN - 1) await yieldToLoop();
    const result = split(text);
    if ('wrong' in result) {
      warnings.push({ line, text: result.wrong, ignored: true });
      continue;
    }
    const key = fold ? result.key.toLowerCase() : result.key;
    if (result.warning) warnings.push({ line, text: result.warning, ignored: false });
    if (!entries.has(key) || duplicates === 'replace') entries.set(key, { key, value: result.value, text, line });
    else if (duplicates === 'warn') warnings.push({ line, text: `duplicate entry: "${key}"`, ignored: true });
  }
  return { entries, warnings };
}

/** Splits at the first white space outside double quotes; the key keeps its quotes, as in Postfix. */
function splitEntry(text: string): Split {
  const end = unquotedIndex(text, (char) => char === ' ' || char === '\t' || char === '\r' || char === '\v' || char === '\f');
  if (end === 'unbalanced') return { wrong: `unbalanced '"' in '${text}'` };
  const key = text.slice(0, end);
  const value = end === undefined ? '' : text.slice(end).trim();
  if (key === '' || value === '') return { wrong: 'expected format: key whitespace value' };
  return key.endsWith(':') ? { key, value, warning: 'record is in "key: value" format; is this an alias file?' } : { key, value };
}

function splitAlias(text: string): Split {
  const end = unquotedIndex(text, (char) => char === ':');
  if (end === 'unbalanced') return { wrong: `unbalanced '"' in '${text}'` };
  if (end === undefined) return { wrong: 'expected format: alias: value' };
  const name = text.slice(0, end).trim();
  const key = name.startsWith('"') && name.endsWith('"') && name.length > 1 ? unescape(name.slice(1, -1)) : name;
  const value = text.slice(end + 1).trim();
  if (key === '' || value === '') return { wrong: 'expected format: alias: value' };
  return { key, value };
}

/** Where the first character that `wanted` takes stands outside double quotes. */
function unquotedIndex(text: string, wanted: (char: string) => boolean): number | undefined | 'unbalanced' {
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '\\') i++;
    else if (char === '"') quoted = !quoted;
    else if (!quoted && wanted(char)) return i;
  }
  return quoted ? 'unbalanced' : undefined;
}

/**
 * The parts of an alias's value: between commas (and white space, outside quotes) as virtual(5) and aliases(5) have them; a part
 * that is quoted whole (`"|command arguments"`) loses its quotes, a quoted local part (`"a b"@example.com`) keeps them.
 */
export function splitAliasValue(value: string): string[] {
  const found: string[] = [];
  let rest = value;
  for (;;) {
    rest = rest.replace(/^[\s,]+/, '');
    if (rest === '') return found;
    const end = unquotedIndex(rest, (char) => char === ',' || /\s/.test(char));
    const part = typeof end === 'number' ? rest.slice(0, end) : rest;
    rest = typeof end === 'number' ? rest.slice(end) : '';
    const whole = /^"((?:[^"\\]|\\.)*)"$/s.exec(part);
    found.push(whole ? unescape(whole[1] ?? '') : part);
  }
}

const unescape = (text: string): string => text.replace(/\\(.)/gs, '$1');

function quote(text: string): string {
  return `"${text.replace(/[\u0000-\u001f\u007f\ufffd]/g, '?').slice(0, 100)}"`;
}
