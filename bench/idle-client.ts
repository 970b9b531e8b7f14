// An IMAP client that does nothing but wait (IDLE, RFC 2177) and note when it hears of mail.
import { connect, type Socket } from 'node:net';

const STALLED_MS = 60_000;

export class IdleClient implements AsyncDisposable {
  readonly #socket: Socket;
  #input = '';
  #messages = 0;
  /** When each count of messages was heard of first (performance.now). */
  readonly #heard = new Map<number, number>();
  #onLine: ((line: string) => void) | undefined;
  #failed: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk.toString('latin1'), performance.now()));
    socket.on('error', (error) => (this.#failed = error));
    socket.on('close', () => {
      this.#failed ??= new Error('the IMAP server closed the connection');
      this.#onLine?.('');
    });
  }

  /** Logged in, INBOX selected, idling. */
  static async start(port: number, user: string, password: string): Promise<IdleClient> {
    const client = new IdleClient(connect({ port, host: '127.0.0.1', noDelay: true }));
    await client.#until(/^\* OK/);
    await client.#command(`a1 LOGIN ${user} ${password}`, /^a1 /);
    await client.#command('a2 SELECT INBOX', /^a2 /);
    await client.#command('a3 IDLE', /^\+ /);
    return client;
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0;
  }
  get messages(): number {
    return this.#messages;
  }

  #take(text: string, at: number): void {
    this.#input += text;
    for (let end = this.#input.indexOf('\n'); end >= 0; end = this.#input.indexOf('\n')) {
      const line = this.#input.slice(0, end);
      this.#input = this.#input.slice(end + 1);
      const exists = /^\* (\d+) EXISTS/.exec(line);
      if (exists) this.#exists(Number(exists[1]), at);
      this.#onLine?.(line);
    }
  }
  /** One response may tell of several messages. */
  #exists(count: number, at: number): void {
    for (let n = this.#messages + 1; n <= count; n++) this.#heard.set(n, at);
    this.#messages = count;
  }

  async #command(line: string, expected: RegExp): Promise<void> {
    const answered = this.#until(expected);
    this.#socket.write(`${line}\r\n`);
    const answer = await answered;
    if (/^a\d (NO|BAD)/.test(answer)) throw new Error(`${line.split(' ')[1]}: ${answer}`);
  }
  #until(expected: RegExp): Promise<string> {
    return this.#wait((line) => (expected.test(line) ? line : undefined));
  }
  #wait<T>(found: (line: string) => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(new Error('the IMAP server is silent')), STALLED_MS);
      const settle = (error: Error | undefined, value?: T): void => {
        clearTimeout(timer);
        this.#onLine = undefined;
        if (error) reject(error);
        else resolve(value as T);
      };
      this.#onLine = (line) => {
        const value = found(line);
        if (value !== undefined) settle(undefined, value);
        else if (this.#failed) settle(this.#failed);
      };
      this.#onLine('');
    });
  }

  /** When it was heard that there are `count` messages. */
  heard(count: number): Promise<number> {
    return this.#wait(() => this.#heard.get(count));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }
}
