// Who may log in, and where their mail lies: what auth promises to SMTP, IMAP and delivery.

/** An account of `virtual_mailbox_maps`, with what its per-home `passwd` adds. */
export interface Account {
  /** Canonical, lower-case: `info@example.com`. */
  readonly address: string;
  /** Absolute. From the `passwd` entry when it names another than the map's. */
  readonly home: string;
  /** Absolute path of the Maildir: `userdb_mail` (`maildir:…`) or the home itself. */
  readonly maildir: string;
  /** Limits from `userdb_quota_rule` (`*:storage=1G`, `*:messages=1000`) or the setting. */
  readonly quota: { readonly bytes?: number; readonly messages?: number };
}

/** Where a log-in comes from. */
export interface LoginOrigin {
  readonly remoteAddress: string;
  readonly service: 'submission' | 'imap';
  /** TLS, or loopback. */
  readonly secure: boolean;
  readonly sessionId: string;
}

/** What happened to a log-in. Unknown user and wrong password are one and the same answer, after the same time. */
export type LoginResult =
  | { readonly ok: true; readonly account: Account }
  | { readonly ok: false; readonly reason: 'failed' }
  /** A fault of ours (unreadable file, hashing queue full): 454 4.7.0, NO [UNAVAILABLE]. */
  | { readonly ok: false; readonly reason: 'unavailable' }
  /** Too many failures from this address block: say 421 4.7.0 or BYE and close. */
  | { readonly ok: false; readonly reason: 'throttled' };

/** One SASL exchange (RFC 4422) in progress. Base64 is the protocol's business: all bytes here are decoded. */
export interface SaslExchange {
  /** Feeds the client's response (the initial one first; undefined when the client sent none); never throws for what a peer sends. */
  respond(response: Buffer | undefined): Promise<SaslStep>;
}
export type SaslStep =
  | { readonly challenge: Buffer }
  /** Done; `data` is what SCRAM's last server message needs. */
  | { readonly result: LoginResult; readonly data?: Buffer }
  /** The response cannot be parsed: 501 5.5.2, BAD. */
  | { readonly malformed: string };

export interface Authenticator {
  /** Mechanisms to announce to such a peer, best first; none when plain text passwords would cross an open network. */
  mechanisms(origin: Pick<LoginOrigin, 'secure'>): readonly string[];
  /** Starts an exchange; undefined when the mechanism is unknown or not announced to this peer. */
  start(mechanism: string, origin: LoginOrigin): SaslExchange | undefined;
  /** User and password directly (IMAP LOGIN). Waits by itself where failures have made it slow. */
  login(user: string, password: string, origin: LoginOrigin): Promise<LoginResult>;
  /** Calls back once when this account's password changes or the account is removed (RELIABILITY row 35); returns what ends the watch. */
  watch(account: Account, onRevoked: () => void): () => void;
}

export interface AccountDirectory {
  /** The account with exactly this address (no extension, domain in any case). @throws MailError temporary when files cannot be read. */
  find(address: string): Promise<Account | undefined>;
}
