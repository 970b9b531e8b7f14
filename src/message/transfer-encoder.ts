// Content-Transfer-Encoding done (RFC 2045 section 6), chunk by chunk: chunks may be cut anywhere, memory is bounded by them.
import type { Decoder } from './transfer-encoding.ts';

/** As a decoder, the other way about. One object a part. */
export type Encoder = Decoder;

/** Bytes that make one line of base64 (76 characters). */
const BASE64_LINE = 57;
const EMPTY: Buffer = Buffer.alloc(0);

/** Lines of 76 characters with CRLF between them and none at the end. */
export class Base64Encoder implements Encoder {
  #rest: Buffer = EMPTY;
  #first = true;

  push(chunk: Buffer): Buffer {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const whole = bytes.length - (bytes.length % BASE64_LINE);
    this.#rest = Buffer.from(bytes.subarray(whole));
    return this.#lines(bytes.subarray(0, whole));
  }
  end(): Buffer {
    const rest = this.#rest;
    this.#rest = EMPTY;
    return this.#lines(rest);
  }
  #lines(bytes: Buffer): Buffer {
    if (bytes.length === 0) return EMPTY;
    const lines: string[] = this.#first ? [] : [''];
    this.#first = false;
    for (let at = 0; at < bytes.length; at += BASE64_LINE) lines.push(bytes.toString('base64', at, at + BASE64_LINE));
    return Buffer.from(lines.join('\r\n'), 'latin1');
  }
}

/** Octets that Base64Encoder makes of `size`. */
export function base64Size(size: number): number {
  const lines = Math.ceil(size / BASE64_LINE);
  return 4 * Math.ceil(size / 3) + 2 * Math.max(0, lines - 1);
}

const SPACE = 0x20;
const TAB = 0x09;
const CR = 0x0d;
const LF = 0x0a;
const EQUALS = 0x3d;
/** With the `=` of a soft line break 76. */
const QP_LINE = 75;
const HEX = Buffer.from('0123456789ABCDEF');

/** Text with CRLF line ends, which stay line ends; a CR or LF on its own is encoded. Section 6.7. */
export class QuotedPrintableEncoder implements Encoder {
  #column = 0;
  /** A blank or CR that what follows decides about. */
  #held = -1;
  #out: Buffer = EMPTY;
  #to = 0;

  push(chunk: Buffer): Buffer {
    // A byte is at most three, and at most one soft break comes for 73 octets.
    this.#out = Buffer.allocUnsafe(Math.ceil((chunk.length + 1) * 3.2) + 8);
    this.#to = 0;
    for (const byte of chunk) this.#byte(byte);
    return this.#out.subarray(0, this.#to);
  }
  end(): Buffer {
    this.#out = Buffer.allocUnsafe(8);
    this.#to = 0;
    if (this.#held >= 0) this.#escape(this.#held);
    this.#held = -1;
    return this.#out.subarray(0, this.#to);
  }

  #byte(byte: number): void {
    const held = this.#held;
    this.#held = -1;
    if (held === CR) {
      if (byte === LF) return this.#lineEnd();
      this.#escape(CR);
    } else if (held >= 0) {
      if (byte === CR) this.#escape(held);
      else this.#literal(held);
    }
    if (byte === CR || byte === SPACE || byte === TAB) this.#held = byte;
    else if (byte > SPACE && byte < 0x7f && byte !== EQUALS) this.#literal(byte);
    else this.#escape(byte);
  }
  #lineEnd(): void {
    this.#out[this.#to++] = CR;
    this.#out[this.#to++] = LF;
    this.#column = 0;
  }
  #room(size: number): void {
    if (this.#column + size > QP_LINE) {
      this.#out[this.#to++] = EQUALS;
      this.#lineEnd();
    }
    this.#column += size;
  }
  #literal(byte: number): void {
    this.#room(1);
    this.#out[this.#to++] = byte;
  }
  #escape(byte: number): void {
    this.#room(3);
    this.#out[this.#to++] = EQUALS;
    this.#out[this.#to++] = HEX[byte >> 4] ?? 0;
    this.#out[this.#to++] = HEX[byte & 15] ?? 0;
  }
}
