// `dovecot-keywords`: the names of a mailbox's keywords, one line each, `<index> <name>`. Index 0 is the letter `a` in file names, 25 is `z`.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { withDotlock } from './dotlock.ts';
import { isMissing, readIfThere, replaceFile } from './files.ts';

export const MAX_KEYWORDS = 26;
const FILE_MODE = 0o640;

/** Reads the file's text: names by index. Lines that are none are passed over. */
export function parseKeywords(text: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split('\n')) {
    const m = /^(\d{1,3}) (\S+)$/.exec(line);
    if (m && Number(m[1]) < MAX_KEYWORDS) names.set(Number(m[1]), m[2] ?? '');
  }
  return names;
}

export class Keywords {
  readonly #path: string;
  #names = new Map<number, string>();
  #stamp: string | undefined;

  constructor(folder: string) {
    this.#path = join(folder, 'dovecot-keywords');
  }

  /** Brings memory up to date with the file; says whether it had changed. */
  async read(): Promise<boolean> {
    let stamp = '';
    try {
      const { ino, size, mtimeNs } = await stat(this.#path, { bigint: true });
      stamp = `${ino}.${size}.${mtimeNs}`;
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    if (stamp === this.#stamp) return false;
    this.#names = parseKeywords((await readIfThere(this.#path))?.toString('utf8') ?? '');
    this.#stamp = stamp;
    return true;
  }

  get names(): readonly string[] {
    return [...this.#names].sort((a, b) => a[0] - b[0]).map(([, name]) => name);
  }
  get full(): boolean {
    return this.#names.size >= MAX_KEYWORDS;
  }
  /** Name of a letter `a`–`z`, if the folder knows it. */
  nameOf(letter: string): string | undefined {
    return this.#names.get(letter.charCodeAt(0) - 97);
  }
  letterOf(name: string): string | undefined {
    const wanted = name.toLowerCase();
    for (const [index, known] of this.#names) if (known.toLowerCase() === wanted) return String.fromCharCode(97 + index);
    return undefined;
  }

  /** Letters for these names, new ones added to the file first. Names that found no free letter are left out. */
  async letters(names: readonly string[]): Promise<Map<string, string>> {
    await this.read();
    if (names.some((name) => this.letterOf(name) === undefined) && !this.full) await this.#add(names);
    const found = new Map<string, string>();
    for (const name of names) {
      const letter = this.letterOf(name);
      if (letter !== undefined) found.set(name.toLowerCase(), letter);
    }
    return found;
  }

  async #add(names: readonly string[]): Promise<void> {
    await withDotlock(this.#path, FILE_MODE, async (lockPath) => {
      await this.read();
      for (const name of names) {
        if (this.letterOf(name) !== undefined) continue;
        const free = Array.from({ length: MAX_KEYWORDS }, (_, i) => i).find((i) => !this.#names.has(i));
        if (free === undefined) break;
        this.#names.set(free, name);
      }
      const text = [...this.#names].sort((a, b) => a[0] - b[0]).map(([index, name]) => `${index} ${name}\n`);
      await replaceFile(this.#path, lockPath, text.join(''), FILE_MODE);
      this.#stamp = undefined;
      await this.read();
    });
  }
}
