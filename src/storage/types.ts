// What the mailbox store promises to its callers (IMAP, local delivery). The files are the truth: all of this is read
// from and written to a Maildir++ tree and Dovecot's small text files in it.
import type { MessageSource } from '../message/source.ts';
import type { MessageStructure } from '../message/types.ts';

declare const uidBrand: unique symbol;
/** A message's UID: 1 … 2^32-1, unique and growing within one UIDVALIDITY of one mailbox. */
export type Uid = number & { readonly [uidBrand]: true };
declare const modSeqBrand: unique symbol;
/** A modification sequence (RFC 7162): grows with every change of the mailbox; below 2^53. */
export type ModSeq = number & { readonly [modSeqBrand]: true };

/** Where an account's mail lies and what it may hold. */
export interface MailLocation {
  /** `info@example.com`: for logs, and for telling accounts apart. */
  readonly address: string;
  /** Absolute path of the Maildir (the account's home on a host set up with Postfix and Dovecot). */
  readonly maildir: string;
  readonly quota?: QuotaLimits;
}

export interface QuotaLimits {
  /** Bytes (`S=` sizes), undefined for no limit. */
  readonly bytes?: number;
  readonly messages?: number;
}
export interface QuotaUsage {
  readonly bytes: number;
  readonly messages: number;
  readonly limits: QuotaLimits;
}

/** The levels of a mailbox's name, decoded: `['INBOX']`, `['Archivo', '2026']`. */
export type MailboxPath = readonly string[];

/** The system flags that Maildir names hold as letters: T, F, R, S, D. Other capital letters (P, passed) are left as they are. */
export type SystemFlag = '\\Answered' | '\\Flagged' | '\\Deleted' | '\\Seen' | '\\Draft';
/** A system flag or a keyword (`$Forwarded`, `work`): as on the wire. Compared without regard to case. */
export type Flag = string;

/** One message as it stands. Immutable: a change makes a new row with a higher modSeq. */
export interface MessageRow {
  readonly uid: Uid;
  /** Name on disk before `:2,`: never changes. */
  readonly baseName: string;
  /** System flags in canonical spelling, then keywords. Never `\Recent`. */
  readonly flags: readonly Flag[];
  readonly modSeq: ModSeq;
}

/** What never changes about a message and costs a look at its file (once). */
export interface MessageFacts {
  /** INTERNALDATE, milliseconds since the epoch. */
  readonly internalDate: number;
  /** Octets on the wire (RFC822.SIZE). */
  readonly wireSize: number;
}

export interface MailboxStatus {
  readonly messages: number;
  readonly recent: number;
  readonly unseen: number;
  readonly deleted: number;
  readonly uidNext: number;
  readonly uidValidity: number;
  readonly highestModSeq: number;
  /** Opaque, stable over RENAME (the uidlist's `G`). */
  readonly mailboxId: string;
}

export interface MailboxListEntry {
  readonly path: MailboxPath;
  /** False for a level that exists only because something lies below it. */
  readonly exists: boolean;
  readonly hasChildren: boolean;
  /** `\Sent`, `\Junk`, … */
  readonly specialUse: readonly string[];
  readonly subscribed: boolean;
}

export interface AppendMessage {
  readonly source: MessageSource;
  readonly flags: readonly Flag[];
  /** Milliseconds since the epoch; now when undefined. */
  readonly internalDate?: number;
}

/** An account's mail. One object an account in a process, shared by its sessions; obtained from `MailStore.account`. */
export interface AccountStore {
  readonly location: MailLocation;
  /** Every mailbox and every level above one, INBOX first, in the order of their names; subscribed names that are gone have `exists: false`. */
  list(): Promise<MailboxListEntry[]>;
  /** @throws MailError already-exists, cannot (a name that no Maildir can hold). Creates the levels above too. */
  create(path: MailboxPath, specialUse?: readonly string[]): Promise<void>;
  /** @throws MailError no-such-mailbox, cannot (INBOX; a name with children that holds no mail itself). Children stay (RFC 3501 6.3.4). */
  delete(path: MailboxPath): Promise<void>;
  /** Renames a tree; INBOX's messages move to the new mailbox and INBOX stays (RFC 3501 6.3.5). @throws no-such-mailbox, already-exists, cannot */
  rename(from: MailboxPath, to: MailboxPath): Promise<void>;
  subscribe(path: MailboxPath): Promise<void>;
  unsubscribe(path: MailboxPath): Promise<void>;
  /** @throws no-such-mailbox */
  status(path: MailboxPath): Promise<MailboxStatus>;
  /** Opens a mailbox; every `open` is matched by one `Mailbox.close`. @throws no-such-mailbox */
  open(path: MailboxPath): Promise<Mailbox>;
  /**
   * Adds messages, all or none, synced before it resolves (file, then directory, then uidlist).
   * @throws no-such-mailbox, over-quota, disk-full, temporary
   */
  append(path: MailboxPath, messages: readonly AppendMessage[]): Promise<AppendResult>;
  /**
   * Local delivery: into `new/` under `tmp/`'s protection: written, fsynced, renamed, directory fsynced; then it resolves and open sessions
   * are woken. The mailbox (and the account's home and Maildir on first use) is created when missing. Gives the file's base name.
   */
  deliver(path: MailboxPath, source: MessageSource): Promise<DeliveredMessage>;
  /**
   * The first half of `deliver`: the message is written and synced under `tmp/`, where no reader looks. Whoever called ends it with
   * `commit` (then it is in `new/`, the directory synced) or `abort`.
   */
  prepareDelivery(path: MailboxPath, source: MessageSource): Promise<PreparedDelivery>;
  quota(): Promise<QuotaUsage>;
}

