// `maildirsize` (Maildir++): what an account's mail takes. First line: the limits, `<bytes>S,<count>C`; then one line for each change,
// `<bytes> <messages>`, summed up. Counted anew when the limits changed, when it has grown past 5,120 bytes, or when it says the account is
// over its limit and is older than 15 minutes. It counts S= sizes (bytes on disk).
import { constants, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { MailError } from '../lib/errors.ts';
import { isMissing, namesIn, readIfThere, replaceFile } from './files.ts';
import { sizeInName } from './maildir-name.ts';
import type { QuotaLimits, QuotaUsage } from './types.ts';

const MAX_FILE = 5120;
const STALE_MS = 15 * 60_000;

const definition = ({ bytes, messages }: QuotaLimits): string =>
  [bytes === undefined ? '' : `${bytes}S`, messages === undefined ? '' : `${messages}C`].filter(Boolean).join(',');

export class Quota {
  readonly #maildir: string;
  readonly #limits: QuotaLimits;
  readonly #now: () => number;

  constructor(maildir: string, limits: QuotaLimits, now: () => number) {
    this.#maildir = maildir;
    this.#limits = limits;
    this.#now = now;
  }

  get #limited(): boolean {
    return this.#limits.bytes !== undefined || this.#limits.messages !== undefined;
  }
  get #path(): string {
    return join(this.#maildir, 'maildirsize');
  }

  async usage(): Promise<QuotaUsage> {
    const known = this.#limited ? await this.#fromFile() : undefined;
    return { ...(known ?? (await this.#count())), limits: this.#limits };
  }

  async #fromFile(): Promise<{ bytes: number; messages: number } | undefined> {
    const data = await readIfThere(this.#path);
    if (!data || data.length > MAX_FILE) return undefined;
    const [head, ...lines] = data.toString('latin1').split('\n');
    if (head !== definition(this.#limits)) return undefined;
    let bytes = 0;
    let messages = 0;
    for (const line of lines) {
      const m = /^\s*(-?\d{1,15})\s+(-?\d{1,9})\s*$/.exec(line);
      if (!m) continue;
      bytes += Number(m[1]);
      messages += Number(m[2]);
    }
    const over = this.#over(bytes, messages);
    if (bytes < 0 || messages < 0) return undefined;
    if (over && this.#now() - (await stat(this.#path)).mtimeMs > STALE_MS) return undefined;
    return { bytes, messages };
  }

  #over(bytes: number, messages: number): boolean {
    return bytes > (this.#limits.bytes ?? Infinity) || messages > (this.#limits.messages ?? Infinity);
  }

  /** Adds up every folder; writes the file when there are limits. */
  async #count(): Promise<{ bytes: number; messages: number }> {
    let bytes = 0;
    let messages = 0;
    for (const entry of await folders(this.#maildir))
      for (const sub of ['cur', 'new'])
        for (const size of await sizes(join(this.#maildir, entry, sub))) {
          bytes += size;
          messages++;
        }
    if (this.#limited) {
      const text = `${definition(this.#limits)}\n${bytes} ${messages}\n`;
      // An account without its folder yet has no file either; what a full disk refuses is counted again.
      await replaceFile(this.#path, text, 0o640).catch(() => undefined);
    }
    return { bytes, messages };
  }

  /** @throws MailError over-quota when so much more would not fit */
  async check(bytes: number, messages: number): Promise<void> {
    if (!this.#limited) return;
    if (this.#over(bytes, messages))
      throw new MailError('over-quota', 'NEVER_FITS', 'Quota exceeded (the message is larger than the mailbox may be)');
    const usage = await this.usage();
    if (this.#over(usage.bytes + bytes, usage.messages + messages))
      throw new MailError('over-quota', 'OVER_QUOTA', 'Quota exceeded (mailbox for user is full)');
  }

  /** Notes a change. Never throws: a note that cannot be written costs a count, not the message that it is about. */
  async add(bytes: number, messages: number): Promise<void> {
    if (!this.#limited || (bytes === 0 && messages === 0)) return;
    try {
      const handle = await open(this.#path, constants.O_WRONLY | constants.O_APPEND);
      try {
        await handle.write(`${bytes} ${messages}\n`);
      } finally {
        await handle.close();
      }
    } catch (error) {
      // Without the file it is counted anew when next asked.
      if (!isMissing(error)) await unlink(this.#path).catch(() => undefined);
    }
  }
}

async function folders(maildir: string): Promise<string[]> {
  try {
    const entries = await readdir(maildir, { withFileTypes: true });
    return ['.', ...entries.filter((e) => e.isDirectory() && e.name.startsWith('.')).map((e) => e.name)];
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function sizes(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await namesIn(folder)) {
    if (name.startsWith('.')) continue;
    const size = sizeInName(name.split(':')[0] ?? name, 'S');
    found.push(
      size ??
        (await stat(join(folder, name)).then(
          (s) => s.size,
          () => 0,
        )),
    );
  }
  return found;
}
