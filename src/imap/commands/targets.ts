// Which messages of the session's view a command means.
import type { MessageRow } from '../../storage/types.ts';
import type { Selected } from '../session.ts';
import { BadSyntax } from '../syntax/scanner.ts';
import type { SequenceSet } from '../syntax/sequence-set.ts';

export interface Target {
  readonly row: MessageRow;
  readonly seq: number;
}

/**
 * By UID: those there are (RFC 3501 6.4.8: unknown ones are no error). By sequence number: all must be there.
 * @throws BadSyntax for a sequence number that the view does not have
 */
export function targets({ view }: Selected, set: SequenceSet, byUid: boolean): Target[] {
  const { rows, uids } = view;
  if (!byUid && (set.exceeds(rows.length) || rows.length === 0)) throw new BadSyntax('There is no message with such a number');
  const indexes = byUid ? set.indexes(uids) : set.indexes(Array.from(rows, (_, i) => i + 1));
  return indexes.flatMap((i) => {
    const row = rows[i];
    return row ? [{ row, seq: i + 1 }] : [];
  });
}
