// Tells other processes that the queue has changed: a file, `wake`, whose time is set after a commit. A hint and no more: it may come twice, or late, or
// (no notifications left on this host, the file taken away) not at all, hence the look every few seconds.
import { watch, type FSWatcher } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { isMissing } from '../../storage/files.ts';
import type { QueueFiles } from './files.ts';

const NAME = 'wake';
const COALESCE_MS = 5;
const POLL_MS = 3_000;

export class ChangeHint {
  readonly #files: QueueFiles;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #watcher: FSWatcher | undefined;
  #cancelHint: (() => void) | undefined;
  #cancelPoll: (() => void) | undefined;
  #cancelTouch: (() => void) | undefined;
  #touching: Promise<void> = Promise.resolve();

  constructor(files: QueueFiles, clock: Clock) {
    this.#files = files;
    this.#path = join(files.directory, NAME);
    this.#clock = clock;
  }

  /** This process has committed something. */
  changed(): void {
    this.#hint();
    this.#cancelTouch ??= this.#clock.after(COALESCE_MS, () => this.#touch());
  }
  #touch(): void {
    this.#cancelTouch = undefined;
    this.#touching = this.#touching.then(async () => {
      const now = new Date();
      await utimes(this.#path, now, now).catch((error: unknown) => (isMissing(error) ? this.#make() : undefined));
    });
  }
  #make(): Promise<void> {
    return this.#files.makeFile(NAME).catch(() => undefined);
  }

  /** Calls back until the returned function is called. */
  listen(listener: () => void): () => void {
    // One that is given twice is called twice, and ended twice.
    const own = (): void => listener();
    this.#listeners.add(own);
    if (this.#listeners.size === 1) void this.#begin();
    return () => {
      this.#listeners.delete(own);
      if (this.#listeners.size === 0) this.#end();
    };
  }

  async #begin(): Promise<void> {
    this.#poll();
    if (!this.#watch()) {
      await this.#make();
      if (this.#listeners.size > 0) this.#watch();
    }
  }
  /** Says whether the file could be watched. */
  #watch(): boolean {
    if (this.#watcher) return true;
    try {
      const watcher = watch(this.#path, { persistent: false }, (event) => {
        // Another file has its name now, or none: the next look finds out.
        if (event === 'rename') this.#forget(watcher);
        this.#hint();
      });
      watcher.on('error', () => this.#forget(watcher));
      this.#watcher = watcher;
      return true;
    } catch {
      return false;
    }
  }
  #forget(watcher: FSWatcher): void {
    watcher.close();
    if (this.#watcher === watcher) this.#watcher = undefined;
  }

  #poll(): void {
    this.#cancelPoll = this.#clock.after(POLL_MS, () => {
      this.#hint();
      void this.#begin();
    });
  }
  #hint(): void {
    if (this.#listeners.size === 0) return;
    this.#cancelHint ??= this.#clock.after(COALESCE_MS, () => {
      this.#cancelHint = undefined;
      for (const listener of [...this.#listeners]) listener();
    });
  }
  #end(): void {
    if (this.#watcher) this.#forget(this.#watcher);
    this.#cancelPoll?.();
    this.#cancelHint?.();
    this.#cancelHint = undefined;
  }

  /** Others are told what they have not been yet. */
  async close(): Promise<void> {
    this.#listeners.clear();
    this.#end();
    if (this.#cancelTouch) {
      this.#cancelTouch();
      this.#touch();
    }
    await this.#touching;
  }
}
