// The bytes of one message on their way through the house: from the SMTP spool or an APPEND literal into a Maildir.

/** A whole message, readable any number of times. Owned by whoever made it, who calls `dispose` when all readers are done. */
export interface MessageSource {
  /** Bytes as `chunks` gives them. */
  readonly size: number;
  /** The bytes, in order. CRLF line ends when it came through SMTP or IMAP. */
  chunks(): AsyncIterable<Buffer>;
  /** Frees memory or the spool file. Idempotent. */
  dispose(): Promise<void>;
}

/** A message held in memory: `parts` are its bytes in order. */
export function memorySource(...parts: readonly Buffer[]): MessageSource {
  return {
    size: parts.reduce((sum, part) => sum + part.length, 0),
    async *chunks() {
      yield* parts;
    },
    dispose: async () => undefined,
  };
}

/** `prefix` (trace headers, say) and then all of `source`, without copying; disposing it leaves `source` alone. */
export function prefixedSource(prefix: Buffer, source: MessageSource): MessageSource {
  return {
    size: prefix.length + source.size,
    async *chunks() {
      yield prefix;
      yield* source.chunks();
    },
    dispose: async () => undefined,
  };
}

/** `source` with its first `length` bytes replaced by `head` (an edited header, say). Disposing it disposes `source`. */
export function replaceHead(source: MessageSource, length: number, head: Buffer): MessageSource {
  return {
    size: source.size - length + head.length,
    async *chunks() {
      yield head;
      let skip = length;
      for await (const chunk of source.chunks()) {
        if (skip < chunk.length) yield skip === 0 ? chunk : chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.length);
      }
    },
    dispose: () => source.dispose(),
  };
}

/** The first bytes of a message, at most `most` of them, and not more than it takes to find the end of its header. */
export async function readHead(source: MessageSource, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  let last: Buffer = Buffer.alloc(0);
  for await (const chunk of source.chunks()) {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    // The empty line may lie across chunks.
    const seen = Buffer.concat([last, chunk]);
    if (size >= most || seen.includes('\n\r\n') || seen.includes('\n\n')) break;
    last = seen.subarray(-2);
  }
  return Buffer.concat(chunks).subarray(0, most);
}
