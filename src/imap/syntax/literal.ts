// The announcement of a literal at the end of a line (RFC 3501 section 4.3; `+`: RFC 7888).

export interface LiteralAnnouncement {
  readonly size: number;
  /** The client sends without waiting for our `+`. */
  readonly nonSync: boolean;
  /** Bytes of the line before the `{`. */
  readonly at: number;
}

/** What a line announces; undefined for a line that ends a command, 'bad' for a size that no number can hold. */
export function literalAtEnd(line: Buffer): LiteralAnnouncement | 'bad' | undefined {
  if (line[line.length - 1] !== 0x7d) return undefined;
  let at = line.length - 2;
  const nonSync = line[at] === 0x2b;
  if (nonSync) at--;
  const last = at;
  while (at >= 0 && (line[at] ?? 0) >= 0x30 && (line[at] ?? 0) <= 0x39) at--;
  if (at < 0 || line[at] !== 0x7b || at === last) return undefined;
  if (last - at > 10) return 'bad';
  const size = Number(line.toString('latin1', at + 1, last + 1));
  return size > 4_294_967_295 ? 'bad' : { size, nonSync, at };
}
