// The one error class of the house. Every protocol maps `kind` to its own reply in one exhaustive table
// (smtp/reply.ts, imap/status.ts); `clientText` may be shown to a peer, `detail` belongs in the log only.

/** What went wrong, seen from outside. A closed list: a new kind must be answered in every protocol's table. */
export type ErrorKind =
  | 'temporary' // a fault of ours that may pass: 451 4.3.0, NO [SERVERBUG]
  | 'disk-full' // 452 4.3.1, NO [OVERQUOTA]-less
  | 'over-quota' // 552 5.2.2 / 452 4.2.2, NO [OVERQUOTA]
  | 'too-large' // 552 5.3.4, NO [TOOBIG]
  | 'too-many' // a count over its limit: 452 4.5.3, NO [LIMIT]
  | 'no-such-user' // 550 5.1.1
  | 'not-permitted' // 550 5.7.1, NO [NOPERM]
  | 'not-owner' // a sender that is not the user's: 553 5.7.1
  | 'mail-loop' // our own Delivered-To: 554 5.4.6
  | 'bad-syntax' // 501 5.5.4, BAD
  | 'no-such-mailbox' // NO [NONEXISTENT] / [TRYCREATE]
  | 'already-exists' // NO [ALREADYEXISTS]
  | 'cannot' // a name or request that can never work: NO [CANNOT]
  | 'in-use' // another program holds the lock: 451 4.3.0, NO [INUSE]
  | 'corrupt' // NO [CORRUPTION]
  | 'auth-failed' // 535 5.7.8, NO [AUTHENTICATIONFAILED]
  | 'auth-unavailable' // 454 4.7.0, NO [UNAVAILABLE]
  | 'config'; // a setting or map is wrong: never reaches a peer

/** An error with a stable `code` (a name that logs and tests may rely on), a kind, and two texts kept apart. */
export class MailError extends Error {
  override readonly name = 'MailError';
  readonly kind: ErrorKind;
  readonly code: string;
  /** Fit for a peer: no path, no SQL, no stack. */
  readonly clientText: string;
  /** For the log only. */
  readonly detail: string;

  constructor(kind: ErrorKind, code: string, clientText: string, options: { detail?: string; cause?: unknown } = {}) {
    super(options.detail ? `${clientText} (${options.detail})` : clientText, { cause: options.cause });
    this.kind = kind;
    this.code = code;
    this.clientText = clientText;
    this.detail = options.detail ?? (options.cause instanceof Error ? options.cause.message : '');
  }
}

/** The `code` of a system error (`ENOENT`, `EIO`, …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Turns anything thrown into a MailError: full disks and quotas are told apart, everything else is temporary. */
export function toMailError(error: unknown, what: string): MailError {
  if (error instanceof MailError) return error;
  const errno = errnoOf(error);
  if (errno === 'ENOSPC' || errno === 'EFBIG')
    return new MailError('disk-full', 'DISK_FULL', 'Insufficient system storage', { detail: what, cause: error });
  if (errno === 'EDQUOT') return new MailError('over-quota', 'DISK_QUOTA', 'Quota exceeded', { detail: what, cause: error });
  return new MailError('temporary', errno ?? 'INTERNAL', 'Temporary failure, try again later', {
    detail: `${what}: ${error instanceof Error ? error.message : String(error)}`,
    cause: error,
  });
}
