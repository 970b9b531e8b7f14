// Line ends on their way between the disk (LF, as Postfix and Dovecot keep them) and the wire (CRLF; RFC 5321 section 2.3.8).
// Incremental: chunks may be cut anywhere, also between CR and LF.

const CR = 0x0d;
const LF = 0x0a;
const CRLF = Buffer.from('\r\n');

/** LF → CRLF. An LF that already follows a CR, and a CR that no LF follows, stay as they are. One object a message. */
export class CrlfEncoder {
  #lastCr = false;

  /** The wire form of `chunk`; the chunk itself when it needs no change (never copied then). */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    let bare = 0;
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, lf + 1)) if (!this.#followsCr(chunk, lf)) bare++;
    const out = bare === 0 ? chunk : this.#expand(chunk, bare);
    this.#lastCr = chunk[chunk.length - 1] === CR;
    return out;
  }
  #followsCr(chunk: Buffer, at: number): boolean {
    return at === 0 ? this.#lastCr : chunk[at - 1] === CR;
  }
  /** One allocation, however many line ends: a chunk of nothing but LF must not cost a Buffer each. */
  #expand(chunk: Buffer, bare: number): Buffer {
    const out = Buffer.allocUnsafe(chunk.length + bare);
    let from = 0;
    let to = 0;
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, lf + 1)) {
      if (this.#followsCr(chunk, lf)) continue;
      to += chunk.copy(out, to, from, lf);
      out[to++] = CR;
      from = lf;
    }
    chunk.copy(out, to, from);
    return out;
  }
}

/** CRLF → LF. A CR that no LF follows stays. One object a message; `end` gives what was held back. */
export class LfEncoder {
  #heldCr = false;

  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    const owed = this.#heldCr && chunk[0] !== LF;
    this.#heldCr = chunk[chunk.length - 1] === CR;
    const end = this.#heldCr ? chunk.length - 1 : chunk.length;
    if (!owed && nextCrlf(chunk, 0) < 0) return chunk.subarray(0, end);
    const out = Buffer.allocUnsafe(chunk.length + 1);
    let from = 0;
    let to = 0;
    if (owed) out[to++] = CR;
    for (let crlf = nextCrlf(chunk, 0); crlf >= 0; crlf = nextCrlf(chunk, crlf + 2)) {
      to += chunk.copy(out, to, from, crlf);
      from = crlf + 1;
    }
    to += chunk.copy(out, to, from, end);
    return out.subarray(0, to);
  }
  /** A CR at the very end of the message, or nothing. */
  end(): Buffer {
    const rest = CRLF.subarray(0, this.#heldCr ? 1 : 0);
    this.#heldCr = false;
    return rest;
  }
}

/** Where a CR is that an LF follows. One byte is found much faster than two. */
function nextCrlf(chunk: Buffer, from: number): number {
  for (let lf = chunk.indexOf(LF, from); lf >= 0; lf = chunk.indexOf(LF, lf + 1))
    if (lf > from && chunk[lf - 1] === CR) return lf - 1;
  return -1;
}

/** Counts without copying: bytes as given, octets on the wire (`W=`, RFC822.SIZE), octets with LF only (`S=` of an LF file), line ends. */
export class LineEndCounter {
  #lastCr = false;
  #bytes = 0;
  #lines = 0;
  #crlf = 0;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, lf + 1)) {
      this.#lines++;
      if (lf === 0 ? this.#lastCr : chunk[lf - 1] === CR) this.#crlf++;
    }
    this.#lastCr = chunk[chunk.length - 1] === CR;
    this.#bytes += chunk.length;
  }
  get bytes(): number {
    return this.#bytes;
  }
  /** Octets once every line end is CRLF. */
  get wireSize(): number {
    return this.#bytes + this.#lines - this.#crlf;
  }
  /** Octets once every line end is LF. */
  get lfSize(): number {
    return this.#bytes - this.#crlf;
  }
  get lines(): number {
    return this.#lines;
  }
}
