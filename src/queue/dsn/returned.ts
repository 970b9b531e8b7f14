// What a report gives back of the message: all of it, or its header (RFC 3461 sections 4.3 and 6.2). Nothing is read whole but headers.
import { headerLength } from '../../message/headers.ts';
import { memorySource, readHead, type MessageSource } from '../../message/source.ts';
import { Base64Encoder, base64Size } from '../../message/transfer-encoder.ts';

/** Bytes of a header that are given back. */
const HEADER_LIMIT = 64 * 1024;

export interface Returned {
  readonly kind: 'message' | 'header';
  /** Ends in a line end. Disposing it does nothing: the message is somebody else's. */
  readonly source: MessageSource;
  readonly eightBit: boolean;
}

export async function returnedMessage(source: MessageSource): Promise<Returned> {
  let eightBit = false;
  for await (const chunk of source.chunks()) if (hasEightBit(chunk)) eightBit = true;
  return { kind: 'message', source: view(source), eightBit };
}

/** The header without the empty line behind it; of a very long one whole lines of its beginning. */
export async function returnedHeader(source: MessageSource): Promise<Returned> {
  const head = await readHead(source, HEADER_LIMIT);
  const end = headerLength(head);
  const block = end === undefined ? head.subarray(0, head.lastIndexOf(0x0a) + 1) : head.subarray(0, end);
  const bare = end === undefined ? block : block.subarray(0, block.lastIndexOf(0x0a, block.length - 2) + 1);
  return { kind: 'header', source: memorySource(bare), eightBit: hasEightBit(bare) };
}

const hasEightBit = (bytes: Buffer): boolean => bytes.some((byte) => byte >= 0x80);
const view = (source: MessageSource): MessageSource => ({
  size: source.size,
  chunks: () => source.chunks(),
  dispose: async () => undefined,
});

/** `source` in base64, made as it is read. */
export function base64Source(source: MessageSource): MessageSource {
  return {
    size: base64Size(source.size),
    async *chunks() {
      const encoder = new Base64Encoder();
      for await (const chunk of source.chunks()) yield encoder.push(chunk);
      yield encoder.end();
    },
    dispose: async () => undefined,
  };
}

/** `before`, `source`, `after`. Disposing it leaves `source` alone. */
export function enclosedSource(before: Buffer, source: MessageSource, after: Buffer): MessageSource {
  return {
    size: before.length + source.size + after.length,
    async *chunks() {
      yield before;
      yield* source.chunks();
      yield after;
    },
    dispose: async () => undefined,
  };
}
