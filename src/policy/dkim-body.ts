// The body of a message as DKIM hashes it (RFC 6376 sections 3.4.3, 3.4.4, 3.4.5, 3.7): streamed, in linear time whatever the lines are.
import { createHash, type Hash } from 'node:crypto';

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
/** Empty lines are only counted until something follows them: they are written in blocks of this. */
const LINES = Buffer.from('\r\n'.repeat(512));

export type CanonicalForm = 'simple' | 'relaxed';

/** One object a hash. Bare LFs count as line ends, bare CRs are text. */
export class BodyHash {
  readonly #hash: Hash = createHash('sha256');
  readonly #relaxed: boolean;
  readonly #limit: number;
  #emptyLines = 0;
  #blank = false;
  #cr = false;
  #any = false;
  /** Octets of the canonical form so far, those beyond the limit included. */
  length = 0;

  /** `limit`: octets of the canonical form that are hashed (`l=`). */
  constructor(form: CanonicalForm = 'relaxed', limit = Infinity) {
    this.#relaxed = form === 'relaxed';
    this.#limit = limit;
  }

  /** The next piece, cut anywhere. */
  push(chunk: Buffer): void {
    // Each line end of this chunk may become two bytes, and a CR and a blank may wait from the one before; line ends of chunks before are written on
    // their own, as nothing else has come out yet.
    const out = Buffer.allocUnsafe(2 * chunk.length + 4);
    let carried = this.#emptyLines;
    let to = 0;
    const text = (byte: number): void => {
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
    };
    for (const byte of chunk) {
      const afterCr = this.#cr;
      this.#cr = false;
      if (byte === LF) {
        this.#emptyLines++;
        this.#blank = false;
        continue;
      }
      if (afterCr) text(CR);
      if (byte === CR) this.#cr = true;
      else if (this.#relaxed && (byte === SPACE || byte === TAB)) this.#blank = true;
      else text(byte);
    }
    this.#write(out.subarray(0, to));
  }
  #writeLines(count: number): void {
    for (let left = count; left > 0; left -= LINES.length / 2) this.#write(LINES.subarray(0, 2 * left));
  }
  #write(bytes: Buffer): void {
    const room = this.#limit - this.length;
    this.length += bytes.length;
    if (room > 0 && bytes.length > 0) this.#hash.update(room < bytes.length ? bytes.subarray(0, room) : bytes);
  }

  /** The value of `bh=`. Call once. */
  digest(): string {
    if (this.#cr) {
      this.#writeLines(this.#emptyLines);
      this.#write(Buffer.from(this.#blank ? ' \r' : '\r'));
      this.#any = true;
    }
    // An empty body is an empty line in the simple form, and nothing in the relaxed one.
    if (this.#any || !this.#relaxed) this.#write(LINES.subarray(0, 2));
    return this.#hash.digest('base64');
  }
}
