// regexp_table(5) and pcre_table(5): `/pattern/flags result`, `!/pattern/flags result`, `if /pattern/`, `if !/pattern/`, `endif`.
// The first rule that matches decides. Patterns run as JavaScript expressions: POSIX and Perl forms that it lacks are translated
// where they can be; a rule that cannot be is skipped with a warning, as Postfix does with one that does not compile.
import { createContext, Script } from 'node:vm';
import { MailError } from '../../lib/errors.ts';
import type { LogicalLine, TableWarning } from './text.ts';

export type PatternDialect = 'regexp' | 'pcre';

/** Longer keys match nothing: an address has at most 320 characters, and work grows with the length. */
const MAX_KEY = 512;
/** How long all patterns of one table may take for one key, in milliseconds; a pattern that backtracks longer is cut off. */
const MAX_MATCH_MS = 50;
/** How deep `if` may stand in `if`. */
const MAX_NESTING = 100;

interface Pattern {
  readonly expression: RegExp;
  readonly negated: boolean;
}
type Rule =
  | { readonly kind: 'match'; readonly pattern: Pattern; readonly value: string }
  | { readonly kind: 'if'; readonly pattern: Pattern; end: number };

/** A compiled pattern table: pure, without state between look-ups. */
export class PatternTable {
  readonly #rules: readonly Rule[];
  readonly #spec: string;
  readonly #context = createContext({ job: undefined as (() => string | undefined) | undefined });
  readonly #script = new Script('job()');

  constructor(rules: readonly Rule[], spec: string) {
    this.#rules = rules;
    this.#spec = spec;
  }

  /** @throws MailError temporary `MAP_PATTERN_SLOW` when a pattern takes too long on this key */
  get(key: string): string | undefined {
    if (key.length > MAX_KEY || this.#rules.length === 0) return undefined;
    this.#context['job'] = () => this.#first(key);
    try {
      return this.#script.runInContext(this.#context, { timeout: MAX_MATCH_MS }) as string | undefined;
    } catch (error) {
      throw new MailError('temporary', 'MAP_PATTERN_SLOW', 'Temporary lookup failure', {
        detail: `${this.#spec}: a pattern takes more than ${MAX_MATCH_MS} ms`,
        cause: error,
      });
    }
  }

  #first(key: string): string | undefined {
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i] as Rule;
      const match = rule.pattern.expression.exec(key);
      const hit = (match !== null) !== rule.pattern.negated;
      if (rule.kind === 'if') {
        if (!hit) i = rule.end;
      } else if (hit) return match ? substitute(rule.value, match) : rule.value.replaceAll('$$', '$');
    }
    return undefined;
  }
}

const SUBSTITUTION = /\$\$|\$(\d+)|\$\{(\d+)\}|\$\((\d+)\)/g;

function substitute(value: string, match: RegExpExecArray): string {
  return value.replace(SUBSTITUTION, (_whole: string, a?: string, b?: string, c?: string) => {
    const number = a ?? b ?? c;
    return number === undefined ? '$' : (match[Number(number)] ?? '');
  });
}

