// Syncs of folders, shared: those who ask while one is under way wait for the next, all for the same.
import { syncFolder } from '../../storage/files.ts';

export class FolderSync {
  readonly #running = new Map<string, Promise<void>>();
  /** Asked for, not begun. */
  readonly #next = new Map<string, Promise<void>>();

  /** Names that appeared in the folder before the call are on the disk when it resolves. @throws what the file system says */
  sync(path: string): Promise<void> {
    let next = this.#next.get(path);
    if (!next) this.#next.set(path, (next = this.#begin(path)));
    return next;
  }

  async #begin(path: string): Promise<void> {
    // Its failure is told to those who wait for it.
    await this.#running.get(path)?.catch(() => undefined);
    this.#next.delete(path);
    const run = syncFolder(path);
    this.#running.set(path, run);
    try {
      await run;
    } finally {
      if (this.#running.get(path) === run) this.#running.delete(path);
    }
  }
}
