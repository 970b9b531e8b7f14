// What one session has been told of its mailbox: sequence numbers, flags, \Recent. The mailbox moves on under it; the view catches up
// only when a response may be sent: new mail and flags always, EXPUNGE only where RFC 3501 7.4.1 allows it.
import type { Mailbox, MessageRow, Uid } from '../storage/types.ts';
import { ResumePoint } from './wire-range.ts';
import { resolveSet, type SequenceSet } from './syntax/sequence-set.ts';

/** Untagged responses that a change of the mailbox asks for, in the order they are to be sent. */
export type ViewUpdate =
  | { readonly kind: 'expunge'; readonly seq: number }
  | { readonly kind: 'exists'; readonly count: number }
  | { readonly kind: 'recent'; readonly count: number }
  | { readonly kind: 'keywords' }
  | { readonly kind: 'flags'; readonly seq: number; readonly row: MessageRow };

/** A message as a command addresses it. `row` is undefined when it has been expunged but the session does not know yet. */
export interface Addressed {
  readonly seq: number;
  readonly uid: Uid;
  readonly row: MessageRow | undefined;
}

export class MailboxView {
  readonly mailbox: Mailbox;
  readonly readOnly: boolean;
  /** Where the last piece of a big message ended. */
  readonly resume = new ResumePoint();
  /** By sequence number - 1, as the client knows them. */
  #rows: MessageRow[] = [];
  readonly #recent = new Set<Uid>();
  #keywords: readonly string[] = [];
  #acceptsNew = false;
  /** The mailbox's array that this view has seen last, and whether EXPUNGEs of it are still owed. */
  #seen: readonly MessageRow[] | undefined;
  #owed = false;
  #dirty = false;
  readonly #unwatch: () => void;
  /** Called when something may have changed: IDLE sets it. */
  onChange: (() => void) | undefined;

