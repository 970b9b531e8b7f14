// `dovecot-uidlist`, version 3: which UID each message file has. One in each mailbox's folder.
//
//   3 V<uidvalidity> N<next uid> G<mailbox guid>
//   <uid> [<letter><value> …] :<file name>
//
// The header's N may be stale: the next UID is max(N, last + 1). Lines are appended and synced under Dovecot's dot-lock before a client
// sees a UID; entries of files that are gone stay until the list is compacted (written anew and renamed into place).
import { open, stat, type FileHandle } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { withDotlock } from './dotlock.ts';
import { readIfThere, replaceFile } from './files.ts';
import type { Uid } from './types.ts';

const MAX_UID = 0xffff_fffe;
/** Dead entries that make a compaction worthwhile: more than these and more than live ones. */
const COMPACT_DEAD = 500;
const FILE_MODE = 0o640;

export interface UidlistEntry {
  readonly uid: Uid;
  /** Extension fields as they stand (`G…`, `W…`), kept when compacting. */
  readonly extra: string;
  /** As in the list: without flags when we wrote it. */
  readonly name: string;
}

interface Header {
  readonly uidValidity: number;
  readonly nextUid: number;
  readonly guid: string;
}

export interface ParsedUidlist {
  readonly header: Header;
  /** By base name. */
  readonly entries: Map<string, UidlistEntry>;
  /** Lines that no longer count: duplicates of a name. */
  readonly dead: number;
  /** True when lines could not be read: UIDs would be guessed, so a new UIDVALIDITY is due. */
  readonly broken: boolean;
}

/** Reads a list; undefined when its header is none. A cut-off last line (a crash while appending) is passed over. */
export function parseUidlist(text: string): ParsedUidlist | undefined {
  const lines = text.split('\n');
  const complete = text.endsWith('\n');
  if (!complete) lines.pop();
  const head = /^3((?: [A-Z][^ ]*)+) *$/.exec(lines[0] ?? '');
  if (!head) return undefined;
  const field = (letter: string): string | undefined =>
    head[1]
      ?.split(' ')
      .find((part) => part.startsWith(letter))
      ?.slice(1);
  const uidValidity = Number(field('V') ?? 0);
  if (!Number.isInteger(uidValidity) || uidValidity < 1 || uidValidity > 0xffff_ffff) return undefined;
  const entries = new Map<string, UidlistEntry>();
  let last = 0;
  let dead = 0;
  let broken = false;
  for (const line of lines.slice(1)) {
    if (line === '') continue;
    const m = /^(\d{1,10}) (?:([^:]*) )?:(.+)$/.exec(line);
    const uid = Number(m?.[1] ?? 0);
    if (!m || uid <= last || uid > MAX_UID) {
      broken = true;
      continue;
    }
    last = uid;
    const name = m[3] ?? '';
    const base = name.split(':')[0] ?? name;
    if (entries.has(base)) dead++;
    entries.set(base, { uid: uid as Uid, extra: m[2] ?? '', name });
  }
  return {
    header: { uidValidity, nextUid: Math.max(Number(field('N') ?? 1) || 1, last + 1), guid: field('G') ?? '' },
    entries,
    dead,
    broken,
  };
}

const formatHeader = (h: Header): string => `3 V${h.uidValidity} N${h.nextUid}${h.guid === '' ? '' : ` G${h.guid}`}\n`;
const formatEntry = (e: UidlistEntry): string => `${e.uid} ${e.extra === '' ? '' : `${e.extra} `}:${e.name}\n`;

/** One mailbox's list, kept in memory while the file is the same. Calls of one object must not overlap (the mailbox's mutex sees to it). */
export class Uidlist {
  readonly #folder: string;
  readonly #path: string;
  /** Gives a UIDVALIDITY that is higher than any this account has used. */
  readonly #newValidity: () => Promise<number>;
  #list: ParsedUidlist | undefined;
  #stamp = '';

  constructor(folder: string, newValidity: () => Promise<number>) {
    this.#folder = folder;
    this.#path = join(folder, 'dovecot-uidlist');
    this.#newValidity = newValidity;
  }

