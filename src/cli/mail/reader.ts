// Reading a mailbox with commands on standard input, as mail(1): lists, prints, answers, removes and saves messages.
import { resolve } from 'node:path';
import { MailError } from '../../lib/errors.ts';
import { Fatal } from '../sysexits.ts';
import type { CommandIo } from '../command.ts';
import { pathOfUrl } from './box.ts';
import { kindOf, type Box, type BoxMessage } from './box-types.ts';
import { addToMaildir } from './maildir-box.ts';
import { addToMbox } from './mbox-box.ts';
import { replyTo } from './reply.ts';
import { sendLetter } from './send.ts';
import { summaryLine } from './summary.ts';

/** Lines of a summary. */
const SCREEN = 20;

/** What to do after a command. */
type Next = 'go-on' | 'quit' | 'exit';

export class MailReader {
  readonly #box: Box;
  readonly #io: CommandIo;
  readonly #lines: AsyncIterator<string, undefined>;
  #current = 1;
  #printed = false;
  /** A command has failed. */
  failed = false;

  constructor(box: Box, lines: AsyncIterator<string, undefined>, io: CommandIo) {
    this.#box = box;
    this.#lines = lines;
    this.#io = io;
    const unread = box.messages.findIndex(({ seen }) => !seen);
    this.#current = Math.max(1, unread + 1);
  }

