// Structured MIME fields: Content-Type and Content-Disposition with their parameters (RFC 2045 section 5.1, RFC 2183, RFC 2231).
import type { Disposition, Parameters } from './types.ts';

export interface ContentType {
  readonly type: string;
  readonly subtype: string;
  readonly params: Parameters;
}

const TSPECIALS = new Set('()<>@,;:\\"/[]?= \t\r\n');

/** Reads tokens, quoted strings and comments from left to right; never fails. */
class Scanner {
  readonly text: string;
  at = 0;

  constructor(text: string) {
    this.text = text;
  }
  skip(): void {
    for (;;) {
      const c = this.text.charAt(this.at);
      if (c === '(') this.#comment();
      else if (c !== '' && ' \t\r\n'.includes(c)) this.at++;
      else return;
    }
  }
  #comment(): void {
    for (let depth = 0; this.at < this.text.length; this.at++) {
      const c = this.text.charAt(this.at);
      if (c === '\\') this.at++;
      else if (c === '(') depth++;
      else if (c === ')' && --depth === 0) break;
    }
    this.at++;
  }
  token(extra = ''): string {
    const start = this.at;
    while (this.at < this.text.length && (!TSPECIALS.has(this.text.charAt(this.at)) || extra.includes(this.text.charAt(this.at))))
      this.at++;
    return this.text.slice(start, this.at);
  }
  take(c: string): boolean {
    this.skip();
    if (this.text.charAt(this.at) !== c) return false;
    this.at++;
    return true;
  }
  /** A value: a quoted string, or everything up to the next `;` or white space (senders leave out quotes). */
  value(): string {
    this.skip();
    if (this.text.charAt(this.at) !== '"') return this.token('/=?:@<>[],\\');
    let out = '';
    for (this.at++; this.at < this.text.length; this.at++) {
      const c = this.text.charAt(this.at);
      if (c === '"') break;
      out += c === '\\' ? this.text.charAt(++this.at) : c;
    }
    this.at++;
    return out;
  }
}

/** A Content-Type value; undefined when it does not begin with `type/subtype`. */
export function parseContentType(value: string, maxParameters: number): ContentType | undefined {
  const scanner = new Scanner(value);
  scanner.skip();
  const type = scanner.token();
  if (type === '' || !scanner.take('/')) return undefined;
  scanner.skip();
  const subtype = scanner.token();
  return subtype === ''
    ? undefined
    : { type: type.toLowerCase(), subtype: subtype.toLowerCase(), params: parameters(scanner, maxParameters) };
}

/** A Content-Disposition value; undefined when it is empty. */
export function parseDisposition(value: string, maxParameters: number): Disposition | undefined {
  const scanner = new Scanner(value);
  scanner.skip();
  const type = scanner.token('/');
  return type === '' ? undefined : { type, params: parameters(scanner, maxParameters) };
}

function parameters(scanner: Scanner, max: number): Parameters {
  const raw: [string, string][] = [];
  while (scanner.at < scanner.text.length && raw.length < max) {
    const next = scanner.text.indexOf(';', scanner.at);
    if (!scanner.take(';')) {
      // Rubbish before the next semicolon is passed over.
      if (next < 0) break;
      scanner.at = Math.max(next, scanner.at) + 1;
    }
    scanner.skip();
    const name = scanner.token("*'");
    if (name !== '' && scanner.take('=')) raw.push([name, scanner.value()]);
  }
  return joinContinuations(raw);
}

/** RFC 2231 section 3: `name*0`, `name*1*` … become one parameter: `name`, or `name*` when a section is percent-encoded. */
function joinContinuations(raw: readonly [string, string][]): Parameters {
  if (!raw.some(([name]) => name.includes('*'))) return raw;
  const joined: [string, string][] = [];
  const sections = new Map<string, { at: number; encoded: boolean; parts: [number, string, boolean][] }>();
  for (const [name, value] of raw) {
    const m = /^([^*]+)\*(\d{1,4})(\*?)$/.exec(name);
    if (!m) {
      joined.push([name, value]);
      continue;
    }
    const [, base = '', index = '', star] = m;
    let entry = sections.get(base.toLowerCase());
    if (!entry) {
      sections.set(base.toLowerCase(), (entry = { at: joined.length, encoded: false, parts: [] }));
      joined.push([base, '']);
    }
    entry.parts.push([Number(index), value, star === '*']);
    entry.encoded ||= star === '*';
  }
  for (const { at, encoded, parts } of sections.values()) {
    parts.sort((a, b) => a[0] - b[0]);
    const value = parts.map(([, text, isEncoded]) => (encoded && !isEncoded ? percentEncode(text) : text)).join('');
    joined[at] = [`${joined[at]?.[0] ?? ''}${encoded ? '*' : ''}`, value];
  }
  return joined;
}
const percentEncode = (text: string): string =>
  text.replace(/[^A-Za-z0-9.!#$&+^_`{|}~-]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
