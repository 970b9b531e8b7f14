// The mbox format (RFC 4155, in mboxrd's and mboxo's form): a line `From sender date` before each message, an empty line behind it, `>` before such lines within.
import { parseRfc5322Date } from '../../message/date.ts';
import { formatAsctime } from './dates.ts';

export interface MboxEntry {
  /** With its line end. */
  readonly separator: string;
  /** The message as it stands, lines LF, without the empty line behind it. */
  readonly content: Buffer;
}

const FROM = Buffer.from('From ');

/** The messages of a file; undefined when it is no mbox. Empty files are mboxes without messages. */
export function parseMbox(bytes: Buffer): MboxEntry[] | undefined {
  if (bytes.length === 0) return [];
  if (!isFromLine(bytes, 0)) return undefined;
  const starts = [0];
  for (let at = bytes.indexOf('\n\nFrom '); at >= 0; at = bytes.indexOf('\n\nFrom ', at + 1))
    if (isFromLine(bytes, at + 2)) starts.push(at + 2);
  return starts.map((start, i) => {
    const next = starts[i + 1];
    const lf = bytes.indexOf(0x0a, start);
    const bodyStart = lf < 0 ? bytes.length : lf + 1;
    let end = next === undefined ? bytes.length : next - 1;
    // The empty line behind the last message.
    if (next === undefined && end - bodyStart >= 2 && bytes[end - 1] === 0x0a && bytes[end - 2] === 0x0a) end--;
    return {
      separator: bytes.toString('latin1', start, bodyStart),
      content: bytes.subarray(bodyStart, Math.max(bodyStart, end)),
    };
  });
}

function isFromLine(bytes: Buffer, at: number): boolean {
  return (
    bytes.subarray(at, at + FROM.length).equals(FROM) &&
    / \d{4}\s*$|\d\d:\d\d/.test(bytes.toString('latin1', at, at + 200).split('\n', 1)[0] ?? '')
  );
}

/** A message in an mbox. `content` may have CRLF. */
export function formatEntry(content: Buffer, received: number): Buffer {
  const text = content.toString('latin1').replaceAll('\r\n', '\n');
  const sender = /^return-path:[ \t]*<?([^>\s]+)>?/im.exec(text.slice(0, 65_536))?.[1] ?? 'MAILER-DAEMON';
  const quoted = text.replace(/^(>*From )/gm, '>$1');
  return Buffer.from(`From ${sender} ${formatAsctime(received)}\n${quoted}${quoted.endsWith('\n') ? '' : '\n'}\n`, 'latin1');
}

/** `>From ` as it was (mboxrd). */
export const unquoted = (content: Buffer): Buffer =>
  Buffer.from(content.toString('latin1').replace(/^>(>*From )/gm, '$1'), 'latin1');

/** When a message came, as its separator says; undefined where that cannot be read. */
export function separatorDate(separator: string): number | undefined {
  const m = /([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d(?::\d\d)?)(?: [A-Z]{1,5})? (\d{4})/.exec(separator);
  return m ? parseRfc5322Date(`${m[2]} ${m[1]} ${m[4]} ${m[3]} +0000`)?.at : undefined;
}
