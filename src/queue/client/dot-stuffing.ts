// A message as DATA wants it (RFC 5321 sections 2.3.8 and 4.5.2): line ends CRLF, a dot more in front of each line that begins with one, and the end of the
// data. Chunks that need nothing pass as they are: most do.
const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const CRLF = Buffer.from('\r\n');
const END = Buffer.from('.\r\n');

/** For one message. A bare CR or LF becomes CRLF: a host that takes either for a line end must not read another message (or command) than we sent. */
export class DotStuffer {
  #atLineBegin = true;
  /** A CR at the end of a chunk waits for what follows it. */
  #heldCr = false;

  /** What is to be sent of a chunk, in order: parts of it, and what comes between. */
  push(chunk: Buffer): Buffer[] {
    const out: Buffer[] = [];
    const take = (from: number, to: number): void => void (to > from && out.push(chunk.subarray(from, to)));
    if (chunk.length === 0) return out;
    let from = this.#takeHeld(chunk, out);
    if (this.#atLineBegin && chunk[from] === DOT) take(from, from + 1);
    for (const [at, next] of lineEnds(chunk, from)) {
      if (chunk[at] === CR && next === chunk.length && next - at === 1) {
        take(from, at);
        this.#heldCr = true;
        return out;
      }
      if (next - at === 1) {
        take(from, at);
        out.push(CRLF);
        from = next;
      }
      if (chunk[next] !== DOT) continue;
      // Twice: at the end of what goes out now, and at the beginning of what is left.
      take(from, next + 1);
      from = next;
    }
    take(from, chunk.length);
    this.#atLineBegin = chunk.at(-1) === LF;
    return out;
  }

  /** Gives where the chunk goes on. */
  #takeHeld(chunk: Buffer, out: Buffer[]): number {
    if (!this.#heldCr) return 0;
    this.#heldCr = false;
    this.#atLineBegin = true;
    out.push(CRLF);
    return chunk[0] === LF ? 1 : 0;
  }

  /** What ends the message. */
  end(): Buffer {
    return this.#atLineBegin && !this.#heldCr ? END : Buffer.concat([CRLF, END]);
  }
}

/** Where each line end (CRLF, CR or LF) begins, and what comes behind it. */
function* lineEnds(chunk: Buffer, from: number): Generator<readonly [at: number, next: number]> {
  let cr = -1;
  let lf = -1;
  for (let at = from; ;) {
    // Each byte is looked at once, whichever of the two is rare.
    if (cr < at) cr = orEnd(chunk, chunk.indexOf(CR, at));
    if (lf < at) lf = orEnd(chunk, chunk.indexOf(LF, at));
    const end = Math.min(cr, lf);
    if (end === chunk.length) return;
    at = end + (end === cr && chunk[end + 1] === LF ? 2 : 1);
    yield [end, at];
  }
}
const orEnd = (chunk: Buffer, at: number): number => (at < 0 ? chunk.length : at);