export interface PreparedDelivery {
  /** Where the message waits: while the file is there it is not delivered, once it is gone it is (rename is atomic). */
  readonly temporaryPath: string;
  /** When it throws, the message waits as before (or, if not even that could be done, is delivered: then nothing waits any more). */
  commit(): Promise<DeliveredMessage>;
  /** Leaves nothing behind. Never throws. */
  abort(): Promise<void>;
}

export interface DeliveredMessage {
  readonly baseName: string;
  /** Bytes on disk. */
  readonly size: number;
}

export interface AppendResult {
  readonly uidValidity: number;
  readonly uids: readonly Uid[];
}

export interface CopyResult {
  readonly uidValidity: number;
  /** Source and target UIDs, in ascending source order. Messages that were gone are left out. */
  readonly pairs: readonly (readonly [from: Uid, to: Uid])[];
}

export interface StoreChange {
  readonly mode: 'replace' | 'add' | 'remove';
  readonly flags: readonly Flag[];
  /** RFC 7162 UNCHANGEDSINCE. */
  readonly unchangedSince?: ModSeq;
}
export interface StoreResult {
  /** Messages whose modSeq was above `unchangedSince`: left as they were. */
  readonly modified: readonly Uid[];
  /** Keywords that found no letter (26 a folder): they were not set. */
  readonly rejected: readonly Flag[];
}

/** A mailbox while somebody has it open; one object for all sessions of the process. */
export interface Mailbox {
  readonly path: MailboxPath;
  readonly uidValidity: number;
  readonly uidNext: number;
  readonly highestModSeq: ModSeq;
  readonly mailboxId: string;
  /** All messages by ascending UID: a new array after each change, never changed in place. */
  readonly messages: readonly MessageRow[];
  /** Keywords known in this mailbox, for FLAGS and PERMANENTFLAGS. */
  readonly keywords: readonly Flag[];
  /** Whether a new keyword would still find a letter (`\*` in PERMANENTFLAGS). */
  readonly acceptsNewKeywords: boolean;
  /** True when the mailbox was deleted, or its UIDVALIDITY changed, under its sessions: they end. */
  readonly gone: boolean;
  /** Looks at the directories when they may have changed (cheap when not) and brings `messages` up to date; new UIDs are in the synced uidlist before. */
  refresh(): Promise<void>;
  /** UIDs that are \Recent and that no other session has been given. `take` (SELECT, not EXAMINE) moves them to `cur/`, so that nobody is given them again. */
  recent(take: boolean): Promise<ReadonlySet<Uid>>;
  /** Calls back (soon, coalesced) when another session, a delivery or another program may have changed something; returns what ends it. */
  watch(listener: () => void): () => void;
  store(uids: readonly Uid[], change: StoreChange): Promise<StoreResult>;
  /** Removes these messages; gives those that were there. */
  expunge(uids: readonly Uid[]): Promise<readonly Uid[]>;
  /** All or none; flags, keywords and dates are kept. @throws no-such-mailbox (for TRYCREATE), over-quota, disk-full, temporary */
  copy(uids: readonly Uid[], to: MailboxPath): Promise<CopyResult>;
  /** As copy, by rename where it can be: a message is never in neither mailbox, also not after a crash. */
  move(uids: readonly Uid[], to: MailboxPath): Promise<CopyResult>;
  /** @throws no-such-mailbox when the message is gone */
  facts(uid: Uid): Promise<MessageFacts>;
  /** Envelope and MIME tree, from the index or parsed now. @throws no-such-mailbox when the message is gone */
  structure(uid: Uid): Promise<MessageStructure>;
  /** The message's bytes. @throws no-such-mailbox when the message is gone */
  content(uid: Uid): Promise<MessageContent>;
  close(): Promise<void>;
}

/** An open message file, kept readable by its descriptor even when it is expunged meanwhile. Whoever got it calls `close`. */
export interface MessageContent {
  /** Bytes on disk. */
  readonly size: number;
  /** Raw bytes of the file from `start` up to (not including) `end`, in chunks of at most 64 KB. */
  read(start: number, end: number): AsyncIterable<Buffer>;
  /** The same range with every line end as CRLF: what goes on the wire. */
  readWire(start: number, end: number): AsyncIterable<Buffer>;
  close(): Promise<void>;
}
