// An mbox file: read whole, written anew under its dot-lock when something was marked. Other programs may add to it meanwhile; what they added stays.
import { appendFile, open, readFile, stat } from 'node:fs/promises';
import { MailError } from '../../lib/errors.ts';
import { headerLength } from '../../message/headers.ts';
import { withDotlock } from '../../storage/dotlock.ts';
import type { Box, BoxMessage } from './box-types.ts';
import { formatEntry, parseMbox, separatorDate, unquoted, type MboxEntry } from './mbox.ts';

/** Bytes of a file. */
const MAX_MBOX = 512 * 1024 * 1024;
const MODE = 0o600;

async function readMbox(path: string): Promise<Buffer> {
  if ((await stat(path)).size > MAX_MBOX)
    throw new MailError('too-large', 'MBOX_TOO_LARGE', `\`${path}' is over ${MAX_MBOX} bytes`);
  return readFile(path);
}

/** @throws MailError */
export async function openMbox(path: string): Promise<Box> {
  const bytes = await readMbox(path);
  const entries = parseMbox(bytes);
  if (!entries)
    throw new MailError('cannot', 'NO_MBOX', `could not open mailbox \`${path}': it is neither an mbox nor a Maildir`);
  const { mtimeMs } = await stat(path);
  const messages = entries.map((entry) => messageOf(entry, mtimeMs));
  const before = messages.map(({ seen, answered }) => ({ seen, answered }));
  const changed = (message: BoxMessage, i: number): boolean =>
    message.deleted || message.seen !== before[i]?.seen || message.answered !== before[i].answered;
  return {
    path,
    kind: 'mbox',
    messages,
    async save() {
      if (!messages.some(changed)) return;
      await withDotlock(path, MODE, () => rewrite(path, bytes, entries, messages));
    },
    close: async () => undefined,
  };
}

function messageOf({ separator, content }: MboxEntry, fallback: number): BoxMessage {
  const header = content.toString('latin1', 0, Math.min(65_536, headerLength(content) ?? content.length));
  const status = (/^status:[ \t]*(\w*)/im.exec(header)?.[1] ?? '') + (/^x-status:[ \t]*(\w*)/im.exec(header)?.[1] ?? '');
  let lines = 0;
  for (let lf = content.indexOf(0x0a); lf >= 0; lf = content.indexOf(0x0a, lf + 1)) lines++;
  return {
    header,
    size: content.length,
    lines,
    received: separatorDate(separator) ?? fallback,
    isNew: !/[RO]/.test(status),
    seen: status.includes('R'),
    answered: status.includes('A'),
    deleted: false,
    read: async () => withoutStatus(unquoted(content)),
  };
}

/** Written in place, as every program that appends to the file expects; the lock keeps those away. */
async function rewrite(
  path: string,
  read: Buffer,
  entries: readonly MboxEntry[],
  messages: readonly BoxMessage[],
): Promise<void> {
  const now = await readMbox(path);
  if (!now.subarray(0, read.length).equals(read))
    throw new MailError('in-use', 'MBOX_CHANGED', `another program has changed \`${path}': nothing was written`);
  const kept = entries.flatMap((entry, i) => (messages[i]?.deleted ? [] : [withStatus(entry, messages[i])]));
  const bytes = Buffer.concat([...kept, now.subarray(read.length)]);
  const handle = await open(path, 'r+');
  try {
    for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at, bytes.length - at, at)).bytesWritten;
    await handle.truncate(bytes.length);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function withStatus({ separator, content }: MboxEntry, message: BoxMessage | undefined): Buffer {
  const end = headerLength(content) ?? content.length;
  const header = withoutStatus(content.subarray(0, end)).toString('latin1').replace(/\n?$/, '');
  const status = `Status: ${message?.seen ? 'R' : ''}O\n${message?.answered ? 'X-Status: A\n' : ''}`;
  const tail = content.at(-1) === 0x0a ? '\n' : '\n\n';
  return Buffer.concat([
    Buffer.from(`${separator}${header}${header === '' ? '' : '\n'}${status}\n`, 'latin1'),
    content.subarray(end),
    Buffer.from(tail),
  ]);
}

/** The fields are the mbox's business. */
function withoutStatus(content: Buffer): Buffer {
  const end = headerLength(content) ?? content.length;
  const header = content.toString('latin1', 0, end).replace(/^(?:x-)?status:.*\n/gim, '');
  return Buffer.concat([Buffer.from(header, 'latin1'), content.subarray(end)]);
}

/** Adds messages at the end of a file, which is made when it is not there. @throws MailError */
export async function addToMbox(path: string, messages: readonly { content: Buffer; received: number }[]): Promise<void> {
  await withDotlock(path, MODE, async () => {
    await appendFile(path, Buffer.concat(messages.map(({ content, received }) => formatEntry(content, received))), {
      mode: MODE,
      flush: true,
    });
  });
}
