// The last things that happen to a message before it is queued, or sent to a host that takes less than it asks for.
import type { ReceivedMessage } from '../delivery/types.ts';
import { downgrade, hasEightBitContent } from '../message/downgrade.ts';
import { normaliseLines } from '../message/outgoing-lines.ts';
import { prefixedSource, type MessageSource } from '../message/source.ts';

/** DKIM, as policy/dkim-signer.ts does it. */
export interface MessageSigner {
  /** Fields for the head, or undefined when the author's domain has no key. */
  sign(source: MessageSource, id: string): Promise<Buffer | undefined>;
  /** Puts new signatures in the place of ours. Disposing what it gives disposes `source`. */
  resign(source: MessageSource, id: string): Promise<MessageSource>;
}

export interface PrepareOptions {
  readonly signer: MessageSigner;
  readonly spoolFolder: string;
}

/**
 * The message as it goes into the queue: line ends CRLF and lines that any host takes, and, when it is our own users', signed as it is then. Whoever gets it
 * disposes it; the message's own source stays the caller's.
 */
export async function prepareOutgoing(
  { id, source, account, trusted }: ReceivedMessage,
  { signer, spoolFolder }: PrepareOptions,
): Promise<MessageSource> {
  const lines = borrowed(source, await normaliseLines(source, spoolFolder));
  if (account === undefined && trusted !== true) return lines;
  return over(lines, async () => {
    const fields = await signer.sign(lines, id);
    return fields ? { ...prefixedSource(fields, lines), dispose: () => lines.dispose() } : lines;
  });
}

/**
 * The message for a host that does not offer 8BITMIME: its parts in 7 bits, our signature made anew (RFC 6376 section 5.3 wants it made of what is sent).
 * Whoever gets it disposes it; `source` stays the caller's. Undefined where that cannot be: an encoding that we do not know, or nesting past the limits.
 * Where only fields have 8-bit octets nothing changes, and the signature that is there stays.
 */
export async function prepareSevenBit(
  source: MessageSource,
  { signer, spoolFolder }: PrepareOptions,
  id = '',
): Promise<MessageSource | undefined> {
  const made = await downgrade(source, spoolFolder);
  const lines = borrowed(source, made);
  return over(lines, async () => {
    if (!(await hasEightBitContent(lines))) return made === source ? lines : signer.resign(lines, id);
    await lines.dispose();
    return undefined;
  });
}

/** What is the caller's is not disposed with what is made of it. */
const borrowed = (source: MessageSource, made: MessageSource): MessageSource =>
  made === source ? { size: source.size, chunks: () => source.chunks(), dispose: async () => undefined } : made;

async function over<T>(source: MessageSource, make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    await source.dispose();
    throw error;
  }
}
