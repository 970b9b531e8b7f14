// The load: SMTP clients in this process, each command after the other's reply, as lean as can be, since the servers share the
// machine with it.
import { connect, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type TLSSocket } from 'node:tls';
import type { MessageSet } from './messages.ts';
import { SERVER_NAME } from './servers/server.ts';

export interface LoadOptions {
  readonly port: number;
  readonly messages: MessageSet;
  /** At a time. */
  readonly connections: number;
  /** Messages over one connection before it is closed and another opened. */
  readonly perConnection: number;
  readonly startTls: boolean;
}

export interface LoadResult {
  /** Milliseconds from the message's last byte (given to the socket) to its 250, one a message. */
  readonly latencies: Float64Array;
  /** Connections opened in all. */
  readonly opened: number;
  /** Protocol and cipher of the first connection; undefined without TLS. */
  readonly tls?: string;
}

const STALLED_MS = 60_000;
/** Nobody's certificate is checked: opportunistic TLS between hosts does not either. Made once: a context is costly. */
const secureContext = createSecureContext();

/** Sends all messages. @throws Error at the first reply that is not as it should be, and when a server is silent for a minute */
export async function sendAll(options: LoadOptions): Promise<LoadResult> {
  const load = new Load(options);
  try {
    await Promise.all(Array.from({ length: options.connections }, () => load.lane()));
  } catch (error) {
    for (const client of load.clients) client.destroy();
    throw error;
  }
  return { latencies: load.latencies, opened: load.opened, ...(load.tls === undefined ? {} : { tls: load.tls }) };
}

class Load {
  readonly options: LoadOptions;
  readonly latencies: Float64Array;
  readonly clients = new Set<Client>();
  opened = 0;
  tls: string | undefined;
  #next = 0;

  constructor(options: LoadOptions) {
    this.options = options;
    this.latencies = new Float64Array(options.messages.count);
  }

  get left(): boolean {
    return this.#next < this.options.messages.count;
  }
  take(): number {
    return this.#next++;
  }

  /** One connection after the other, until all messages are under way. */
  async lane(): Promise<void> {
    while (this.left) {
      this.opened++;
      const client = new Client(this);
      this.clients.add(client);
      await client.done;
      this.clients.delete(client);
    }
  }
}

type Step = 'greeting' | 'ehlo' | 'starttls' | 'mail' | 'rcpt' | 'data' | 'dot' | 'quit';
const EXPECTED: Readonly<Record<Step, string>> = {
  greeting: '220',
  ehlo: '250',
  starttls: '220',
  mail: '250',
  rcpt: '250',
  data: '354',
  dot: '250',
  quit: '221',
};

class Client {
  readonly done: Promise<void>;
  readonly #load: Load;
  #resolve!: () => void;
  #reject!: (error: Error) => void;
  #socket: Socket | TLSSocket;
  #step: Step = 'greeting';
  #secure = false;
  #input = '';
  #sent = 0;
  #message = 0;
  #sentAt = 0;

  constructor(load: Load) {
    this.#load = load;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#socket = connect({ port: load.options.port, host: '127.0.0.1', noDelay: true });
    this.#socket.setTimeout(STALLED_MS, () => this.#fail('nothing came for a minute'));
    this.#listen(this.#socket);
  }

  destroy(): void {
    this.#socket.destroy();
  }
  #fail(what: string): void {
    this.#reject(new Error(`${what} (after ${this.#step.toUpperCase()}, message ${this.#sent} of this connection)`));
    this.destroy();
  }

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => this.#take(chunk.toString('latin1')));
    socket.on('error', (error) => this.#fail(error.message));
    socket.on('close', () => (this.#step === 'quit' ? this.#resolve() : this.#fail('the server closed the connection')));
  }
  #take(text: string): void {
    this.#input += text;
    for (let end = this.#input.indexOf('\n'); end >= 0; end = this.#input.indexOf('\n')) {
      const line = this.#input.slice(0, end);
      this.#input = this.#input.slice(end + 1);
      if (line[3] !== '-') this.#reply(line);
    }
  }

  #reply(line: string): void {
    if (!line.startsWith(EXPECTED[this.#step])) return this.#fail(`the server says: ${line.trim()}`);
    switch (this.#step) {
      case 'greeting':
        return this.#command('ehlo', 'EHLO client.remote.test');
      case 'ehlo':
        return this.#load.options.startTls && !this.#secure ? this.#command('starttls', 'STARTTLS') : this.#mail();
      case 'starttls':
        return this.#startTls();
      case 'mail':
        return this.#command('rcpt', `RCPT TO:<${this.#load.options.messages.recipient(this.#message)}>`);
      case 'rcpt':
        return this.#command('data', 'DATA');
      case 'data':
        return this.#content();
      case 'dot':
        this.#load.latencies[this.#message] = performance.now() - this.#sentAt;
        return this.#mail();
      case 'quit':
        return this.destroy();
    }
  }
  #command(step: Step, line: string): void {
    this.#step = step;
    this.#socket.write(`${line}\r\n`, 'latin1');
  }

  #mail(): void {
    const { perConnection, messages } = this.#load.options;
    if (this.#sent === perConnection || !this.#load.left) return this.#command('quit', 'QUIT');
    this.#sent++;
    this.#message = this.#load.take();
    this.#command('mail', `MAIL FROM:<${messages.sender}>`);
  }
  #content(): void {
    const { messages } = this.#load.options;
    this.#step = 'dot';
    this.#socket.cork();
    this.#socket.write(messages.head(this.#message), 'latin1');
    this.#socket.write(messages.tail);
    this.#socket.uncork();
    this.#sentAt = performance.now();
  }

  #startTls(): void {
    const plain = this.#socket;
    plain.removeAllListeners('data').removeAllListeners('close');
    const secure = connectTls({ socket: plain, secureContext, servername: SERVER_NAME, rejectUnauthorized: false });
    this.#socket = secure;
    this.#listen(secure);
    secure.once('secureConnect', () => {
      this.#secure = true;
      this.#load.tls ??= `${secure.getProtocol()} ${secure.getCipher().name}`;
      this.#command('ehlo', 'EHLO client.remote.test');
    });
  }
}