  private constructor(mailbox: Mailbox, readOnly: boolean) {
    this.mailbox = mailbox;
    this.readOnly = readOnly;
    this.#unwatch = mailbox.watch(() => {
      this.#dirty = true;
      this.onChange?.();
    });
  }

  /** Takes over an open mailbox: `close` closes it. */
  static async open(mailbox: Mailbox, readOnly: boolean): Promise<MailboxView> {
    const view = new MailboxView(mailbox, readOnly);
    try {
      for (const uid of await mailbox.recent(!readOnly)) view.#recent.add(uid);
      view.#seen = mailbox.messages;
      view.#rows = [...mailbox.messages];
      view.noteKeywords();
      return view;
    } catch (error) {
      view.#unwatch();
      throw error;
    }
  }
  async close(): Promise<void> {
    this.#unwatch();
    this.onChange = undefined;
    await this.mailbox.close();
  }

  get exists(): number {
    return this.#rows.length;
  }
  get recentCount(): number {
    let count = 0;
    if (this.#recent.size > 0) for (const row of this.#rows) if (this.#recent.has(row.uid)) count++;
    return count;
  }
  isRecent(uid: Uid): boolean {
    return this.#recent.has(uid);
  }
  get dirty(): boolean {
    return this.#dirty;
  }
  /** Sequence number of the first message without \Seen. */
  get firstUnseen(): number | undefined {
    const index = this.#rows.findIndex((row) => !row.flags.includes('\\Seen'));
    return index < 0 ? undefined : index + 1;
  }
  get lastUid(): number {
    return this.#rows.at(-1)?.uid ?? 0;
  }

  /** Every message of the view, in order. */
  all(): Addressed[] {
    return this.#rows.map((_, index) => this.#addressed(index));
  }

  /** The messages of a set. Sequence numbers must exist (undefined else); UIDs that are not there are passed over. */
  resolve(set: SequenceSet, byUid: boolean): Addressed[] | undefined {
    const last = byUid ? this.lastUid : this.#rows.length;
    const found: Addressed[] = [];
    if (this.#rows.length === 0)
      return byUid || set.every(({ from, to }) => from === Infinity || to === Infinity) ? [] : undefined;
    for (const { from, to } of resolveSet(set, last)) {
      if (!byUid && to > last) return undefined;
      const start = byUid ? this.#lowerBound(from) : from - 1;
      for (let i = start; i < this.#rows.length; i++) {
        if ((byUid ? (this.#rows[i]?.uid ?? 0) : i + 1) > to) break;
        found.push(this.#addressed(i));
      }
    }
    return found;
  }

  /** The message as the mailbox has it now; undefined when it is gone. */
  currentRow(uid: Uid): MessageRow | undefined {
    return findUid(this.mailbox.messages, uid);
  }
  #addressed(index: number): Addressed {
    const row = this.#rows[index];
    if (!row) throw new RangeError('no such sequence number');
    return { seq: index + 1, uid: row.uid, row: this.#current(row) };
  }
  /** The row as the mailbox has it now. */
  #current(known: MessageRow): MessageRow | undefined {
    const now = this.mailbox.messages;
    if (now === this.#seen && !this.#owed) return known;
    return findUid(now, known.uid);
  }
  #lowerBound(uid: number): number {
    return lowerBound(this.#rows, uid);
  }

  /** The client is being told these flags: no update for them later. */
  told(seq: number, row: MessageRow): void {
    this.#rows[seq - 1] = row;
  }

  /**
   * Brings the view up to date and gives what the client is to be told. `refresh` also looks at the files (else only what this process
   * knows of); without `expunge`, messages that are gone keep their sequence numbers.
   */
  async update(options: { refresh: boolean; expunge: boolean }): Promise<ViewUpdate[]> {
    if (options.refresh || this.#dirty) {
      this.#dirty = false;
      await this.mailbox.refresh();
    }
    const fresh = this.#hasNew();
    if (fresh) for (const uid of await this.mailbox.recent(!this.readOnly)) this.#recent.add(uid);
    return this.#catchUp(options.expunge);
  }

  #hasNew(): boolean {
    return this.mailbox.messages !== this.#seen && (this.mailbox.messages.at(-1)?.uid ?? 0) > this.lastUid;
  }

  #catchUp(expunge: boolean): ViewUpdate[] {
    const now = this.mailbox.messages;
    const updates: ViewUpdate[] = [];
    if (this.noteKeywords()) updates.push({ kind: 'keywords' });
    if (now === this.#seen && !(expunge && this.#owed)) return updates;
    const gone = this.#mergeFlags(now, updates);
    this.#owed = gone.length > 0 && !expunge;
    if (expunge && gone.length > 0) updates.unshift(...this.#remove(gone));
    // Only UIDs above all that the client knows can be added: a sequence number never moves up.
    const firstNew = lowerBound(now, this.lastUid + 1);
    if (firstNew < now.length) {
      for (let i = firstNew; i < now.length; i++) this.#rows.push(now[i] as MessageRow);
      updates.push({ kind: 'exists', count: this.exists }, { kind: 'recent', count: this.recentCount });
    }
    this.#seen = now;
    return shiftFlags(updates, expunge ? gone : []);
  }

  /** Collects flag updates (with the sequence numbers before any EXPUNGE); gives the sequence numbers of messages that are gone. */
  #mergeFlags(now: readonly MessageRow[], updates: ViewUpdate[]): number[] {
    const gone: number[] = [];
    let at = 0;
    for (let i = 0; i < this.#rows.length; i++) {
      const known = this.#rows[i] as MessageRow;
      while (at < now.length && (now[at]?.uid ?? 0) < known.uid) at++;
      const row = now[at];
      if (row?.uid !== known.uid) gone.push(i + 1);
      else if (row !== known) {
        this.#rows[i] = row;
        if (!sameFlags(row.flags, known.flags)) updates.push({ kind: 'flags', seq: i + 1, row });
      }
    }
    return gone;
  }

  /** From the highest down, so that each number is right when it is sent. */
  #remove(gone: readonly number[]): ViewUpdate[] {
    const dead = new Set(gone);
    for (const seq of gone) {
      const row = this.#rows[seq - 1];
      if (row) this.#recent.delete(row.uid);
    }
    this.#rows = this.#rows.filter((_, index) => !dead.has(index + 1));
    return gone.toReversed().map((seq) => ({ kind: 'expunge', seq }));
  }

  /** Whether the mailbox's keywords are others than when this was last asked. */
  noteKeywords(): boolean {
    const { keywords, acceptsNewKeywords } = this.mailbox;
    const changed = acceptsNewKeywords !== this.#acceptsNew || !sameFlags(keywords, this.#keywords);
    this.#keywords = [...keywords];
    this.#acceptsNew = acceptsNewKeywords;
    return changed;
  }
}

/** Sequence numbers of flag updates as they are after the EXPUNGEs that go out before them. */
function shiftFlags(updates: readonly ViewUpdate[], gone: readonly number[]): ViewUpdate[] {
  if (gone.length === 0) return [...updates];
  let passed = 0;
  return updates.map((update) => {
    if (update.kind !== 'flags') return update;
    while (passed < gone.length && (gone[passed] ?? 0) < update.seq) passed++;
    return { ...update, seq: update.seq - passed };
  });
}

function sameFlags(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((flag, i) => flag === b[i]);
}
function lowerBound(rows: readonly MessageRow[], uid: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((rows[middle]?.uid ?? 0) < uid) low = middle + 1;
    else high = middle;
  }
  return low;
}
function findUid(rows: readonly MessageRow[], uid: number): MessageRow | undefined {
  const row = rows[lowerBound(rows, uid)];
  return row?.uid === uid ? row : undefined;
}
