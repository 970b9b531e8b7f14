// A header block that is none: what Postfix's smtpd and cleanup make of it, so that everybody sees the same header end at the same line.

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const LF = 0x0a;
const MAILBOX_LINE = Buffer.from('X-Mailbox-Line: ');
const EMPTY_LINE = Buffer.from('\r\n');

/**
 * Takes a message's beginning up to and with its first empty line (all of it, where there is none; CRLF line ends). Lines at its head that begin as an
 * mbox's separator become a field of their own; before a line that is no field and continues none the missing empty line is put: there the body begins.
 * Gives the header, and the bytes of `block` that it stands for. The rest of `block` is body.
 */
export function repairHeader(block: Buffer): { readonly header: Buffer; readonly length: number } {
  const parts: Buffer[] = [];
  let at = 0;
  for (; isMailboxLine(block, at); at = lineEnd(block, at)) parts.push(MAILBOX_LINE, block.subarray(at, lineEnd(block, at)));
  const first = at;
  while (at < block.length && isHeaderLine(block, at, at > first)) at = lineEnd(block, at);
  parts.push(block.subarray(first, at));
  const ended = at === block.length || block.indexOf(EMPTY_LINE, at) === at;
  if (ended) parts.push(block.subarray(at));
  else parts.push(EMPTY_LINE);
  return { header: Buffer.concat(parts), length: ended ? block.length : at };
}

function lineEnd(block: Buffer, at: number): number {
  const lf = block.indexOf(LF, at);
  return lf < 0 ? block.length : lf + 1;
}

/** `From `, with any number of `>` before it. */
function isMailboxLine(block: Buffer, at: number): boolean {
  while (block[at] === 0x3e) at++;
  return block.toString('latin1', at, at + 5).toLowerCase() === 'from ';
}

/** A field's first line, or (behind one) a line that continues it. */
function isHeaderLine(block: Buffer, at: number, continues: boolean): boolean {
  const first = block[at];
  if (first === SPACE || first === TAB) return continues;
  let end = at;
  for (; end < block.length; end++) {
    const byte = block[end] ?? 0;
    if (byte === COLON) return end > at;
    if (byte === SPACE || byte === TAB) break;
    if (byte < SPACE || byte >= 0x7f) return false;
  }
  while (block[end] === SPACE || block[end] === TAB) end++;
  return end > at && block[end] === COLON;
}
