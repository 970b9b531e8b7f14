// The body of DATA (RFC 5321 sections 4.1.1.4, 4.5.2), read strictly: only CRLF "." CRLF ends it, only a dot at the beginning of a line that CRLF began
// is taken away. Bare CR, bare LF and NUL are noticed ("smuggling": what looks like the end to one server and not to another) and written as
// CRLF (NUL left out), so that the message that is kept means the same to everybody.

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;

const TEXT = 0;
const LINE_START = 1;
const AFTER_CR = 2;
const AFTER_DOT = 3;
const AFTER_DOT_CR = 4;

export interface Scanned {
  /** Content: dots taken away, line ends CRLF. Lies in the scanner's own memory: good until the next `push`. */
  readonly content: Buffer;
  /** Bytes of the chunk that belong to the message; what follows is the next command. */
  readonly used: number;
  readonly ended: boolean;
}

/** Memory for what one push gives: the same again and again, as hundreds of MB may come in small pieces. */
class Scratch {
  #buffer = Buffer.alloc(0);
  atLeast(size: number): Buffer {
    if (this.#buffer.length < size) this.#buffer = Buffer.allocUnsafeSlow(size);
    return this.#buffer;
  }
}

export class DataScanner {
  readonly #scratch = new Scratch();
  #state = LINE_START;
  /** A bare CR, bare LF or NUL was seen. */
  irregular = false;

  push(chunk: Buffer): Scanned {
    // A bare line end grows by one byte, a held CR or dot adds two.
    const out = this.#scratch.atLeast(chunk.length * 2 + 4);
    let n = 0;
    let state = this.#state;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] ?? 0;
      if (state === AFTER_DOT) {
        if (byte === CR) {
          state = AFTER_DOT_CR;
          continue;
        }
        // A stuffed dot, or a line that begins with one: the first is taken away.
        state = TEXT;
      } else if (state === AFTER_DOT_CR) {
        if (byte === LF) {
          this.#state = LINE_START;
          return { content: out.subarray(0, n), used: i + 1, ended: true };
        }
        this.irregular = true;
        out[n++] = CR;
        out[n++] = LF;
        state = TEXT;
      } else if (state === AFTER_CR) {
        out[n++] = CR;
        out[n++] = LF;
        if (byte === LF) {
          state = LINE_START;
          continue;
        }
        this.irregular = true;
        state = TEXT;
      } else if (state === LINE_START) {
        if (byte === DOT) {
          state = AFTER_DOT;
          continue;
        }
        state = TEXT;
      }
      if (byte === CR) state = AFTER_CR;
      else if (byte === LF) {
        this.irregular = true;
        out[n++] = CR;
        out[n++] = LF;
      } else if (byte === 0) this.irregular = true;
      else {
        out[n++] = byte;
        // The rest of the line as far as nothing in it means anything: nearly every byte of a message.
        for (let next = chunk[i + 1]; next !== undefined && next !== CR && next !== LF && next !== 0; next = chunk[i + 1]) {
          out[n++] = next;
          i++;
        }
      }
    }
    this.#state = state;
    return { content: out.subarray(0, n), used: chunk.length, ended: false };
  }
}

/** BDAT's octets (RFC 3030): nothing ends them but their count. Bare line ends and NUL are treated as in DATA. */
export class ChunkScanner {
  readonly #scratch = new Scratch();
  #afterCr = false;
  irregular = false;

  /** Good until the next `push`. */
  push(chunk: Buffer): Buffer {
    const out = this.#scratch.atLeast(chunk.length * 2 + 2);
    let n = 0;
    for (const byte of chunk) {
      if (this.#afterCr) {
        out[n++] = CR;
        out[n++] = LF;
        this.#afterCr = false;
        if (byte === LF) continue;
        this.irregular = true;
      }
      if (byte === CR) this.#afterCr = true;
      else if (byte === LF) {
        this.irregular = true;
        out[n++] = CR;
        out[n++] = LF;
      } else if (byte === 0) this.irregular = true;
      else out[n++] = byte;
    }
    return out.subarray(0, n);
  }
  /** Behind the last chunk. */
  end(): Buffer {
    if (!this.#afterCr) return Buffer.alloc(0);
    this.irregular = true;
    return Buffer.from('\r\n');
  }
}
