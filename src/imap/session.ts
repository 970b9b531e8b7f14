// One client's connection: reads commands, checks that the state allows them (RFC 3501 section 3), runs them one after another, and says
// what has changed in the selected mailbox when the protocol allows it.
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Account, Authenticator, LoginOrigin } from '../auth/types.ts';
import type { Clock } from '../lib/clock.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { MessageSource } from '../message/source.ts';
import type { AccountStore, Mailbox, Uid } from '../storage/types.ts';
import { readAppendPrefix, type AppendPrefix } from './commands/append-prefix.ts';
import type { ImapLimits } from './limits.ts';
import type { Namespace } from './mailbox-name.ts';
import { answerFor, bad, no, type Answer } from './status.ts';
import { BadCharset } from './syntax/search.ts';
import { BadSyntax, Scanner } from './syntax/scanner.ts';
import { View } from './view.ts';
import { SocketReader } from './wire/socket-reader.ts';
import { Writer } from './wire/writer.ts';
import { Spool } from '../message/spool.ts';

export type State = 'unauthenticated' | 'authenticated' | 'selected';

export interface ImapCommand {
  readonly states: readonly State[];
  /** False for commands in which sequence numbers are in use: no EXPUNGE may be sent (RFC 3501 7.4.1). */
  readonly mayExpunge?: boolean;
  /** Gives undefined when it has sent its tagged response itself. */
  readonly run: (session: Session, scan: Scanner, tag: string) => Promise<Answer | undefined>;
}

export interface SessionOptions {
  /** By name, `UID FETCH` for the variants. */
  readonly commands: ReadonlyMap<string, ImapCommand>;
  readonly hostname: string;
  readonly namespace: Namespace;
  readonly limits: ImapLimits;
  readonly authenticator: Authenticator;
  readonly accountStore: (account: Account) => AccountStore;
  /** Where big APPENDs wait. */
  readonly spoolFolder: string;
  readonly clock: Clock;
  /** Does the TLS handshake on this connection; undefined where no certificate is set. */
  readonly startTls?: (socket: Duplex) => Promise<Duplex>;
}

export interface Peer {
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly loopback: boolean;
}

/** The mailbox that is selected. */
export interface Selected {
  readonly mailbox: Mailbox;
  readonly view: View;
  readonly readOnly: boolean;
  readonly unwatch: () => void;
}

export class Session {
  readonly id = randomBytes(6).toString('base64url');
  readonly options: SessionOptions;
  readonly peer: Peer;
  readonly log: Logger;
  secure: boolean;
  reader: SocketReader;
  writer: Writer;
  state: State = 'unauthenticated';
  account: Account | undefined;
  store: AccountStore | undefined;
  selected: Selected | undefined;
  /** APPEND's message, while its command runs. */
  appended: { readonly prefix: AppendPrefix; readonly source: MessageSource } | undefined;
  #socket: Duplex;
  #badCommands = 0;
  #ended = false;
  #closing: string | undefined;
  #busy = false;
  /** Something in the mailbox may have changed since the last look. */
  #dirty = false;
  #wakeIdle: (() => void) | undefined;
  #unwatchAccount: (() => void) | undefined;
  #timer: (() => void) | undefined;

  constructor(socket: Duplex, peer: Peer, secure: boolean, options: SessionOptions, log: Logger) {
    this.#socket = socket;
    this.peer = peer;
    this.secure = secure;
    this.options = options;
    this.log = log.child({ session: this.id, client: peer.remoteAddress });
    this.reader = new SocketReader(socket);
    this.writer = new Writer(socket, options.limits.writeTimeout);
  }

  /** Plain text passwords may cross: TLS, or loopback. */
  get mayLogin(): boolean {
    return this.secure || this.peer.loopback;
  }
  get origin(): LoginOrigin {
    return { remoteAddress: this.peer.remoteAddress, service: 'imap', secure: this.mayLogin, sessionId: this.id };
  }
  get mayStartTls(): boolean {
    return !this.secure && this.options.startTls !== undefined && this.state === 'unauthenticated';
  }

  capabilities(): string {
    const all = ['IMAP4rev1', 'LITERAL+', 'SASL-IR', 'ID', 'ENABLE', 'IDLE'];
    if (this.state !== 'unauthenticated') all.push('NAMESPACE', 'UNSELECT', 'UIDPLUS', 'MOVE', 'CHILDREN', 'SPECIAL-USE');
    else {
      if (this.mayStartTls) all.push('STARTTLS');
      const mechanisms = this.mayLogin ? this.options.authenticator.mechanisms({ secure: this.mayLogin }) : [];
      if (!this.mayLogin) all.push('LOGINDISABLED');
      all.push(...mechanisms.map((name) => `AUTH=${name}`));
    }
    return all.join(' ');
  }

