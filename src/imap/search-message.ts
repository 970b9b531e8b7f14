// Whether a message matches a search, looking at what is cheap first: flags and numbers, then the file's facts, then its header, then
// its text.
import { parseRfc5322Date } from '../message/date.ts';
import { bodyContains, headerBlockContains, headerTexts } from '../message/search-text.ts';
import { headerLength } from '../message/headers.ts';
import type { Mailbox, MessageContent, MessageFacts, MessageRow } from '../storage/types.ts';
import type { SearchKey } from './syntax/search.ts';
import { inRanges, type NumberRange, type SequenceSet } from './syntax/sequence-set.ts';

/** Bytes of a header that are searched. */
const MAX_HEADER = 262_144;

export interface SearchPlace {
  readonly mailbox: Mailbox;
  readonly isRecent: (row: MessageRow) => boolean;
  /** What `*` means. */
  readonly lastSeq: number;
  readonly lastUid: number;
  /** A set with `*` as `last`: worked out once a search. */
  readonly ranges: (set: SequenceSet, last: number) => readonly NumberRange[];
}

const COST: Readonly<Record<SearchKey['key'], number>> = {
  all: 0,
  recent: 0,
  new: 0,
  old: 0,
  flag: 0,
  seq: 0,
  uid: 0,
  not: 1,
  or: 2,
  and: 1,
  size: 3,
  date: 4,
  header: 5,
  body: 8,
  text: 9,
};
function cost(key: SearchKey): number {
  if (key.key === 'not') return cost(key.of);
  if (key.key === 'or') return Math.max(cost(key.a), cost(key.b));
  if (key.key === 'and') return Math.max(0, ...key.of.map(cost));
  return COST[key.key];
}

/** Puts the cheap keys of every `and` first. */
export function arrange(key: SearchKey): SearchKey {
  if (key.key === 'and') return { key: 'and', of: key.of.map(arrange).sort((a, b) => cost(a) - cost(b)) };
  if (key.key === 'not') return { key: 'not', of: arrange(key.of) };
  if (key.key === 'or') return { key: 'or', a: arrange(key.a), b: arrange(key.b) };
  return key;
}

/** One message while it is searched: its file is opened at most once. */
export class SearchedMessage {
  readonly #place: SearchPlace;
  readonly #row: MessageRow;
  readonly #seq: number;
  #facts: Promise<MessageFacts> | undefined;
  #content: Promise<MessageContent> | undefined;
  #header: Promise<Buffer> | undefined;

  constructor(place: SearchPlace, row: MessageRow, seq: number) {
    this.#place = place;
    this.#row = row;
    this.#seq = seq;
  }

  async matches(key: SearchKey): Promise<boolean> {
    const row = this.#row;
    switch (key.key) {
      case 'all':
        return true;
      case 'recent':
        return this.#place.isRecent(row);
      case 'old':
        return !this.#place.isRecent(row);
      case 'new':
        return this.#place.isRecent(row) && !hasFlag(row, '\\Seen');
      case 'flag':
        return hasFlag(row, key.flag) === key.set;
      case 'seq':
        return inRanges(this.#place.ranges(key.set, this.#place.lastSeq), this.#seq);
      case 'uid':
        return inRanges(this.#place.ranges(key.set, this.#place.lastUid), row.uid);
      case 'size': {
        const { wireSize } = await this.#getFacts();
        return key.op === 'larger' ? wireSize > key.size : wireSize < key.size;
      }
      case 'date':
        return compareDay(await this.#day(key.of), key.op, key.day);
      case 'header':
        return this.#headerContains(key.field, key.text);
      case 'body':
        return this.#bodyContains(key.text);
      case 'text':
        return (await headerBlockContains(await this.#getHeader(), key.text)) || this.#bodyContains(key.text);
      case 'not':
        return !(await this.matches(key.of));
      case 'or':
        return (await this.matches(key.a)) || this.matches(key.b);
      case 'and':
        for (const part of key.of) if (!(await this.matches(part))) return false;
        return true;
    }
  }

  #getFacts(): Promise<MessageFacts> {
    return (this.#facts ??= this.#place.mailbox.facts(this.#row.uid));
  }
  #getContent(): Promise<MessageContent> {
    return (this.#content ??= this.#place.mailbox.content(this.#row.uid));
  }
  async #getHeader(): Promise<Buffer> {
    return (this.#header ??= this.#readHeader());
  }
  async #readHeader(): Promise<Buffer> {
    const content = await this.#getContent();
    const chunks: Buffer[] = [];
    for await (const chunk of content.read(0, MAX_HEADER)) {
      chunks.push(chunk);
      const all = Buffer.concat(chunks);
      const end = headerLength(all);
      if (end !== undefined) return all.subarray(0, end);
    }
    return Buffer.concat(chunks);
  }

  /** A calendar day, as days since the epoch: of the Date field as written, of INTERNALDATE in the server's zone. */
  async #day(of: 'internal' | 'sent'): Promise<number> {
    if (of === 'sent') {
      const [text] = headerTexts(await this.#getHeader(), 'date');
      const date = text === undefined ? undefined : parseRfc5322Date(text);
      if (date) return date.day;
    }
    const { internalDate } = await this.#getFacts();
    return Math.floor((internalDate - new Date(internalDate).getTimezoneOffset() * 60_000) / 86_400_000);
  }

  async #headerContains(field: string, text: string): Promise<boolean> {
    return headerTexts(await this.#getHeader(), field).some((value) => value.includes(text));
  }
  async #bodyContains(text: string): Promise<boolean> {
    if (text === '') return true;
    const content = await this.#getContent();
    return bodyContains(await this.#place.mailbox.structure(this.#row.uid), (start, end) => content.read(start, end), text);
  }

  async close(): Promise<void> {
    const content = await this.#content?.catch(() => undefined);
    await content?.close();
  }
}

const hasFlag = (row: MessageRow, flag: string): boolean => row.flags.some((f) => f.toLowerCase() === flag.toLowerCase());
function compareDay(day: number, op: 'before' | 'on' | 'since', wanted: number): boolean {
  if (op === 'on') return day === wanted;
  return op === 'before' ? day < wanted : day >= wanted;
}
