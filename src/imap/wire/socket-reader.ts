// A socket's bytes, pulled: lines and runs of known length. Holds no more than one line's limit; a peer that sends more than is read
// is paused by TCP.
import type { Duplex } from 'node:stream';

const LF = 0x0a;
/** Bytes that may wait unread before the socket is paused. */
const HIGH_WATER = 128 * 1024;

export type Line = { readonly kind: 'line'; readonly bytes: Buffer } | { readonly kind: 'too-long' } | { readonly kind: 'end' };

export class SocketReader {
  readonly #socket: Duplex;
  #buffered: Buffer[] = [];
  #size = 0;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #onData = (chunk: Buffer): void => {
    this.#buffered.push(chunk);
    this.#size += chunk.length;
    if (this.#size > HIGH_WATER) this.#socket.pause();
    this.#wake?.();
  };
  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake?.();
  };

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on('data', this.#onData);
    for (const event of ['end', 'close', 'error']) socket.on(event, this.#onEnd);
  }

  /** Ends the reading and forgets what was not read yet: behind STARTTLS nothing sent in clear may count (RFC 3501 6.2.1). */
  detach(): void {
    this.#socket.off('data', this.#onData);
    for (const event of ['end', 'close']) this.#socket.off(event, this.#onEnd);
    this.#buffered = [];
    this.#size = 0;
    this.#ended = true;
    this.#wake?.();
  }

  /** Bytes that have come and were not read. */
  get waiting(): number {
    return this.#size;
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    this.#socket.resume();
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
    return true;
  }

  /** The next line without its line end (CRLF or LF); too-long when it has more than `max` bytes before any line end. */
  async line(max: number): Promise<Line> {
    for (;;) {
      const bytes = this.#takeLine();
      if (bytes) return bytes.length > max + 2 ? { kind: 'too-long' } : { kind: 'line', bytes: chomp(bytes) };
      if (this.#size > max + 2) return { kind: 'too-long' };
      if (!(await this.#more())) return { kind: 'end' };
    }
  }

  #takeLine(): Buffer | undefined {
    let before = 0;
    for (const chunk of this.#buffered) {
      const at = chunk.indexOf(LF);
      if (at >= 0) return this.#take(before + at + 1);
      before += chunk.length;
    }
    if (this.#buffered.length > 16) this.#buffered = [Buffer.concat(this.#buffered)];
    return undefined;
  }

  #take(count: number): Buffer {
    const parts: Buffer[] = [];
    let left = count;
    while (left > 0) {
      const chunk = this.#buffered[0];
      if (!chunk) break;
      if (chunk.length <= left) {
        parts.push(chunk);
        this.#buffered.shift();
        left -= chunk.length;
      } else {
        parts.push(chunk.subarray(0, left));
        this.#buffered[0] = chunk.subarray(left);
        left = 0;
      }
    }
    this.#size -= count - left;
    return parts.length === 1 ? (parts[0] ?? EMPTY) : Buffer.concat(parts);
  }

  /** The next `count` bytes in pieces as they come; false when the connection ended before. */
  async bytes(count: number, take: (chunk: Buffer) => Promise<void> | void): Promise<boolean> {
    for (let left = count; left > 0;) {
      if (this.#size === 0) {
        if (!(await this.#more())) return false;
        continue;
      }
      const chunk = this.#take(Math.min(left, this.#buffered[0]?.length ?? 0));
      left -= chunk.length;
      await take(chunk);
    }
    return true;
  }
}
const EMPTY = Buffer.alloc(0);

function chomp(line: Buffer): Buffer {
  const end = line.length >= 2 && line[line.length - 2] === 0x0d ? line.length - 2 : line.length - 1;
  return line.subarray(0, end);
}
