// The words of RFC 3501 section 9 (formal syntax) on one complete command. Literals lie in the buffer as they came: `{5}\r\nhello`.
// Every fault is a MailError bad-syntax; the text says what was expected, never what the client sent.
import { MailError } from '../../lib/errors.ts';

const SP = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x28;
const CLOSE = 0x29;
const BRACE = 0x7b;

export interface ScanLimits {
  readonly nesting: number;
  readonly items: number;
}

export const bad = (text: string): MailError => new MailError('bad-syntax', 'IMAP_SYNTAX', text);

/** atom-specials: `( ) {`, space, controls, list-wildcards, quoted-specials, `]`; bytes above 126 are none of an atom either. */
const ATOM = charSet((c) => c > 0x20 && c < 0x7f && !'(){%*"\\]'.includes(String.fromCharCode(c)));
/** ASTRING-CHAR = ATOM-CHAR / resp-specials. */
const ASTRING = charSet((c) => ATOM[c] === 1 || c === 0x5d);
/** list-char = ATOM-CHAR / list-wildcards / resp-specials. */
const LIST = charSet((c) => ASTRING[c] === 1 || c === 0x25 || c === 0x2a);
/** tag = any ASTRING-CHAR except "+". */
const TAG = charSet((c) => ASTRING[c] === 1 && c !== 0x2b);

function charSet(has: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (has(code) ? 1 : 0));
}

export class Scanner {
  readonly #bytes: Buffer;
  readonly limits: ScanLimits;
  #at = 0;
  #depth = 0;
  #items = 0;

  constructor(bytes: Buffer, limits: ScanLimits) {
    this.#bytes = bytes;
    this.limits = limits;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }
  /** The next byte as a character, without taking it; empty at the end. */
  get next(): string {
    return this.atEnd ? '' : String.fromCharCode(this.#bytes[this.#at] ?? 0);
  }
  /** Everything that is left, as latin1. */
  rest(): string {
    const text = this.#bytes.toString('latin1', this.#at);
    this.#at = this.#bytes.length;
    return text;
  }
  end(): void {
    if (!this.atEnd) throw bad('Unexpected text after the arguments');
  }
  space(): void {
    if (this.#bytes[this.#at] !== SP) throw bad('Expected a space');
    this.#at++;
  }
  /** Takes `text` (any case) when it is next. */
  accept(text: string): boolean {
    const found = this.#bytes.toString('latin1', this.#at, this.#at + text.length);
    if (found.toUpperCase() !== text.toUpperCase()) return false;
    this.#at += text.length;
    return true;
  }
  expect(text: string): void {
    if (!this.accept(text)) throw bad(`Expected "${text}"`);
  }

  #run(set: Uint8Array): string {
    const start = this.#at;
    while (this.#at < this.#bytes.length && set[this.#bytes[this.#at] ?? 0] === 1) this.#at++;
    return this.#bytes.toString('latin1', start, this.#at);
  }
  #word(set: Uint8Array, what: string): string {
    const word = this.#run(set);
    if (word === '') throw bad(`Expected ${what}`);
    return word;
  }
  tag(max: number): string {
    const tag = this.#word(TAG, 'a tag');
    if (tag.length > max) throw bad('The tag is too long');
    return tag;
  }
  atom(): string {
    return this.#word(ATOM, 'an atom');
  }
  /** Letters, digits, dots and hyphens: names of commands, keys and items. In upper case. */
  keyword(): string {
    const start = this.#at;
    while (isKeywordByte(this.#bytes[this.#at])) this.#at++;
    if (this.#at === start) throw bad('Expected a word');
    return this.#bytes.toString('latin1', start, this.#at).toUpperCase();
  }

  /** number: 0 … 2^32-1 (RFC 3501 section 9). */
  number(): number {
    const start = this.#at;
    while (this.#at - start < 11 && isDigit(this.#bytes[this.#at])) this.#at++;
    const value = Number(this.#bytes.toString('latin1', start, this.#at));
    if (this.#at === start) throw bad('Expected a number');
    if (value > 4_294_967_295) throw bad('The number is too big');
    return value;
  }
  nonZero(): number {
    const value = this.number();
    if (value === 0) throw bad('Zero is not allowed here');
    return value;
  }

  /** string = quoted / literal, as bytes; never NUL. */
  string(): Buffer {
    const first = this.#bytes[this.#at];
    if (first === QUOTE) return this.#quoted();
    if (first === BRACE) return this.#literal();
    throw bad('Expected a string');
  }
  astring(): Buffer {
    const first = this.#bytes[this.#at];
    return first === QUOTE || first === BRACE ? this.string() : Buffer.from(this.#word(ASTRING, 'a string'), 'latin1');
  }
  /** `NIL` is undefined. */
  nstring(): Buffer | undefined {
    const first = this.#bytes[this.#at];
    if (first === QUOTE || first === BRACE) return this.string();
    this.expect('NIL');
    return undefined;
  }
  /** list-mailbox: a name or a pattern. */
  listMailbox(): Buffer {
    const first = this.#bytes[this.#at];
    return first === QUOTE || first === BRACE ? this.string() : Buffer.from(this.#word(LIST, 'a mailbox pattern'), 'latin1');
  }

  #quoted(): Buffer {
    const out: number[] = [];
    for (this.#at++; this.#at < this.#bytes.length; this.#at++) {
      let byte = this.#bytes[this.#at] ?? 0;
      if (byte === QUOTE) {
        this.#at++;
        return Buffer.from(out);
      }
      if (byte === BACKSLASH) {
        byte = this.#bytes[++this.#at] ?? 0;
        if (byte !== QUOTE && byte !== BACKSLASH) throw bad('Bad escape in a quoted string');
      }
      if (byte === 0 || byte === 0x0a || byte === 0x0d) throw bad('Control character in a quoted string');
      out.push(byte);
    }
    throw bad('Quoted string without an end');
  }

  #literal(): Buffer {
    this.#at++;
    const length = this.number();
    this.accept('+');
    this.expect('}\r\n');
    const end = this.#at + length;
    if (end > this.#bytes.length) throw bad('Literal without its bytes');
    const bytes = this.#bytes.subarray(this.#at, end);
    if (bytes.includes(0)) throw bad('NUL in a literal');
    this.#at = end;
    return bytes;
  }

  /** `( … )` with single spaces between what `item` reads; may be empty. */
  list<T>(item: () => T): T[] {
    const items: T[] = [];
    this.open();
    while (this.next !== ')') {
      items.push(item());
      this.count();
      if (this.next !== ')') this.space();
    }
    this.close();
    return items;
  }
  open(): void {
    if (this.#bytes[this.#at] !== OPEN) throw bad('Expected "("');
    if (++this.#depth > this.limits.nesting) throw bad('Too many parentheses inside each other');
    this.#at++;
  }
  close(): void {
    if (this.#bytes[this.#at] !== CLOSE) throw bad('Expected ")"');
    this.#depth--;
    this.#at++;
  }
  /** Counts one more item of this command. */
  count(): void {
    if (++this.#items > this.limits.items) throw bad('Too many items');
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;
const isKeywordByte = (byte: number | undefined): boolean =>
  byte !== undefined &&
  (isDigit(byte) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x2e || byte === 0x2d);

/** A string of a log-in or a name: UTF-8 without control characters (RELIABILITY row 24). */
export function plainText(bytes: Buffer): string {
  for (const byte of bytes) if (byte < 0x20 || byte === 0x7f) throw bad('Control character in a string');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad('A string is not UTF-8');
  }
}
