// A header block (RFC 5322 section 2.2) as bytes: its fields, and the few changes that a submission server may make to it.
import { trimBlanks } from './blanks.ts';
import { MailError } from '../lib/errors.ts';

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;

/** One field. Offsets are into the block it was parsed from. */
export interface HeaderField {
  /** Lower case. */
  readonly name: string;
  /** First byte, and the byte behind the field's last line end. */
  readonly start: number;
  readonly end: number;
  /** First byte behind the colon. */
  readonly valueStart: number;
}

export interface HeaderLimits {
  readonly headerBytes: number;
  readonly headerFields: number;
}

/**
 * The fields of a block that begins at `block[0]` and ends at the empty line (or the end of the buffer). Lines that are no field are
 * passed over. Never looks at more than the limits allow.
 */
export function parseFields(block: Buffer, limits: HeaderLimits): HeaderField[] {
  const fields: HeaderField[] = [];
  const end = Math.min(block.length, limits.headerBytes);
  for (let at = 0; at < end && fields.length < limits.headerFields;) {
    const first = block[at];
    if (first === LF || (first === CR && block[at + 1] === LF)) break;
    const next = fieldEnd(block, at, end);
    const field = fieldAt(block, at, next);
    if (field) fields.push(field);
    at = next;
  }
  return fields;
}

/** Behind the last line of the field at `at`: lines that begin with white space continue it. */
function fieldEnd(block: Buffer, at: number, end: number): number {
  for (;;) {
    const lf = block.indexOf(LF, at);
    if (lf < 0 || lf + 1 >= end) return lf < 0 || lf + 1 > end ? end : lf + 1;
    at = lf + 1;
    if (block[at] !== SPACE && block[at] !== TAB) return at;
  }
}

function fieldAt(block: Buffer, start: number, end: number): HeaderField | undefined {
  let at = start;
  for (; at < end && at - start < 1000; at++) {
    const byte = block[at] ?? 0;
    if (byte === COLON) break;
    if (byte <= SPACE || byte === 0x7f) break;
  }
  const nameEnd = at;
  // Obsolete syntax allows white space before the colon (RFC 5322 4.5).
  while (at < end && (block[at] === SPACE || block[at] === TAB)) at++;
  if (block[at] !== COLON || nameEnd === start) return undefined;
  return { name: block.toString('latin1', start, nameEnd).toLowerCase(), start, end, valueStart: at + 1 };
}

/** A field's value read as latin1, unfolded (line ends removed, white space kept), without white space at its ends; at most `max` bytes of it. */
export function fieldValue(block: Buffer, field: HeaderField, max = 65_536): string {
  return trimBlanks(unfold(block.toString('latin1', field.valueStart, Math.min(field.end, field.valueStart + max))));
}

/** Removes line ends; a tab that begins a folded line becomes a space, as Dovecot shows it. */
function unfold(text: string): string {
  return text.includes('\n') || text.includes('\r') ? text.replace(/\n\t/g, '\n ').replace(/[\r\n]/g, '') : text;
}

/** Where the header block of a message ends: behind its empty line; undefined when `bytes` holds none yet. */
export function headerLength(bytes: Buffer): number | undefined {
  for (let at = 0; ;) {
    const lf = bytes.indexOf(LF, at);
    if (lf < 0) return undefined;
    if (lf === at || (lf === at + 1 && bytes[at] === CR)) return lf + 1;
    at = lf + 1;
  }
}

/**
 * The block without the fields of these names (lower case), and with `added` (`Name: value`, one line each, without its line end) at its head.
 * @throws MailError bad-syntax (HEADER_INJECTION) when an added line would be more than one
 */
export function editHeader(block: Buffer, remove: readonly string[], added: readonly string[], limits: HeaderLimits): Buffer {
  if (added.some((line) => /[\r\n\0]/.test(line))) throw new MailError('bad-syntax', 'HEADER_INJECTION', 'Invalid header field');
  const parts: Buffer[] = added.map((line) => Buffer.from(`${line}\r\n`, 'utf8'));
  let kept = 0;
  for (const field of parseFields(block, limits)) {
    if (!remove.includes(field.name)) continue;
    parts.push(block.subarray(kept, field.start));
    kept = field.end;
  }
  parts.push(block.subarray(kept));
  return Buffer.concat(parts);
}