/** Compiles the rules; those that cannot be are left out with a warning. */
export function parsePatterns(
  lines: readonly LogicalLine[],
  dialect: PatternDialect,
  spec: string,
  warn: (warning: TableWarning) => void,
): PatternTable {
  const rules: Rule[] = [];
  const open: { rule: Extract<Rule, { kind: 'if' }> | undefined }[] = [];
  for (const { text, line } of lines) {
    const skip = (reason: string): void => warn({ line, text: reason, ignored: true });
    const word = /^(if|endif)(?=$|[\s!/]|[^\w\s])/i.exec(text)?.[1]?.toLowerCase();
    if (word === 'endif') {
      const started = open.pop();
      if (!started) skip('endif without if');
      else if (started.rule) started.rule.end = rules.length - 1;
      continue;
    }
    const read = readPattern(word === 'if' ? text.slice(2).trimStart() : text, dialect);
    if (word === 'if') {
      // An if that cannot be compiled is skipped whole: its rules were meant for some keys only.
      const rule = { kind: 'if' as const, pattern: 'pattern' in read ? read.pattern : NEVER, end: Number.MAX_SAFE_INTEGER };
      if ('wrong' in read) skip(read.wrong);
      if (open.length >= MAX_NESTING) skip('if is nested too deep');
      open.push({ rule });
      rules.push(rule);
    } else if ('wrong' in read) skip(read.wrong);
    else if (read.rest === '') skip('no replacement text; using empty string is not supported');
    else if (read.pattern.negated && /\$[\d({]/.test(read.rest)) skip('$number found in negative match replacement text');
    else rules.push({ kind: 'match', pattern: read.pattern, value: read.rest });
  }
  for (const { rule } of open) {
    if (rule) rule.end = rules.length - 1;
    warn({ line: lines.at(-1)?.line ?? 0, text: 'if has no endif', ignored: false });
  }
  return new PatternTable(rules, spec);
}

const NEVER: Pattern = { expression: /(?!)/, negated: false };

function readPattern(text: string, dialect: PatternDialect): { pattern: Pattern; rest: string } | { wrong: string } {
  let negated = false;
  let at = 0;
  while (text[at] === '!' || text[at] === ' ' || text[at] === '\t') {
    if (text[at] === '!') negated = !negated;
    at++;
  }
  const delimiter = text.charAt(at);
  if (delimiter === '' || /[\w\s\\]/.test(delimiter)) return { wrong: `no regular expression: "${text.slice(0, 60)}"` };
  let end = at + 1;
  while (end < text.length && text[end] !== delimiter) end += text[end] === '\\' ? 2 : 1;
  if (end >= text.length) return { wrong: `no closing regular expression delimiter "${delimiter}"` };
  const [, flags = '', rest = ''] = /^([A-Za-z]*)\s*([\s\S]*)$/.exec(text.slice(end + 1)) ?? [];
  try {
    return { pattern: { expression: compile(text.slice(at + 1, end), flags, dialect), negated }, rest: rest.trim() };
  } catch (error) {
    return { wrong: `error in regular expression: ${(error as Error).message}` };
  }
}

/** Flags toggle: `i` is on unless written; `s` (pcre) too. */
function compile(source: string, flags: string, dialect: PatternDialect): RegExp {
  const known = dialect === 'pcre' ? 'imsxAEUX' : 'imx';
  const odd = (char: string): boolean => flags.split(char).length % 2 === 0;
  for (const flag of flags) if (!known.includes(flag)) throw new Error(`unknown option "${flag}"`);
  if (odd('U')) throw new Error('option U (ungreedy) is not supported');
  if (dialect === 'regexp' && odd('x')) throw new Error('option x (basic expressions) is not supported');
  const extended = dialect === 'pcre' && odd('x');
  const translated = translate(source, dialect, extended);
  const anchored = odd('A') ? `^(?:${translated})` : translated;
  const dotAll = dialect === 'regexp' || !odd('s');
  return new RegExp(anchored, `u${odd('i') ? '' : 'i'}${odd('m') ? 'm' : ''}${dotAll ? 's' : ''}`);
}

const POSIX_CLASSES: Record<string, string> = {
  alnum: 'A-Za-z0-9',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '\\x21-\\x7e',
  lower: 'a-z',
  print: '\\x20-\\x7e',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\s',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
};

/** POSIX extended or Perl form into JavaScript's. @throws Error for what has no counterpart */
function translate(source: string, dialect: PatternDialect, extended: boolean): string {
  let out = '';
  for (let i = 0; i < source.length;) {
    const char = source.charAt(i);
    if (char === '[') {
      const [text, next] = bracket(source, i, dialect);
      out += text;
      i = next;
    } else if (char === '\\') {
      out += escape(source.charAt(i + 1), dialect);
      i += 2;
    } else if (extended && /\s/.test(char)) i++;
    else if (extended && char === '#') {
      const end = source.indexOf('\n', i);
      i = end < 0 ? source.length : end + 1;
    } else if (char === '(' && source.startsWith('(?', i)) {
      if (/^\(\?(>|[+&|R\d])/.test(source.slice(i))) throw new Error(`"${source.slice(i, i + 3)}" is not supported`);
      const named = source.startsWith('(?P<', i);
      const comment = source.startsWith('(?#', i) ? source.indexOf(')', i) : -1;
      if (comment > 0) i = comment + 1;
      else {
        out += named ? '(?<' : '(?';
        i += named ? 4 : 2;
      }
    } else if (char === ']' || ((char === '{' || char === '}') && !isInterval(source, i))) {
      out += `\\${char}`;
      i++;
    } else {
      out += char;
      i++;
    }
  }
  return out;
}

/** Whether the brace at `i` belongs to `{n}`, `{n,}` or `{n,m}`. */
function isInterval(source: string, i: number): boolean {
  const start = source.charAt(i) === '{' ? i : source.lastIndexOf('{', i);
  const match = start < 0 ? null : /^\{\d{1,4}(,\d{0,4})?\}/.exec(source.slice(start, start + 12));
  return match !== null && i < start + match[0].length && start > 0;
}

function escape(char: string, dialect: PatternDialect): string {
  if (char === '') throw new Error('a backslash at the end');
  if (/[\^$.*+?()[\]{}|/\\]/.test(char)) return `\\${char}`;
  if (dialect === 'pcre') {
    const known: Record<string, string> = {
      A: '(?<![\\s\\S])',
      z: '(?![\\s\\S])',
      Z: '(?=\\n?(?![\\s\\S]))',
      a: '\\x07',
      e: '\\x1b',
      h: '[ \\t]',
    };
    const found = known[char];
    if (found !== undefined) return found;
  } else if (char === '<' || char === '>') return char === '<' ? '\\b(?=\\w)' : '\\b(?<=\\w)';
  if (/[bBdDsSwWnrtfvkxupP\d]/.test(char)) return `\\${char}`;
  if (/[A-Za-z]/.test(char)) throw new Error(`"\\${char}" is not supported`);
  return char === '-' ? '-' : char;
}

/** The bracket expression at `start`; the index behind it. */
function bracket(source: string, start: number, dialect: PatternDialect): [text: string, next: number] {
  let i = start + 1;
  let out = '[';
  if (source.charAt(i) === '^') {
    out += '^';
    i++;
  }
  for (let first = true; i < source.length; first = false) {
    const char = source.charAt(i);
    if (char === ']' && !first) return [`${out}]`, i + 1];
    const posix = /^\[:(\^?)([a-z]+):\]/.exec(source.slice(i, i + 14));
    if (posix) {
      const members = POSIX_CLASSES[posix[2] ?? ''];
      if (members === undefined || posix[1]) throw new Error(`"${posix[0]}" is not supported`);
      out += members;
      i += posix[0].length;
    } else if (char === '\\' && dialect === 'pcre') {
      const next = source.charAt(i + 1);
      out += /[-$^.*+?()[\]{}|/\\bdDsSwWnrtfvxupP\d]/.test(next) ? `\\${next}` : next;
      i += 2;
    } else {
      out += /[\\[\]^]/.test(char) ? `\\${char}` : char;
      i++;
    }
  }
  throw new Error('brackets ([ ]) not balanced');
}
