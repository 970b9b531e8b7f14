// A session's wire over standard input and output. The peer is the program that started this one: it may take its time.
import type { SmtpWire, WireLine } from '../../smtp/wire.ts';
import type { CommandIo } from '../command.ts';

const LF = 0x0a;
const CR = 0x0d;

export class StdioWire implements SmtpWire {
  readonly remoteAddress = '127.0.0.1';
  readonly localAddress = '127.0.0.1';
  readonly tls = undefined;
  readonly #out: (text: string) => void;
  readonly #input: AsyncIterator<Buffer, unknown>;
  #buffer: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(io: Pick<CommandIo, 'out' | 'stdin'>) {
    this.#out = (text) => io.out(text);
    this.#input = io.stdin[Symbol.asyncIterator]();
  }

  get ended(): boolean {
    return this.#ended;
  }
  /** Commands from a file come all at once: nobody else could have put them in. */
  readonly waiting = 0;

  /** False at the end. */
  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const next = await this.#input.next();
    if (next.done === true) this.#ended = true;
    else this.#buffer = Buffer.concat([this.#buffer, next.value]);
    return !this.#ended;
  }

  async line(max: number): Promise<WireLine> {
    for (;;) {
      const lf = this.#buffer.indexOf(LF);
      if (lf >= max || (lf < 0 && this.#buffer.length > max)) return { kind: 'too-long' };
      if (lf < 0) {
        if (!(await this.#more())) return { kind: 'end' };
        continue;
      }
      const crlf = lf > 0 && this.#buffer[lf - 1] === CR;
      const bytes = Buffer.from(this.#buffer.subarray(0, crlf ? lf - 1 : lf));
      this.#buffer = this.#buffer.subarray(lf + 1);
      return { kind: 'line', bytes, bareLf: !crlf };
    }
  }
  async chunk(max: number): Promise<Buffer | undefined> {
    while (this.#buffer.length === 0) if (!(await this.#more())) return undefined;
    const taken = this.#buffer.subarray(0, max);
    this.#buffer = this.#buffer.subarray(taken.length);
    return taken;
  }
  unread(bytes: Buffer): void {
    this.#buffer = Buffer.concat([bytes, this.#buffer]);
  }
  async write(text: string): Promise<void> {
    this.#out(text);
  }
  async startTls(): Promise<boolean> {
    return false;
  }
  close(): void {
    this.#ended = true;
    void this.#input.return?.();
  }
  destroy(): void {
    this.close();
  }
}
