// A scripted SMTP or LMTP server for our client to talk to. It behaves unless a hook says otherwise:
//   new SmtpSink({ rcpt: (line) => line.includes('bad@') ? '550 5.1.1 unknown' : undefined })
// A hook gets the line (or the message) and gives the reply without CRLF, `undefined` for the usual one, or what else happens to the connection.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';

/** What a hook may do instead of the usual reply. Text is sent as it stands, with CRLF behind it; `raw` without. */
export type Act =
  | string
  | undefined
  | {
      readonly reply?: string;
      readonly raw?: string | Buffer;
      /** Milliseconds before anything is sent. */
      readonly delay?: number;
      /** Says nothing, and hears nothing more. */
      readonly hang?: boolean;
      /** Closes the connection after what was to be sent. */
      readonly drop?: 'end' | 'reset';
    };

export interface SinkSession {
  /** Number of the connection, from 1. */
  readonly connection: number;
  /** Messages taken in it. */
  readonly taken: number;
  readonly secure: boolean;
  readonly sender: string;
  readonly recipients: readonly string[];
}
type Hook = (line: string, session: SinkSession) => Act | Promise<Act>;

export interface SinkOptions {
  readonly lmtp?: boolean;
  /** Lines of the EHLO reply without codes; default PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES, and STARTTLS with a certificate. */
  readonly extensions?: readonly string[];
  /** For STARTTLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Of TLS, at most. */
  readonly tlsVersion?: 'TLSv1.2';
  /** A path of a unix socket instead of a port. */
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  /** Closes with 421 in place of the greeting of MAIL after so many messages of a connection. */
  readonly closeAfter?: number;
  readonly connect?: Hook;
  readonly ehlo?: Hook;
  readonly helo?: Hook;
  readonly starttls?: Hook;
  readonly auth?: Hook;
  readonly mail?: Hook;
  readonly rcpt?: Hook;
  readonly data?: Hook;
  /** Each line of the message, dots still stuffed, while it comes. */
  readonly body?: Hook;
  /** The reply behind the dot; with LMTP for each recipient, whose address it gets. */
  readonly dot?: Hook;
  readonly rset?: Hook;
  readonly quit?: Hook;
}

export interface SunkMessage {
  readonly connection: number;
  /** As MAIL and RCPT said it, with their parameters. */
  readonly mail: string;
  readonly rcpt: readonly string[];
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Dots unstuffed. */
  readonly data: string;
  readonly secure: boolean;
}

export class SmtpSink {
  /** Taken with 2xx, in order. Bodies are kept while `keep`. */
  readonly messages: SunkMessage[] = [];
  /** Lines that came, without those of messages: `1: EHLO client.test`. */
  readonly commands: string[] = [];
  keep = true;
  connections = 0;
  open = 0;
  readonly options: SinkOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(options: SinkOptions = {}) {
    this.options = options;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      this.open++;
      socket.on('close', () => {
        this.open--;
        this.#sockets.delete(socket);
      });
      new Conversation(this, socket, ++this.connections).start();
    });
  }
  async start(): Promise<this> {
    const { path, host = '127.0.0.1', port = 0 } = this.options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      if (path === undefined) this.#server.listen(port, host, resolve);
      else this.#server.listen(path, resolve);
    });
    return this;
  }
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  /** Verbs that came, in order. */
  get verbs(): string[] {
    return this.commands.map((line) => line.replace(/^\d+: (\S+).*$/s, '$1'));
  }
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

class Conversation {
  readonly #sink: SmtpSink;
  readonly #connection: number;
  #socket: Socket;
  #input = '';
  #at = 0;
  #mail = '';
  #rcpt: string[] = [];
  #body: string[] | undefined;
  #taken = 0;
  #secure = false;
  #login = 0;
  #busy = false;
  #gone = false;

