// The messages that are sent, and the proof that each one is stored: once, in its mailbox, whole.
import { readdirSync } from 'node:fs';
import { readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '../test/support/random.ts';

/** Bytes that the headers take of a message's size. */
const HEADER_BYTES = 265;
const SENDER = 'sender@remote.test';

/** Messages number 0 to `count` - 1 of one run, all of one size, to the mailboxes in turn. */
export class MessageSet {
  readonly sender = SENDER;
  readonly count: number;
  readonly #run: string;
  readonly #addresses: readonly string[];
  readonly #maildirs: readonly string[];
  /** With the dot that ends DATA. No line begins with one. */
  readonly tail: Buffer;
  readonly #stored: Buffer;

  constructor(run: string, count: number, size: number, maildirs: ReadonlyMap<string, string>) {
    this.#run = run;
    this.count = count;
    this.#addresses = [...maildirs.keys()];
    this.#maildirs = [...maildirs.values()];
    const body = words(Math.max(64, size - HEADER_BYTES));
    this.tail = Buffer.from(`${body.replaceAll('\n', '\r\n')}.\r\n`, 'latin1');
    this.#stored = Buffer.from(body, 'latin1');
  }

  recipient(n: number): string {
    return this.#addresses[n % this.#addresses.length] ?? '';
  }
  /** What goes before `tail`. */
  head(n: number): string {
    return (
      `From: Load Sender <${SENDER}>\r\nTo: <${this.recipient(n)}>\r\nSubject: message ${n} of ${this.#run}\r\n` +
      `Date: ${new Date().toUTCString().replace('GMT', '+0000')}\r\nMessage-ID: <${this.#run}.${n}@client.remote.test>\r\n` +
      'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
    );
  }

  /** How many messages the mailboxes hold. */
  stored(): number {
    let sum = 0;
    for (const maildir of this.#maildirs)
      for (const sub of ['new', 'cur'])
        try {
          sum += readdirSync(join(maildir, sub)).length;
        } catch {
          // Made by the server with the first message.
        }
    return sum;
  }

  /**
   * Reads all that is stored and removes it, for the next run. @throws Error when a message is missing, twice there, in another's mailbox, not
   * whole, or none of this run, or when `tmp/` holds anything
   */
  async collect(): Promise<void> {
    const seen = new Uint8Array(this.count);
    for (const [i, maildir] of this.#maildirs.entries())
      for (const path of await filesOf(maildir)) {
        const n = this.#check(await readFile(path), path);
        if (n % this.#maildirs.length !== i) throw new Error(`message ${n} is in the wrong mailbox: ${path}`);
        if (seen[n]) throw new Error(`message ${n} is there twice: ${path}`);
        seen[n] = 1;
        await unlink(path);
      }
    const missing = seen.indexOf(0);
    if (missing >= 0) throw new Error(`message ${missing} was acknowledged and is not there`);
  }

  #check(content: Buffer, path: string): number {
    const id = /^Message-ID: <(.+)\.(\d+)@client\.remote\.test>$/m.exec(content.toString('latin1', 0, 2_000));
    const n = Number(id?.[2] ?? NaN);
    if (id?.[1] !== this.#run || !(n < this.count)) throw new Error(`no message of run ${this.#run}: ${path}`);
    const body = content.subarray(content.indexOf('\n\n') + 2);
    if (!body.equals(this.#stored)) throw new Error(`message ${n} is not whole: ${path}`);
    return n;
  }
}

async function filesOf(maildir: string): Promise<string[]> {
  const paths: string[] = [];
  for (const sub of ['new', 'cur', 'tmp']) {
    const folder = join(maildir, sub);
    const names = await readdir(folder).catch(() => []);
    if (sub === 'tmp' && names.length > 0) throw new Error(`${folder} holds ${names.join(', ')}`);
    paths.push(...names.map((name) => join(folder, name)));
  }
  return paths;
}

/** Lines of random words, the same at each call, exactly so many bytes as they have with CRLF; here with LF. */
function words(size: number): string {
  const random = seededRandom(1);
  const word = (): string => String.fromCharCode(...Array.from({ length: 2 + random.below(9) }, () => 97 + random.below(26)));
  const vocabulary = Array.from({ length: 800 }, word);
  const lines: string[] = [];
  for (let left = size; left > 0;) {
    let line = random.pick(vocabulary);
    while (line.length < 66) line += ` ${random.pick(vocabulary)}`;
    // The last line takes what is left; a rest too short for a line of its own is added to it.
    if (left < line.length + 5) line = 'x'.repeat(Math.max(1, left - 2));
    lines.push(line);
    left -= line.length + 2;
  }
  return `${lines.join('\n')}\n`;
}
