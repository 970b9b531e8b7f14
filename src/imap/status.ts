// Every kind of error as IMAP's answer: status, response code (RFC 3501 section 7.1, RFC 5530), text.
import type { ErrorKind, MailError } from '../lib/errors.ts';

export interface Answer {
  readonly status: 'OK' | 'NO' | 'BAD';
  /** Without brackets. */
  readonly code?: string;
  readonly text: string;
}

const TABLE: Readonly<Record<ErrorKind, readonly [status: 'NO' | 'BAD', code: string | undefined]>> = {
  temporary: ['NO', 'SERVERBUG'],
  'disk-full': ['NO', 'UNAVAILABLE'],
  'over-quota': ['NO', 'OVERQUOTA'],
  'too-large': ['NO', 'TOOBIG'],
  'too-many': ['NO', 'LIMIT'],
  'no-such-user': ['NO', 'NONEXISTENT'],
  'not-permitted': ['NO', 'NOPERM'],
  'bad-syntax': ['BAD', undefined],
  'no-such-mailbox': ['NO', 'NONEXISTENT'],
  'already-exists': ['NO', 'ALREADYEXISTS'],
  cannot: ['NO', 'CANNOT'],
  'in-use': ['NO', 'INUSE'],
  corrupt: ['NO', 'CORRUPTION'],
  'auth-failed': ['NO', 'AUTHENTICATIONFAILED'],
  'auth-unavailable': ['NO', 'UNAVAILABLE'],
  config: ['NO', 'UNAVAILABLE'],
};

/** What the client is told. */
export function answerFor(error: MailError): Answer {
  const [status, code] = TABLE[error.kind];
  return { status, ...(code === undefined ? {} : { code }), text: error.clientText };
}

export const ok = (text: string, code?: string): Answer => ({ status: 'OK', text, ...(code === undefined ? {} : { code }) });
export const no = (text: string, code?: string): Answer => ({ status: 'NO', text, ...(code === undefined ? {} : { code }) });
export const bad = (text: string, code?: string): Answer => ({ status: 'BAD', text, ...(code === undefined ? {} : { code }) });
