// SEARCH's keys (RFC 3501 section 6.4.4) as a tree.
import { parseImapDate } from '../../message/date.ts';
import { decodeText } from '../../message/charset.ts';
import { foldCase } from '../../message/text-finder.ts';
import { bad, type Scanner } from './scanner.ts';
import { readSequenceSet, type SequenceSet } from './sequence-set.ts';

export type SearchKey =
  | { readonly key: 'all' | 'recent' | 'new' | 'old' }
  | { readonly key: 'flag'; readonly flag: string; readonly set: boolean }
  | { readonly key: 'seq' | 'uid'; readonly set: SequenceSet }
  /** Day numbers: INTERNALDATE (internal) or the Date field (sent). */
  | { readonly key: 'date'; readonly of: 'internal' | 'sent'; readonly op: 'before' | 'on' | 'since'; readonly day: number }
  | { readonly key: 'size'; readonly op: 'larger' | 'smaller'; readonly size: number }
  | { readonly key: 'header'; readonly field: string; readonly text: string }
  | { readonly key: 'body' | 'text'; readonly text: string }
  | { readonly key: 'not'; readonly of: SearchKey }
  | { readonly key: 'or'; readonly a: SearchKey; readonly b: SearchKey }
  | { readonly key: 'and'; readonly of: readonly SearchKey[] };

/** What SEARCH understands: NO [BADCHARSET (…)] to others. */
export const SEARCH_CHARSETS = ['US-ASCII', 'UTF-8'] as const;

const FLAGS: Readonly<Record<string, string>> = {
  ANSWERED: '\\Answered',
  DELETED: '\\Deleted',
  DRAFT: '\\Draft',
  FLAGGED: '\\Flagged',
  SEEN: '\\Seen',
};
const MAX_KEYS = 1_000;

/** The tree; undefined for a charset we do not know. Text without CHARSET is taken as UTF-8, which US-ASCII is part of. */
export function readSearch(scan: Scanner): SearchKey | undefined {
  if (scan.accept('CHARSET ')) {
    const charset = scan.astring().toString('latin1').toUpperCase();
    if (!SEARCH_CHARSETS.some((known) => known === charset)) return undefined;
    scan.space();
  }
  return new KeyReader(scan, scan.limits.nesting).program();
}

class KeyReader {
  readonly #scan: Scanner;
  readonly #maxDepth: number;
  #count = 0;

  constructor(scan: Scanner, maxDepth: number) {
    this.#scan = scan;
    this.#maxDepth = maxDepth;
  }

  program(): SearchKey {
    const keys = [this.#key(0)];
    while (!this.#scan.atEnd) {
      this.#scan.space();
      keys.push(this.#key(0));
    }
    return { key: 'and', of: keys };
  }

  #key(depth: number): SearchKey {
    if (depth > this.#maxDepth || ++this.#count > MAX_KEYS) throw bad('The search is too complex');
    const scan = this.#scan;
    const c = scan.next;
    if (c === '(') {
      const of = scan.list(() => this.#key(depth + 1));
      if (of.length === 0) throw bad('An empty list of search keys');
      return { key: 'and', of };
    }
    if ((c >= '0' && c <= '9') || c === '*') return { key: 'seq', set: readSequenceSet(scan) };
    return this.#named(scan.keyword(), depth);
  }

  #named(name: string, depth: number): SearchKey {
    const scan = this.#scan;
    const flag = FLAGS[name] ?? FLAGS[name.replace(/^UN/, '')];
    if (flag !== undefined) return { key: 'flag', flag, set: !name.startsWith('UN') };
    switch (name) {
      case 'ALL':
      case 'NEW':
      case 'OLD':
      case 'RECENT':
        return { key: name.toLowerCase() as 'all' | 'new' | 'old' | 'recent' };
      case 'KEYWORD':
      case 'UNKEYWORD':
        scan.space();
        return { key: 'flag', flag: scan.atom(), set: name === 'KEYWORD' };
      case 'BEFORE':
      case 'ON':
      case 'SINCE':
        return { key: 'date', of: 'internal', op: name.toLowerCase() as 'before' | 'on' | 'since', day: this.#date() };
      case 'SENTBEFORE':
      case 'SENTON':
      case 'SENTSINCE':
        return { key: 'date', of: 'sent', op: name.slice(4).toLowerCase() as 'before' | 'on' | 'since', day: this.#date() };
      case 'LARGER':
      case 'SMALLER':
        scan.space();
        return { key: 'size', op: name.toLowerCase() as 'larger' | 'smaller', size: scan.number() };
      case 'BCC':
      case 'CC':
      case 'FROM':
      case 'SUBJECT':
      case 'TO':
        return { key: 'header', field: name.toLowerCase(), text: this.#text() };
      case 'HEADER':
        scan.space();
        return { key: 'header', field: scan.astring().toString('latin1').toLowerCase(), text: this.#text() };
      case 'BODY':
      case 'TEXT':
        return { key: name.toLowerCase() as 'body' | 'text', text: this.#text() };
      case 'UID':
        scan.space();
        return { key: 'uid', set: readSequenceSet(scan) };
      case 'NOT':
        scan.space();
        return { key: 'not', of: this.#key(depth + 1) };
      case 'OR': {
        scan.space();
        const a = this.#key(depth + 1);
        scan.space();
        return { key: 'or', a, b: this.#key(depth + 1) };
      }
      default:
        throw bad('Unknown search key');
    }
  }

  #text(): string {
    this.#scan.space();
    return foldCase(decodeText(this.#scan.astring(), undefined));
  }
  #date(): number {
    this.#scan.space();
    const text = this.#scan.next === '"' ? this.#scan.string().toString('latin1') : this.#scan.atom();
    const day = parseImapDate(text);
    if (day === undefined) throw bad('Bad date');
    return day;
  }
}
