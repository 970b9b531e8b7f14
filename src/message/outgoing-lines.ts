// Lines as other hosts can take them (RFC 5321 sections 2.3.8, 4.5.3.1.6): CRLF only, no NUL, at most 998 octets. Longer ones are broken as
// Postfix's smtp_line_length_limit does it, by CRLF SPACE, but never inside a character, and in the header at a blank where there is one.
// Incremental: chunks may be cut anywhere; memory is one line.
import type { MessageSource } from './source.ts';
import { Spool } from './spool.ts';

const CR = 0x0d;
const LF = 0x0a;
const NUL = 0x00;
const SPACE = 0x20;
const TAB = 0x09;
const CRLF = Buffer.from('\r\n');
const BREAK = Buffer.from('\r\n ');
const EMPTY: Buffer = Buffer.alloc(0);

/** Octets of a line without its CRLF. */
const LINE_LIMIT = 998;

/** One object a message. What comes out lies in the chunks that went in: good until the next `push`. */
export class OutgoingLines {
  /** What has not come out: at most a line's worth, and behind it a CR that an LF may follow. */
  #rest: Buffer = EMPTY;
  /** Octets of the line that have come out already: the space of a break. */
  #column = 0;
  #inHeader = true;
  /** Nothing of the line has come out. */
  #fresh = true;
  /** True once something came out other than it went in. */
  changed = false;

  push(chunk: Buffer): Buffer[] {
    const out: Buffer[] = [];
    const joined = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const bytes = joined.includes(NUL) ? this.#withoutNul(joined) : joined;
    let from = 0;
    let run = 0;
    let cr = bytes.indexOf(CR);
    let lf = bytes.indexOf(LF);
    while (cr >= 0 || lf >= 0) {
      const end = cr < 0 ? lf : lf < 0 ? cr : Math.min(cr, lf);
      if (end === cr && end === bytes.length - 1) break;
      const proper = end === cr && bytes[end + 1] === LF;
      if (!proper || this.#column + end - from > LINE_LIMIT) {
        if (run < from) out.push(bytes.subarray(run, from));
        this.#finish(bytes, from, end, out);
        run = end + (proper ? 2 : 1);
        this.changed = true;
      }
      this.#ended(end === from);
      from = end + (proper ? 2 : 1);
      if (cr >= 0 && cr < from) cr = bytes.indexOf(CR, from);
      if (lf >= 0 && lf < from) lf = bytes.indexOf(LF, from);
    }
    if (run < from) out.push(bytes.subarray(run, from));
    this.#hold(bytes, from, out);
    return out;
  }

  /** What was held back; a last line without an end gets one. */
  end(): Buffer[] {
    const out: Buffer[] = [];
    if (this.#rest.length === 0 && this.#fresh) return out;
    this.changed = true;
    const held = this.#rest.length - (this.#rest.at(-1) === CR ? 1 : 0);
    this.#finish(this.#rest, 0, held, out);
    this.#rest = EMPTY;
    return out;
  }

  #withoutNul(bytes: Buffer): Buffer {
    this.changed = true;
    return Buffer.from(bytes.filter((byte) => byte !== NUL));
  }

  #ended(empty: boolean): void {
    if (empty && this.#fresh) this.#inHeader = false;
    this.#column = 0;
    this.#fresh = true;
  }

  /** A line that does not come out as it is. */
  #finish(bytes: Buffer, from: number, end: number, out: Buffer[]): void {
    out.push(bytes.subarray(this.#breakUp(bytes, from, end, out), end), CRLF);
  }

  /** The end of the line has not come: what is too much for one line comes out, the rest waits. */
  #hold(bytes: Buffer, from: number, out: Buffer[]): void {
    const end = bytes.length - (bytes.at(-1) === CR && bytes.length > from ? 1 : 0);
    // A copy: the chunk is not ours to keep.
    this.#rest = Buffer.from(bytes.subarray(this.#breakUp(bytes, from, end, out), bytes.length));
  }

  /** Writes lines and breaks until the rest fits on one; gives where it begins. */
  #breakUp(bytes: Buffer, from: number, end: number, out: Buffer[]): number {
    let at = from;
    while (this.#column + end - at > LINE_LIMIT) {
      const limit = at + LINE_LIMIT - this.#column;
      const blank = this.#inHeader ? lastBlank(bytes, at, limit) : -1;
      const cut = blank > at ? blank : characterStart(bytes, limit);
      out.push(bytes.subarray(at, cut), blank > at ? CRLF : BREAK);
      this.#column = blank > at ? 0 : 1;
      at = cut;
      this.#fresh = false;
      this.changed = true;
    }
    return at;
  }
}

const isBlank = (byte: number | undefined): boolean => byte === SPACE || byte === TAB;

/** The last place up to `limit` where white space begins: what stands before it ends in something else (RFC 5322 section 2.2.3). -1 for none. */
function lastBlank(bytes: Buffer, from: number, limit: number): number {
  for (let at = limit; at > from; at--) if (isBlank(bytes[at]) && !isBlank(bytes[at - 1])) return at;
  return -1;
}

/** `at`, or the beginning of the UTF-8 character that it is inside of. */
function characterStart(bytes: Buffer, at: number): number {
  for (let back = 0; back <= 3; back++) {
    const byte = bytes[at - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? at - back : at;
  }
  return at;
}

/**
 * The message with such lines: `source` itself when it has no others, else a new one that whoever gets it disposes (spooled under `spoolFolder`);
 * `source` stays the caller's.
 */
export async function normaliseLines(source: MessageSource, spoolFolder: string): Promise<MessageSource> {
  if (await isNormal(source)) return source;
  const lines = new OutgoingLines();
  const spool = new Spool(spoolFolder);
  try {
    for await (const chunk of source.chunks()) for (const piece of lines.push(chunk)) await spool.write(piece);
    for (const piece of lines.end()) await spool.write(piece);
  } catch (error) {
    await spool.discard();
    throw error;
  }
  return spool.finish();
}

async function isNormal(source: MessageSource): Promise<boolean> {
  const lines = new OutgoingLines();
  for await (const chunk of source.chunks()) {
    lines.push(chunk);
    if (lines.changed) return false;
  }
  lines.end();
  return !lines.changed;
}
