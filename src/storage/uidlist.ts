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
import { isMissing, replaceFile } from './files.ts';
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
  /** Bytes of lines that are none. The messages they were about get new UIDs, and the next UID is past any that they may have held. */
  readonly damaged: number;
  /** True when UIDs are not in order: which message has which cannot be told, so a new UIDVALIDITY is due. */
  readonly broken: boolean;
}

/** `1 :a` and a line end: no more UIDs fit into damaged bytes than one in so many. */
const SHORTEST_LINE = 5;

/** Reads a list; undefined when its header is none. A cut-off last line (a crash while appending) is passed over. */
export function parseUidlist(text: string): ParsedUidlist | undefined {
  const lines = text.split('\n');
  const header = parseHeader(lines[0] ?? '');
  if (!header || lines.length < 2) return undefined;
  // What follows the last line end: nothing, or a line that was never shown to a client.
  lines.pop();
  const entries = new Map<string, UidlistEntry>();
  let last = 0;
  let dead = 0;
  let damaged = 0;
  let broken = false;
  let sinceLast = 0;
  for (const line of lines.slice(1)) {
    if (line === '') continue;
    const entry = parseEntry(line);
    if (!entry) {
      damaged += line.length + 1;
      sinceLast += line.length + 1;
      continue;
    }
    if (entry.uid <= last) {
      broken = true;
      continue;
    }
    last = entry.uid;
    sinceLast = 0;
    const base = baseOf(entry.name);
    if (entries.has(base)) dead++;
    entries.set(base, entry);
  }
  const hidden = Math.ceil(sinceLast / SHORTEST_LINE);
  return { header: { ...header, nextUid: Math.max(header.nextUid, last + 1 + hidden) }, entries, dead, damaged, broken };
}

function parseHeader(line: string): Header | undefined {
  const [version, ...fields] = line.split(' ');
  if (version !== '3') return undefined;
  const field = (letter: string): string | undefined => fields.find((part) => part.startsWith(letter))?.slice(1);
  const uidValidity = Number(field('V') ?? 0);
  if (!Number.isInteger(uidValidity) || uidValidity < 1 || uidValidity > 0xffff_ffff) return undefined;
  const next = Number(field('N') ?? 1);
  const nextUid = Number.isInteger(next) && next > 0 && next <= MAX_UID + 1 ? next : 1;
  const guid = field('G') ?? '';
  return { uidValidity, nextUid, guid: /^[\x21-\x7e]{1,128}$/.test(guid) ? guid : '' };
}

function parseEntry(line: string): UidlistEntry | undefined {
  // Behind the UID: fields, and then the name, which is all behind the first ` :`.
  const colon = line.indexOf(' :');
  const space = line.indexOf(' ');
  const number = line.slice(0, space);
  const uid = /^\d{1,10}$/.test(number) ? Number(number) : 0;
  const name = line.slice(colon + 2);
  if (colon < 0 || uid < 1 || uid > MAX_UID || baseOf(name) === '') return undefined;
  return { uid: uid as Uid, extra: line.slice(space + 1, Math.max(space + 1, colon)), name };
}

const baseOf = (name: string): string => name.split(':', 1)[0] ?? name;
const formatHeader = (h: Header): string => `3 V${h.uidValidity} N${h.nextUid}${h.guid === '' ? '' : ` G${h.guid}`}\n`;
const formatEntry = (e: UidlistEntry): string => `${e.uid} ${e.extra === '' ? '' : `${e.extra} `}:${e.name}\n`;

/** One mailbox's list, kept in memory while the file is the same. Calls of one object must not overlap (the mailbox's mutex sees to it). */
export class Uidlist {
  readonly #path: string;
  /** Gives a UIDVALIDITY that is higher than `above` and than any this account has used. */
  readonly #newValidity: (above: number) => Promise<number>;
  /** The highest UIDVALIDITY seen here. */
  #used = 0;
  #list: ParsedUidlist | undefined;
  #stamp = '';

  constructor(folder: string, newValidity: (above: number) => Promise<number>) {
    this.#path = join(folder, 'dovecot-uidlist');
    this.#newValidity = newValidity;
  }

