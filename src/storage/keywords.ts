// `dovecot-keywords`: the names of a mailbox's keywords, one line each, `<index> <name>`. Index 0 is the letter `a` in file names, 25 is `z`.
// Lines past 25 mean nothing in file names; they, and lines that are none, stay as they are.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { withDotlock } from './dotlock.ts';
import { isMissing, readIfThere, replaceFile } from './files.ts';

export const MAX_KEYWORDS = 26;
const FILE_MODE = 0o640;

interface KeywordLine {
  readonly text: string;
  /** Undefined for a line that is none. */
  readonly index?: number;
  readonly name?: string;
}

function parseLines(text: string): KeywordLine[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const m = /^(\d{1,6}) (\S+)$/.exec(line);
    return m ? { text: line, index: Number(m[1]), name: m[2] ?? '' } : { text: line };
  });
}

function namesOf(lines: readonly KeywordLine[]): Map<number, string> {
  const names = new Map<number, string>();
  for (const { index, name } of lines)
    if (index !== undefined && name !== undefined && index < MAX_KEYWORDS) names.set(index, name);
  return names;
}

/** Reads the file's text: names by index, those that have a letter. Lines that are none are passed over. */
export const parseKeywords = (text: string): Map<number, string> => namesOf(parseLines(text));

export const keywordLetter = (index: number): string => String.fromCharCode(97 + index);

export class Keywords {
  readonly #path: string;
  #lines: readonly KeywordLine[] = [];
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
    this.#lines = parseLines((await readIfThere(this.#path))?.toString('utf8') ?? '');
    this.#names = namesOf(this.#lines);
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
    for (const [index, known] of this.#names) if (known.toLowerCase() === wanted) return keywordLetter(index);
    return undefined;
  }

  /**
   * Letters for these names, new ones added to the file first. Names that found no free letter are left out; one that files carry without a
   * name (`inUse`) is not free: it would name what they mean.
   */
  async letters(names: readonly string[], inUse: ReadonlySet<string> = new Set()): Promise<Map<string, string>> {
    await this.read();
    if (names.some((name) => this.letterOf(name) === undefined) && !this.full) await this.#add(names, inUse);
    const found = new Map<string, string>();
    for (const name of names) {
      const letter = this.letterOf(name);
      if (letter !== undefined) found.set(name.toLowerCase(), letter);
    }
    return found;
  }

  async #add(names: readonly string[], inUse: ReadonlySet<string>): Promise<void> {
    await withDotlock(this.#path, FILE_MODE, async () => {
      await this.read();
      const added: KeywordLine[] = [];
      for (const name of names) {
        if (this.letterOf(name) !== undefined) continue;
        const index = Array.from({ length: MAX_KEYWORDS }, (_, i) => i).find(
          (i) => !this.#names.has(i) && !inUse.has(keywordLetter(i)),
        );
        if (index === undefined) break;
        this.#names.set(index, name);
        added.push({ text: `${index} ${name}`, index, name });
      }
      if (added.length === 0) return;
      const rank = (line: KeywordLine): number => line.index ?? Infinity;
      const lines = [...this.#lines, ...added].sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
      // Until it is written nobody has the new names.
      this.#stamp = undefined;
      await replaceFile(this.#path, lines.map((line) => `${line.text}\n`).join(''), FILE_MODE);
      await this.read();
    });
  }
}