  // ---- the loop

  /** Serves the connection until it ends. Never throws. */
  async run(): Promise<void> {
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#ended = true;
      this.#wakeIdle?.();
    });
    this.#deadline(this.options.limits.loginTimeout, 'Login takes too long');
    this.writer.line(`* OK [CAPABILITY ${this.capabilities()}] ${this.options.hostname} Buzon ready.`);
    try {
      while (!this.#ended) {
        await this.writer.drain();
        if (this.#closing !== undefined) break;
        if (!(await this.#one())) break;
      }
    } catch (error) {
      if (!this.#ended) this.log.warn('imap.session.error', { error: error instanceof Error ? error.message : String(error) });
    } finally {
      await this.#end();
    }
  }

  /** Reads and runs one command; false when the connection is over. */
  async #one(): Promise<boolean> {
    const command = await this.#read();
    if (!command) return false;
    this.#busy = true;
    try {
      await this.#execute(new Scanner(command));
    } finally {
      this.#busy = false;
      await this.appended?.source.dispose();
      this.appended = undefined;
    }
    if (this.#badCommands > this.options.limits.badCommands) this.bye('Too many wrong commands');
    return this.#closing === undefined && !this.#ended;
  }

  async #execute(scan: Scanner): Promise<void> {
    let tag = '*';
    let answer: Answer | undefined;
    let mayExpunge = true;
    try {
      tag = scan.tag();
      if (tag.length > 200) throw new BadSyntax('The tag is too long');
      scan.space();
      let name = scan.atom('a command').toUpperCase();
      if (name === 'UID') {
        scan.space();
        name = `UID ${scan.atom('a command').toUpperCase()}`;
      }
      const command = this.options.commands.get(name);
      if (!command) throw new BadSyntax('Unknown command');
      if (!command.states.includes(this.state)) answer = bad(wrongState(this.state));
      else {
        if (this.state !== 'unauthenticated') this.#deadline(this.options.limits.idleTimeout, 'Autologout; idle for too long');
        mayExpunge = command.mayExpunge !== false;
        answer = await command.run(this, scan, tag);
      }
    } catch (error) {
      answer = this.#answerFor(error);
    }
    if (!answer) return;
    if (answer.status === 'BAD') this.#badCommands++;
    if (this.#closing === undefined) await this.#tell(mayExpunge);
    this.writer.line(`${tag} ${answer.status} ${answer.code === undefined ? '' : `[${answer.code}] `}${answer.text}`);
  }

  #answerFor(error: unknown): Answer {
    if (error instanceof BadSyntax) return bad(error.message);
    if (error instanceof BadCharset) return no(error.message, 'BADCHARSET (US-ASCII UTF-8)');
    if (this.#ended) throw error;
    const mail = error instanceof MailError ? error : toMailError(error, 'an IMAP command');
    if (mail.kind === 'temporary') this.log.error('imap.command.error', { code: mail.code, detail: mail.detail });
    return answerFor(mail);
  }

  // ---- reading

  /** A command with its literals; undefined when the connection has ended or was given up. */
  async #read(): Promise<{ texts: string[]; literals: Buffer[] } | undefined> {
    const { limits } = this.options;
    const loggedIn = this.state !== 'unauthenticated';
    const texts: string[] = [];
    const literals: Buffer[] = [];
    let room = loggedIn ? limits.line : limits.lineBeforeLogin;
    let literalRoom = loggedIn ? limits.literals : limits.literalsBeforeLogin;
    for (;;) {
      const line = await this.reader.line(room);
      if (line.kind === 'end') return undefined;
      if (line.kind === 'too-long') return this.#giveUp('The command line is too long');
      room -= line.bytes.length;
      const text = line.bytes.toString('latin1');
      const literal = /\{(\d{1,20})(\+?)\}$/.exec(text);
      if (!literal) return { texts: [...texts, text], literals };
      const size = Number(literal[1]);
      const synchronising = literal[2] === '';
      texts.push(text.slice(0, literal.index));
      const append = loggedIn ? this.#appendPrefix({ texts, literals }) : undefined;
      if (append) {
        const outcome = await this.#takeAppend(append, size, synchronising, texts[0] ?? '');
        if (outcome === 'ended') return undefined;
        if (outcome === 'refused') return this.#skip();
        // Nothing but the line's end may follow the message.
        const rest = await this.reader.line(limits.line);
        if (rest.kind !== 'line') return undefined;
        texts.push(rest.bytes.toString('latin1'));
        literals.push(Buffer.alloc(0));
        return { texts, literals };
      }
      if (size > literalRoom) {
        if (!synchronising) return this.#giveUp('The literal is too large');
        this.writer.line(`${tagOf(texts[0] ?? '')} BAD [LIMIT] The literal is too large`);
        this.#badCommands++;
        return this.#skip();
      }
      literalRoom -= size;
      if (synchronising) this.writer.line('+ OK');
      await this.writer.drain();
      const chunks: Buffer[] = [];
      if (!(await this.reader.bytes(size, (chunk) => void chunks.push(Buffer.from(chunk))))) return undefined;
      literals.push(Buffer.concat(chunks));
      if (literals.length > 1_000) return this.#giveUp('Too many literals');
    }
  }

  /** The command has been answered already: read the next one in its place. */
  #skip(): Promise<{ texts: string[]; literals: Buffer[] } | undefined> {
    if (this.#badCommands > this.options.limits.badCommands) return this.#giveUp('Too many wrong commands');
    return this.writer.drain().then(() => this.#read());
  }
  async #giveUp(text: string): Promise<undefined> {
    this.writer.line(`* BYE ${text}`);
    this.#closing = text;
    this.writer.send();
    return undefined;
  }

  #appendPrefix(command: { texts: string[]; literals: Buffer[] }): AppendPrefix | undefined {
    return readAppendPrefix(new Scanner({ texts: command.texts, literals: command.literals }), this.options.namespace);
  }

  /** RFC 3501 6.3.11: what can be refused is refused before the client sends the message. */
  async #takeAppend(
    prefix: AppendPrefix,
    size: number,
    synchronising: boolean,
    text: string,
  ): Promise<'taken' | 'refused' | 'ended'> {
    const { limits } = this.options;
    const refusal = await this.#refuseAppend(prefix, size);
    if (refusal) {
      const line = `${tagOf(text)} ${refusal.status} ${refusal.code === undefined ? '' : `[${refusal.code}] `}${refusal.text}`;
      if (!synchronising) {
        if (size > 2 * limits.appendSize) {
          await this.#giveUp('The message is too large');
          return 'ended';
        }
        if (!(await this.reader.bytes(size, () => undefined))) return 'ended';
        if ((await this.reader.line(limits.line)).kind !== 'line') return 'ended';
      }
      this.writer.line(line);
      return 'refused';
    }
    if (synchronising) this.writer.line('+ OK');
    await this.writer.drain();
    const spool = new Spool(this.options.spoolFolder);
    try {
      if (!(await this.reader.bytes(size, (chunk) => spool.write(chunk)))) {
        await spool.discard();
        return 'ended';
      }
    } catch (error) {
      await spool.discard();
      throw error;
    }
    this.appended = { prefix, source: spool.finish() };
    return 'taken';
  }

  async #refuseAppend(prefix: AppendPrefix, size: number): Promise<Answer | undefined> {
    if (size > this.options.limits.appendSize) return no('The message is too large', 'TOOBIG');
    if (prefix.error) return answerFor(prefix.error);
    try {
      await this.store?.status(prefix.path);
      return undefined;
    } catch (error) {
      const mail = toMailError(error, 'APPEND');
      return mail.kind === 'no-such-mailbox' ? no('The mailbox does not exist', 'TRYCREATE') : answerFor(mail);
    }
  }

  // ---- the selected mailbox

  /** Untagged responses about what has changed. */
  async #tell(mayExpunge: boolean): Promise<void> {
    const { selected } = this;
    if (!selected) return;
    if (this.#dirty) {
      this.#dirty = false;
      await selected.mailbox.refresh();
    }
    await this.announce({ mayExpunge });
  }

  /** Brings the client's view up to date with what the mailbox knows. */
  async announce(options: { mayExpunge: boolean; silent?: ReadonlySet<Uid>; withUid?: boolean }): Promise<void> {
    const { selected } = this;
    if (!selected) return;
    const { mailbox, view, readOnly } = selected;
    if (mailbox.gone) return this.bye('The mailbox has been deleted or made anew');
    if (!view.behind(mailbox.messages)) return;
    const known = view.uids.at(-1) ?? 0;
    const fresh = (mailbox.messages.at(-1)?.uid ?? 0) > known ? await mailbox.recent(!readOnly) : new Set<Uid>();
    const recent = new Set([...fresh].filter((uid) => uid > known));
    for (const response of view.update(mailbox.messages, { ...options, recent })) this.writer.line(response);
  }

  /** Looks at the directories now, not only when told to. */
  async look(): Promise<void> {
    this.#dirty = false;
    await this.selected?.mailbox.refresh();
  }

  async select(mailbox: Mailbox, readOnly: boolean): Promise<Selected> {
    const recent = await mailbox.recent(!readOnly);
    const unwatch = mailbox.watch(() => {
      this.#dirty = true;
      this.#wakeIdle?.();
    });
    this.selected = { mailbox, view: new View(mailbox.messages, recent), readOnly, unwatch };
    this.state = 'selected';
    return this.selected;
  }
  async unselect(): Promise<void> {
    const { selected } = this;
    this.selected = undefined;
    if (this.state === 'selected') this.state = 'authenticated';
    if (!selected) return;
    selected.unwatch();
    await selected.mailbox.close();
  }

  /** IDLE (RFC 2177): tells of changes until the client sends its line. Gives that line; undefined when the connection ended. */
  async idle(): Promise<string | undefined> {
    let line: string | undefined;
    let done = false;
    const reading = this.reader.line(this.options.limits.line).then((read) => {
      done = true;
      if (read.kind === 'line') line = read.bytes.toString('latin1');
      this.#wakeIdle?.();
    });
    await this.look();
    for (;;) {
      await this.announce({ mayExpunge: true });
      await this.writer.drain();
      if (done || this.#ended || this.#closing !== undefined) break;
      if (!this.#dirty) await new Promise<void>((resolve) => (this.#wakeIdle = resolve));
      this.#wakeIdle = undefined;
      if (this.#dirty) await this.look();
    }
    if (this.#closing === undefined) await reading;
    return line;
  }

  // ---- beginning and end

  login(account: Account): void {
    this.account = account;
    this.store = this.options.accountStore(account);
    this.state = 'authenticated';
    this.#unwatchAccount = this.options.authenticator.watch(account, () =>
      this.bye('The account has changed: log in again', 'UNAVAILABLE'),
    );
    this.#deadline(this.options.limits.idleTimeout, 'Autologout; idle for too long');
  }

  /** Moves the connection to TLS: what came in clear behind STARTTLS is forgotten (RFC 3501 6.2.1). */
  async startTls(tag: string): Promise<void> {
    const { startTls } = this.options;
    if (!startTls) throw new BadSyntax('TLS is not available');
    this.reader.detach();
    this.writer.line(`${tag} OK Begin TLS negotiation now`);
    this.writer.send();
    const socket = await startTls(this.#socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#ended = true;
      this.#wakeIdle?.();
    });
    this.#socket = socket;
    this.reader = new SocketReader(socket);
    this.writer = new Writer(socket, this.options.limits.writeTimeout);
    this.secure = true;
  }

  /** Ends the session from outside: at once when it waits for the client, after the running command otherwise. */
  bye(text: string, code?: string): void {
    if (this.#closing !== undefined || this.#ended) return;
    this.#closing = text;
    this.writer.line(`* BYE ${code === undefined ? '' : `[${code}] `}${text}`);
    this.writer.send();
    this.#wakeIdle?.();
    if (!this.#busy || this.state === 'unauthenticated') this.#socket.end();
    // A client that does not go is shown out.
    setTimeout(() => this.#socket.destroy(), 5_000).unref();
  }
  /** The client has said goodbye. */
  logout(): void {
    this.#closing = 'logout';
  }
  get ended(): boolean {
    return this.#ended || this.#closing !== undefined;
  }

  #deadline(ms: number, text: string): void {
    this.#timer?.();
    const timer = setTimeout(() => this.bye(text), ms);
    timer.unref();
    this.#timer = () => clearTimeout(timer);
  }

  async #end(): Promise<void> {
    this.#ended = true;
    this.#timer?.();
    this.#unwatchAccount?.();
    await this.unselect().catch(() => undefined);
    this.writer.send();
    this.#socket.end();
    const socket = this.#socket;
    setTimeout(() => socket.destroy(), 5_000).unref();
    this.log.info('imap.disconnect', {
      user: this.account?.address ?? '',
      reason: this.#closing === 'logout' ? 'Logged out' : (this.#closing ?? 'Connection closed'),
    });
  }
}

const tagOf = (text: string): string => /^[!#$&',\-./0-9:;<=>?@A-Z[\]^_`a-z|~]{1,200}(?= )/.exec(text)?.[0] ?? '*';
function wrongState(state: State): string {
  if (state === 'unauthenticated') return 'Log in first';
  return state === 'authenticated' ? 'Select a mailbox first' : 'Not allowed after log-in';
}
