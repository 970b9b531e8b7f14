/** Everything a peer can make long, many or slow, in one place. */
export interface ImapLimits {
  /** Bytes of a command without its literals, before and after login (RELIABILITY rows 20, 21; Dovecot's `imap_max_line_length`). */
  readonly lineBeforeLogin: number;
  readonly line: number;
  /** Bytes of all literals of a command except APPEND's message. */
  readonly literalsBeforeLogin: number;
  readonly literals: number;
  /** APPEND: bytes of a message (message_size_limit). */
  readonly appendSize: number;
  readonly tag: number;
  /** Flags, items, field names, search keys of one command. */
  readonly items: number;
  /** Parentheses (search keys, NOT, OR) inside each other. */
  readonly searchDepth: number;
  /** Wrong commands one after another (before login: in all) before BYE. */
  readonly badCommands: number;
  /** Milliseconds: without login, without a command (RFC 3501 5.4 wants 30 minutes), for a client that does not read. */
  readonly loginTimeout: number;
  readonly idleTimeout: number;
  readonly writeTimeout: number;
  /** Milliseconds from the first line of a command to its last literal; for a message: silence within it. */
  readonly commandTimeout: number;
  /** Milliseconds between `* OK Still here` in IDLE (`imap_idle_notify_interval`). */
  readonly idleNotify: number;
  /** Connections from one address (IPv6: one /64; 0 for no limit), and in all. */
  readonly connectionsPerAddress: number;
  readonly connections: number;
  /** Sessions of one account from one address (`mail_max_userip_connections`); 0 for no limit. */
  readonly sessionsPerUser: number;
}

export const DEFAULT_IMAP_LIMITS: ImapLimits = {
  lineBeforeLogin: 8_192,
  line: 65_536,
  literalsBeforeLogin: 8_192,
  literals: 1_048_576,
  appendSize: 52_428_800,
  tag: 200,
  items: 1_000,
  searchDepth: 50,
  badCommands: 20,
  loginTimeout: 180_000,
  idleTimeout: 1_800_000,
  writeTimeout: 300_000,
  commandTimeout: 300_000,
  idleNotify: 120_000,
  connectionsPerAddress: 250,
  connections: 1_000,
  sessionsPerUser: 250,
};
