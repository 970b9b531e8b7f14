// The line between the supervisor and a worker: JSON, a message a line, over a socket pair. Node's own channel (`fork`) is not used: bytes
// that are no message of it end the process that reads them with an exception, and it passes sockets on. So a worker that a stranger took
// over could end the supervisor, or leave a listening socket in it.
import type { Socket } from 'node:net';

export interface ChannelEvents {
  readonly message: (message: unknown) => void;
  /** A line that is no JSON, or longer than what is taken; after the latter the channel is closed. */
  readonly nonsense: () => void;
  /** The other end is gone, or this one was closed. Once. */
  readonly closed: () => void;
}

const LINE_FEED = 0x0a;

export class Channel {
  readonly #socket: Socket;
  readonly #limit: number;
  readonly #events: ChannelEvents;
  #parts: Buffer[] = [];
  #held = 0;

  /** Owns the socket. `limit` is the longest line taken, in bytes. */
  constructor(socket: Socket, limit: number, events: ChannelEvents) {
    this.#socket = socket;
    this.#limit = limit;
    this.#events = events;
    socket.on('data', (chunk) => this.#take(chunk));
    // A reset is an end.
    socket.on('error', () => undefined);
    socket.once('close', events.closed);
  }

  get isOpen(): boolean {
    return this.#socket.writable;
  }
  /** Bytes that the other end has not taken yet. */
  get unsent(): number {
    return this.#socket.writableLength;
  }
  /** Calls `sent` when the message is on its way, or cannot be. What a closed channel is given is dropped. */
  send(message: object, sent?: () => void): void {
    if (this.isOpen) this.#socket.write(`${JSON.stringify(message)}\n`, sent);
    else sent?.();
  }
  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      if (!this.#hold(chunk.subarray(from, end))) return;
      const line = Buffer.concat(this.#parts).toString('utf8');
      this.#parts = [];
      this.#held = 0;
      this.#read(line);
      from = end + 1;
    }
    this.#hold(chunk.subarray(from));
  }
  #hold(part: Buffer): boolean {
    this.#held += part.length;
    if (this.#held > this.#limit) {
      this.#parts = [];
      this.#events.nonsense();
      this.close();
      return false;
    }
    if (part.length > 0) this.#parts.push(part);
    return true;
  }
  #read(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      return this.#events.nonsense();
    }
    this.#events.message(message);
  }
}
