// A file that was taken out of the maildrop, read once: whose it is, its envelope, and its message in the spool.
import { isAscii } from 'node:buffer';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { editHeader } from '../message/headers.ts';
import { formatRfc5322 } from '../message/date.ts';
import { prefixedSource, replaceHead, type MessageSource } from '../message/source.ts';
import { MailError } from '../lib/errors.ts';
import { ChunkScanner } from '../smtp/data-scanner.ts';
import { messageIdOf } from '../smtp/hand-over.ts';
import { IncomingMessage } from '../smtp/incoming-message.ts';
import type { SmtpLimits } from '../smtp/limits.ts';
import { whyForeign } from './folder.ts';
import { BadDrop, MAX_HEAD, parseHead, type DropEnvelope } from './format.ts';

const CHUNK = 65_536;
const LF = 0x0a;
/** Postfix's message_drop_headers. */
const DROPPED = ['bcc', 'content-length', 'resent-bcc', 'return-path'];

export interface TakenMessage {
  readonly envelope: DropEnvelope;
  /** The file's owner. */
  readonly uid: number;
  /** Milliseconds since the epoch, of the file system's clock. */
  readonly written: number;
  /** CRLF, a Received field at its head. */
  readonly source: MessageSource;
  /** Without that field: the same each time the file is read. Whoever reads the file disposes it. */
  readonly original: MessageSource;
  readonly deliveredTo: readonly string[];
  /** For the log. */
  readonly messageId: string;
  readonly eightBit: boolean;
}

export interface ReadOptions {
  readonly id: string;
  /** Group of the maildrop. */
  readonly gid: number;
  readonly hostname: string;
  readonly limits: SmtpLimits;
  readonly spoolFolder: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** `shared`: a part of a split message, whose file has several names. @throws BadDrop for a file that will never be a message; MailError, system errors */
export async function readTaken(path: string, options: ReadOptions, shared = false): Promise<TakenMessage> {
  const handle = await openSafely(path);
  try {
    const stats = await handle.stat();
    const foreign = shared ? undefined : whyForeign(stats, options.gid);
    if (foreign !== undefined) throw new BadDrop(foreign);
    const { envelope, rest } = await readHead(handle);
    const content = await readMessage(handle, rest, options);
    return { envelope, uid: stats.uid, written: stats.mtimeMs, ...content };
  } finally {
    await handle.close();
  }
}

/** What is no regular file is not opened: a link is an error, a pipe does not block. */
async function openSafely(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP' || code === 'ENXIO' || code === 'EACCES') throw new BadDrop(`it cannot be opened (${code})`);
    throw error;
  }
}

async function readHead(handle: FileHandle): Promise<{ envelope: DropEnvelope; rest: Buffer }> {
  let head = Buffer.alloc(0);
  while (head.length <= MAX_HEAD) {
    const chunk = await readChunk(handle);
    if (chunk.length === 0) break;
    const lf = chunk.indexOf(LF);
    head = Buffer.concat([head, chunk]);
    if (lf < 0) continue;
    const end = head.length - chunk.length + lf;
    return { envelope: parseHead(head.subarray(0, end)), rest: head.subarray(end + 1) };
  }
  throw new BadDrop('it does not begin as a file of sendmail');
}

async function readChunk(handle: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, null);
  return buffer.subarray(0, bytesRead);
}

type Content = Omit<TakenMessage, 'envelope' | 'uid' | 'written'>;

async function readMessage(handle: FileHandle, first: Buffer, options: ReadOptions): Promise<Content> {
  const incoming = new IncomingMessage(options.spoolFolder, options.limits);
  try {
    const eightBit = await spool(handle, first, incoming);
    const { source, header, headLength, deliveredTo } = await incoming.finish();
    const { uid } = await handle.stat();
    const edited = editHeader(header, DROPPED, [], options.limits);
    return {
      source: prefixedSource(receivedField(options, uid), replaceHead(source, headLength, edited)),
      original: source,
      deliveredTo,
      messageId: messageIdOf(edited),
      eightBit,
    };
  } catch (error) {
    await incoming.discard();
    // It will be no smaller and have no fewer hops another time.
    if (error instanceof MailError && (error.kind === 'too-large' || error.kind === 'not-permitted'))
      throw new BadDrop(error.clientText);
    throw error;
  }
}

/** Gives whether a byte over 127 came. A bare CR or LF is a line end, NUL is left out. */
async function spool(handle: FileHandle, first: Buffer, incoming: IncomingMessage): Promise<boolean> {
  const scanner = new ChunkScanner();
  let eightBit = false;
  for (let chunk = first; chunk.length > 0; chunk = await readChunk(handle)) {
    eightBit ||= !isAscii(chunk);
    await incoming.write(scanner.push(chunk), chunk.length);
    if (incoming.failure) throw incoming.failure;
  }
  await incoming.write(scanner.end(), 0);
  return eightBit;
}

/** As Postfix's pickup and cleanup write it (RFC 5321 section 4.4 has no way to say it better: there was no connection). */
function receivedField({ hostname, id, now }: ReadOptions, uid: number): Buffer {
  return Buffer.from(`Received: by ${hostname} (Buzon, from userid ${uid})\r\n\tid ${id}; ${formatRfc5322(now)}\r\n`);
}