  headers(): void {
    const first = Math.floor((this.#current - 1) / SCREEN) * SCREEN;
    for (const [i, message] of this.#box.messages.entries())
      if (i >= first && i < first + SCREEN) this.#io.out(`${summaryLine(message, i + 1, i + 1 === this.#current)}\n`);
  }

  /** Runs commands until one ends it; true when what was marked is to be written. */
  async run(): Promise<boolean> {
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) return true;
      const next = await this.command(line.value);
      if (next !== 'go-on') return next === 'quit';
    }
  }

  async command(line: string): Promise<Next> {
    const [, word = '', rest = ''] = /^\s*([A-Za-z]+|[=?#]?)\s*(.*)$/.exec(line) ?? [];
    try {
      return await this.#perform(word, rest.trim());
    } catch (error) {
      if (!(error instanceof MailError || error instanceof Fatal || error instanceof CommandError)) throw error;
      this.#io.err(`${error.message}\n`);
      this.failed = true;
      return 'go-on';
    }
  }

  async #perform(word: string, rest: string): Promise<Next> {
    switch (word) {
      case 'q':
      case 'quit':
        return 'quit';
      case 'x':
      case 'ex':
      case 'exit':
      case 'xit':
        return 'exit';
      case '#':
        return 'go-on';
      case '=':
        this.#io.out(`${this.#current}\n`);
        return 'go-on';
      case 'h':
      case 'headers':
        if (rest !== '') this.#current = this.#list(rest)[0] ?? this.#current;
        this.headers();
        return 'go-on';
      case 'f':
      case 'from':
        for (const n of this.#list(rest)) this.#io.out(`${summaryLine(this.#at(n), n, n === this.#current)}\n`);
        return 'go-on';
      case '':
        await this.#print(rest === '' ? [this.#following()] : this.#list(rest));
        return 'go-on';
      case 'n':
      case 'next':
        await this.#print([this.#following()]);
        return 'go-on';
      case 'p':
      case 'print':
      case 'P':
      case 't':
      case 'type':
        await this.#print(this.#list(rest));
        return 'go-on';
      default:
        return this.#change(word, rest);
    }
  }

  async #change(word: string, rest: string): Promise<Next> {
    switch (word) {
      case 'd':
      case 'delete':
        for (const n of this.#list(rest)) this.#at(n).deleted = true;
        break;
      case 'dp':
      case 'dt':
        for (const n of this.#list(rest)) this.#at(n).deleted = true;
        await this.#print([this.#following()]);
        break;
      case 'u':
      case 'undelete':
        for (const n of this.#list(rest, true)) this.#at(n).deleted = false;
        break;
      case 's':
      case 'save':
      case 'c':
      case 'copy':
        await this.#save(rest);
        break;
      case 'r':
      case 'reply':
      case 'respond':
        await this.#reply(this.#list(rest)[0], true);
        break;
      case 'R':
      case 'Reply':
        await this.#reply(this.#list(rest)[0], false);
        break;
      default:
        throw new CommandError(`Unknown command: ${word}`);
    }
    return 'go-on';
  }

  /** The message behind the current one, or the current one when it has not been shown. */
  #following(): number {
    const { messages } = this.#box;
    let n = this.#printed ? this.#current + 1 : this.#current;
    while (messages[n - 1]?.deleted) n++;
    if (n > messages.length) throw new CommandError('No more messages');
    return n;
  }

  #at(number: number): BoxMessage {
    const message = this.#box.messages[number - 1];
    if (!message) throw new CommandError(`${number}: invalid message number`);
    return message;
  }

  /** Numbers, `1-3`, `*`, `$`, `^`, `.`; the current one when empty. Deleted ones only where they are meant. */
  #list(text: string, deleted = false): number[] {
    const last = this.#box.messages.length;
    const one = (word: string): number => {
      const n =
        word === '$' ? last : word === '^' ? 1 : word === '.' ? this.#current : /^\d{1,9}$/.test(word) ? Number(word) : NaN;
      if (!(n >= 1 && n <= last)) throw new CommandError(`${word}: invalid message number`);
      return n;
    };
    const found: number[] = [];
    for (const word of text === '' ? ['.'] : text.split(/[\s,]+/)) {
      const [from = '', to] = word === '*' ? ['1', '$'] : word.split('-', 2);
      if (last === 0) throw new CommandError('No applicable messages');
      for (let n = one(from), end = to === undefined ? n : one(to); n <= end; n++) found.push(n);
    }
    const wanted = found.filter((n) => found.length === 1 || this.#at(n).deleted === deleted);
    if (wanted.length === 0) throw new CommandError('No applicable messages');
    return wanted;
  }

  async #print(numbers: readonly number[]): Promise<void> {
    for (const n of numbers) {
      const message = this.#at(n);
      this.#io.out((await message.read()).toString('utf8').replace(/[\x00-\x08\x0b-\x1f\x7f]/g, '?'));
      message.seen = true;
      this.#current = n;
      this.#printed = true;
    }
  }

  /** `s [LIST] FILE`. */
  async #save(rest: string): Promise<void> {
    const [, list = '', file = ''] = /^((?:[\d*$^.,-]+\s+)*)(\S+)$/.exec(rest) ?? [];
    if (file === '') throw new CommandError('No file name');
    const path = resolve(this.#io.cwd, pathOfUrl(file));
    const messages = this.#list(list.trim()).map((n) => this.#at(n));
    const all = [];
    for (const message of messages) all.push({ content: await message.read(), seen: message.seen, received: message.received });
    await ((await kindOf(path)) === 'maildir' ? addToMaildir(path, all) : addToMbox(path, all));
    this.#io.out(`"${file}" ${all.reduce((sum, { content }) => sum + content.length, 0)} bytes, ${all.length} messages\n`);
  }

  /** The text follows, up to a line of nothing but a dot. */
  async #reply(number: number | undefined, toAll: boolean): Promise<void> {
    const message = this.#at(number ?? this.#current);
    const { recipients, fields, subject } = replyTo(message.header, toAll);
    if (recipients.length === 0) throw new CommandError('There is nobody to answer');
    this.#io.out(`To: ${recipients.join(', ')}\nSubject: ${subject}\n\n`);
    const lines: string[] = [];
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true || line.value === '.') break;
      lines.push(`${line.value}\n`);
    }
    const letter = { recipients, subject, fields, files: [], headerInBody: false };
    await sendLetter(letter, Buffer.from(lines.join('')), this.#io);
    message.answered = true;
    message.seen = true;
  }
}

/** Said to the user; the next command goes on. */
class CommandError extends Error {}

/** Lines of standard input as text. */
export async function* textLines(stdin: AsyncIterable<Buffer>): AsyncGenerator<string, undefined> {
  const { inputLines } = await import('../sendmail/input.ts');
  const tooMuch = (): Error => new MailError('too-large', 'INPUT_TOO_LARGE', 'too much input');
  for await (const line of inputLines(stdin, false, 64 * 1024 * 1024, tooMuch)) yield line.toString('utf8');
  return undefined;
}
