// Macros of SPF (RFC 7208 section 7): parsed when the record is, expanded when a term is evaluated.

/** A term that breaks the grammar: all of its record is a permerror (RFC 7208 section 4.6). */
export class SpfSyntaxError extends Error {}

interface Expansion {
  /** Lower case. */
  readonly letter: string;
  /** Written in upper case: what it gives is escaped as in a URL. */
  readonly escaped: boolean;
  /** Parts kept, from the right; 0 for all. */
  readonly keep: number;
  readonly reverse: boolean;
  readonly delimiters: string;
}
/** `%%`, `%_` and `%-` count as expansions (they may end a domain-spec) but are text already. */
type Part = { readonly literal: string; readonly expanded: boolean } | Expansion;
export type MacroString = readonly Part[];

const LETTERS = 'slodiphv';
/** Only in what `exp=` leads to, and where nobody evaluates it. */
const EXPLAIN_LETTERS = 'crt';
const SIGNS: Readonly<Record<string, string>> = { '%': '%', _: ' ', '-': '%20' };

/** @throws SpfSyntaxError. `explain`: of an explanation's text, where blanks and more letters are allowed */
export function parseMacroString(text: string, explain = false, letters = explain): MacroString {
  const parts: Part[] = [];
  for (let at = 0; at < text.length;) {
    if (text[at] !== '%') {
      const end = text.indexOf('%', at);
      const literal = text.slice(at, end < 0 ? text.length : end);
      if (!(explain ? /^[\x20-\x7e]+$/ : /^[\x21-\x7e]+$/).test(literal))
        throw new SpfSyntaxError('a character that no macro-string may have');
      parts.push({ literal, expanded: false });
      at += literal.length;
      continue;
    }
    const sign = SIGNS[text[at + 1] ?? ''];
    if (sign !== undefined) {
      parts.push({ literal: sign, expanded: true });
      at += 2;
      continue;
    }
    const end = text.indexOf('}', at);
    if (text[at + 1] !== '{' || end < 0) throw new SpfSyntaxError('a % that begins no macro');
    parts.push(expansion(text.slice(at + 2, end), letters));
    at = end + 1;
  }
  return parts;
}

function expansion(body: string, explain: boolean): Expansion {
  const [, letter = '', keep = '', reverse = '', delimiters = ''] = /^([a-z])(\d{0,9})(r?)([-.+,/_=]*)$/i.exec(body) ?? [];
  const lower = letter.toLowerCase();
  if (lower === '' || !(explain ? LETTERS + EXPLAIN_LETTERS : LETTERS).includes(lower))
    throw new SpfSyntaxError('an unknown macro');
  if (keep !== '' && Number(keep) === 0) throw new SpfSyntaxError('a macro that keeps no part');
  return {
    letter: lower,
    escaped: letter !== lower,
    keep: Number(keep),
    reverse: reverse !== '',
    delimiters: delimiters === '' ? '.' : delimiters,
  };
}

const TOP_LABEL = /^(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])$/i;
export const isTopLabel = (label: string): boolean => TOP_LABEL.test(label);

/** domain-spec: it ends in a macro, or in a dot and a top label. @throws SpfSyntaxError */
export function parseDomainSpec(text: string): MacroString {
  const parts = parseMacroString(text);
  const last = parts.at(-1);
  if (!last) throw new SpfSyntaxError('a domain is missing');
  if ('literal' in last && !last.expanded) {
    const name = last.literal.replace(/\.$/, '');
    const dot = name.lastIndexOf('.');
    if (dot < 0 || !isTopLabel(name.slice(dot + 1))) throw new SpfSyntaxError('a name that is no domain');
  }
  return parts;
}

export const usesMacro = (parts: MacroString, letters: string): boolean =>
  parts.some((part) => 'letter' in part && letters.includes(part.letter));

/** The text, with what `values` has for each letter. */
export function expandMacros(parts: MacroString, values: (letter: string) => string): string {
  return parts.map((part) => ('literal' in part ? part.literal : expandOne(part, values(part.letter)))).join('');
}

function expandOne({ escaped, keep, reverse, delimiters }: Expansion, value: string): string {
  let pieces: string[] = [''];
  for (const char of value)
    if (delimiters.includes(char)) pieces.push('');
    else pieces[pieces.length - 1] += char;
  if (reverse) pieces.reverse();
  if (keep > 0) pieces = pieces.slice(-keep);
  const joined = pieces.join('.');
  return escaped ? [...Buffer.from(joined, 'utf8')].map(urlOctet).join('') : joined;
}
const urlOctet = (byte: number): string => {
  const char = String.fromCharCode(byte);
  return /[A-Za-z0-9._~-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
};
