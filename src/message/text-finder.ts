// Finding a piece of text in a stream of text without regard to case, whatever the pieces, in bounded memory and small steps.

/** Characters folded at once: normalising many combining marks takes quadratic time. */
const STEP = 1024;

/** Folds case, and Unicode's many ways to write one letter, for comparing. */
export function foldCase(text: string): string {
  if (text.length <= STEP) return foldPiece(text);
  let out = '';
  for (let at = 0; at < text.length;) {
    const end = cutBefore(text, at + STEP);
    out += foldPiece(text.slice(at, end));
    at = end;
  }
  return out;
}

const foldPiece = (text: string): string => text.normalize('NFKC').toLowerCase().replaceAll('ς', 'σ');

/** A place at or before `at` (at most half a step before) where a text can be cut without tearing a letter from its marks. */
function cutBefore(text: string, at: number): number {
  if (at >= text.length) return text.length;
  for (let i = at; i > at - STEP / 2; i--) if (isSafeStart(text.charCodeAt(i))) return i;
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}
/** Nothing before it ever joins with it: Latin, digits, blanks, ideographs. */
const isSafeStart = (code: number): boolean => code < 0x300 || (code >= 0x3400 && code <= 0x9fff);

/** Says whether a text given in pieces holds `needle`. */
export class TextFinder {
  readonly #needle: string;
  /** The end of what was seen, folded: shorter than the needle. */
  #seen = '';
  /** What was given but not folded yet: a mark may follow. */
  #pending = '';

  /** `needle`: folded (`foldCase`). */
  constructor(needle: string) {
    this.#needle = needle;
  }

  /** True once the needle was found in what was given; keep pieces under some tens of KB. */
  push(text: string): boolean {
    const all = this.#pending + text;
    const end = all.length <= STEP ? 0 : cutBefore(all, all.length - 1);
    this.#pending = all.slice(end);
    return this.#look(foldCase(all.slice(0, end)));
  }
  /** The same, for the last time. */
  end(): boolean {
    const rest = this.#pending;
    this.#pending = '';
    return this.#look(foldCase(rest));
  }

  #look(folded: string): boolean {
    const text = this.#seen + folded;
    if (text.includes(this.#needle)) return true;
    this.#seen = this.#needle.length > 1 ? text.slice(1 - this.#needle.length) : '';
    return false;
  }
}
