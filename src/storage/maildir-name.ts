// Names of message files in a Maildir (Dovecot's and maildir(5)'s):
//
//   <seconds>.M<usec>P<pid>R<random>Q<counter>.<host>,S=<bytes on disk>,W=<octets on the wire>:2,<flags>
//
// What stands before `:` is the base name: it never changes. Postfix's names carry no S= and W=. Flags are letters in ASCII order:
// D raft, F lagged, P assed, R eplied, S een, T rashed, and a–z for keywords (dovecot-keywords).
import { randomBytes } from 'node:crypto';
import type { SystemFlag } from './types.ts';

const LETTERS: readonly (readonly [letter: string, flag: SystemFlag])[] = [
  ['D', '\\Draft'],
  ['F', '\\Flagged'],
  ['R', '\\Answered'],
  ['S', '\\Seen'],
  ['T', '\\Deleted'],
];
const FLAG_OF = new Map<string, SystemFlag>(LETTERS);
const LETTER_OF = new Map<string, string>(LETTERS.map(([letter, flag]) => [flag.toLowerCase(), letter]));

export interface MaildirName {
  readonly base: string;
  /** The letters behind `:2,`; empty when there are none. */
  readonly letters: string;
}

/**
 * Splits a file name; undefined for names that are no message: a leading dot, nothing before the colon, and what no line of the uidlist can
 * hold (control characters, bytes that are no UTF-8).
 */
export function parseName(name: string): MaildirName | undefined {
  if (name === '' || name.startsWith('.') || name.startsWith(':') || /[\x00-\x1f\x7f\ufffd]/.test(name)) return undefined;
  const colon = name.indexOf(':');
  if (colon < 0) return { base: name, letters: '' };
  const info = name.slice(colon + 1);
  return { base: name.slice(0, colon), letters: info.startsWith('2,') ? (info.slice(2).split(',')[0] ?? '') : '' };
}

/** The file name for these letters: sorted, each once. */
export function joinName(base: string, letters: string): string {
  return `${base}:2,${[...new Set(letters)].sort().join('')}`;
}

/** A number carried in the base name (`S` or `W`), or undefined. */
export function sizeInName(base: string, key: 'S' | 'W'): number | undefined {
  const m = new RegExp(`,${key}=(\\d{1,15})(?:,|$)`).exec(base);
  return m ? Number(m[1]) : undefined;
}

/** The system flag of a letter, if it is one. */
export const flagOfLetter = (letter: string): SystemFlag | undefined => FLAG_OF.get(letter);
/** The letter of a system flag (in any case), if it is one. */
export const letterOfFlag = (flag: string): string | undefined => LETTER_OF.get(flag.toLowerCase());

/** Makes base names that no other process, host or moment makes. */
export class NameMaker {
  readonly #host: string;
  readonly #now: () => number;
  /** A clock that was set back may give a later process of the same number the same moment. */
  readonly #random = randomBytes(4).toString('hex');
  #counter = 0;

  /** `now` gives milliseconds since the epoch. The host name's `/` and `:` are written as maildir(5) says. */
  constructor(host: string, now: () => number) {
    this.#host = host.replaceAll('/', '\\057').replaceAll(':', '\\072');
    this.#now = now;
  }
  /** Name without sizes: for `tmp/`. */
  unique(): string {
    const now = this.#now();
    const usec = String(Math.floor((now % 1000) * 1000)).padStart(6, '0');
    return `${Math.floor(now / 1000)}.M${usec}P${process.pid}R${this.#random}Q${this.#counter++}.${this.#host}`;
  }
}

/** Orders names as they were delivered: by time, then by the delivering process's own order. */
export function compareNames(a: string, b: string): number {
  const [secondsA, usecA] = timeOf(a);
  const [secondsB, usecB] = timeOf(b);
  return secondsA - secondsB || usecA - usecB || counterOf(a) - counterOf(b) || (a < b ? -1 : a > b ? 1 : 0);
}
function timeOf(name: string): [seconds: number, usec: number] {
  const seconds = /^\d{1,12}/.exec(name)?.[0];
  return [seconds === undefined ? 0 : Number(seconds), Number(/^\d{1,12}\.[A-Za-z0-9]{0,40}?M(\d{1,6})/.exec(name)?.[1] ?? 0)];
}
const counterOf = (name: string): number => Number(/Q(\d{1,9})\./.exec(name)?.[1] ?? 0);
