// Open sessions against the files: when what let somebody in is no longer there (RELIABILITY row 35), its sessions are told.
import type { Clock } from '../lib/clock.ts';

/** How often watched accounts are looked at, in milliseconds. */
const LOOK_MS = 2_000;
/** A file may just be being written: what is different is looked at once more after this. */
const CONFIRM_MS = 300;

interface Watch {
  readonly address: string;
  readonly mark: string;
  readonly onRevoked: () => void;
}

export interface AccountWatchOptions {
  readonly clock: Clock;
  /** What must stay the same for a session to go on; undefined when it cannot be told now. Never rejects. */
  readonly markOf: (address: string) => Promise<string | undefined>;
}

export class AccountWatch {
  readonly #o: AccountWatchOptions;
  #watches = new Set<Watch>();
  #cancel: (() => void) | undefined;

  constructor(options: AccountWatchOptions) {
    this.#o = options;
  }

  /** Calls back once when the mark of `address` is another than `mark` (now's, when undefined). Returns what ends the watch. */
  add(address: string, mark: string | undefined, onRevoked: () => void): () => void {
    let end: (() => void) | undefined;
    let ended = false;
    const begin = (from: string | undefined): void => {
      if (ended || from === undefined) return;
      const watches = this.#watches;
      const watch = { address, mark: from, onRevoked };
      watches.add(watch);
      end = () => void watches.delete(watch);
      this.#schedule();
    };
    if (mark === undefined) void this.#o.markOf(address).then(begin);
    else begin(mark);
    return () => {
      ended = true;
      end?.();
    };
  }

  /** Takes over another's watches: after a reload. */
  inherit(other: AccountWatch): void {
    for (const watch of this.#watches) other.#watches.add(watch);
    this.#watches = other.#watches;
    other.#watches = new Set();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#watches.size === 0 || this.#cancel) return;
    this.#cancel = this.#o.clock.after(LOOK_MS, () => {
      void this.#look().finally(() => {
        this.#cancel = undefined;
        this.#schedule();
      });
    });
  }

  async #look(): Promise<void> {
    const suspects = await this.#changed([...this.#watches]);
    if (suspects.length === 0) return;
    await new Promise<void>((resolve) => void this.#o.clock.after(CONFIRM_MS, resolve));
    for (const watch of await this.#changed(suspects)) if (this.#watches.delete(watch)) watch.onRevoked();
  }

  async #changed(watches: readonly Watch[]): Promise<Watch[]> {
    const marks = new Map<string, string | undefined>();
    const changed: Watch[] = [];
    for (const watch of watches) {
      if (!marks.has(watch.address)) marks.set(watch.address, await this.#o.markOf(watch.address));
      const now = marks.get(watch.address);
      if (now !== undefined && now !== watch.mark) changed.push(watch);
    }
    return changed;
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#watches.clear();
  }
}
