// Reads the values of IMAP responses strictly (RFC 3501 section 9): NIL, numbers, quoted strings, literals, parenthesised lists.

export type ImapValue = null | number | string | ImapValue[];

/** Reads `text` (latin1) to its end. @throws Error at the first octet that the grammar does not allow */
export function parseImapValues(text: string): ImapValue[] {
  const reader = new ValueReader(text);
  const values = reader.list('');
  return values;
}

class ValueReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Values up to `end` ('' for the end of the text). Only `)(` and `""("` joints between lists may do without a space, as body structures have them. */
  list(end: string): ImapValue[] {
    const values: ImapValue[] = [];
    for (let first = true; ; first = false) {
      const c = this.#text.charAt(this.#at);
      if (c === end) {
        this.#at += end.length;
        return values;
      }
      if (!first) {
        if (c === ' ') this.#at++;
        else if (!(c === '(' && this.#text.charAt(this.#at - 1) === ')')) throw this.#error('a space');
      }
      values.push(this.#value());
    }
  }

  #value(): ImapValue {
    const c = this.#text.charAt(this.#at);
    if (c === '(') {
      this.#at++;
      return this.list(')');
    }
    if (c === '"') return this.#quoted();
    if (c === '{') return this.#literal();
    const atom = /^(?:NIL|\d+)(?=[ )]|$)/.exec(this.#text.slice(this.#at, this.#at + 20))?.[0];
    if (atom === undefined) throw this.#error('a value');
    this.#at += atom.length;
    return atom === 'NIL' ? null : Number(atom);
  }
  #quoted(): string {
    let out = '';
    for (this.#at++; ; this.#at++) {
      let c = this.#text.charAt(this.#at);
      if (c === '"') break;
      if (c === '\\') {
        c = this.#text.charAt(++this.#at);
        if (c !== '"' && c !== '\\') throw this.#error('a quoted special');
      }
      if (c === '' || c === '\r' || c === '\n' || c === '\0' || c > '\x7f') throw this.#error('a TEXT-CHAR');
      out += c;
    }
    this.#at++;
    return out;
  }
  #literal(): string {
    const head = /^\{(\d+)\}\r\n/.exec(this.#text.slice(this.#at, this.#at + 20));
    if (!head) throw this.#error('a literal');
    const from = this.#at + head[0].length;
    this.#at = from + Number(head[1]);
    const out = this.#text.slice(from, this.#at);
    if (this.#at > this.#text.length || out.includes('\0')) throw this.#error('a whole literal without NUL');
    return out;
  }
  #error(wanted: string): Error {
    return new Error(
      `${wanted} expected at ${this.#at}: ${JSON.stringify(this.#text.slice(Math.max(0, this.#at - 40), this.#at + 40))}`,
    );
  }
}
