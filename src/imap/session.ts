// One IMAP connection (RFC 3501): its state, its loop from command to answer, and the ways it ends.
import type { Duplex } from 'node:stream';
import type { Account, Authenticator, LoginOrigin } from '../auth/types.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { AccountStore, MailboxPath } from '../storage/types.ts';
import type { CommandHandler, SessionState } from './commands/handler.ts';
import type { ImapLimits } from './limits.ts';
import { toPath, type Namespace } from './mailbox-name.ts';
import { badReply, completionOf, formatCompletion, no, type Completion } from './status.ts';
import { Scanner } from './syntax/scanner.ts';
import { formatFetchFlags, writeKeywords } from './untagged.ts';
import type { MailboxView } from './view.ts';
import { readCommand, type ReadCommand } from './wire/command-reader.ts';
import type { ResponseWriter } from './wire/response-writer.ts';
import type { Transport } from './wire/transport.ts';
import { WireEnd } from './wire/wire-end.ts';

export interface SessionOptions {
  readonly hostname: string;
  readonly namespace: Namespace;
  readonly limits: ImapLimits;
  readonly authenticator: Authenticator;
  readonly accountStore: (account: Account) => AccountStore;
  /** Where big APPENDs wait. */
  readonly spoolFolder: string;
  readonly clock: Clock;
  /** Does the TLS handshake on this connection; rejects when that is closed. Undefined where no certificate is set. */
  readonly startTls?: (socket: Duplex) => Promise<Duplex>;
}

export interface SessionParts {
  readonly options: SessionOptions;
  /** By name in upper case; `UID FETCH` for the UID forms. */
  readonly commandNamed: (name: string) => CommandHandler | undefined;
  /** TLS from the first byte. */
  readonly encrypted: boolean;
  readonly transport: Transport;
  readonly origin: LoginOrigin;
  readonly logger: Logger;
  /** Counts the log-in against the limit of the user; undefined when it is reached. Gives what ends the counting. */
  readonly admitUser: (account: Account) => Promise<(() => void) | undefined>;
}

const FAREWELL_MS = 2_000;

