// The bytes of a message from the wire into its spool: DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030).
import { ChunkScanner, DataScanner } from './data-scanner.ts';
import { IncomingMessage } from './incoming-message.ts';
import type { SmtpSessionOptions } from './options.ts';
import type { SmtpWire } from './wire.ts';

/** How the reading of a message's bytes ended. The message is discarded unless it is `complete`. */
export type Outcome = 'complete' | 'lost' | 'excessive';

/** Bytes taken from the wire at a time. */
const CHUNK = 65_536;

/** Milliseconds since the epoch (of the wire's clock) until which a message's bytes may come: time for all, more for what has come. */
function deadline(options: SmtpSessionOptions, began: number, received: number): number {
  const { dataTimeout, dataRate } = options.limits;
  return Date.now() + began + dataTimeout + (received / dataRate) * 1000 - options.clock.now();
}

/** A message that is coming in. Whoever made it discards it, or finishes `incoming`. */
export class Reception {
  readonly incoming: IncomingMessage;
  readonly #options: SmtpSessionOptions;
  readonly #wire: SmtpWire;
  readonly #chunks = new ChunkScanner();
  readonly #data = new DataScanner();

  constructor(wire: SmtpWire, options: SmtpSessionOptions) {
    this.#wire = wire;
    this.#options = options;
    this.incoming = new IncomingMessage(options.spoolFolder, options.limits);
  }
  /** Bare CR, bare LF or NUL came. */
  get irregular(): boolean {
    return this.#data.irregular || this.#chunks.irregular;
  }

  /** All of DATA, behind the 354. */
  async data(): Promise<Outcome> {
    const began = this.#options.clock.now();
    for (;;) {
      const chunk = await this.#wire.chunk(CHUNK, deadline(this.#options, began, this.incoming.received));
      if (!chunk) return this.#drop('lost');
      const { content, used, ended } = this.#data.push(chunk);
      await this.incoming.write(content, used);
      if (ended) {
        if (used < chunk.length) this.#wire.unread(chunk.subarray(used));
        return 'complete';
      }
      if (this.incoming.excessive) return this.#drop('excessive');
    }
  }

  /** The octets of one BDAT. */
  async chunk(size: number): Promise<Outcome> {
    const began = this.#options.clock.now();
    for (let left = size; left > 0;) {
      const chunk = await this.#wire.chunk(Math.min(left, CHUNK), deadline(this.#options, began, size - left));
      if (!chunk) return this.#drop('lost');
      left -= chunk.length;
      await this.incoming.write(this.#chunks.push(chunk), chunk.length);
      if (this.incoming.excessive) return this.#drop('excessive');
    }
    return 'complete';
  }
  /** Behind the last BDAT. */
  async lastChunk(): Promise<void> {
    await this.incoming.write(this.#chunks.end(), 0);
  }

  async #drop(outcome: 'lost' | 'excessive'): Promise<Outcome> {
    await this.incoming.discard();
    return outcome;
  }
}
