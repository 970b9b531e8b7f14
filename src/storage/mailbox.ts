// One mailbox's folder, shared by all sessions that have it open: its messages with their UIDs and flags, kept in step with the files, and
// every change made to them. Changes are renames and unlinks of files; the order of steps is what makes them safe:
//   UIDs are synced to the uidlist before anybody sees them; a file is synced before it gets its name, and its folder after.
import { link, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Mutex } from '../lib/async.ts';
import { errnoOf, toMailError } from '../lib/errors.ts';
import type { MessageStructure } from '../message/types.ts';
import type { ChangeFeed } from './change-feed.ts';
import { isMissing, syncFolder } from './files.ts';
import { folderStamp, sameStamp, scanFolder, type FolderStamp, type FoundFile } from './folder-scan.ts';
import { Keywords } from './keywords.ts';
import type { AccountIndex } from './index-cache.ts';
import { compareNames, flagOfLetter, joinName, letterOfFlag, sizeInName, type NameMaker } from './maildir-name.ts';
import { gone, MessageReader, type Located } from './message-reader.ts';
import type { Quota } from './quota.ts';
import type {
  CopyResult,
  Flag,
  Mailbox,
  MailboxPath,
  MessageContent,
  MessageFacts,
  MessageRow,
  ModSeq,
  StoreChange,
  StoreResult,
  Uid,
} from './types.ts';
import { sweepTmp } from './tmp-sweep.ts';
import { Uidlist, type ParsedUidlist, type UidlistEntry } from './uidlist.ts';

/** What a mailbox needs of its account. */
export interface AccountContext {
  readonly now: () => number;
  readonly names: NameMaker;
  readonly feed: ChangeFeed;
  readonly quota: Quota;
  readonly index: AccountIndex;
  /** Up to date; whoever got it closes it. @throws MailError no-such-mailbox */
  open(path: MailboxPath): Promise<FolderMailbox>;
  /** Higher than `above` and than any the account has used. */
  nextUidValidity(above: number): Promise<number>;
  release(mailbox: FolderMailbox): void;
}

interface Entry {
  readonly row: MessageRow;
  readonly file: FoundFile;
}

export class FolderMailbox implements Mailbox {
  readonly path: MailboxPath;
  readonly folder: string;
  readonly #context: AccountContext;
  readonly #mutex = new Mutex();
  readonly #uidlist: Uidlist;
  readonly #keywords: Keywords;
  readonly #reader: MessageReader;
  /** By base name. */
  #entries = new Map<string, Entry>();
  #byUid = new Map<Uid, Entry>();
  #messages: readonly MessageRow[] = [];
  #list: ParsedUidlist | undefined;
  /** Messages that had a UID and were not there when we looked (or that we removed), with that UID: back again, they get another. */
  readonly #departed = new Map<string, Uid>();
  #stamp: FolderStamp | undefined;
  #modSeq = 0;
  #gone = false;
  /** Sessions that have it open. */
  opened = 0;

  constructor(path: MailboxPath, folder: string, context: AccountContext) {
    this.path = path;
    this.folder = folder;
    this.#context = context;
    this.#uidlist = new Uidlist(folder, (above) => context.nextUidValidity(above));
    this.#keywords = new Keywords(folder);
    this.#reader = new MessageReader(folder, () => context.index);
  }