export class ImapSession {
  readonly #parts: SessionParts;
  #origin: LoginOrigin;
  #logger: Logger;
  #store: AccountStore | undefined;
  #view: MailboxView | undefined;
  #encrypted: boolean;
  /** What the last BYE says; set once, then the loop ends. Empty: BYE has been said. */
  #ending: string | undefined;
  /** No command has begun: an interruption may end the session here. */
  #waiting = false;
  #badCommands = 0;
  #reason = 'Connection closed';
  readonly #cleanups: (() => void)[] = [];
  #loginDeadline: (() => void) | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#origin = parts.origin;
    this.#encrypted = parts.encrypted;
    this.#logger = parts.logger;
  }

  get options(): SessionOptions {
    return this.#parts.options;
  }
  get limits(): ImapLimits {
    return this.options.limits;
  }
  get clock(): Clock {
    return this.options.clock;
  }
  get namespace(): Namespace {
    return this.options.namespace;
  }
  get transport(): Transport {
    return this.#parts.transport;
  }
  get writer(): ResponseWriter {
    return this.transport.writer;
  }
  get logger(): Logger {
    return this.#logger;
  }
  /** TLS, now. */
  get encrypted(): boolean {
    return this.#encrypted;
  }
  get ending(): boolean {
    return this.#ending !== undefined;
  }
  get origin(): LoginOrigin {
    return this.#origin;
  }
  get state(): SessionState {
    return this.#view ? 'selected' : this.#store ? 'authenticated' : 'not-authenticated';
  }
  /** The account's mail. Only in the states after log-in. */
  get store(): AccountStore {
    if (!this.#store) throw new MailError('not-permitted', 'NOT_AUTHENTICATED', 'Log in first');
    return this.#store;
  }
  /** The selected mailbox. Only in the selected state. */
  get view(): MailboxView {
    if (!this.#view) throw new MailError('bad-syntax', 'NOT_SELECTED', 'No mailbox is selected');
    return this.#view;
  }
  get selected(): MailboxView | undefined {
    return this.#view;
  }
  /** A mailbox argument as levels. @throws MailError cannot */
  path(wireName: string): MailboxPath {
    return toPath(wireName, this.namespace);
  }
  scanner(bytes: Buffer): Scanner {
    return new Scanner(bytes, { nesting: this.limits.searchDepth, items: this.limits.items });
  }
  untagged(text: string): void {
    this.writer.line(`* ${text}`);
  }

  // ---- state changes, for commands

  /** Log-in succeeded; undefined when this user has too many sessions from this address. */
  async begin(account: Account, mechanism: string): Promise<Completion | undefined> {
    const leave = await this.#parts.admitUser(account);
    if (!leave) return no('Too many sessions of this user from this address', 'LIMIT');
    this.#cleanups.push(leave);
    this.#store = this.options.accountStore(account);
    this.#badCommands = 0;
    this.#loginDeadline?.();
    this.#logger = this.#logger.child({ user: account.address });
    this.#cleanups.push(this.options.authenticator.watch(account, () => this.interrupt('Account changed, log in again', true)));
    this.#logger.info('imap.login', { mechanism, secure: this.#encrypted });
    return undefined;
  }
  /** TLS began: everything known from before it is forgotten (RFC 3501 6.2.1). */
  secured(): void {
    this.#encrypted = true;
    this.#origin = { ...this.#origin, secure: true };
  }
  async select(view: MailboxView): Promise<void> {
    await this.unselect();
    this.#view = view;
  }
  async unselect(): Promise<void> {
    const view = this.#view;
    this.#view = undefined;
    await view?.close();
  }
  /** The session ends when this command is answered. `text` for a BYE that has not been said. */
  finish(text = ''): void {
    this.#ending ??= text;
  }

  /** Ends the session from outside: between commands, or (`now`) wherever it reads. The answer to a running command still goes out. */
  interrupt(text: string, now = false): void {
    this.#ending ??= text;
    if (this.#waiting || now) this.transport.reader.stop(new WireEnd('interrupted'));
  }

  // ---- reading

  /** The line behind the message of APPEND: the command runs on whatever happens outside. */
  async lastLine(): Promise<Buffer> {
    const cancel = this.deadline(this.limits.commandTimeout);
    return this.transport.reader.line(this.limits.line).finally(cancel);
  }
  /** A line that the session waits for (a command, SASL responses, DONE): an interruption may end it. */
  async line(limit: number, ms: number): Promise<Buffer> {
    const cancel = this.deadline(ms);
    this.#waiting = true;
    try {
      if (this.#ending !== undefined) throw new WireEnd('interrupted');
      return await this.transport.reader.line(limit);
    } finally {
      this.#waiting = false;
      cancel();
    }
  }
  /** Reading fails after `ms` unless the returned function is called. */
  deadline(ms: number): () => void {
    return this.clock.after(ms, () => this.transport.reader.stop(new WireEnd('timeout')));
  }
  /** `+ text`: go on. */
  async proceed(text = 'OK'): Promise<void> {
    this.writer.line(`+ ${text}`);
    await this.writer.flush();
  }

  // ---- the loop

  /** Serves the connection to its end. Never throws. */
  async run(greeting: string): Promise<void> {
    this.#loginDeadline = this.deadline(this.limits.loginTimeout);
    try {
      this.untagged(greeting);
      await this.writer.flush();
      while (this.#ending === undefined) {
        await this.#one();
        await this.writer.flush();
      }
      await this.#farewell(this.#ending);
      this.#reason = this.#ending === '' ? 'Logged out' : this.#ending;
    } catch (error) {
      this.#reason = await this.#lastWords(error);
    } finally {
      await this.#cleanUp();
    }
  }

  async #one(): Promise<void> {
    const beforeLogin = this.#store === undefined;
    const { lineBeforeLogin, line, literalsBeforeLogin, literals, idleTimeout, commandTimeout } = this.limits;
    const limits = beforeLogin ? { line: lineBeforeLogin, literals: literalsBeforeLogin } : { line, literals };
    const first = await this.line(limits.line, idleTimeout);
    const cancel = this.deadline(commandTimeout);
    let read: ReadCommand;
    try {
      read = await readCommand(this.transport.reader, first, limits, () => this.proceed());
    } finally {
      cancel();
    }
    await this.#execute(read);
  }

  async #execute(read: ReadCommand): Promise<void> {
    const args = this.scanner(read.bytes);
    let tag = '*';
    try {
      tag = args.tag(this.limits.tag);
      if (read.kind === 'refused') return this.#refuse(tag, read);
      args.space();
      const name = args.keyword();
      const handler = this.#parts.commandNamed(name === 'UID' ? `UID ${uidCommand(args)}` : name);
      const literal = read.kind === 'message' ? read.literal : undefined;
      if (!handler || !handler.states.includes(this.state)) {
        this.#bad(tag, handler ? this.#wrongState(handler) : 'Unknown command');
        if (literal?.nonSync) this.finish('Literal without a command');
        return;
      }
      await this.#answer(tag, handler, () => handler.run(this, { tag, args, literal }));
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      this.#bad(tag, error.clientText);
      if (read.kind === 'message' && read.literal.nonSync) this.finish('Literal without a command');
    }
  }

  async #answer(tag: string, handler: CommandHandler, run: () => Promise<Completion | undefined>): Promise<void> {
    let completion: Completion | undefined;
    try {
      completion = await run();
    } catch (error) {
      if (error instanceof WireEnd) throw error;
      completion = this.#failure(error, handler.tryCreate ?? false);
    }
    if (this.#view && handler.sync !== 'none')
      await this.sync({ refresh: handler.sync === 'all', expunge: handler.sync !== 'flags' });
    if (!completion) return;
    if (completion.status === 'BAD') return this.#bad(tag, completion.text, completion.code);
    if (this.#store) this.#badCommands = 0;
    this.writer.line(formatCompletion(tag, completion));
  }

  #failure(error: unknown, tryCreate: boolean): Completion {
    const mailError = toMailError(error, 'imap command');
    if (['temporary', 'disk-full', 'corrupt', 'config'].includes(mailError.kind))
      this.#logger.error('imap.failed', { code: mailError.code, detail: mailError.detail, errno: errnoOf(error) });
    return completionOf(mailError, tryCreate);
  }

  #wrongState(handler: CommandHandler): string {
    if (this.state === 'not-authenticated') return 'Log in first';
    return handler.states.includes('selected') ? 'No mailbox is selected' : 'Already logged in';
  }
  #refuse(tag: string, { text, fatal }: { text: string; fatal: boolean }): void {
    this.#bad(tag, text);
    if (fatal) this.finish(text);
  }
  #bad(tag: string, text: string, code?: string): void {
    this.writer.line(formatCompletion(tag, badReply(text, code)));
    if (++this.#badCommands >= this.limits.badCommands) this.finish('Too many invalid commands');
  }

  /** Sends what has changed in the selected mailbox. */
  async sync(options: { refresh: boolean; expunge: boolean }): Promise<void> {
    const view = this.#view;
    if (!view) return;
    let updates;
    try {
      updates = await view.update(options);
    } catch (error) {
      // The command's own answer stands; what changed is told next time.
      this.#failure(error, false);
      return;
    }
    if (view.mailbox.gone) return this.finish('The selected mailbox is gone');
    for (const update of updates) {
      if (update.kind === 'expunge') this.untagged(`${update.seq} EXPUNGE`);
      else if (update.kind === 'exists') this.untagged(`${update.count} EXISTS`);
      else if (update.kind === 'recent') this.untagged(`${update.count} RECENT`);
      else if (update.kind === 'keywords') writeKeywords(this.writer, view);
      else this.untagged(formatFetchFlags(view, update.seq, update.row, true));
      await this.writer.breathe();
    }
  }

  /** FLAGS and PERMANENTFLAGS when they are not what the client knows: before a message shows a new keyword. */
  announceKeywords(): void {
    if (this.#view?.noteKeywords()) writeKeywords(this.writer, this.#view);
  }

  // ---- the end

  async #farewell(text: string): Promise<void> {
    if (text !== '') this.untagged(`BYE ${text}`);
    await this.writer.flush();
  }

  /** Says why, where it still can; gives the reason for the log. */
  async #lastWords(error: unknown): Promise<string> {
    try {
      if (!(error instanceof WireEnd)) {
        this.#logger.error('imap.crash', { detail: error instanceof Error ? (error.stack ?? error.message) : String(error) });
        await this.#farewell('[SERVERBUG] Internal error');
        return 'Internal error';
      }
      if (error.cause !== undefined) this.#failure(error.cause, false);
      if (error.reason === 'closed') return 'Connection closed';
      if (error.reason === 'line-too-long') this.untagged('BAD Line too long');
      const text = this.#farewellText(error.reason);
      await this.#farewell(text);
      return text;
    } catch {
      return 'Connection closed';
    }
  }
  #farewellText(reason: 'line-too-long' | 'timeout' | 'interrupted'): string {
    if (reason === 'line-too-long') return 'Line too long';
    if (reason === 'timeout') return this.#store ? 'Disconnected for inactivity' : 'Log in sooner';
    return this.#ending ?? 'Disconnected';
  }

  async #cleanUp(): Promise<void> {
    this.#loginDeadline?.();
    for (const cleanup of this.#cleanups) cleanup();
    try {
      await this.unselect();
    } catch (error) {
      this.#failure(error, false);
    }
    this.transport.end(FAREWELL_MS);
    this.#logger.info('imap.disconnect', { reason: this.#reason });
  }
}

function uidCommand(args: Scanner): string {
  args.space();
  return args.keyword();
}
