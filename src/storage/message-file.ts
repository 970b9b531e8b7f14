// Message files: written under `tmp/` with their sizes, synced, then renamed to where readers look; read by descriptor.
import { closeSync } from 'node:fs';
import { open, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { openDescriptor, syncDescriptor, touchDescriptor, writeDescriptor } from '../lib/descriptors.ts';
import { toMailError } from '../lib/errors.ts';
import { LfEncoder, CrlfEncoder, LineEndCounter } from '../message/line-ends.ts';
import type { MessageSource } from '../message/source.ts';
import { isMissing } from './files.ts';
import type { MessageContent } from './types.ts';

const FILE_MODE = 0o640;
const READ_CHUNK = 64 * 1024;
/** Small messages are written with one call. */
const GATHER = 256 * 1024;

/** A message under `tmp/`: synced, not yet seen by any reader. */
export interface TemporaryFile {
  readonly path: string;
  /** Its name with sizes: what it is to be called. */
  readonly baseName: string;
  /** Bytes on disk. */
  readonly size: number;
  readonly wireSize: number;
}

export interface WriteOptions {
  /** `mail_save_crlf`: keep CRLF on disk. */
  readonly saveCrlf: boolean;
  /** Sets the file's mtime (INTERNALDATE), milliseconds since the epoch. */
  readonly internalDate?: number;
}

/**
 * Writes `source` to `<folder>/tmp/<unique>` and syncs it. On any error nothing is left behind and the descriptor is given up: a sync that
 * failed is never tried again on it. @throws what the file system says; ENOENT when the folder does not exist
 */
export async function writeTemporary(
  folder: string,
  unique: string,
  source: MessageSource,
  options: WriteOptions,
): Promise<TemporaryFile> {
  const path = join(folder, 'tmp', unique);
  const fd = await openDescriptor(path, 'wx', FILE_MODE);
  try {
    const { size, wireSize } = await writeBody(fd, source, options.saveCrlf);
    if (options.internalDate !== undefined) await touchDescriptor(fd, new Date(), new Date(options.internalDate));
    await syncDescriptor(fd);
    return { path, baseName: `${unique},S=${size},W=${wireSize}`, size, wireSize };
  } catch (error) {
    await unlink(path).catch(() => undefined);
    throw error;
  } finally {
    // What it holds is synced, or given up.
    closeSync(fd);
  }
}

async function writeBody(fd: number, source: MessageSource, saveCrlf: boolean): Promise<{ size: number; wireSize: number }> {
  const transform = saveCrlf ? new CrlfEncoder() : new LfEncoder();
  const counter = new LineEndCounter();
  let size = 0;
  let gathered: Buffer[] = [];
  let waiting = 0;
  const flush = async (): Promise<void> => {
    if (waiting > 0) await writeDescriptor(fd, gathered, waiting);
    gathered = [];
    waiting = 0;
  };
  const take = async (bytes: Buffer): Promise<void> => {
    if (bytes.length === 0) return;
    counter.push(bytes);
    size += bytes.length;
    gathered.push(bytes);
    if ((waiting += bytes.length) >= GATHER) await flush();
  };
  for await (const chunk of source.chunks()) await take(transform.push(chunk));
  if (transform instanceof LfEncoder) await take(transform.end());
  await flush();
  return { size, wireSize: counter.wireSize };
}

/** Gives a file under `tmp/` its place. The folder's sync is the caller's. */
export async function publish(file: TemporaryFile, folder: string, sub: 'new' | 'cur', name: string): Promise<void> {
  await rename(file.path, join(folder, sub, name));
}

/** Opens a message for reading; undefined when the file is not there (any more). */
export async function openContent(path: string): Promise<MessageContent | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw toMailError(error, 'opening a message');
  }
  return new FileContent(handle, (await handle.stat()).size);
}

class FileContent implements MessageContent {
  readonly size: number;
  readonly #handle: FileHandle;

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }
  async *read(start: number, end: number): AsyncIterable<Buffer> {
    const last = Math.min(end, this.size);
    for (let at = start; at < last;) {
      const buffer = Buffer.allocUnsafe(Math.min(READ_CHUNK, last - at));
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead);
    }
  }
  async *readWire(start: number, end: number): AsyncIterable<Buffer> {
    const transform = new CrlfEncoder();
    if (start > 0) for await (const before of this.read(start - 1, start)) transform.push(before);
    for await (const chunk of this.read(start, end)) yield transform.push(chunk);
  }
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Octets on the wire and mtime of a message file; undefined when it is gone. */
export async function measure(path: string): Promise<{ wireSize: number; internalDate: number } | undefined> {
  const content = await openContent(path);
  if (!content) return undefined;
  try {
    const counter = new LineEndCounter();
    for await (const chunk of content.read(0, content.size)) counter.push(chunk);
    return { wireSize: counter.wireSize, internalDate: (await stat(path)).mtimeMs };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  } finally {
    await content.close();
  }
}
