// The connection under a session: feeds the reader, takes the writer's bytes, and is replaced by TLS on STARTTLS.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../lib/clock.ts';
import { ByteReader } from './byte-reader.ts';
import { ResponseWriter } from './response-writer.ts';
import { WireEnd } from './wire-end.ts';

export interface TransportOptions {
  readonly clock: Clock;
  /** Bytes held for a session that is busy: more than one line's limit. */
  readonly highWater: number;
  /** Milliseconds for a client that does not read. */
  readonly writeTimeout: number;
}

export class Transport {
  readonly reader: ByteReader;
  readonly writer: ResponseWriter;
  readonly #options: TransportOptions;
  #stream: Duplex;
  readonly #onData = (chunk: Buffer): void => this.reader.push(chunk);
  readonly #onEnd = (): void => this.reader.close();
  /** A peer that resets: `close` follows and ends the session. */
  readonly #onError = (): void => undefined;

  constructor(stream: Duplex, options: TransportOptions) {
    this.#stream = stream;
    this.#options = options;
    this.reader = new ByteReader(options.highWater, (full) => {
      if (full) this.#stream.pause();
      else this.#stream.resume();
    });
    this.writer = new ResponseWriter((bytes) => this.#write(bytes));
    this.#attach();
  }

  #attach(): void {
    const stream = this.#stream;
    stream.on('data', this.#onData);
    stream.on('end', this.#onEnd);
    stream.on('close', this.#onEnd);
    stream.on('error', this.#onError);
  }

  /**
   * TLS from here on. What the client sent before the handshake is thrown away unread (RFC 3501 6.2.1, RELIABILITY row 18): gives its
   * length. `lastWords` is said in clear after the reading has stopped. @throws whatever the handshake throws; the connection is closed then
   */
  async startTls(handshake: (stream: Duplex) => Promise<Duplex>, lastWords: string): Promise<number> {
    const plain = this.#stream;
    plain.pause();
    plain.off('data', this.#onData);
    plain.off('end', this.#onEnd);
    let dropped = this.reader.discard();
    for (let rest = plain.read() as Buffer | null; rest; rest = plain.read() as Buffer | null) dropped += rest.length;
    this.writer.line(lastWords);
    await this.writer.flush();
    try {
      this.#stream = await handshake(plain);
    } catch (error) {
      plain.destroy();
      throw error;
    }
    this.#attach();
    return dropped;
  }

  async #write(bytes: Buffer): Promise<void> {
    const stream = this.#stream;
    if (stream.destroyed || !stream.writable) throw new WireEnd('closed');
    if (stream.write(bytes)) return;
    await new Promise<void>((resolve, reject) => {
      const done = (end?: WireEnd): void => {
        cancel();
        stream.off('drain', drained);
        stream.off('close', closed);
        if (end) reject(end);
        else resolve();
      };
      const drained = (): void => done();
      const closed = (): void => done(new WireEnd('closed'));
      const cancel = this.#options.clock.after(this.#options.writeTimeout, () => {
        done(new WireEnd('timeout'));
        stream.destroy();
      });
      stream.once('drain', drained);
      stream.once('close', closed);
    });
  }

  /** Lets what was written go out, and closes; at once after `graceMs`. */
  end(graceMs: number): void {
    const stream = this.#stream;
    this.reader.close();
    if (stream.destroyed) return;
    const cancel = this.#options.clock.after(graceMs, () => stream.destroy());
    stream.once('close', cancel);
    // The peer's last bytes are read and dropped: unread ones would turn our last line into a reset.
    stream.off('data', this.#onData);
    stream.resume();
    stream.end();
  }
  destroy(): void {
    this.#stream.destroy();
  }
}
