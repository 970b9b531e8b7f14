// The last things that happen to a message before it is queued, or sent to a host that takes less than it asks for.
import type { ReceivedMessage } from '../delivery/types.ts';
import { downgrade } from '../message/downgrade.ts';
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
 * `source` itself when nothing had to be changed; else whoever gets it disposes it. `source` stays the caller's.
 */
export async function prepareSevenBit(source: MessageSource, id: string, options: PrepareOptions): Promise<MessageSource> {
  const lines = await downgrade(source, options.spoolFolder);
  return lines === source ? source : over(lines, () => options.signer.resign(lines, id));
}

/** What is the caller's is not disposed with what is made of it. */
const borrowed = (source: MessageSource, made: MessageSource): MessageSource =>
  made === source ? { size: source.size, chunks: () => source.chunks(), dispose: async () => undefined } : made;

async function over(source: MessageSource, make: () => Promise<MessageSource>): Promise<MessageSource> {
  try {
    return await make();
  } catch (error) {
    await source.dispose();
    throw error;
  }
}
