// What the serving side asks of the database thread, and gets. All of it can be cloned.
import type { ErrorKind } from '../../lib/errors.ts';
import type { LogFields, LogLevel } from '../../lib/logger.ts';
import type { Job, NewRecipient, QueuedEnvelope, QueuedMessage, QueueFilter, QueueStats, Settlement } from '../types.ts';
import type { Mark } from './queue-file.ts';
import type { RawMessages } from './rows.ts';

export interface PlacedRecipient extends NewRecipient {
  readonly place: number;
}

/** What is to be written into a queue file. */
export interface Marking {
  readonly id: string;
  readonly mark: Mark;
  readonly places: readonly number[];
}

/** What a change of rows means for the files. */
export interface FileWork {
  readonly marks: readonly Marking[];
  /** Messages that have left the queue. */
  readonly gone: readonly string[];
  /** Messages that are to be returned to their senders from now on. */
  readonly expired?: readonly string[];
}

export type ChangeKind = 'hold' | 'release' | 'retry' | 'requeue' | 'expire' | 'remove';

/** Behind which message a page begins. */
export interface Cursor {
  readonly arrived: number;
  readonly id: string;
}

/** Part of what a filter means. Without `cursor` it was the last. */
export interface Page<T> {
  readonly items: T;
  readonly cursor?: Cursor;
}

export interface SweepResult {
  /** Messages that were in no row. */
  readonly adopted: number;
  /** Files that were left over. */
  readonly removed: number;
  readonly corrupt: number;
  /** Another process was at it. */
  readonly skipped: boolean;
}

/** Name → [what is given, what comes back]. Times are milliseconds since the epoch, of the server's clock. */
export interface Operations {
  open: [Record<string, never>, { recovering: boolean }];
  add: [{ envelope: QueuedEnvelope; size: number; recipients: readonly PlacedRecipient[]; now: number }, null];
  settle: [{ id: string; settlements: readonly Settlement[]; now: number }, FileWork];
  redirect: [{ id: string; numbers: readonly number[]; destination: string }, null];
  /** `more`: there are others whose time has come. */
  promote: [{ now: number; latest: number }, { more: boolean; next: number | null }];
  change: [{ kind: ChangeKind; filter: QueueFilter; cursor: Cursor | null; now: number }, Page<{ changed: number } & FileWork>];
  holdDamaged: [{ id: string; reason: string }, null];
  ready: [{ after: string; limit: number; busy: readonly (readonly [string, number])[] }, string[]];
  jobs: [{ destination: string; limit: number; recipientsEach: number; busy: readonly string[] }, Job[]];
  page: [{ filter: QueueFilter; cursor: Cursor | null }, Page<RawMessages>];
  find: [{ id: string }, QueuedMessage | null];
  stats: [Record<string, never>, QueueStats];
  /** Looks through the files for those that no row knows. */
  sweep: [{ now: number }, SweepResult];
}
export type OperationName = keyof Operations;
export type Given<K extends OperationName> = Operations[K][0];
export type Result<K extends OperationName> = Operations[K][1];

export interface Request<K extends OperationName = OperationName> {
  readonly number: number;
  readonly name: K;
  readonly given: Given<K>;
}
export type ToThread = Request | { readonly place: QueuePlace } | { readonly close: true };

/** Whose database the thread has. */
export interface QueuePlace {
  readonly directory: string;
  /** Milliseconds that a request waits for another process's lock. */
  readonly lockTimeout: number;
}

export interface ThreadError {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly text: string;
  readonly detail: string;
}
export type FromThread =
  | { readonly number: number; readonly result: unknown }
  | { readonly number: number; readonly error: ThreadError }
  | { readonly log: readonly [level: LogLevel, event: string, fields: LogFields] }
  | { readonly ready: true };
