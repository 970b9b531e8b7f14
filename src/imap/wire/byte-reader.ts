// What a client has sent and nobody has taken yet: taken out by lines and by counted bytes. Knows nothing of sockets.
import { WireEnd } from './wire-end.ts';

const LF = 0x0a;
const CR = 0x0d;
const EMPTY: Buffer = Buffer.alloc(0);

/** One consumer at a time. `onFull` hears true when the peer should be held back, and false when it may go on. */
export class ByteReader {
  readonly #highWater: number;
  readonly #onFull: (full: boolean) => void;
  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  /** No line end before this. */
  #scanned = 0;
  #full = false;
  #stopped: WireEnd | undefined;
  /** No more will come; what is there can still be taken. */
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(highWater: number, onFull: (full: boolean) => void = () => undefined) {
    this.#highWater = highWater;
    this.#onFull = onFull;
  }

  get buffered(): number {
    return this.#end - this.#start;
  }

  push(chunk: Buffer): void {
    if (this.#stopped || this.#closed) return;
    this.#makeRoom(chunk.length);
    chunk.copy(this.#buffer, this.#end);
    this.#end += chunk.length;
    if (!this.#full && this.buffered >= this.#highWater) this.#setFull(true);
    this.#wake?.();
  }

  #makeRoom(length: number): void {
    if (this.#end + length <= this.#buffer.length) return;
    const kept = this.buffered;
    const size = Math.max(kept + length, Math.min(2 * kept, this.#highWater));
    const grown = Buffer.allocUnsafeSlow(Math.max(size, 512));
    this.#buffer.copy(grown, 0, this.#start, this.#end);
    this.#scanned -= this.#start;
    this.#buffer = grown;
    this.#start = 0;
    this.#end = kept;
  }

  /** Nobody will send or read any more. */
  get closed(): boolean {
    return this.#closed || this.#stopped !== undefined;
  }
  /** The peer has closed. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }
  /** Every read from now on fails with this. The first one counts. */
  stop(reason: WireEnd): void {
    this.#stopped ??= reason;
    this.#wake?.();
  }

  /** Throws away what is there; gives how much it was. */
  discard(): number {
    const length = this.buffered;
    this.#take(length);
    return length;
  }

  /** The next line without its CRLF (or LF). @throws WireEnd line-too-long when `limit` bytes hold no line end */
  async line(limit: number): Promise<Buffer> {
    for (;;) {
      this.#check();
      const at = this.#buffer.subarray(0, this.#end).indexOf(LF, Math.max(this.#scanned, this.#start));
      const length = (at < 0 ? this.#end : at) - this.#start;
      if (length > limit + 1) throw new WireEnd('line-too-long');
      if (at >= 0) {
        const line = this.#take(length + 1);
        const end = line[length - 1] === CR ? length - 1 : length;
        if (end > limit) throw new WireEnd('line-too-long');
        return line.subarray(0, end);
      }
      this.#scanned = this.#end;
      await this.#more();
    }
  }

  /** At least one byte and at most `max`. */
  async some(max: number): Promise<Buffer> {
    for (;;) {
      this.#check();
      if (this.buffered > 0) return this.#take(Math.min(max, this.buffered));
      await this.#more();
    }
  }

  /** Exactly `length` bytes, gathered. */
  async bytes(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = length; left > 0;) {
      const part = await this.some(left);
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  #check(): void {
    if (this.#stopped) throw this.#stopped;
  }

  async #more(): Promise<void> {
    if (this.#closed) throw new WireEnd('closed');
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  #take(length: number): Buffer {
    const taken = Buffer.from(this.#buffer.subarray(this.#start, this.#start + length));
    this.#start += length;
    this.#scanned = Math.max(this.#scanned, this.#start);
    // Idle sessions hold no buffer.
    if (this.#start === this.#end) {
      this.#buffer = EMPTY;
      this.#start = this.#end = this.#scanned = 0;
    }
    if (this.#full && this.buffered < this.#highWater / 2) this.#setFull(false);
    return taken;
  }

  #setFull(full: boolean): void {
    this.#full = full;
    this.#onFull(full);
  }
}
