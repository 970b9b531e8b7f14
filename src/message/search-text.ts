// Looking for words in a message as a reader would see it: transfer encodings and charsets undone, without regard to case (RFC 3501 section
// 6.4.4: BODY, TEXT and header keys). Memory is bounded: a text part is looked at up to a limit, attachments are not.
import { yieldToLoop } from '../lib/async.ts';
import { decodeText } from './charset.ts';
import { decodeWords, parameterValue } from './encoded-words.ts';
import { fieldValue, parseFields } from './headers.ts';
import { transferDecoder } from './transfer-encoding.ts';
import { DEFAULT_MIME_LIMITS, type MessageStructure, type MimePart } from './types.ts';

/** Encoded bytes of one text part that are searched. */
const MAX_TEXT = 8 * 1024 * 1024;

/** What gives a range of the message's bytes. */
export type ReadRange = (start: number, end: number) => AsyncIterable<Buffer>;

/** Folds case, and Unicode's many ways to write one letter, for comparing. */
export const foldCase = (text: string): string => text.normalize('NFKC').toLowerCase();

/** Values of the fields with this name (lower case), decoded and folded. */
export function headerTexts(block: Buffer, name: string): string[] {
  return parseFields(block, DEFAULT_MIME_LIMITS)
    .filter((field) => field.name === name)
    .map((field) => foldCase(decodeWords(fieldValue(block, field))));
}

/** Whether any text part of the message (or any header of an embedded one) holds `needle` (folded). */
export async function bodyContains(structure: MessageStructure, read: ReadRange, needle: string): Promise<boolean> {
  for (const part of textParts(structure.root)) if (await partContains(part, read, needle)) return true;
  return false;
}

function* textParts(part: MimePart): Generator<MimePart> {
  if (part.type === 'text') yield part;
  for (const child of part.children) yield* textParts(child);
  if (part.message) yield* textParts(part.message.root);
}

async function partContains(part: MimePart, read: ReadRange, needle: string): Promise<boolean> {
  const decoder = transferDecoder(part.encoding);
  const pieces: Buffer[] = [];
  for await (const chunk of read(part.bodyStart, Math.min(part.bodyEnd, part.bodyStart + MAX_TEXT)))
    pieces.push(decoder.push(chunk));
  pieces.push(decoder.end());
  await yieldToLoop();
  return foldCase(decodeText(Buffer.concat(pieces), parameterValue(part.params, 'charset'))).includes(needle);
}
