// Who wants to know that a mailbox may have changed: a hint, coalesced; what changed is found out by `refresh`. Changes by this process
// are told at once; those of other programs through the file system's notifications, or by looking every few seconds where these fail.
import { watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';

const COALESCE_MS = 5;
const POLL_MS = 5_000;

export class ChangeFeed {
  readonly #clock: Clock;
  readonly #folders = new Map<string, Watched>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something in this folder (absolute path) changed, by our own hand. */
  notify(folder: string): void {
    this.#folders.get(folder)?.hint();
  }

  /** Calls back until the returned function is called. */
  watch(folder: string, listener: () => void): () => void {
    let watched = this.#folders.get(folder);
    if (!watched) this.#folders.set(folder, (watched = new Watched(folder, this.#clock)));
    watched.listeners.add(listener);
    return () => {
      watched.listeners.delete(listener);
      if (watched.listeners.size > 0 || this.#folders.get(folder) !== watched) return;
      this.#folders.delete(folder);
      watched.close();
    };
  }

  close(): void {
    for (const watched of this.#folders.values()) watched.close();
    this.#folders.clear();
  }
}

class Watched {
  readonly listeners = new Set<() => void>();
  readonly #clock: Clock;
  readonly #watchers: FSWatcher[] = [];
  #cancelHint: (() => void) | undefined;
  #cancelPoll: (() => void) | undefined;
  #closed = false;

  constructor(folder: string, clock: Clock) {
    this.#clock = clock;
    for (const sub of ['new', 'cur']) this.#watchFolder(join(folder, sub));
  }

  #watchFolder(path: string): void {
    try {
      const watcher = watch(path, { persistent: false }, () => this.hint());
      watcher.on('error', () => this.#poll());
      this.#watchers.push(watcher);
    } catch {
      // No notifications left on this host (fs.inotify.max_user_watches), or the folder is gone.
      this.#poll();
    }
  }

  #poll(): void {
    if (this.#closed || this.#cancelPoll) return;
    this.#cancelPoll = this.#clock.after(POLL_MS, () => {
      this.#cancelPoll = undefined;
      this.hint();
      this.#poll();
    });
  }

  hint(): void {
    this.#cancelHint ??= this.#clock.after(COALESCE_MS, () => {
      this.#cancelHint = undefined;
      for (const listener of [...this.listeners]) listener();
    });
  }

  close(): void {
    this.#closed = true;
    for (const watcher of this.#watchers) watcher.close();
    this.#cancelHint?.();
    this.#cancelPoll?.();
  }
}
