// Where a message waits while it comes in: in memory while it is small, in a file when it is not. The file is unlinked from sight at
// once when it can be; nothing of it survives the process.
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { MessageSource } from './source.ts';

/** Bytes kept in memory. */
const MEMORY = 256 * 1024;
const READ_CHUNK = 64 * 1024;

/** Takes a message's bytes in order; `finish` gives them back as a source, `discard` forgets them. */
export class Spool {
  readonly #folder: string;
  #chunks: Buffer[] = [];
  #file: FileHandle | undefined;
  /** Bytes so far. */
  size = 0;

  /** `folder` is made on first use (mode 0700). */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async write(chunk: Buffer): Promise<void> {
    this.size += chunk.length;
    if (!this.#file && this.size <= MEMORY) {
      // A socket's chunk may share a pool: what is kept is copied.
      this.#chunks.push(Buffer.from(chunk));
      return;
    }
    if (!this.#file) {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const path = join(this.#folder, `spool.${process.pid}.${randomBytes(8).toString('hex')}`);
      this.#file = await open(path, 'wx+', 0o600);
      await unlink(path);
      for (const kept of this.#chunks) await this.#append(kept);
      this.#chunks = [];
    }
    await this.#append(chunk);
  }
  async #append(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length;)
      at += (await this.#file?.write(chunk, at, chunk.length - at))?.bytesWritten ?? chunk.length;
  }

  /** The message; whoever gets it disposes it. */
  finish(): MessageSource {
    const { size } = this;
    const chunks = this.#chunks;
    const file = this.#file;
    let open_ = true;
    return {
      size,
      async *chunks() {
        if (!file) yield* chunks;
        else
          for (let at = 0; at < size;) {
            const buffer = Buffer.allocUnsafe(Math.min(READ_CHUNK, size - at));
            const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
            if (bytesRead === 0) throw new Error('the spool file is shorter than it was');
            at += bytesRead;
            yield buffer.subarray(0, bytesRead);
          }
      },
      async dispose() {
        if (open_) await file?.close();
        open_ = false;
      },
    };
  }
  async discard(): Promise<void> {
    this.#chunks = [];
    await this.#file?.close();
    this.#file = undefined;
  }
}
