// What a command is to the session: where it may be used, what may be told with its answer, and what it does.
import type { Scanner } from '../syntax/scanner.ts';
import type { LiteralAnnouncement } from '../syntax/literal.ts';
import type { ImapSession } from '../session.ts';
import type { Completion } from '../status.ts';

export type SessionState = 'not-authenticated' | 'authenticated' | 'selected';

export interface CommandContext {
  readonly tag: string;
  /** Behind the command's name: begins with the space before the first argument. */
  readonly args: Scanner;
  /** The message of APPEND, not yet asked for. */
  readonly literal?: LiteralAnnouncement;
}

export interface CommandHandler {
  readonly states: readonly SessionState[];
  /**
   * Untagged responses about the selected mailbox that go out before the tagged one: `none`; `flags`: all but EXPUNGE (RFC 3501 7.4.1: FETCH,
   * STORE, SEARCH); `known`: EXPUNGE too, both from what this process knows; `all`: after a look at the files.
   */
  readonly sync: 'none' | 'flags' | 'known' | 'all';
  /** A missing mailbox is answered with [TRYCREATE]. */
  readonly tryCreate?: boolean;
  /** Gives the tagged answer; undefined when it has been given. @throws MailError */
  run(session: ImapSession, context: CommandContext): Promise<Completion | undefined>;
}

export const ANY_STATE: readonly SessionState[] = ['not-authenticated', 'authenticated', 'selected'];
export const AUTHENTICATED: readonly SessionState[] = ['authenticated', 'selected'];
export const SELECTED: readonly SessionState[] = ['selected'];
export const NOT_AUTHENTICATED: readonly SessionState[] = ['not-authenticated'];
