// Conversations with an IMAP server as scripts. One line a step; a number in front of `C`, `S` tells connections apart:
//   C: a1 SELECT INBOX          the client sends this line (CRLF is added)
//   C| …                        the client sends this without a line end; \r \n \0 \xHH and \\ are escapes (as in S: lines)
//   S: * 3 EXISTS               the server's next line is exactly this
//   S~ ^a1 OK \[READ-WRITE\]    the server's next line matches this regular expression
//   S* ^a1 OK                   lines are passed over up to one that matches; S! before it names what must not be among them
//   S! EXPUNGE                  no line passed over by the next S* may match
//   S. (nothing)                the server closes the connection
//   {name}                      in a C line: replaced by the capture of that name from an earlier S~ or S* `(?<name>…)`
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';

const WAIT = 5_000;

/** One client connection. Lines are latin1, literals are put behind their line: `BODY[] {5}\r\nhello)`. */
export class ImapClient {
  #socket: Socket;
  #data = Buffer.alloc(0);
  #closed = false;
  #wake: (() => void) | undefined;
  /** Milliseconds that an answer may take. */
  patience = WAIT;
  readonly #onData = (chunk: Buffer): void => {
    this.#data = Buffer.concat([this.#data, chunk]);
    this.#wake?.();
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen();
  }
  static async connect(port: number, localAddress?: string): Promise<ImapClient> {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new ImapClient(socket);
  }
  #listen(): void {
    this.#socket.on('data', this.#onData);
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }
  /** The socket, with nothing listening: for TLS on top of it. */
  detach(): Socket {
    this.#socket.removeAllListeners('data').removeAllListeners('close');
    return this.#socket;
  }
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#data = Buffer.alloc(0);
    this.#listen();
  }
  get socket(): Socket {
    return this.#socket;
  }

  send(text: string | Buffer): void {
    this.#socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }
  line(text: string): void {
    this.send(`${text}\r\n`);
  }

  async #until<T>(what: string, take: () => T | undefined): Promise<T> {
    const end = Date.now() + this.patience;
    for (;;) {
      const taken = take();
      if (taken !== undefined) return taken;
      const left = end - Date.now();
      if (left <= 0 || this.#closed)
        assert.fail(
          `${what}: ${this.#closed ? 'closed' : 'nothing came'}; unread: ${JSON.stringify(this.#data.toString('latin1').slice(0, 500))}`,
        );
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** The next response line with its literals. */
  response(): Promise<string> {
    return this.#until('a response', () => {
      for (let from = 0; ;) {
        const at = this.#data.indexOf('\r\n', from);
        if (at < 0) return undefined;
        const literal = /\{(\d+)\}$/.exec(this.#data.toString('latin1', from, at));
        const end = at + 2;
        if (!literal) {
          const text = this.#data.toString('latin1', 0, at);
          this.#data = this.#data.subarray(end);
          return text;
        }
        from = end + Number(literal[1]);
        if (from > this.#data.length) return undefined;
      }
    });
  }
  /** Responses up to the one that begins with `tag `, that one included. */
  async until(tag: string): Promise<string[]> {
    for (const all: string[] = []; ;) {
      const line = await this.response();
      all.push(line);
      if (line.startsWith(`${tag} `)) return all;
    }
  }
  /** Sends a command and gives its responses. */
  command(tag: string, text: string): Promise<string[]> {
    this.line(`${tag} ${text}`);
    return this.until(tag);
  }
  /** Resolves when the server has closed; what was not read is dropped. */
  async closed(): Promise<void> {
    await this.#until('the end', () => (this.#closed ? true : undefined)).catch((error: unknown) => {
      if (!this.#closed) throw error;
    });
  }
  get unread(): string {
    return this.#data.toString('latin1');
  }
  destroy(): void {
    this.#socket.destroy();
  }
}

/** Scripts are written with String.raw: `\Seen` stays as it is, as no escape begins with a capital. */
const unescape = (text: string): string =>
  text.replace(/\\(?:([rn0\\])|x([0-9a-f]{2}))/g, (_, c: string | undefined, hex: string | undefined) =>
    hex === undefined
      ? ({ r: '\r', n: '\n', '0': '\0', '\\': '\\' }[c ?? ''] ?? '')
      : String.fromCharCode(Number.parseInt(hex, 16)),
  );

/** Plays a script on connections to `port`, which are opened as they are named. Gives the captures. */
export async function play(port: number, script: string): Promise<Record<string, string>> {
  const clients = new Map<string, ImapClient>();
  const captures: Record<string, string> = {};
  const fill = (text: string): string => text.replace(/\{(\w*[a-z]\w*)\}/gi, (whole, name: string) => captures[name] ?? whole);
  const clientOf = async (name: string): Promise<ImapClient> => {
    let client = clients.get(name);
    if (!client) {
      clients.set(name, (client = await ImapClient.connect(port)));
      assert.match(await client.response(), /^\* OK /, 'greeting');
    }
    return client;
  };
  let forbidden: RegExp[] = [];
  try {
    for (const raw of script.split('\n')) {
      const step = /^\s*(\d*)([CS])([:|~*!.])[ ]?(.*)$/.exec(raw);
      if (!step) {
        assert.match(raw, /^\s*(#.*)?$/, `not a step: ${raw}`);
        continue;
      }
      const [, name = '', who, how, text = ''] = step;
      const client = await clientOf(name);
      const keep = (match: RegExpExecArray | null): void => void Object.assign(captures, match?.groups);
      if (who === 'C') client.send(how === '|' ? unescape(fill(text)) : `${fill(text)}\r\n`);
      else if (how === ':') assert.equal(await client.response(), unescape(fill(text)), raw.trim());
      else if (how === '!') forbidden.push(new RegExp(text));
      else if (how === '.') await client.closed();
      else {
        const pattern = new RegExp(fill(text), 's');
        for (;;) {
          const line = await client.response();
          const match = pattern.exec(line);
          if (match || how === '~') {
            assert.match(line, pattern, raw.trim());
            keep(match);
            break;
          }
          for (const never of forbidden) assert.doesNotMatch(line, never, raw.trim());
          if (/^\w+ (OK|NO|BAD)/.test(line)) assert.fail(`${raw.trim()}: got ${line}`);
        }
        forbidden = [];
      }
    }
  } finally {
    for (const client of clients.values()) client.destroy();
  }
  return captures;
}
