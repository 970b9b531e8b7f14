// A message's header and body taken apart as its bytes come, CRLF made LF.

const LF = 0x0a;
const CR = 0x0d;
/** Bytes of a line that are waited for before it counts as a header field or not. */
const MAX_LOOK = 1_024;
/** A field's name (RFC 5322 section 2.2; white space before the colon as in section 4.5), or a continuation. */
const HEADER_LINE = /^(?:[ \t]|[\x21-\x39\x3b-\x7e]+[ \t]*:)/;

export interface TextParts {
  readonly header: boolean;
  readonly body: boolean;
  /** Written before each line, which begins at this byte of the message. */
  readonly prefix: (at: number) => string;
}

/** Takes chunks of a message and writes the parts that are wanted. Memory: a chunk and the start of a line. */
export class MessageText {
  readonly #out: (bytes: Buffer) => void;
  readonly #parts: TextParts;
  /** Bytes of the message before those that come next. */
  #at = 0;
  /** What may be the start of a header line, or a CR. */
  #held: Buffer = Buffer.alloc(0);
  #inHeader = true;
  #lineStarts = true;

  constructor(out: (bytes: Buffer) => void, parts: TextParts) {
    this.#out = out;
    this.#parts = parts;
  }

  /** Nothing more would be written, whatever came. */
  get finished(): boolean {
    return !this.#inHeader && !this.#parts.body;
  }

  write(chunk: Buffer): void {
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (this.#inHeader && rest.length > 0) {
      const end = rest.indexOf(LF);
      if (end < 0 && (this.#lineStarts ? rest.length < MAX_LOOK : false)) break;
      const line = end < 0 ? rest : rest.subarray(0, end + 1);
      if (this.#lineStarts && !HEADER_LINE.test(line.toString('latin1', 0, MAX_LOOK))) this.#inHeader = false;
      else {
        const kept = this.#emit(line, this.#parts.header);
        rest = Buffer.concat([kept, rest.subarray(line.length)]);
        if (end < 0) break;
      }
    }
    this.#held = this.#inHeader ? Buffer.from(rest) : this.#emit(rest, this.#parts.body);
  }

  /** The message is complete. A last line without an end gets one. */
  end(): void {
    if (this.#held.length === 0 && this.#lineStarts) return;
    const isHeader = this.#inHeader && (!this.#lineStarts || HEADER_LINE.test(this.#held.toString('latin1')));
    const wanted = isHeader ? this.#parts.header : this.#parts.body;
    this.#emit(Buffer.concat([this.#held, Buffer.of(LF)]), wanted);
  }

  /** Gives the CR at the end, if there is one: it may be half a CRLF. */
  #emit(bytes: Buffer, wanted: boolean): Buffer {
    const kept = bytes.at(-1) === CR ? 1 : 0;
    const ready = bytes.subarray(0, bytes.length - kept);
    let start = 0;
    const pieces: Buffer[] = [];
    while (start < ready.length) {
      const end = ready.indexOf(LF, start);
      const stop = end < 0 ? ready.length : end;
      const text = ready.subarray(start, end > start && ready[end - 1] === CR ? end - 1 : stop);
      if (this.#lineStarts) pieces.push(Buffer.from(this.#parts.prefix(this.#at + start)));
      pieces.push(text);
      if (end >= 0) pieces.push(Buffer.of(LF));
      this.#lineStarts = end >= 0;
      start = stop + 1;
    }
    this.#at += ready.length;
    if (wanted && pieces.length > 0) this.#out(Buffer.concat(pieces));
    return Buffer.from(bytes.subarray(bytes.length - kept));
  }
}
