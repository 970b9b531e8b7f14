// A session's own view of its mailbox: the sequence numbers it knows. The mailbox may have moved on; the session is told only when the
// protocol allows it: never an EXPUNGE while it may be using sequence numbers (RFC 3501 sections 5.5 and 7.4.1).
import type { MessageRow, Uid } from '../storage/types.ts';

export class View {
  #rows: MessageRow[] = [];
  #seen: readonly MessageRow[] | undefined;
  readonly #recent = new Set<Uid>();
  #uids: Uid[] = [];

  constructor(rows: readonly MessageRow[], recent: ReadonlySet<Uid>) {
    this.#rows = [...rows];
    this.#uids = rows.map((row) => row.uid);
    this.#seen = rows;
    for (const uid of recent) this.#recent.add(uid);
  }

  /** What the session knows, by sequence number - 1. */
  get rows(): readonly MessageRow[] {
    return this.#rows;
  }
  get uids(): readonly Uid[] {
    return this.#uids;
  }
  isRecent(uid: Uid): boolean {
    return this.#recent.has(uid);
  }
  get recentCount(): number {
    return this.#recent.size;
  }

  /** Flags as FETCH shows them. */
  flags(row: MessageRow): string {
    return `(${[...row.flags, ...(this.#recent.has(row.uid) ? ['\\Recent'] : [])].join(' ')})`;
  }

  /** Whether `update` would have something to say. */
  behind(current: readonly MessageRow[]): boolean {
    return current !== this.#seen;
  }

  /**
   * Catches up with the mailbox; gives the untagged responses to send. `silent` are UIDs whose new flags the client asked not to be told
   * (STORE .SILENT). Without `mayExpunge` what is gone stays in the view.
   */
  update(
    current: readonly MessageRow[],
    options: { mayExpunge: boolean; recent?: ReadonlySet<Uid>; silent?: ReadonlySet<Uid>; withUid?: boolean },
  ): string[] {
    const responses: string[] = [];
    for (const uid of options.recent ?? []) this.#recent.add(uid);
    if (current === this.#seen && !options.recent?.size) return responses;
    const byUid = new Map(current.map((row) => [row.uid, row]));
    let pendingExpunge = false;
    const kept: MessageRow[] = [];
    let expunged = 0;
    for (const [i, row] of this.#rows.entries()) {
      const now = byUid.get(row.uid);
      if (!now) {
        if (options.mayExpunge) {
          responses.push(`* ${i + 1 - expunged} EXPUNGE`);
          expunged++;
          this.#recent.delete(row.uid);
          continue;
        }
        pendingExpunge = true;
      }
      kept.push(now ?? row);
    }
    const known = new Map(this.#rows.map((row) => [row.uid, row]));
    const flagChanges = kept.flatMap((row, i) => {
      const old = known.get(row.uid);
      return old && old !== row && !sameFlags(old, row) && !options.silent?.has(row.uid) ? [{ row, seq: i + 1 }] : [];
    });
    const last = this.#uids.at(-1) ?? 0;
    const fresh = current.filter((row) => row.uid > last);
    this.#rows = [...kept, ...fresh];
    this.#uids = this.#rows.map((row) => row.uid);
    this.#seen = pendingExpunge ? undefined : current;
    if (fresh.length > 0) responses.push(`* ${this.#rows.length} EXISTS`, `* ${this.#recent.size} RECENT`);
    for (const { row, seq } of flagChanges)
      responses.push(`* ${seq} FETCH (${options.withUid ? `UID ${row.uid} ` : ''}FLAGS ${this.flags(row)})`);
    return responses;
  }
}

const sameFlags = (a: MessageRow, b: MessageRow): boolean =>
  a.flags.length === b.flags.length && a.flags.every((flag) => b.flags.includes(flag));