  /** Brings memory up to date with the file, without the lock. Undefined when there is no usable list yet. */
  async read(): Promise<ParsedUidlist | undefined> {
    const stamp = await stampOf(this.#path);
    if (stamp === '' || stamp !== this.#stamp) {
      const data = stamp === '' ? undefined : await readIfThere(this.#path);
      const parsed = data ? parseUidlist(data.toString('utf8')) : undefined;
      this.#list = parsed?.broken ? undefined : parsed;
      this.#stamp = stamp;
    }
    return this.#list;
  }

  /**
   * Sees to it that each of these base names has a UID, in their order, synced on disk before it resolves. `present` are the base names of all
   * messages that exist: what else the list holds may be compacted away. Creates the list when there is none.
   */
  async assign(names: readonly string[], present: ReadonlySet<string>): Promise<ParsedUidlist> {
    return withDotlock(this.#path, FILE_MODE, async () => {
      const list = await this.read();
      if (!list) return this.#create(names);
      const missing = names.filter((name) => !list.entries.has(name));
      let uid = list.header.nextUid;
      if (uid + missing.length > MAX_UID) return this.#create(names);
      const added = missing.map((name): UidlistEntry => ({ uid: uid++ as Uid, extra: '', name }));
      const gone = list.dead + [...list.entries.keys()].filter((base) => !present.has(base)).length;
      if (gone > COMPACT_DEAD && gone > present.size) return this.#compact(list, added, present);
      if (added.length > 0) await this.#append(list, added);
      return this.#list ?? list;
    });
  }

  async #append(list: ParsedUidlist, added: readonly UidlistEntry[]): Promise<void> {
    const handle = await open(this.#path, 'r+');
    try {
      const size = await wholeLines(handle);
      await handle.truncate(size);
      await handle.write(added.map(formatEntry).join(''), size, 'utf8');
      await handle.sync();
    } finally {
      await handle.close();
    }
    const entries = new Map(list.entries);
    for (const entry of added) entries.set(entry.name.split(':')[0] ?? entry.name, entry);
    await this.#keep({ ...list, entries, header: { ...list.header, nextUid: (added.at(-1)?.uid ?? 0) + 1 } });
  }

  async #compact(list: ParsedUidlist, added: readonly UidlistEntry[], present: ReadonlySet<string>): Promise<ParsedUidlist> {
    const live = [...list.entries].filter(([base]) => present.has(base)).map(([, entry]) => entry);
    const entries = [...live.sort((a, b) => a.uid - b.uid), ...added];
    return this.#write({ ...list.header, nextUid: Math.max(list.header.nextUid, (added.at(-1)?.uid ?? 0) + 1) }, entries);
  }

  /** A new list, under a UIDVALIDITY never used before. */
  async #create(names: readonly string[]): Promise<ParsedUidlist> {
    const entries = names.map((name, i): UidlistEntry => ({ uid: (i + 1) as Uid, extra: '', name }));
    const header = { uidValidity: await this.#newValidity(), nextUid: names.length + 1, guid: randomBytes(16).toString('hex') };
    return this.#write(header, entries);
  }

  async #write(header: Header, entries: readonly UidlistEntry[]): Promise<ParsedUidlist> {
    const text = formatHeader(header) + entries.map(formatEntry).join('');
    await replaceFile(this.#path, join(this.#folder, `dovecot-uidlist.${process.pid}.tmp`), text, FILE_MODE);
    const byName = new Map(entries.map((entry) => [entry.name.split(':')[0] ?? entry.name, entry]));
    return this.#keep({ header, entries: byName, dead: 0, broken: false });
  }

  async #keep(list: ParsedUidlist): Promise<ParsedUidlist> {
    this.#list = list;
    this.#stamp = await stampOf(this.#path);
    return list;
  }
}

/** Length of the file up to its last line end: a line that a crash has cut off was never shown to a client. */
async function wholeLines(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  const tail = Buffer.alloc(Math.min(size, 8192));
  await handle.read(tail, 0, tail.length, size - tail.length);
  const lf = tail.lastIndexOf(0x0a);
  return lf < 0 ? size : size - tail.length + lf + 1;
}

/** What tells one state of a file from another; empty when it does not exist. */
async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true });
    return `${ino}.${size}.${mtimeNs}`;
  } catch {
    return '';
  }
}
