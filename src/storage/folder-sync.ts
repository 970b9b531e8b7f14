// Syncs of folders, shared: those who ask while one is under way wait for the next, all for the same.
import { SharedRun } from '../lib/async.ts';
import { syncFolder } from './files.ts';

export class FolderSync {
  readonly #runs = new Map<string, SharedRun>();

  /** Names that appeared in the folder before the call are on the disk when it resolves. @throws what the file system says */
  async sync(path: string): Promise<void> {
    let run = this.#runs.get(path);
    if (!run) this.#runs.set(path, (run = new SharedRun(() => syncFolder(path))));
    try {
      await run.run();
    } finally {
      if (run.idle && this.#runs.get(path) === run) this.#runs.delete(path);
    }
  }
}
