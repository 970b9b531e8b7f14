// The queue's files as the serving side handles them: written and synced, marked, opened, taken away. Nothing here blocks the loop.
import { createHash } from 'node:crypto';
import { closeSync, fchownSync, fstatSync } from 'node:fs';
import { chmod, mkdir, open, readdir, rename, stat, unlink, chown } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { datasyncDescriptor, openDescriptor, readDescriptor, writeDescriptor } from '../../lib/descriptors.ts';
import { MailError, toMailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import { isMissing, removeIfThere } from '../../storage/files.ts';
import { FolderSync } from '../../storage/folder-sync.ts';
import type { FileLayout, NewMessage } from '../types.ts';
import {
  formatHead,
  HASH_AT,
  isQueueId,
  MAX_HEAD,
  messagesFolder,
  parseHead,
  parsePreamble,
  pathOf,
  PREAMBLE,
  type Mark,
  type Preamble,
} from './queue-file.ts';

const FILE_MODE = 0o600;
/** Of a message that is to be returned to its sender: as in Postfix's queue (MAIL_QUEUE_STAT_EXPIRE) the owner's x bit tells. */
const EXPIRED_MODE = 0o700;
const FOLDER_MODE = 0o700;
/** Small messages are written with one call. */
const GATHER = 256 * 1024;
const READ_CHUNK = 64 * 1024;
/** Most messages are read whole with the first call. */
const FIRST_READ = 16 * 1024;

/** Whose the folder is: what root makes in it is given to him. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export class QueueFiles {
  readonly directory: string;
  readonly #owner: Owner | undefined;
  readonly #sync = new FolderSync();
  /** Folders that a power cut leaves there. */
  readonly #durable = new Set<string>();

  private constructor(directory: string, owner: Owner | undefined) {
    this.directory = directory;
    this.#owner = owner;
  }

  /** Makes what is not there of the folders. @throws MailError temporary */
  static async open(directory: string): Promise<QueueFiles> {
    try {
      await mkdir(directory, { recursive: true, mode: FOLDER_MODE });
      const { uid, gid } = await stat(directory);
      const files = new QueueFiles(directory, process.geteuid?.() === 0 && uid !== 0 ? { uid, gid } : undefined);
      await files.#makeFolders();
      for (const name of ['wake', 'recover.lock', 'sweep.lock']) await files.makeFile(name);
      return files;
    } catch (error) {
      throw toMailError(error, `opening the queue ${directory}`);
    }
  }

  async #makeFolders(): Promise<void> {
    const messages = messagesFolder(this.directory);
    for (const path of [messages, join(this.directory, 'corrupt')]) await this.#makeFolder(path);
    const there = await readdir(messages);
    // Also when they are there: another process may have made them a moment ago.
    await this.#sync.sync(messages);
    await this.#sync.sync(this.directory);
    for (const name of there) this.#durable.add(join(messages, name));
  }
  async #makeFolder(path: string): Promise<void> {
    const made = await mkdir(path, { recursive: true, mode: FOLDER_MODE });
    if (made !== undefined && this.#owner) await chown(path, this.#owner.uid, this.#owner.gid);
  }
  /** An empty file in the queue's folder, unless it is there: its owner's, whoever makes it. */
  async makeFile(name: string): Promise<void> {
    const handle = await open(join(this.directory, name), 'a', FILE_MODE);
    try {
      if (this.#owner) await handle.chown(this.#owner.uid, this.#owner.gid);
    } finally {
      await handle.close();
    }
  }
  /** The folder is on the disk under its name when this resolves. */
  async #ensure(path: string): Promise<void> {
    if (this.#durable.has(path)) return;
    await this.#makeFolder(path);
    await this.#sync.sync(dirname(path));
    this.#durable.add(path);
  }

  /**
   * Writes a message's file; it is on the disk under its name when this resolves. Gives where the recipients' marks are.
   * On any error nothing is left behind, and a descriptor whose sync failed is given up. @throws MailError
   */
  async write({ envelope, source, recipients }: NewMessage): Promise<number[]> {
    if (!isQueueId(envelope.id)) throw new Error(`"${envelope.id}" is no queue id`);
    const { head, places } = formatHead(envelope, source.size, recipients);
    if (head.length > MAX_HEAD) throw new MailError('too-many', 'TOO_MANY_RECIPIENTS', 'Too many recipients');
    const path = pathOf(this.directory, envelope.id);
    let fd: number;
    try {
      await this.#ensure(dirname(path));
      fd = await openDescriptor(path, 'wx', FILE_MODE);
    } catch (error) {
      // One with this id is in the queue: that one stays.
      throw toMailError(error, 'making a queue file');
    }
    try {
      try {
        if (this.#owner) fchownSync(fd, this.#owner.uid, this.#owner.gid);
        await writeMessage(fd, head, source);
        await datasyncDescriptor(fd);
      } finally {
        closeSync(fd);
      }
      await this.#sync.sync(dirname(path));
      return places;
    } catch (error) {
      await unlink(path).catch(() => undefined);
      throw toMailError(error, 'writing a queue file');
    }
  }

  /** Where things stand in a message's file. @throws MailError corrupt */
  async layout(id: string): Promise<FileLayout> {
    let fd: number;
    try {
      fd = await openDescriptor(pathOf(this.directory, id), 'r');
    } catch (error) {
      throw isMissing(error) ? corrupt(id, 'it is missing') : toMailError(error, 'opening a queue file');
    }
    try {
      let parsed = parseHead(await readDescriptor(fd, 0, READ_CHUNK));
      if (parsed.kind === 'short') parsed = parseHead(await readDescriptor(fd, 0, parsed.need));
      if (parsed.kind !== 'ok') throw corrupt(id, parsed.kind === 'short' ? 'it is cut off' : parsed.reason);
      const { headLength, recipients } = parsed.value;
      return { envelope: PREAMBLE, recipients: recipients.map(({ place }) => place), message: headLength };
    } finally {
      closeSync(fd);
    }
  }

  /** Says that the message is to be returned to its sender; not synced. */
  async expire(id: string): Promise<void> {
    await chmod(pathOf(this.directory, id), EXPIRED_MODE);
  }

  /** Says of recipients what became of them; not synced. */
  async mark(id: string, places: readonly number[], mark: Mark): Promise<void> {
    const handle = await open(pathOf(this.directory, id), 'r+');
    try {
      for (const place of places) await handle.write(mark, place, 'latin1');
    } finally {
      await handle.close();
    }
  }

  /** Says whether it was there. */
  remove(id: string): Promise<boolean> {
    return removeIfThere(pathOf(this.directory, id));
  }

  /** Damaged: into `corrupt/`, for the administrator. */
  async setAside(id: string): Promise<void> {
    await rename(pathOf(this.directory, id), join(this.directory, 'corrupt', id)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }

  /** `damaged` is told when the message turns out not to be what was written, at the latest before its last bytes are given. @throws MailError corrupt, temporary */
  async open(id: string, damaged: (reason: string) => Promise<void>): Promise<MessageSource> {
    const fail = async (reason: string): Promise<never> => {
      await damaged(reason);
      throw corrupt(id, reason);
    };
    if (!isQueueId(id)) throw corrupt(id, 'no queue id');
    let fd: number;
    try {
      fd = await openDescriptor(pathOf(this.directory, id), 'r');
    } catch (error) {
      if (isMissing(error)) return await fail('it is missing');
      throw toMailError(error, 'opening a queue file');
    }
    try {
      const first = await readDescriptor(fd, 0, FIRST_READ);
      const preamble = parsePreamble(first);
      if (preamble.kind !== 'ok') return await fail(preamble.kind === 'short' ? 'it is cut off' : preamble.reason);
      const { headLength, size, sha256 } = preamble.value;
      if (sha256 === undefined) return await fail('it was not written to the end');
      const there = fstatSync(fd).size;
      if (there !== headLength + size) return await fail(`it has ${there} bytes, not ${headLength + size}`);
      return new FileSource(fd, first, preamble.value, fail);
    } catch (error) {
      closeSync(fd);
      throw toMailError(error, 'reading a queue file');
    }
  }
}

const corrupt = (id: string, reason: string): MailError =>
  new MailError('corrupt', 'QUEUE_FILE_DAMAGED', 'The message is damaged', { detail: `queue file ${id}: ${reason}` });

async function writeMessage(fd: number, head: Buffer, source: MessageSource): Promise<void> {
  const hash = createHash('sha256');
  let gathered: Buffer[] = [head];
  let waiting = head.length;
  let size = 0;
  let at = 0;
  const flush = async (): Promise<void> => {
    await writeDescriptor(fd, gathered, waiting, at);
    at += waiting;
    gathered = [];
    waiting = 0;
  };
  for await (const chunk of source.chunks()) {
    hash.update(chunk);
    size += chunk.length;
    gathered.push(chunk);
    if ((waiting += chunk.length) >= GATHER) await flush();
  }
  if (size !== source.size) throw new Error(`a message of ${source.size} bytes turned out to have ${size}`);
  const digest = Buffer.from(hash.digest('hex'), 'latin1');
  const whole = at === 0;
  if (whole) digest.copy(head, HASH_AT);
  if (waiting > 0) await flush();
  // Last: whoever finds it finds all before it.
  if (!whole) await writeDescriptor(fd, [digest], digest.length, HASH_AT);
}

/** Owns the descriptor, until it is disposed or all of the file has been read. */
class FileSource implements MessageSource {
  readonly size: number;
  #fd: number | undefined;
  /** The file's beginning. */
  readonly #first: Buffer;
  readonly #preamble: Preamble;
  readonly #fail: (reason: string) => Promise<never>;
  readonly #reading = new Set<Promise<Buffer>>();

  constructor(fd: number, first: Buffer, preamble: Preamble, fail: (reason: string) => Promise<never>) {
    this.size = preamble.size;
    this.#fd = fd;
    this.#first = first;
    this.#preamble = preamble;
    this.#fail = fail;
    if (first.length === preamble.headLength + preamble.size) this.#close();
  }
  async *chunks(): AsyncIterable<Buffer> {
    const { headLength, size, sha256 } = this.#preamble;
    const hash = createHash('sha256');
    const end = headLength + size;
    for (let at = headLength; at < end;) {
      const chunk = await this.#read(at, end);
      if (chunk.length === 0) return await this.#fail('it is cut off');
      hash.update(chunk);
      at += chunk.length;
      if (at === end && hash.digest('hex') !== sha256) return await this.#fail('its bytes are not those that were written');
      yield chunk;
    }
  }
  async #read(at: number, end: number): Promise<Buffer> {
    if (at < this.#first.length) return this.#first.subarray(at, Math.min(end, this.#first.length));
    if (this.#fd === undefined) throw new Error('the message was disposed');
    const reading = readDescriptor(this.#fd, at, Math.min(READ_CHUNK, end - at));
    this.#reading.add(reading);
    try {
      return await reading;
    } catch (error) {
      throw toMailError(error, 'reading a queue file');
    } finally {
      this.#reading.delete(reading);
    }
  }
  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
  /** Once nothing is being read: the descriptor's number may be another file's a moment later. */
  async dispose(): Promise<void> {
    await Promise.allSettled(this.#reading);
    this.#close();
  }
}
