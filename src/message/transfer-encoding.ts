// Content-Transfer-Encoding undone (RFC 2045 section 6), tolerantly and chunk by chunk: chunks may be cut anywhere, memory is bounded by them.

export interface Decoder {
  push(chunk: Buffer): Buffer;
  end(): Buffer;
}

const EMPTY: Buffer = Buffer.alloc(0);
const identity: Decoder = { push: (chunk) => chunk, end: () => EMPTY };

/** A decoder for the encoding named (any case); the identity for unknown ones. One object a part. */
export function transferDecoder(encoding: string): Decoder {
  switch (encoding.toUpperCase()) {
    case 'BASE64':
      return new Base64Decoder();
    case 'QUOTED-PRINTABLE':
      return new QuotedPrintableDecoder();
    default:
      return identity;
  }
}

const BASE64 = new Int8Array(256).fill(-1);
for (const [i, c] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries())
  BASE64[c.charCodeAt(0)] = i;
const PADDING = 0x3d;

/** Passes over what is not in the alphabet; padding ends a quantum, so that several encoded pieces may follow each other. */
class Base64Decoder implements Decoder {
  #bits = 0;
  #count = 0;

  push(chunk: Buffer): Buffer {
    const out = Buffer.allocUnsafe(Math.ceil((chunk.length * 3) / 4) + 1);
    let to = 0;
    for (const byte of chunk) {
      const value = BASE64[byte] as number;
      if (value < 0) {
        if (byte === PADDING) this.#count = 0;
        continue;
      }
      this.#bits = ((this.#bits << 6) | value) & 0xffff;
      this.#count += 6;
      if (this.#count < 8) continue;
      this.#count -= 8;
      out[to++] = (this.#bits >> this.#count) & 0xff;
    }
    return out.subarray(0, to);
  }
  end(): Buffer {
    return EMPTY;
  }
}

const SPACE = 0x20;
const TAB = 0x09;
const CR = 0x0d;
const LF = 0x0a;
const EQUALS = 0x3d;
/** Blanks at a line's end are held back up to this many (RFC 5322's longest line). */
const MAX_BLANKS = 998;

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

type QpState = 'text' | 'equals' | 'hex' | 'soft-blank' | 'soft-cr';

/** RFC 2045 section 6.7: blanks before a line end go (rule 3), escapes that are none stay as they are. */
class QuotedPrintableDecoder implements Decoder {
  #state: QpState = 'text';
  #firstHex = 0;
  #blanks: number[] = [];
  #out: Buffer = EMPTY;
  #to = 0;

  push(chunk: Buffer): Buffer {
    this.#out = Buffer.allocUnsafe(chunk.length + this.#blanks.length + 4);
    this.#to = 0;
    for (const byte of chunk) this.#byte(byte);
    return this.#take();
  }
  end(): Buffer {
    this.#out = Buffer.allocUnsafe(2);
    this.#to = 0;
    if (this.#state === 'hex') this.#emit(EQUALS, this.#firstHex);
    this.#state = 'text';
    this.#blanks = [];
    return this.#take();
  }

  #take(): Buffer {
    const out = this.#out.subarray(0, this.#to);
    this.#out = EMPTY;
    return out;
  }
  #emit(...bytes: number[]): void {
    for (const byte of bytes) this.#out[this.#to++] = byte;
  }
  #flushBlanks(): void {
    for (const blank of this.#blanks) this.#emit(blank);
    this.#blanks = [];
  }
  #byte(byte: number): void {
    switch (this.#state) {
      case 'text':
        return this.#text(byte);
      case 'equals':
        return this.#equals(byte);
      case 'hex': {
        const second = hexValue(byte);
        this.#state = 'text';
        if (second >= 0) return this.#emit(hexValue(this.#firstHex) * 16 + second);
        this.#emit(EQUALS, this.#firstHex);
        return this.#text(byte);
      }
      case 'soft-blank':
        if (byte === SPACE || byte === TAB) return;
        if (byte === LF || byte === CR) return this.#equals(byte);
        this.#state = 'text';
        this.#emit(EQUALS, SPACE);
        return this.#text(byte);
      case 'soft-cr':
        this.#state = 'text';
        if (byte !== LF) this.#text(byte);
    }
  }
  #equals(byte: number): void {
    if (hexValue(byte) >= 0) {
      this.#firstHex = byte;
      this.#state = 'hex';
    } else if (byte === LF) this.#state = 'text';
    else if (byte === CR) this.#state = 'soft-cr';
    else if (byte === SPACE || byte === TAB) this.#state = 'soft-blank';
    else {
      this.#state = 'text';
      this.#emit(EQUALS);
      this.#text(byte);
    }
  }
  #text(byte: number): void {
    if (byte === SPACE || byte === TAB) {
      this.#blanks.push(byte);
      if (this.#blanks.length > MAX_BLANKS) this.#flushBlanks();
      return;
    }
    if (byte === CR || byte === LF) this.#blanks = [];
    else if (this.#blanks.length > 0) this.#flushBlanks();
    if (byte === EQUALS) this.#state = 'equals';
    else this.#emit(byte);
  }
}
