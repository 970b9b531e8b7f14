// What goes to the client: small pieces are gathered and sent together; whoever writes much waits for a client that reads slowly, and a
// client that does not read at all is cut off.
import type { Duplex } from 'node:stream';

const GATHER = 32 * 1024;

export class Writer {
  readonly #socket: Duplex;
  readonly #timeout: number;
  #pending: (string | Buffer)[] = [];
  #size = 0;

  /** `timeout`: milliseconds without any reading by the client. */
  constructor(socket: Duplex, timeout: number) {
    this.#socket = socket;
    this.#timeout = timeout;
  }

  /** Text is sent as latin1: it holds bytes, not characters. */
  write(data: string | Buffer): void {
    this.#pending.push(data);
    this.#size += data.length;
    if (this.#size >= GATHER) this.send();
  }
  line(text: string): void {
    this.write(`${text}\r\n`);
  }

  /** Hands over what was gathered. */
  send(): void {
    if (this.#size === 0 || this.#socket.destroyed) return;
    this.#socket.cork();
    for (const piece of this.#pending) {
      if (typeof piece === 'string') this.#socket.write(piece, 'latin1');
      else this.#socket.write(piece);
    }
    this.#pending = [];
    this.#size = 0;
    this.#socket.uncork();
  }

  /** Sends, and waits until the client has taken what it was sent. @throws when it does not, or has gone */
  async drain(): Promise<void> {
    this.send();
    if (this.#socket.destroyed) throw new Error('the client has gone');
    if (!this.#socket.writableNeedDrain) return;
    const socket = this.#socket;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        socket.off('drain', onDrain).off('close', onClose);
        if (error) reject(error);
        else resolve();
      };
      const onDrain = (): void => done();
      const onClose = (): void => done(new Error('the client has gone'));
      const timer = setTimeout(() => {
        socket.destroy();
        done(new Error('the client does not read'));
      }, this.#timeout);
      socket.once('drain', onDrain).once('close', onClose);
    });
  }
}
