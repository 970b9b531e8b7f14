/** Everything a peer can make long, many or slow, in one place. */
export interface ImapLimits {
  /** Bytes of a command without its literals, before and after login (RELIABILITY rows 20, 21). */
  readonly lineBeforeLogin: number;
  readonly line: number;
  /** Bytes of all literals of a command except APPEND's message. */
  readonly literalsBeforeLogin: number;
  readonly literals: number;
  /** APPEND: bytes of a message (message_size_limit). */
  readonly appendSize: number;
  /** Wrong commands before BYE. */
  readonly badCommands: number;
  /** Milliseconds: without login, without a command (RFC 3501 5.4 wants 30 minutes), for a client that does not read. */
  readonly loginTimeout: number;
  readonly idleTimeout: number;
  readonly writeTimeout: number;
  /** Connections from one address, and in all. */
  readonly connectionsPerAddress: number;
  readonly connections: number;
  /** Nesting of search keys. */
  readonly searchDepth: number;
}

export const DEFAULT_IMAP_LIMITS: ImapLimits = {
  lineBeforeLogin: 8_192,
  line: 65_536,
  literalsBeforeLogin: 8_192,
  literals: 1_048_576,
  appendSize: 52_428_800,
  badCommands: 20,
  loginTimeout: 180_000,
  idleTimeout: 1_800_000,
  writeTimeout: 300_000,
  connectionsPerAddress: 50,
  connections: 1_000,
  searchDepth: 50,
};