  constructor(sink: SmtpSink, socket: Socket, connection: number) {
    this.#sink = sink;
    this.#socket = socket;
    this.#connection = connection;
  }
  start(): void {
    this.#listen(this.#socket);
    void this.#run(async () => {
      const act = await this.#sink.options.connect?.('', this.#session());
      await this.#act(act, `220 sink.test ${this.#sink.options.lmtp ? 'LMTP' : 'ESMTP'}`);
    });
  }
  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => {
      this.#input += chunk.toString('latin1');
      void this.#run(async () => undefined);
    });
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    socket.on('close', () => (this.#gone = true));
  }
  #session(): SinkSession {
    const addressIn = (line: string): string => /<(.*)>/.exec(line)?.[1] ?? '';
    return {
      connection: this.#connection,
      taken: this.#taken,
      secure: this.#secure,
      sender: addressIn(this.#mail),
      recipients: this.#rcpt.map(addressIn),
    };
  }

  /** One line at a time, however many have come. */
  async #run(first: () => Promise<unknown>): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    await first();
    for (let end; !this.#gone && (end = this.#input.indexOf('\r\n', this.#at)) >= 0;) {
      const line = this.#input.slice(this.#at, end);
      this.#at = end + 2;
      // Most lines of a message wait for nothing.
      if (!this.#body) await this.#command(line);
      else if (line === '.' || this.#sink.options.body) await this.#bodyLine(line, this.#body);
      else this.#keep(line, this.#body);
    }
    this.#input = this.#input.slice(this.#at);
    this.#at = 0;
    this.#busy = false;
  }
  #keep(line: string, body: string[]): void {
    if (this.#sink.keep) body.push(line.startsWith('.') ? line.slice(1) : line);
  }

  async #act(act: Act, usual: string): Promise<boolean> {
    const what = typeof act === 'object' ? act : { reply: act };
    if (what.delay) await new Promise((resolve) => setTimeout(resolve, what.delay));
    if (what.hang) {
      this.#socket.pause();
      this.#gone = true;
      return false;
    }
    if (what.raw !== undefined) this.#socket.write(what.raw);
    else if (what.reply !== undefined || what.drop === undefined) this.#socket.write(`${what.reply ?? usual}\r\n`);
    if (what.drop === undefined) return /^[23]\d\d/.test(String(what.raw ?? what.reply ?? usual));
    this.#gone = true;
    if (what.drop === 'end') this.#socket.end();
    else this.#socket.resetAndDestroy();
    return false;
  }

  async #command(line: string): Promise<void> {
    this.#sink.commands.push(`${this.#connection}: ${line}`);
    const { options } = this.#sink;
    const session = this.#session();
    if (this.#login > 0) {
      this.#login--;
      await this.#act(await options.auth?.(line, session), '235 2.7.0 Authentication successful');
      return;
    }
    switch (line.split(' ')[0]?.toUpperCase()) {
      case 'EHLO':
      case 'LHLO':
        return void (await this.#act(await options.ehlo?.(line, session), this.#ehlo()));
      case 'HELO':
        return void (await this.#act(await options.helo?.(line, session), '250 sink.test'));
      case 'STARTTLS':
        if (await this.#act(await options.starttls?.(line, session), '220 2.0.0 Ready to start TLS')) this.#startTls();
        return;
      case 'AUTH':
        return void (await this.#act(await options.auth?.(line, session), '235 2.7.0 Authentication successful'));
      case 'MAIL':
        if (options.closeAfter !== undefined && this.#taken >= options.closeAfter)
          return void (await this.#act({ reply: '421 4.3.2 sink.test: enough for this connection', drop: 'end' }, ''));
        if (this.#mail !== '') return void this.#socket.write('503 5.5.1 Error: nested MAIL command\r\n');
        if (await this.#act(await options.mail?.(line, session), '250 2.1.0 Ok')) this.#mail = line;
        return;
      case 'RCPT':
        if (this.#mail === '') return void this.#socket.write('503 5.5.1 Error: need MAIL command\r\n');
        if (await this.#act(await options.rcpt?.(line, session), '250 2.1.5 Ok')) this.#rcpt.push(line);
        return;
      case 'DATA':
        if (this.#rcpt.length === 0 && !options.data) return void this.#socket.write('554 5.5.1 Error: no valid recipients\r\n');
        if (await this.#act(await options.data?.(line, session), '354 End data with <CR><LF>.<CR><LF>')) this.#body = [];
        return;
      case 'RSET':
        this.#reset();
        return void (await this.#act(await options.rset?.(line, session), '250 2.0.0 Ok'));
      case 'QUIT':
        return void (await this.#act((await options.quit?.(line, session)) ?? { reply: '221 2.0.0 Bye', drop: 'end' }, ''));
      default:
        this.#socket.write('502 5.5.2 Error: command not recognized\r\n');
    }
  }
  #ehlo(): string {
    const { extensions, tls } = this.#sink.options;
    const usual = ['PIPELINING', 'SIZE 52428800', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES'];
    const lines = ['sink.test', ...(extensions ?? usual), ...(tls && !this.#secure ? ['STARTTLS'] : [])];
    return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join('\r\n');
  }
  #startTls(): void {
    const { tls, tlsVersion } = this.#sink.options;
    const raw = this.#socket;
    raw.removeAllListeners('data');
    this.#input = '';
    this.#at = 0;
    this.#secure = true;
    this.#reset();
    this.#socket = new TLSSocket(raw, {
      isServer: true,
      secureContext: createSecureContext({ ...tls, ...(tlsVersion ? { maxVersion: tlsVersion } : {}) }),
    });
    this.#listen(this.#socket);
  }
  #reset(): void {
    this.#mail = '';
    this.#rcpt = [];
    this.#body = undefined;
  }

  async #bodyLine(line: string, body: string[]): Promise<void> {
    const { options } = this.#sink;
    if (line !== '.') {
      const act = await options.body?.(line, this.#session());
      if (act !== undefined) await this.#act(act, '');
      return this.#keep(line, body);
    }
    const session = this.#session();
    this.#body = undefined;
    let taken = false;
    for (const recipient of options.lmtp ? session.recipients : ['']) {
      const ok = await this.#act(
        await options.dot?.(recipient, session),
        `250 2.0.0 Ok: queued as SINK${this.#sink.messages.length + 1}`,
      );
      taken ||= ok;
    }
    if (taken) {
      this.#taken++;
      const data = body.map((text) => `${text}\r\n`).join('');
      this.#sink.messages.push({
        ...session,
        mail: this.#mail,
        rcpt: this.#rcpt,
        data: Buffer.from(data, 'latin1').toString('utf8'),
      });
    }
    this.#reset();
  }
}
