// Looking for words in a message as a reader would see it: transfer encodings and charsets undone, without regard to case (RFC 3501 section
// 6.4.4: BODY, TEXT and header keys). It streams: memory does not grow with the message, and other sessions get their turns.
import { yieldToLoop } from '../lib/async.ts';
import { textStream } from './charset.ts';
import { decodeWords, parameterValue } from './encoded-words.ts';
import { fieldValue, parseFields } from './headers.ts';
import { foldCase, TextFinder } from './text-finder.ts';
import { transferDecoder } from './transfer-encoding.ts';
import { DEFAULT_MIME_LIMITS, type MessageStructure, type MimePart } from './types.ts';

/** Encoded bytes of one text part, and bytes of an embedded message's header, that are searched. */
const MAX_TEXT = 32 * 1024 * 1024;
const MAX_HEADER = 64 * 1024;
/** Bytes decoded and folded at once, and milliseconds before other sessions get a turn. */
const STEP = 8 * 1024;
const TURN = 8;

/** What gives a range of the message's bytes. */
export type ReadRange = (start: number, end: number) => AsyncIterable<Buffer>;

/** Values of the fields with this name (lower case), decoded and folded. */
export function headerTexts(block: Buffer, name: string): string[] {
  return parseFields(block, DEFAULT_MIME_LIMITS)
    .filter((field) => field.name === name)
    .map((field) => foldCase(decodeWords(fieldValue(block, field))));
}

/** Whether any text part of the message, or the header of an embedded one, holds `needle` (folded by `foldCase`). */
export async function bodyContains(structure: MessageStructure, read: ReadRange, needle: string): Promise<boolean> {
  if (needle === '') return true;
  const turns = new Turns();
  for (const part of allParts(structure.root)) {
    if (part.type === 'text' && (await partContains(part, read, needle, turns))) return true;
    if (part.message && (await headerContains(part.message.root, read, needle, turns))) return true;
  }
  return false;
}

class Turns {
  #since = performance.now();

  async take(): Promise<void> {
    if (performance.now() - this.#since < TURN) return;
    await yieldToLoop();
    this.#since = performance.now();
  }
}

function* allParts(part: MimePart): Generator<MimePart> {
  yield part;
  for (const child of part.children) yield* allParts(child);
  if (part.message) yield* allParts(part.message.root);
}

async function partContains(part: MimePart, read: ReadRange, needle: string, turns: Turns): Promise<boolean> {
  const decoder = transferDecoder(part.encoding);
  const text = textStream(parameterValue(part.params, 'charset'));
  const finder = new TextFinder(needle);
  for await (const chunk of read(part.bodyStart, Math.min(part.bodyEnd, part.bodyStart + MAX_TEXT)))
    for (let at = 0; at < chunk.length; at += STEP) {
      if (finder.push(text.push(decoder.push(chunk.subarray(at, at + STEP))))) return true;
      await turns.take();
    }
  return finder.push(text.push(decoder.end()) + text.end()) || finder.end();
}

async function headerContains(root: MimePart, read: ReadRange, needle: string, turns: Turns): Promise<boolean> {
  const chunks: Buffer[] = [];
  for await (const chunk of read(root.headerStart, Math.min(root.bodyStart, root.headerStart + MAX_HEADER))) chunks.push(chunk);
  return blockContains(Buffer.concat(chunks), needle, turns);
}

/** Whether a line `Name: value` of the header block, unfolded and decoded, holds `needle` (folded by `foldCase`): SEARCH TEXT's other half. */
export function headerBlockContains(block: Buffer, needle: string): Promise<boolean> {
  return blockContains(block, needle, new Turns());
}

async function blockContains(block: Buffer, needle: string, turns: Turns): Promise<boolean> {
  for (const field of parseFields(block, DEFAULT_MIME_LIMITS)) {
    const line = `${block.toString('latin1', field.start, field.valueStart)} ${decodeWords(fieldValue(block, field))}`;
    if (foldCase(line).includes(needle)) return true;
    await turns.take();
  }
  return false;
}