  get uidValidity(): number {
    return this.#list?.header.uidValidity ?? 0;
  }
  get uidNext(): number {
    return this.#list?.header.nextUid ?? 1;
  }
  get mailboxId(): string {
    return this.#list?.header.guid ?? '';
  }
  get highestModSeq(): ModSeq {
    return Math.max(1, this.#modSeq) as ModSeq;
  }
  get messages(): readonly MessageRow[] {
    return this.#messages;
  }
  get keywords(): readonly Flag[] {
    return this.#keywords.names;
  }
  get acceptsNewKeywords(): boolean {
    return !this.#keywords.full;
  }
  get gone(): boolean {
    return this.#gone;
  }
  /** Messages that lie in `new/`. */
  get recentCount(): number {
    let count = 0;
    for (const { file } of this.#entries.values()) if (file.sub === 'new') count++;
    return count;
  }

  refresh(): Promise<void> {
    return this.#mutex.run(() => this.#refresh());
  }

  async #refresh(last = false): Promise<void> {
    if (this.#gone) return;
    try {
      const stamp = await folderStamp(this.folder);
      const keywordsChanged = await this.#keywords.read();
      if (!keywordsChanged && this.#stamp && sameStamp(stamp, this.#stamp)) return;
      await this.#scan(keywordsChanged);
    } catch (error) {
      if (!isMissing(error)) throw toMailError(error, 'reading a mailbox');
      if (!(await this.#isThere())) this.#gone = true;
      // It was being made, or a file went, while we looked.
      else if (last) throw toMailError(error, 'reading a mailbox');
      else await this.#refresh(true);
    }
  }
  /** Something else than the mailbox may be missing: what another program removed while we looked. */
  async #isThere(): Promise<boolean> {
    return folderStamp(this.folder).then(
      () => true,
      (error: unknown) => !isMissing(error),
    );
  }

  /** `arrived`: base names that have just come here by our own hand, in this order. */
  async #scan(keywordsChanged: boolean, arrived: readonly string[] = []): Promise<void> {
    if (!this.#list) await sweepTmp(this.folder);
    // Read before the folders: what another process lists after we looked was not there to be seen, and is not gone.
    const listed = (await this.#uidlist.read())?.entries ?? new Map<string, UidlistEntry>();
    const known = new Set([...this.#entries.keys(), ...[...listed.keys()].filter((base) => !this.#departed.has(base))]);
    const { files, stamp, settled, unsure } = await scanFolder(this.folder, known);
    const present = new Map(files);
    for (const base of unsure) {
      const kept = this.#entries.get(base);
      if (kept) present.set(base, kept.file);
    }
    const list = await this.#withUids(present, arrived);
    if (this.#list && this.#list.header.uidValidity !== list.header.uidValidity) {
      this.#gone = true;
      return;
    }
    this.#list = list;
    this.#take(present, list, keywordsChanged);
    for (const [base, { uid }] of listed) if (!present.has(base) && !unsure.has(base)) this.#departed.set(base, uid);
    for (const [base, uid] of this.#departed)
      if (present.has(base) || list.entries.get(base)?.uid !== uid) this.#departed.delete(base);
    this.#stamp = settled ? stamp : undefined;
  }

  /** The list, in which every message that is present has its UID. */
  async #withUids(present: ReadonlyMap<string, FoundFile>, arrived: readonly string[]): Promise<ParsedUidlist> {
    const list = await this.#uidlist.read();
    // A message that was gone and is back (moved away and here again) comes as a new one: UIDs only grow.
    const again = new Map([...this.#departed].filter(([base, uid]) => present.has(base) && list?.entries.get(base)?.uid === uid));
    const missing = [...present.keys()].filter((base) => !list?.entries.has(base) || again.has(base));
    if (list && missing.length === 0 && list.damaged === 0) return list;
    const order = new Map(arrived.map((base, i) => [base, i]));
    missing.sort((a, b) => (order.get(a) ?? -1) - (order.get(b) ?? -1) || compareNames(a, b));
    const live = new Set(present.keys());
    if (list && (again.size > 0 || list.damaged > 0 || this.#uidlist.wantsCompacting(list, live)))
      await this.#keepOverlooked(list, live);
    return this.#uidlist.assign(missing, live, again);
  }

  /** Before entries go for good: none of them is one that a single listing overlooked. */
  async #keepOverlooked(list: ParsedUidlist, live: Set<string>): Promise<void> {
    const doubtful = [...list.entries.keys()].filter((base) => !live.has(base));
    const { files, unsure } = await scanFolder(this.folder, doubtful);
    for (const base of [...files.keys(), ...unsure]) live.add(base);
  }

  /** Makes the rows anew; those that did not change stay the same objects. */
  #take(files: ReadonlyMap<string, FoundFile>, list: ParsedUidlist, keywordsChanged: boolean): void {
    const entries = new Map<string, Entry>();
    let changed = files.size !== this.#entries.size;
    const sorted = [...files].flatMap(([base, file]) => {
      const uid = list.entries.get(base)?.uid;
      return uid === undefined ? [] : [{ base, file, uid }];
    });
    sorted.sort((a, b) => a.uid - b.uid);
    const modSeq = this.#nextModSeq();
    for (const { base, file, uid } of sorted) {
      const old = this.#entries.get(base);
      if (old?.row.uid === uid && old.file.letters === file.letters && !keywordsChanged)
        entries.set(base, { row: old.row, file });
      else {
        const flags = this.#flagsOf(file.letters);
        const same = old?.row.uid === uid && flags.join(' ') === old.row.flags.join(' ');
        if (!same) changed = true;
        entries.set(base, { row: same ? old.row : { uid, baseName: base, flags, modSeq }, file });
      }
    }
    this.#setEntries(entries);
    if (changed) this.#modSeq = modSeq;
  }

  #setEntries(entries: Map<string, Entry>): void {
    for (const [base, { row }] of this.#entries) if (!entries.has(base)) this.#departed.set(base, row.uid);
    this.#entries = entries;
    this.#byUid = new Map([...entries.values()].map((entry) => [entry.row.uid, entry]));
    this.#messages = [...entries.values()].map((entry) => entry.row);
  }

  #nextModSeq(): ModSeq {
    return Math.max(this.#modSeq + 1, this.#context.now() * 1000) as ModSeq;
  }

  #flagsOf(letters: string): readonly Flag[] {
    const system: Flag[] = [];
    const keywords: Flag[] = [];
    for (const letter of letters) {
      const flag = flagOfLetter(letter);
      if (flag) system.push(flag);
      else if (letter >= 'a' && letter <= 'z') {
        const name = this.#keywords.nameOf(letter);
        if (name !== undefined) keywords.push(name);
      }
    }
    return [...system, ...keywords];
  }

  recent(take: boolean): Promise<ReadonlySet<Uid>> {
    return this.#mutex.run(async () => {
      await this.#refresh();
      const fresh = [...this.#entries].filter(([, entry]) => entry.file.sub === 'new');
      const given = new Set(fresh.map(([, entry]) => entry.row.uid));
      if (!take || fresh.length === 0) return given;
      const entries = new Map(this.#entries);
      for (const [base, entry] of fresh) {
        const name = joinName(base, entry.file.letters);
        try {
          await rename(join(this.folder, 'new', entry.file.name), join(this.folder, 'cur', name));
          entries.set(base, { row: entry.row, file: { sub: 'cur', name, letters: entry.file.letters } });
        } catch (error) {
          // Another session or program was first: it is not recent for us.
          if (!isMissing(error)) throw toMailError(error, 'moving new mail');
          given.delete(entry.row.uid);
        }
      }
      this.#setEntries(entries);
      this.#stamp = undefined;
      return given;
    });
  }

  watch(listener: () => void): () => void {
    return this.#context.feed.watch(this.folder, listener);
  }

  store(uids: readonly Uid[], change: StoreChange): Promise<StoreResult> {
    return this.#mutex.run(async () => {
      const wanted = await this.#letters(change.flags, change.mode !== 'remove');
      const modified: Uid[] = [];
      const entries = new Map(this.#entries);
      const modSeq = this.#nextModSeq();
      for (const uid of uids) {
        const entry = this.#byUid.get(uid);
        if (!entry) continue;
        if (change.unchangedSince !== undefined && entry.row.modSeq > change.unchangedSince) {
          modified.push(uid);
          continue;
        }
        const file = await this.#rename(entry, (old) => combine(old, wanted.letters, change.mode));
        if (file && file !== entry.file)
          entries.set(entry.row.baseName, { row: { ...entry.row, flags: this.#flagsOf(file.letters), modSeq }, file });
      }
      this.#setEntries(entries);
      this.#modSeq = modSeq;
      this.#changed();
      return { modified, rejected: wanted.rejected };
    });
  }

  /** Letters for flags; keywords get one when `add`. */
  async #letters(flags: readonly Flag[], add: boolean): Promise<{ letters: string; rejected: Flag[] }> {
    const keywords = flags.filter((flag) => !flag.startsWith('\\'));
    const known = add ? await this.#keywords.letters(keywords, this.#lettersInUse()) : new Map<string, string>();
    const rejected: Flag[] = [];
    let letters = '';
    for (const flag of flags) {
      const letter = letterOfFlag(flag) ?? known.get(flag.toLowerCase()) ?? this.#keywords.letterOf(flag);
      if (letter !== undefined) letters += letter;
      else if (!flag.startsWith('\\')) rejected.push(flag);
    }
    return { letters, rejected };
  }

  /** Letters that message files carry. */
  #lettersInUse(): Set<string> {
    const letters = new Set<string>();
    for (const { file } of this.#entries.values()) for (const letter of file.letters) letters.add(letter);
    return letters;
  }

  /**
   * Gives a message the letters that `change` makes of those it has; undefined when it is gone. A message in `new/` moves to `cur/`, as flags
   * demand. When another program was faster, its letters are what is changed.
   */
  async #rename(entry: Entry, change: (old: string) => string): Promise<FoundFile | undefined> {
    for (let old: FoundFile | undefined = entry.file, attempt = 0; old && attempt < 3; attempt++) {
      const letters = change(old.letters);
      if (letters === old.letters && old === entry.file) return old;
      const name = joinName(entry.row.baseName, letters);
      try {
        await rename(join(this.folder, old.sub, old.name), join(this.folder, 'cur', name));
        return { sub: 'cur', name, letters };
      } catch (error) {
        if (!isMissing(error)) throw toMailError(error, 'changing flags');
        old = await this.#findAgain(entry.row.baseName);
      }
    }
    return undefined;
  }

  /** Another program renamed the file: where is it now? */
  async #findAgain(base: string): Promise<FoundFile | undefined> {
    const { files } = await scanFolder(this.folder, [base]);
    return files.get(base);
  }

  #changed(): void {
    this.#stamp = undefined;
    this.#context.feed.notify(this.folder);
  }

  expunge(uids: readonly Uid[]): Promise<readonly Uid[]> {
    return this.#mutex.run(async () => {
      const removed: Uid[] = [];
      const entries = new Map(this.#entries);
      let bytes = 0;
      let files = 0;
      for (const uid of uids) {
        const entry = this.#byUid.get(uid);
        if (!entry) continue;
        const size = await this.#sizeOnDisk(entry);
        if (await this.#unlink(entry)) {
          bytes += size;
          files++;
        }
        entries.delete(entry.row.baseName);
        this.#reader.forget(entry.row.baseName);
        removed.push(uid);
      }
      this.#setEntries(entries);
      this.#modSeq = this.#nextModSeq();
      await this.#context.quota.add(-bytes, -files);
      this.#changed();
      return removed;
    });
  }

  /** Says whether it was there. */
  async #unlink(entry: Entry): Promise<boolean> {
    for (let file: FoundFile | undefined = entry.file, attempt = 0; file && attempt < 3; attempt++) {
      try {
        await unlink(join(this.folder, file.sub, file.name));
        return true;
      } catch (error) {
        if (!isMissing(error)) throw toMailError(error, 'removing a message');
        file = await this.#findAgain(entry.row.baseName);
      }
    }
    return false;
  }

  async #sizeOnDisk(entry: Entry): Promise<number> {
    const named = sizeInName(entry.row.baseName, 'S');
    if (named !== undefined) return named;
    return stat(join(this.folder, entry.file.sub, entry.file.name)).then(
      (s) => s.size,
      () => 0,
    );
  }

  async copy(uids: readonly Uid[], to: MailboxPath): Promise<CopyResult> {
    const target = await this.#context.open(to);
    return this.#transfer(uids, target, 'copy').finally(() => target.close());
  }

  async move(uids: readonly Uid[], to: MailboxPath): Promise<CopyResult> {
    const target = await this.#context.open(to);
    try {
      if (target.folder !== this.folder) return await this.#transfer(uids, target, 'move');
      const result = await this.#transfer(uids, target, 'copy');
      await this.expunge(result.pairs.map(([from]) => from));
      return result;
    } finally {
      await target.close();
    }
  }

  /**
   * Copies by hard link (content never changes, so two names may share it), moves by rename. The names appear in the target's `cur/`, its folder is
   * synced, then they get UIDs. On a failure what was done is undone.
   */
  async #transfer(uids: readonly Uid[], target: FolderMailbox, how: 'copy' | 'move'): Promise<CopyResult> {
    const entries = uids.flatMap((uid) => this.#byUid.get(uid) ?? []);
    const sizes = await Promise.all(entries.map((entry) => this.#sizeOnDisk(entry)));
    if (how === 'copy') await this.#context.quota.check(sum(sizes), entries.length);
    const letters = await target.lettersFor(
      entries.map((entry) => ({ flags: entry.row.flags, others: otherLetters(entry.file.letters) })),
    );
    const done: { uid: Uid; base: string; undo: () => Promise<void> }[] = [];
    try {
      for (const [i, entry] of entries.entries()) {
        const step = await this.#transferOne(entry, target.folder, letters[i] ?? '', sizes[i] ?? 0, how);
        if (step) done.push({ uid: entry.row.uid, ...step });
      }
      if (done.length > 0) await syncFolder(join(target.folder, 'cur'));
    } catch (error) {
      for (const { undo } of done) await undo().catch(() => undefined);
      throw toMailError(error, `${how} of messages`);
    }
    if (how === 'copy') await this.#context.quota.add(sum(sizes), done.length);
    else await this.#forget(done.map(({ uid }) => uid));
    const assigned = await target.adopt(done.map(({ base }) => base));
    return {
      uidValidity: target.uidValidity,
      pairs: done.flatMap(({ uid }, i) => {
        const to_ = assigned[i];
        return to_ === undefined ? [] : [[uid, to_] as const];
      }),
    };
  }

  async #transferOne(
    entry: Entry,
    targetFolder: string,
    letters: string,
    size: number,
    how: 'copy' | 'move',
  ): Promise<{ base: string; undo: () => Promise<void> } | undefined> {
    const old = entry.row.baseName;
    const wire = sizeInName(old, 'W');
    const base = how === 'move' ? old : `${this.#context.names.unique()},S=${size}${wire === undefined ? '' : `,W=${wire}`}`;
    const to = join(targetFolder, 'cur', joinName(base, letters));
    for (let file: FoundFile | undefined = entry.file, attempt = 0; file && attempt < 3; attempt++) {
      const from = join(this.folder, file.sub, file.name);
      try {
        if (how === 'copy') await link(from, to);
        else await rename(from, to);
        return { base, undo: () => (how === 'copy' ? unlink(to) : rename(to, from)) };
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
        file = await this.#findAgain(old);
      }
    }
    return undefined;
  }

  #forget(uids: readonly Uid[]): Promise<void> {
    return this.#mutex.run(async () => {
      const entries = new Map(this.#entries);
      for (const uid of uids) {
        const entry = this.#byUid.get(uid);
        if (entry) entries.delete(entry.row.baseName);
      }
      this.#setEntries(entries);
      this.#modSeq = this.#nextModSeq();
      this.#changed();
    });
  }

  /** Letters in this mailbox for the flags of messages that come here; keywords that find no letter are dropped. */
  lettersFor(messages: readonly { flags: readonly Flag[]; others: string }[]): Promise<string[]> {
    return this.#mutex.run(async () => {
      const results: string[] = [];
      for (const { flags, others } of messages) results.push((await this.#letters(flags, true)).letters + others);
      return results;
    });
  }

  /** UIDs of files that have just appeared here, in the order asked; synced. Undefined for one that is gone already. */
  async adopt(bases: readonly string[]): Promise<(Uid | undefined)[]> {
    return this.#mutex.run(async () => {
      const keywordsChanged = await this.#keywords.read();
      await this.#scan(keywordsChanged, bases);
      this.#changed();
      return bases.map((base) => this.#entries.get(base)?.row.uid);
    });
  }

  #located(uid: Uid): Located {
    const entry = this.#byUid.get(uid);
    if (!entry) throw gone();
    const { baseName } = entry.row;
    return { baseName, file: entry.file, findAgain: () => this.#findAgain(baseName) };
  }
  async facts(uid: Uid): Promise<MessageFacts> {
    return this.#reader.facts(this.#located(uid));
  }
  async content(uid: Uid): Promise<MessageContent> {
    return this.#reader.content(this.#located(uid));
  }
  async structure(uid: Uid): Promise<MessageStructure> {
    return this.#reader.structure(this.#located(uid));
  }

  async close(): Promise<void> {
    this.opened--;
    this.#context.release(this);
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
/** Capital letters that are no flag of IMAP's (P, passed): kept through every change. */
const otherLetters = (letters: string): string => [...letters].filter((c) => c >= 'A' && c <= 'Z' && !flagOfLetter(c)).join('');

function combine(old: string, wanted: string, mode: StoreChange['mode']): string {
  const letters =
    mode === 'add'
      ? old + wanted
      : mode === 'remove'
        ? [...old].filter((c) => !wanted.includes(c)).join('')
        : otherLetters(old) + wanted;
  return [...new Set(letters)].sort().join('');
}