  /**
   * Brings memory up to date with the file, without the lock. Undefined when there is no usable list yet. Whoever wrote it may have died
   * before syncing it: a list that we did not write is synced before anybody is told of its UIDs.
   */
  async read(): Promise<ParsedUidlist | undefined> {
    const stamp = await stampOf(this.#path);
    if (stamp === '' || stamp !== this.#stamp) {
      const data = stamp === '' ? undefined : await readAndSync(this.#path);
      const parsed = data ? parseUidlist(data.toString('utf8')) : undefined;
      if (parsed) this.#used = Math.max(this.#used, parsed.header.uidValidity);
      this.#list = parsed?.broken ? undefined : parsed;
      this.#stamp = stamp;
    }
    return this.#list;
  }

  /**
   * Sees to it that each of these base names has a UID, in their order, synced on disk before it resolves. Those in `again` were gone and are back:
   * they get another UID than the one named there (another process may have seen to it). `present` are the base names of all messages that exist: what else the list holds
   * may be compacted away. Creates the list when there is none.
   */
  async assign(
    names: readonly string[],
    present: ReadonlySet<string>,
    again: ReadonlyMap<string, Uid> = new Map(),
  ): Promise<ParsedUidlist> {
    return withDotlock(this.#path, FILE_MODE, async () => {
      const list = await this.read();
      if (!list) return this.#create(names);
      const missing = names.filter((name) => {
        const known = list.entries.get(name)?.uid;
        return known === undefined || known === again.get(name);
      });
      let uid = list.header.nextUid;
      if (uid + missing.length > MAX_UID) return this.#create(names);
      const added = missing.map((name): UidlistEntry => ({ uid: uid++ as Uid, extra: '', name }));
      const renewed = missing.some((name) => list.entries.has(name));
      if (renewed || list.damaged > 0 || this.wantsCompacting(list, present)) return this.#compact(list, added, present);
      if (added.length > 0) await this.#append(list, added);
      return this.#list ?? list;
    });
  }

  /** Whether most of a list is about messages that are gone. */
  wantsCompacting(list: ParsedUidlist, present: ReadonlySet<string>): boolean {
    const gone = list.dead + [...list.entries.keys()].filter((base) => !present.has(base)).length;
    return gone > COMPACT_DEAD && gone > present.size;
  }

  async #append(list: ParsedUidlist, added: readonly UidlistEntry[]): Promise<void> {
    const handle = await open(this.#path, 'r+');
    try {
      const size = await wholeLines(handle);
      await handle.truncate(size);
      try {
        await writeAll(handle, Buffer.from(added.map(formatEntry).join('')), size);
        await handle.sync();
      } catch (error) {
        // What was not synced is not there.
        await handle.truncate(size).catch(() => undefined);
        throw error;
      }
    } finally {
      await handle.close();
    }
    const entries = new Map(list.entries);
    for (const entry of added) entries.set(baseOf(entry.name), entry);
    await this.#keep({ ...list, entries, header: { ...list.header, nextUid: (added.at(-1)?.uid ?? 0) + 1 } });
  }

  async #compact(list: ParsedUidlist, added: readonly UidlistEntry[], present: ReadonlySet<string>): Promise<ParsedUidlist> {
    const renewed = new Set(added.map(({ name }) => name));
    const live = [...list.entries].filter(([base]) => present.has(base) && !renewed.has(base)).map(([, entry]) => entry);
    const entries = [...live.sort((a, b) => a.uid - b.uid), ...added];
    return this.#write({ ...list.header, nextUid: Math.max(list.header.nextUid, (added.at(-1)?.uid ?? 0) + 1) }, entries);
  }

  /** A new list, under a UIDVALIDITY never used before. */
  async #create(names: readonly string[]): Promise<ParsedUidlist> {
    const entries = names.map((name, i): UidlistEntry => ({ uid: (i + 1) as Uid, extra: '', name }));
    const header = {
      uidValidity: await this.#newValidity(this.#used),
      nextUid: names.length + 1,
      guid: randomBytes(16).toString('hex'),
    };
    return this.#write(header, entries);
  }

  async #write(header: Header, entries: readonly UidlistEntry[]): Promise<ParsedUidlist> {
    const text = formatHeader(header) + entries.map(formatEntry).join('');
    await replaceFile(this.#path, text, FILE_MODE);
    const byName = new Map(entries.map((entry) => [baseOf(entry.name), entry]));
    return this.#keep({ header, entries: byName, dead: 0, damaged: 0, broken: false });
  }

  async #keep(list: ParsedUidlist): Promise<ParsedUidlist> {
    this.#list = list;
    this.#stamp = await stampOf(this.#path);
    return list;
  }
}

/** A short write is no error to the system (the disk is full just there): it has to be seen. */
async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
}

async function readAndSync(path: string): Promise<Buffer | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    await handle.sync();
    return await handle.readFile();
  } finally {
    await handle.close();
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
  } catch (error) {
    if (isMissing(error)) return '';
    throw error;
  }
}
