// Reads a command's text from left to right (RFC 3501 section 9). Literals have been read before: the text holds their places.
import { SequenceSet } from './sequence-set.ts';

/** What a client sent cannot be read: tagged BAD. The text may be shown to it. */
export class BadSyntax extends Error {
  override readonly name = 'BadSyntax';
}

const ATOM_SPECIALS = new Set('(){ %*"\\]');
const isControl = (c: string): boolean => c < ' ' || c === '\x7f';

/** A command: pieces of text (latin1), and between two of them one literal. */
export interface CommandText {
  readonly texts: readonly string[];
  readonly literals: readonly Buffer[];
}

export class Scanner {
  readonly #texts: readonly string[];
  readonly #literals: readonly Buffer[];
  #piece = 0;
  #at = 0;

  constructor(command: CommandText) {
    this.#texts = command.texts;
    this.#literals = command.literals;
  }

  get #text(): string {
    return this.#texts[this.#piece] ?? '';
  }
  /** The next character; empty at the end and before a literal. */
  peek(): string {
    return this.#text.charAt(this.#at);
  }
  get atLiteral(): boolean {
    return this.#at >= this.#text.length && this.#piece < this.#literals.length;
  }
  get atEnd(): boolean {
    return this.#at >= this.#text.length && !this.atLiteral;
  }
  end(): void {
    if (!this.atEnd) throw new BadSyntax('Unexpected text at the end of the command');
  }
  /** Takes this text (in any case) when it comes next. */
  take(expected: string): boolean {
    if (this.#text.slice(this.#at, this.#at + expected.length).toUpperCase() !== expected.toUpperCase()) return false;
    this.#at += expected.length;
    return true;
  }
  expect(expected: string): void {
    if (!this.take(expected)) throw new BadSyntax(expected === ' ' ? 'Missing argument' : `Expected "${expected}"`);
  }
  space(): void {
    this.expect(' ');
  }

  #run(accepts: (c: string) => boolean): string {
    const start = this.#at;
    while (this.#at < this.#text.length && accepts(this.#text.charAt(this.#at))) this.#at++;
    return this.#text.slice(start, this.#at);
  }
  #nonEmpty(text: string, what: string): string {
    if (text === '') throw new BadSyntax(`Expected ${what}`);
    return text;
  }

  atom(what = 'an atom'): string {
    return this.#nonEmpty(
      this.#run((c) => !ATOM_SPECIALS.has(c) && !isControl(c) && c < '\x80'),
      what,
    );
  }
  tag(): string {
    return this.#nonEmpty(
      this.#run((c) => (!ATOM_SPECIALS.has(c) || c === ']') && c !== '+' && !isControl(c) && c < '\x80'),
      'a tag',
    );
  }
  /** nz-number or number: at most 2^32-1 (2^63 where `big`). */
  number(what = 'a number'): number {
    const digits = this.#nonEmpty(
      this.#run((c) => c >= '0' && c <= '9'),
      what,
    );
    if (digits.length > 10 || Number(digits) > 0xffff_ffff) throw new BadSyntax('The number is too large');
    return Number(digits);
  }

  /** quoted or literal, as bytes. No NUL (RFC 3501 section 9), no line end in a quoted string. */
  string(): Buffer {
    if (this.atLiteral) return this.#literal();
    this.expect('"');
    let out = '';
    for (;;) {
      const c = this.#text.charAt(this.#at++);
      if (c === '') throw new BadSyntax('Unterminated quoted string');
      if (c === '"') break;
      const value = c === '\\' ? this.#text.charAt(this.#at++) : c;
      if (c === '\\' && value !== '"' && value !== '\\') throw new BadSyntax('Bad escape in a quoted string');
      if (value === '\0' || value === '\r') throw new BadSyntax('Control character in a string');
      out += value;
    }
    return Buffer.from(out, 'latin1');
  }
  #literal(): Buffer {
    const bytes = this.#literals[this.#piece] ?? Buffer.alloc(0);
    if (bytes.includes(0)) throw new BadSyntax('NUL in a literal');
    this.#piece++;
    this.#at = 0;
    return bytes;
  }
  #atString(): boolean {
    return this.atLiteral || this.peek() === '"';
  }
  astring(): Buffer {
    if (this.#atString()) return this.string();
    return Buffer.from(
      this.#nonEmpty(
        this.#run((c) => (!ATOM_SPECIALS.has(c) || c === ']') && !isControl(c) && c < '\x80'),
        'a string',
      ),
      'latin1',
    );
  }
  /** NIL or a string. */
  nstring(): Buffer | undefined {
    if (this.#atString()) return this.string();
    this.expect('NIL');
    return undefined;
  }
  /** list-mailbox: a string, or an atom with wildcards. */
  listMailbox(): Buffer {
    if (this.#atString()) return this.string();
    return Buffer.from(
      this.#nonEmpty(
        this.#run((c) => (!ATOM_SPECIALS.has(c) || '%*]'.includes(c)) && !isControl(c) && c < '\x80'),
        'a mailbox pattern',
      ),
      'latin1',
    );
  }
  /** Base64 text (SASL's initial response, `=` for an empty one). */
  base64(): string {
    return this.#nonEmpty(
      this.#run((c) => /[A-Za-z0-9+/=]/.test(c)),
      'base64',
    );
  }

  sequenceSet(): SequenceSet {
    const text = this.#run((c) => (c >= '0' && c <= '9') || c === ':' || c === ',' || c === '*');
    const set = SequenceSet.parse(text);
    if (!set) throw new BadSyntax('Bad sequence set');
    return set;
  }

  /** `(a b c)` of whatever `item` reads; possibly empty. */
  list<T>(item: () => T): T[] {
    this.expect('(');
    const items: T[] = [];
    if (this.take(')')) return items;
    for (;;) {
      items.push(item());
      if (this.take(')')) return items;
      this.space();
    }
  }

  /** A flag: `\Seen` or a keyword. `\Recent` cannot be set. */
  flag(): string {
    if (!this.take('\\')) return this.atom('a flag');
    return `\\${this.atom('a flag')}`;
  }
}
