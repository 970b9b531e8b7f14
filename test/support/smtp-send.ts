// The plainest SMTP client: for tests that need mail delivered, not SMTP tested.
import { createConnection, type Socket } from 'node:net';

export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  /** CRLF line ends; dots are stuffed here. */
  readonly data: string | Buffer;
}

/** A kept connection to an MX. Every call waits for its reply (at most 30 s). */
export class SmtpSender {
  readonly #socket: Socket;
  #buffer = '';
  #waiting: ((line: string) => void) | undefined;
  /** Said to whoever waits for a reply from now on. */
  #lost: string | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#buffer += text;
      this.#check();
    });
    socket.on('error', () => this.#lose('000 connection lost'));
    socket.on('close', () => this.#lose('000 connection closed'));
  }

  /** The client's own port. */
  get localPort(): number {
    return this.#socket.localPort ?? 0;
  }

  /** `localAddress`: where the client is. */
  static async connect(port: number, localAddress = '127.0.0.1'): Promise<SmtpSender> {
    const sender = new SmtpSender(createConnection({ port, host: '127.0.0.1', localAddress }));
    await sender.#reply('220');
    await sender.command('EHLO client.example.test', '250');
    return sender;
  }

  #lose(what: string): void {
    this.#lost ??= what;
    this.#check();
  }
  #check(): void {
    const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(this.#buffer);
    const reply = match?.[0] ?? this.#lost;
    if (reply === undefined || !this.#waiting) return;
    if (match) this.#buffer = this.#buffer.slice(match[0].length);
    const resolve = this.#waiting;
    this.#waiting = undefined;
    resolve(reply);
  }
  async #reply(expected: string): Promise<string> {
    const reply = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no SMTP reply within 30 s')), 30_000);
      this.#waiting = (line) => {
        clearTimeout(timer);
        resolve(line);
      };
      this.#check();
    });
    if (!reply.startsWith(expected)) throw new Error(`expected ${expected}, got ${reply.trim()}`);
    return reply;
  }
  command(line: string, expected: string): Promise<string> {
    this.#socket.write(line + '\r\n', 'latin1');
    return this.#reply(expected);
  }
  /** Sends one message; gives the reply to the final dot. */
  async send(mail: Mail): Promise<string> {
    await this.command(`MAIL FROM:<${mail.from}>`, '250');
    for (const to of mail.to) await this.command(`RCPT TO:<${to}>`, '250');
    await this.command('DATA', '354');
    const text = (typeof mail.data === 'string' ? mail.data : mail.data.toString('latin1')).replace(/^\./gm, '..');
    this.#socket.write(text + (text.endsWith('\r\n') ? '.\r\n' : '\r\n.\r\n'), 'latin1');
    return this.#reply('250');
  }
  async quit(): Promise<void> {
    await this.command('QUIT', '221').catch(() => undefined);
    this.#socket.destroy();
  }
}

/** One message over a connection of its own. */
export async function deliverBySmtp(port: number, mail: Mail): Promise<string> {
  const sender = await SmtpSender.connect(port);
  try {
    return await sender.send(mail);
  } finally {
    await sender.quit();
  }
}
