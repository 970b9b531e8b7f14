// The relaxed canonical forms of DKIM (RFC 6376 sections 3.4.2, 3.4.4): what a signature is made over.
import { createHash, type Hash } from 'node:crypto';

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
/** Empty lines are only counted until something follows them: they are written in blocks of this. */
const LINES = Buffer.from('\r\n'.repeat(512));

/** Hashes a body with CRLF line ends as it comes, in pieces cut anywhere. One object a message. */
export class RelaxedBodyHash {
  readonly #hash: Hash = createHash('sha256');
  #emptyLines = 0;
  #blank = false;
  #any = false;

  push(chunk: Buffer): void {
    // Each line end of this chunk may become two bytes; those of chunks before are written on their own, as nothing else has come out yet.
    const out = Buffer.allocUnsafe(2 * chunk.length + 2);
    let carried = this.#emptyLines;
    let to = 0;
    for (const byte of chunk) {
      if (byte === CR) continue;
      if (byte === LF) {
        this.#emptyLines++;
        this.#blank = false;
      } else if (byte === SPACE || byte === TAB) this.#blank = true;
      else {
        this.#writeLines(carried);
        for (let lines = this.#emptyLines - carried; lines > 0; lines--) {
          out[to++] = CR;
          out[to++] = LF;
        }
        this.#emptyLines = carried = 0;
        if (this.#blank) out[to++] = SPACE;
        this.#blank = false;
        out[to++] = byte;
        this.#any = true;
      }
    }
    this.#hash.update(out.subarray(0, to));
  }
  #writeLines(count: number): void {
    for (let left = count; left > 0; left -= LINES.length / 2) this.#hash.update(LINES.subarray(0, 2 * left));
  }

  /** The value of `bh=`. */
  digest(): string {
    if (this.#any) this.#hash.update('\r\n');
    return this.#hash.digest('base64');
  }
}

/** A field (name, colon, value, folds; latin1), without the line end that a signed field has behind it. */
export function relaxedField(text: string): string {
  const colon = text.indexOf(':');
  // Not trim(): in latin1 it takes the last byte of "à" for a blank.
  const [name, value] = [text.slice(0, colon), text.slice(colon + 1).replace(/[\r\n]/g, '')].map((part) =>
    part.replace(/[ \t]+/g, ' ').replace(/^ | $/g, ''),
  );
  return `${(name ?? '').toLowerCase()}:${value ?? ''}`;
}
