// Bytes to text in whatever charset a sender named. Unknown charsets and broken bytes never fail: they are read as UTF-8 when they are that,
// else as latin1.

import { isAscii } from 'node:buffer';

/** Decodes one text in pieces. */
export interface TextStream {
  push(bytes: Buffer): string;
  end(): string;
}

const NO_CHARSET = new Set(['', 'us-ascii', 'ascii', 'x-unknown', 'unknown-8bit', 'unknown']);

/** A decoder for the charset named (undefined: not named). Bytes that a named charset does not have become U+FFFD. */
export function textStream(charset: string | undefined): TextStream {
  const name = charset?.trim().toLowerCase() ?? '';
  if (NO_CHARSET.has(name)) return new GuessingStream();
  try {
    const decoder = new TextDecoder(name);
    return { push: (bytes) => decoder.decode(bytes, { stream: true }), end: () => decoder.decode() };
  } catch {
    return new GuessingStream();
  }
}

/** Decodes a piece of text; `charset` may be undefined (UTF-8 when it is valid UTF-8, else latin1). */
export function decodeText(bytes: Buffer, charset: string | undefined): string {
  // A header may hold thousands of small words: most need no decoder of their own.
  const name = charset?.trim().toLowerCase() ?? '';
  if ((name === 'utf-8' || NO_CHARSET.has(name)) && isAscii(bytes)) return bytes.toString('latin1');
  const stream = textStream(charset);
  return stream.push(bytes) + stream.end();
}

/** UTF-8 as long as it is, latin1 from the first piece that is not. */
class GuessingStream implements TextStream {
  #utf8: InstanceType<typeof TextDecoder> | undefined = new TextDecoder('utf-8', { fatal: true });
  /** The last bytes of the pieces before: the decoder may hold them as the start of a character. */
  #tail: Buffer = Buffer.alloc(0);

  push(bytes: Buffer): string {
    if (!this.#utf8) return bytes.toString('latin1');
    try {
      const text = this.#utf8.decode(bytes, { stream: true });
      this.#tail = incompleteEnd(
        this.#tail.length + bytes.length > 3
          ? Buffer.concat([this.#tail, bytes.subarray(-3)])
          : Buffer.concat([this.#tail, bytes]),
      );
      return text;
    } catch {
      this.#utf8 = undefined;
      return this.#tail.toString('latin1') + bytes.toString('latin1');
    }
  }
  end(): string {
    const rest = this.#utf8 ? this.#tail.toString('latin1') : '';
    this.#utf8 = undefined;
    return rest;
  }
}

/** The start of a UTF-8 character at the end of valid `bytes`, copied; empty when they end with a whole one. */
function incompleteEnd(bytes: Buffer): Buffer {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? Buffer.from(bytes.subarray(bytes.length - back)) : Buffer.alloc(0);
  }
  return Buffer.alloc(0);
}
