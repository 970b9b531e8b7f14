// Holds the queue's database against its files. Changes nothing: what can be mended the server mends by itself.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../storage/files.ts';
import { inspect } from './store/adopt.ts';
import { isQueueId, MARK, messagesFolder, pathOf, type Head } from './store/queue-file.ts';
import type { QueuedMessage, QueueStore } from './types.ts';

/** Younger files may be on their way in; older ones the server takes up. */
const SETTLED_MS = 300_000;

export interface QueueProblem {
  /** The message's file, absolute. */
  readonly path: string;
  /** What is wrong, and what will come of it. */
  readonly text: string;
}

export interface VerifiedQueue {
  readonly messages: number;
  readonly recipients: number;
  /** Files in `corrupt/`: damaged ones that were set aside earlier. */
  readonly setAside: number;
}

/**
 * Looks at every message of the queue in `directory`: its row, its file, its bytes. `problem` is called with each thing that is wrong; memory is one page
 * of the queue. A server may run meanwhile. `now`: milliseconds since the epoch, of the file system's clock. @throws MailError, what the file system says
 */
export async function verifyQueue(
  queue: Pick<QueueStore, 'list' | 'find'>,
  directory: string,
  now: number,
  problem: (problem: QueueProblem) => void,
): Promise<VerifiedQueue> {
  let messages = 0;
  let recipients = 0;
  for await (const message of queue.list({})) {
    messages++;
    recipients += message.recipients.length;
    const wrong = await wrongWith(directory, message);
    const { id } = message.envelope;
    // Delivered and removed meanwhile: nothing is wrong.
    const still = wrong === undefined ? undefined : await queue.find(id);
    const again = still && (await wrongWith(directory, still));
    if (again !== undefined) problem({ path: pathOf(directory, id), text: again });
  }
  for await (const id of fileIds(directory)) {
    const text = await wrongWithFile(queue, directory, id, now);
    if (text !== undefined) problem({ path: pathOf(directory, id), text });
  }
  return { messages, recipients, setAside: (await namesIn(join(directory, 'corrupt'))).length };
}

async function wrongWith(directory: string, message: QueuedMessage): Promise<string | undefined> {
  const { id } = message.envelope;
  const found = inspect(directory, id);
  switch (found.kind) {
    case 'missing':
      return 'the file of a message that waits is missing; it will be held when it is tried';
    case 'unfinished':
      return 'the file of a message that waits is not complete; it will be held when it is tried';
    case 'damaged':
      return `${found.reason}; the message will be held when it is tried`;
    case 'whole':
      return differences(message, found.head) ?? (await wrongBytes(directory, id, found.head));
  }
}

function differences({ envelope, size, recipients }: QueuedMessage, head: Head): string | undefined {
  if (head.size !== size) return `the file has a message of ${head.size} bytes, queue.db one of ${size}`;
  if (head.envelope.sender !== envelope.sender) return 'file and queue.db have different senders';
  for (const { number, address } of recipients) {
    const inFile = head.recipients[number];
    if (inFile?.address !== address) return `recipient ${number} is another one than in queue.db`;
    if (inFile.mark === MARK.done) return `recipient ${number} is done by the file and waits by queue.db; it will be tried`;
  }
  return undefined;
}

async function wrongBytes(directory: string, id: string, { headLength, sha256 }: Head): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(pathOf(directory, id), { start: headLength })) hash.update(chunk as Buffer);
  } catch (error) {
    if (isMissing(error)) return 'the file of a message that waits is missing';
    throw error;
  }
  return hash.digest('hex') === sha256
    ? undefined
    : 'the message is not the one that was written; it will be held when it is tried';
}

async function* fileIds(directory: string): AsyncGenerator<string> {
  const messages = messagesFolder(directory);
  for (const folder of await namesIn(messages)) yield* (await namesIn(join(messages, folder))).filter(isQueueId);
}

/** Of a file that queue.db does not know. */
async function wrongWithFile(
  queue: Pick<QueueStore, 'find'>,
  directory: string,
  id: string,
  now: number,
): Promise<string | undefined> {
  if (await queue.find(id)) return undefined;
  const found = inspect(directory, id);
  if (found.kind === 'damaged') return `${found.reason}; the server will set it aside`;
  // Unfinished ones and those that are done are swept away without a word.
  if (found.kind !== 'whole' || found.head.recipients.every(({ mark }) => mark === MARK.done)) return undefined;
  if (now - found.modified < SETTLED_MS || (await queue.find(id))) return undefined;
  return 'queue.db does not know this message; the server will take it up within minutes';
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await stat(folder)).isDirectory() ? await readdir(folder) : [];
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
