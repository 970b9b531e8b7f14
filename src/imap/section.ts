// Which bytes of a message `BODY[section]` means (RFC 3501 section 6.4.5).
import { parseFields } from '../message/headers.ts';
import { DEFAULT_MIME_LIMITS, type EmbeddedMessage, type MessageStructure, type MimePart } from '../message/types.ts';

export type SectionText = 'HEADER' | 'HEADER.FIELDS' | 'HEADER.FIELDS.NOT' | 'TEXT' | 'MIME' | '';

export interface Section {
  readonly part: readonly number[];
  readonly text: SectionText;
  /** Of HEADER.FIELDS: lower case. */
  readonly fields: readonly string[];
}

/** Bytes on disk, and how many octets they are on the wire. */
export interface SectionRange {
  readonly start: number;
  readonly end: number;
  readonly size: number;
}

const header = (p: MimePart): SectionRange => ({ start: p.headerStart, end: p.bodyStart, size: p.headerSize });
const body = (p: MimePart): SectionRange => ({ start: p.bodyStart, end: p.bodyEnd, size: p.bodySize });

/** Where a section lies; undefined when the message has no such part (NIL on the wire). HEADER.FIELDS gives the header it selects from. */
export function locate(message: MessageStructure, section: Section): SectionRange | undefined {
  if (section.part.length === 0) {
    if (section.text === '') return { start: 0, end: message.size, size: message.wireSize };
    return inMessage(message, section.text);
  }
  const found = findPart(message, section.part);
  if (!found) return undefined;
  if (section.text === '') return body(found);
  if (section.text === 'MIME') return header(found);
  return found.message ? inMessage(found.message, section.text) : undefined;
}

function inMessage(message: EmbeddedMessage, text: SectionText): SectionRange | undefined {
  if (text === 'TEXT') return body(message.root);
  return text === 'MIME' ? undefined : header(message.root);
}

/** The part with this number. A message that is not multipart has one part, 1: its body. */
export function findPart(message: EmbeddedMessage, path: readonly number[]): MimePart | undefined {
  // What the next number counts in: a message's root, or a multipart.
  let root: MimePart | undefined = message.root;
  let part: MimePart | undefined;
  for (const number of path) {
    if (root) part = root.type === 'multipart' ? root.children[number - 1] : number === 1 ? root : undefined;
    else part = undefined;
    if (!part) return undefined;
    root = part.message ? part.message.root : part.type === 'multipart' ? part : undefined;
  }
  return part;
}

/** HEADER.FIELDS and HEADER.FIELDS.NOT of a header block: the fields in their order as they stand, then an empty line (also when none matched). */
export function selectFields(block: Buffer, names: readonly string[], not: boolean): Buffer {
  const wanted = new Set(names);
  const chosen = parseFields(block, DEFAULT_MIME_LIMITS).filter((field) => wanted.has(field.name) !== not);
  return Buffer.concat([...chosen.map((field) => endLine(block.subarray(field.start, field.end))), Buffer.from('\r\n')]);
}
/** A header cut off by the message's end has no line end of its own. */
const endLine = (field: Buffer): Buffer => (field.at(-1) === 0x0a ? field : Buffer.concat([field, Buffer.from('\r\n')]));
