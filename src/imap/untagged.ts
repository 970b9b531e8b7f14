// Untagged responses that several commands send.
import type { MessageRow } from '../storage/types.ts';
import type { MailboxView } from './view.ts';
import type { ResponseWriter } from './wire/response-writer.ts';

const SYSTEM_FLAGS = '\\Answered \\Flagged \\Deleted \\Seen \\Draft';

/** `(\Seen \Recent work)`. */
export function formatFlags(view: MailboxView, row: MessageRow): string {
  const flags = row.flags.filter(isSafeFlag);
  return `(${(view.isRecent(row.uid) ? [...flags, '\\Recent'] : flags).join(' ')})`;
}

/** `7 FETCH (FLAGS (…))` (RFC 3501 7.4.2). With the UID wherever it helps: a client may always be sent one. */
export function formatFetchFlags(view: MailboxView, seq: number, row: MessageRow, withUid: boolean): string {
  return `${seq} FETCH (${withUid ? `UID ${row.uid} ` : ''}FLAGS ${formatFlags(view, row)})`;
}

/** FLAGS and PERMANENTFLAGS (RFC 3501 7.2.6, 7.1). */
export function writeKeywords(writer: ResponseWriter, view: MailboxView): void {
  const { keywords, acceptsNewKeywords } = view.mailbox;
  const all = [SYSTEM_FLAGS, ...keywords.filter(isSafeFlag)].join(' ');
  writer.line(`* FLAGS (${all})`);
  const permanent = view.readOnly ? '' : acceptsNewKeywords ? `${all} \\*` : all;
  writer.line(`* OK [PERMANENTFLAGS (${permanent})] ${view.readOnly ? 'No permanent flags permitted' : 'Flags permitted'}`);
}

/** Keywords come from a file that other programs write: one that is no atom would break the response. */
const isSafeFlag = (flag: string): boolean => /^\\?[^\x00-\x20\x7f-\uffff(){%*"\\\]]+$/.test(flag);
