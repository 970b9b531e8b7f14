// Conversations with an SMTP server as scripts. One line a step; a number in front of `C`, `S` tells connections apart:
//   C: EHLO client.test         the client sends this line (CRLF is added)
//   C| …                        the client sends this without a line end; \r \n \0 \xHH and \\ are escapes
//   C^ two.test                 the client begins TLS, asking for this name
//   S: 250 2.1.0 Ok             the server's next reply is exactly this; the lines of a longer one are joined by `|`
//   S~ ^250-.*\|250 CHUNKING$   the server's next reply, joined so, matches this regular expression
//   S.                          the server closes the connection, and says nothing more
// Every reply that comes is held against RFC 5321 4.2.1 and RFC 2034: see `checkReply`.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

const WAIT = 10_000;

/** One client connection. What it sends is latin1 unless it is a Buffer. */
export class SmtpClient {
  #socket: Socket;
  #data = '';
  #closed = false;
  #wake: (() => void) | undefined;
  /** RFC 2034: replies to these commands have no enhanced code. */
  #hello = true;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen();
  }
  static async connect(port: number, options: { localAddress?: string; host?: string } = {}): Promise<SmtpClient> {
    const { localAddress, host = '127.0.0.1' } = options;
    const socket = connect({ port, host, noDelay: true, ...(localAddress === undefined ? {} : { localAddress }) });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new SmtpClient(socket);
  }
  /** Connected, greeted, and introduced with EHLO. */
  static async hello(port: number, options: { localAddress?: string } = {}): Promise<SmtpClient> {
    const client = await SmtpClient.connect(port, options);
    assert.match(await client.reply(), /^220 /);
    assert.match(await client.command('EHLO client.test'), /^250-/);
    return client;
  }

  #listen(): void {
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text: string) => {
      this.#data += text;
      this.#wake?.();
    });
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** The handshake of implicit TLS or behind STARTTLS. */
  async startTls(servername?: string): Promise<TLSSocket> {
    this.#socket.removeAllListeners('data').removeAllListeners('close');
    const tls = connectTls({ socket: this.#socket, rejectUnauthorized: false, ...(servername ? { servername } : {}) });
    await new Promise<void>((resolve, reject) =>
      tls
        .once('secureConnect', resolve)
        .once('error', reject)
        .once('close', () => reject(new Error('closed in the handshake'))),
    );
    this.#socket = tls;
    this.#hello = true;
    this.#listen();
    return tls;
  }

  get socket(): Socket {
    return this.#socket;
  }
  get closedByServer(): boolean {
    return this.#closed;
  }
  /** What came and was not asked for. */
  get unread(): string {
    return this.#data;
  }

  send(text: string | Buffer): void {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    if (/^(EHLO|HELO) /im.test(bytes.toString('latin1', 0, 4_000))) this.#hello = true;
    this.#socket.write(bytes);
  }
  line(text: string): void {
    this.send(`${text}\r\n`);
  }
  /** Sends a command and gives its reply. */
  command(text: string): Promise<string> {
    this.line(text);
    return this.reply();
  }
  /** Sends commands one after another; the replies must begin so. */
  async commands(...steps: readonly (readonly [command: string, expected: string])[]): Promise<void> {
    for (const [command, expected] of steps) {
      const reply = await this.command(command);
      assert.ok(reply.startsWith(expected), `${command}: ${reply}`);
    }
  }
  /** An envelope and DATA up to its 354. */
  async envelope(from: string, ...to: readonly string[]): Promise<void> {
    await this.commands([`MAIL FROM:<${from}>`, '250'], ...to.map((address) => [`RCPT TO:<${address}>`, '250'] as const), [
      'DATA',
      '354',
    ]);
  }
  /** One message with CRLF line ends, dots stuffed here; gives the reply to its end. */
  async message(from: string, to: readonly string[], text: string): Promise<string> {
    await this.envelope(from, ...to);
    this.send(`${text.replaceAll(/\r?\n/g, '\r\n').replaceAll(/^\./gm, '..')}\r\n.\r\n`);
    return this.reply();
  }

  async #until<T>(what: string, wait: number, take: () => T | undefined): Promise<T> {
    for (const end = Date.now() + wait; ;) {
      const taken = take();
      if (taken !== undefined) return taken;
      const left = end - Date.now();
      if (left <= 0 || this.#closed)
        assert.fail(`${what}: ${this.#closed ? 'closed' : 'nothing came'}; unread: ${JSON.stringify(this.#data.slice(0, 500))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** The next whole reply; its lines joined by `|`. */
  reply(wait = WAIT): Promise<string> {
    return this.#until('a reply', wait, () => {
      for (let at = 0; ;) {
        const end = this.#data.indexOf('\r\n', at);
        if (end < 0) return undefined;
        const last = this.#data[at + 3] !== '-';
        at = end + 2;
        if (!last) continue;
        const lines = this.#data.slice(0, end).split('\r\n');
        this.#data = this.#data.slice(at);
        checkReply(lines, this.#hello);
        // The greeting, HELO and EHLO are over once something else was answered.
        if (!/^2[25]0/.test(lines[0] ?? '') || hasEnhanced(lines[0] ?? '')) this.#hello = false;
        return lines.join('|');
      }
    });
  }
  /** Resolves when the server has closed. */
  async closed(wait = WAIT): Promise<void> {
    await this.#until('the end', wait, () => (this.#closed ? true : undefined)).catch((error: unknown) => {
      if (!this.#closed) throw error;
    });
  }
  /** The server closes, and says nothing before it does. */
  async ends(): Promise<void> {
    await this.closed();
    assert.equal(this.#data, '', 'nothing more is said');
  }
  destroy(): void {
    this.#socket.destroy();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
  }
}

const hasEnhanced = (line: string): boolean => /^\d{3}[ -][245]\.\d{1,3}\.\d{1,3} /.test(line);

/** One code in all lines; an enhanced one (RFC 2034 section 4) of the same class in each, but for the greeting, HELO, EHLO and 3xx. */
function checkReply(lines: readonly string[], hello: boolean): void {
  const code = lines[0]?.slice(0, 3) ?? '';
  for (const line of lines) {
    const told = JSON.stringify(lines);
    assert.match(line, /^[2-5]\d\d[ -][^\r\n\0]*$/, told);
    assert.equal(line.slice(0, 3), code, told);
    assert.ok(Buffer.byteLength(line) <= 510, `longer than RFC 5321 4.5.3.1.5 allows: ${told}`);
    if (code.startsWith('3') || (hello && /^2[25]0$/.test(code) && !hasEnhanced(line))) continue;
    assert.ok(hasEnhanced(line), `no enhanced status code: ${told}`);
    assert.equal(line[4], code[0], `classes differ: ${told}`);
  }
}

/** Scripts are written with String.raw. */
const unescape = (text: string): string =>
  text.replace(/\\(?:([rn0\\])|x([0-9a-f]{2}))/g, (_, c: string | undefined, hex: string | undefined) =>
    hex === undefined
      ? ({ r: '\r', n: '\n', '0': '\0', '\\': '\\' }[c ?? ''] ?? '')
      : String.fromCharCode(Number.parseInt(hex, 16)),
  );

/** Plays a script on connections to `port`, which are opened, and greeted, as they are named. */
export async function playSmtp(port: number, script: string): Promise<void> {
  const clients = new Map<string, SmtpClient>();
  const clientOf = async (name: string): Promise<SmtpClient> => {
    let client = clients.get(name);
    if (!client) {
      clients.set(name, (client = await SmtpClient.connect(port)));
      assert.match(await client.reply(), /^220 /, 'greeting');
    }
    return client;
  };
  try {
    for (const raw of script.split('\n')) {
      const step = /^\s*(\d*)([CS])([:|~^.])[ ]?(.*)$/.exec(raw);
      if (!step) {
        assert.match(raw, /^\s*(#.*)?$/, `not a step: ${raw}`);
        continue;
      }
      const [, name = '', who, how, text = ''] = step;
      const client = await clientOf(name);
      if (who === 'C' && how === '^') await client.startTls(text);
      else if (who === 'C') client.send(how === '|' ? unescape(text) : `${text}\r\n`);
      else if (how === ':') assert.equal(await client.reply(), text, raw.trim());
      else if (how === '.') await client.ends();
      else assert.match(await client.reply(), new RegExp(text), raw.trim());
    }
  } finally {
    for (const client of clients.values()) client.destroy();
  }
}
