// Puts a message into the maildrop: what sendmail does, with the rights of whoever called it. It works whether or not the server runs.
//
//   new.NAME written → synced → renamed to NAME (from now on it is a message) → synced again → done
//
// The folder cannot be opened by those who may not list it, so that its entry is synced through the file: on the file systems of Linux that journal (ext4, XFS,
// Btrfs) syncing a renamed file syncs its new name. Whoever may open the folder syncs it as well.
import { randomBytes } from 'node:crypto';
import { open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';
import { DROP_MODE, maildropFolder, UNFINISHED } from './folder.ts';
import { formatHead, type DropEnvelope } from './format.ts';

/** A file that is being written. Whoever made it ends it with `commit` or `abort`. */
export class Drop {
  readonly #folder: string;
  readonly #name: string;
  readonly #handle: FileHandle;
  #path: string;
  /** Bytes of the message so far. */
  size = 0;

  private constructor(folder: string, name: string, handle: FileHandle) {
    this.#folder = folder;
    this.#name = name;
    this.#handle = handle;
    this.#path = join(folder, `${UNFINISHED}${name}`);
  }

  /** @throws MailError config `NO_MAILDROP`; temporary, disk-full */
  static async create(queueDirectory: string, envelope: DropEnvelope): Promise<Drop> {
    const folder = maildropFolder(queueDirectory);
    const name = randomBytes(16).toString('hex');
    let handle: FileHandle;
    try {
      handle = await open(join(folder, `${UNFINISHED}${name}`), 'wx', 0o600);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'EACCES') throw toMailError(error, `writing into ${folder}`);
      throw new MailError('config', 'NO_MAILDROP', `cannot write into ${folder}: the server makes it when it starts`, {
        cause: error,
      });
    }
    const drop = new Drop(folder, name, handle);
    try {
      // Whatever the umask is.
      await handle.chmod(DROP_MODE);
      await writeAll(handle, formatHead(envelope));
      return drop;
    } catch (error) {
      await drop.abort();
      throw toMailError(error, `writing into ${folder}`);
    }
  }

  /** Adds bytes of the message. @throws MailError; then it is to be aborted */
  async write(bytes: Buffer): Promise<void> {
    try {
      await writeAll(this.#handle, bytes);
      this.size += bytes.length;
    } catch (error) {
      throw toMailError(error, `writing into ${this.#folder}`);
    }
  }

  /** The message is on the disk, complete, when it resolves. @throws MailError when it is not; nothing is left then */
  async commit(): Promise<void> {
    try {
      await this.#handle.sync();
      const path = join(this.#folder, this.#name);
      await rename(this.#path, path);
      this.#path = path;
      await this.#handle.sync();
      await syncIfReadable(this.#folder);
    } catch (error) {
      await this.abort();
      throw toMailError(error, `writing into ${this.#folder}`);
    }
    await this.#handle.close().catch(() => undefined);
  }

  /** Leaves nothing behind. Never throws. */
  async abort(): Promise<void> {
    await unlink(this.#path).catch(() => undefined);
    await this.#handle.close().catch(() => undefined);
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at)).bytesWritten;
}

async function syncIfReadable(folder: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(folder, 'r');
  } catch {
    return;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
