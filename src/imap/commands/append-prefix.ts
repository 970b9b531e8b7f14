// What stands before APPEND's message: mailbox, flags, date (RFC 3501 section 6.3.11). Read before the message comes, so that it can be refused.
import { MailError } from '../../lib/errors.ts';
import { parseImapDateTime } from '../../message/date.ts';
import type { Flag, MailboxPath } from '../../storage/types.ts';
import { toPath, type Namespace } from '../mailbox-name.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';

export interface AppendPrefix {
  readonly path: MailboxPath;
  /** The name can be no mailbox. */
  readonly error?: MailError;
  readonly flags: readonly Flag[];
  readonly internalDate?: number;
}

/** Undefined when the text is no APPEND up to its message (or a literal that is its mailbox's name). */
export function readAppendPrefix(scan: Scanner, namespace: Namespace): AppendPrefix | undefined {
  try {
    scan.tag();
    if (!scan.take(' APPEND ')) return undefined;
    const name = scan.astring();
    scan.space();
    const flags = scan.peek() === '(' ? scan.list(() => scan.flag()) : [];
    if (flags.length > 0 || scan.peek() === ' ') scan.take(' ');
    let internalDate: number | undefined;
    if (scan.peek() === '"') {
      internalDate = parseImapDateTime(scan.string().toString('latin1'));
      if (internalDate === undefined) return undefined;
      scan.space();
    }
    if (!scan.atEnd) return undefined;
    return {
      ...pathOf(name, namespace),
      flags: flags.filter((flag) => flag.toLowerCase() !== '\\recent'),
      ...(internalDate === undefined ? {} : { internalDate }),
    };
  } catch (error) {
    if (error instanceof BadSyntax) return undefined;
    throw error;
  }
}

function pathOf(name: Buffer, namespace: Namespace): { path: MailboxPath; error?: MailError } {
  try {
    return { path: toPath(name, namespace) };
  } catch (error) {
    if (error instanceof MailError) return { path: [], error };
    throw error;
  }
}
