// Says who runs the queue, to servers that have been given the same queue_directory and to commands.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isBusy, shareFile, tryLockFile, type FolderLock } from '../lib/sqlite.ts';

const lockPath = (queueDirectory: string): string => join(queueDirectory, 'runner.lock');

/** Held by the process that runs the queue; undefined while another does. @throws what opening the file says */
export const lockRunner = (queueDirectory: string): FolderLock | undefined => tryLockFile(lockPath(queueDirectory));

/** Whether some process runs the queue now. Blocks for some system calls. @throws what opening the file says */
export function hasRunner(queueDirectory: string): boolean {
  const path = lockPath(queueDirectory);
  if (!existsSync(path)) return false;
  try {
    // Any number of commands may ask at a time; one that asks in the moment of the runner's start holds it up for seconds only.
    shareFile(path).release();
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  }
}
