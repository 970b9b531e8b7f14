// The queue as commands have it: opened with the rights of its owner, empty where there is none.
import { access, constants, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { loadSettings } from '../../config/settings.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { systemClock } from '../../lib/clock.ts';
import { createLogger } from '../../lib/logger.ts';
import { hasRunner } from '../../queue/runner-lock.ts';
import { openQueueStore } from '../../queue/store/store.ts';
import type { QueueStore } from '../../queue/types.ts';
import { actAs, ownerOf } from '../../worker/privileges.ts';
import type { CommandIo } from '../command.ts';
import { emptyQueue, type CommandQueue } from './command-queue.ts';

/**
 * Runs `fn` with the queue of a settings file. @throws MailError not-permitted `QUEUE_NOT_PERMITTED` for whoever is neither root nor may write
 * the queue, config for wrong settings, temporary, corrupt
 */
export type WithQueue = <T>(settingsFile: string, io: CommandIo, fn: (queue: CommandQueue) => Promise<T>) => Promise<T>;

export const withQueue: WithQueue = async (settingsFile, io, fn) => {
  const { queue_directory: directory } = await loadSettings(resolve(io.cwd, settingsFile));
  const place = await queueIn(directory);
  if (place === undefined) return fn(emptyQueue);
  // Root's files in there would shut the server out.
  return actAs(await ownerOf(place), async () => {
    const store = await openQueueStore({ directory, logger: warnings(io), clock: systemClock });
    try {
      return await fn(commandsOf(store, directory));
    } finally {
      await store.close();
    }
  });
};

function commandsOf(store: QueueStore, directory: string): CommandQueue {
  return {
    get isRun() {
      return hasRunner(directory);
    },
    list: (filter) => store.list(filter),
    find: (id) => store.find(id),
    layout: (id) => store.layout(id),
    stats: () => store.stats(),
    hold: (filter) => store.hold(filter),
    release: (filter) => store.release(filter),
    retry: (filter) => store.retry(filter),
    requeue: (filter) => store.requeue(filter),
    expire: (filter) => store.expire(filter),
    remove: (filter) => store.remove(filter),
    open: (id) => store.open(id),
  };
}

/** The file or folder whose owner is the queue's; undefined where no server has made one yet. */
async function queueIn(directory: string): Promise<string | undefined> {
  try {
    for (const name of ['queue.db', 'messages']) {
      const path = join(directory, name);
      if (!(await exists(path))) continue;
      await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
      await access(path, constants.R_OK | constants.W_OK);
      return path;
    }
    return undefined;
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error;
    throw new MailError(
      'not-permitted',
      'QUEUE_NOT_PERMITTED',
      `the queue in ${directory} is its owner's: run this as root or as that user`,
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** What the queue would log, such as a database that had to be made anew, is said by the command. */
const warnings = (io: CommandIo): ReturnType<typeof createLogger> =>
  createLogger((_level, event, fields) => io.err(`warning: ${event} ${JSON.stringify(fields)}\n`), 'warn');
