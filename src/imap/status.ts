// What each kind of error is on the wire: one exhaustive table (RFC 3501 section 7.1, RFC 5530 codes).
import type { ErrorKind, MailError } from '../lib/errors.ts';

export interface Completion {
  readonly status: 'OK' | 'NO' | 'BAD';
  /** Without brackets: `READ-ONLY`, `COPYUID 1 2 3`. */
  readonly code?: string;
  readonly text: string;
}

const TABLE: Readonly<Record<ErrorKind, { readonly status: 'NO' | 'BAD'; readonly code?: string }>> = {
  temporary: { status: 'NO', code: 'SERVERBUG' },
  'disk-full': { status: 'NO', code: 'UNAVAILABLE' },
  'over-quota': { status: 'NO', code: 'OVERQUOTA' },
  'too-large': { status: 'NO', code: 'TOOBIG' },
  'too-many': { status: 'NO', code: 'LIMIT' },
  'no-such-user': { status: 'NO', code: 'NONEXISTENT' },
  'not-permitted': { status: 'NO', code: 'NOPERM' },
  'not-owner': { status: 'NO', code: 'NOPERM' },
  'mail-loop': { status: 'NO', code: 'CANNOT' },
  'bad-syntax': { status: 'BAD' },
  'no-such-mailbox': { status: 'NO', code: 'NONEXISTENT' },
  'already-exists': { status: 'NO', code: 'ALREADYEXISTS' },
  cannot: { status: 'NO', code: 'CANNOT' },
  'in-use': { status: 'NO', code: 'INUSE' },
  corrupt: { status: 'NO', code: 'CORRUPTION' },
  'auth-failed': { status: 'NO', code: 'AUTHENTICATIONFAILED' },
  'auth-unavailable': { status: 'NO', code: 'UNAVAILABLE' },
  config: { status: 'NO', code: 'SERVERBUG' },
};

/** The tagged answer to a command that failed. `tryCreate`: the missing mailbox is the target of APPEND, COPY or MOVE. */
export function completionOf(error: MailError, tryCreate: boolean): Completion {
  const { status, code } = TABLE[error.kind];
  if (error.kind === 'config') return { status, code, text: 'Internal error' };
  return { status, code: tryCreate && error.kind === 'no-such-mailbox' ? 'TRYCREATE' : code, text: safeText(error.clientText) };
}

/** `resp-text` of a completion, without line ends. */
export function formatCompletion(tag: string, { status, code, text }: Completion): string {
  return `${tag} ${status} ${code === undefined ? '' : `[${code}] `}${safeText(text)}`;
}
const safeText = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?');

export const ok = (text: string, code?: string): Completion => ({ status: 'OK', code, text });
export const no = (text: string, code?: string): Completion => ({ status: 'NO', code, text });
export const badReply = (text: string, code?: string): Completion => ({ status: 'BAD', code, text });
