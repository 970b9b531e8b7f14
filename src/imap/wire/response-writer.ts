// Responses on their way out: gathered while a command runs, written in big pieces, and held back by a client that does not read.

/** Takes bytes; resolves when the peer has room again. @throws WireEnd */
export type ByteSink = (bytes: Buffer) => Promise<void>;

/** Gathered before they are written. */
const GATHER = 16_384;

export class ResponseWriter {
  readonly #sink: ByteSink;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** A whole response line; bytes as latin1. @throws when it would break out of its line: a fault of the caller */
  line(text: string): void {
    if (/[\r\n\0]/.test(text)) throw new Error('a response line with a line end or NUL in it');
    this.raw(Buffer.from(`${text}\r\n`, 'latin1'));
  }
  /** Bytes as they are. */
  raw(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#parts.push(bytes);
    this.#size += bytes.length;
  }
  /** Bytes of a string in latin1. */
  text(text: string): void {
    this.raw(Buffer.from(text, 'latin1'));
  }

  /** Writes when enough has gathered. Call it between the pieces of a long answer. */
  async breathe(): Promise<void> {
    if (this.#size >= GATHER) await this.flush();
  }
  async flush(): Promise<void> {
    if (this.#size === 0) return;
    const bytes = this.#parts.length === 1 ? (this.#parts[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#parts, this.#size);
    this.#parts = [];
    this.#size = 0;
    await this.#sink(bytes);
  }
}
