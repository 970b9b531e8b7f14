// A message for a host that takes 7 bits only (RFC 6152 section 3): parts with 8-bit content become quoted-printable or base64, in multiparts and embedded
// messages too (those may not be encoded as a whole: RFC 2046 section 5.2.1).
//
// Field bodies stay as they are, also those of parts (file names), as Postfix leaves them. 8BITMIME is about content: raw octets in a field were no
// more allowed towards a host that has it (RFC 6152 section 1, RFC 5322 section 2.2), and go there as they are. As RFC 2047 words they would need a
// charset, which nobody has told us, and where words may not stand (addresses, parameters) nothing could be done; signatures of others over From and
// Subject that hold would break. A host that takes 7 bits of an octet spoils a name; a message returned for it is not read at all.
//
// The message is read three times: its structure, where its 8-bit octets are, and on its way into the spool.
import { parseFields } from './headers.ts';
import type { MessageSource } from './source.ts';
import { Spool } from './spool.ts';
import { parseStructure } from './structure.ts';
import { Base64Encoder, QuotedPrintableEncoder, type Encoder } from './transfer-encoder.ts';
import { DEFAULT_MIME_LIMITS, type MimePart } from './types.ts';

const CRLF = Buffer.from('\r\n');

/** What happens to the bytes from `start` to `end`, which are read in order. Edits do not overlap. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly encoder: () => Encoder;
}
interface Leaf {
  readonly part: MimePart;
  eightBit: number;
}

/**
 * The message with 7-bit content: `source` itself when it has no other, else a new one that whoever gets it disposes. `source` has CRLF line ends and stays
 * the caller's. What is too deep or too much for the limits of the MIME parser stays as it is.
 */
export async function downgrade(source: MessageSource, spoolFolder: string): Promise<MessageSource> {
  const { root } = await parseStructure(source.chunks());
  const leaves = leavesOf(root);
  await countEightBit(source, leaves);
  const edits = plan(root, new Map(leaves.map((leaf) => [leaf.part, leaf])));
  if (edits.length === 0) return source;
  const spool = new Spool(spoolFolder);
  try {
    let last: Buffer = Buffer.alloc(0);
    for await (const bytes of edited(source, edits)) {
      await spool.write(bytes);
      last = Buffer.concat([last, bytes.subarray(-2)]).subarray(-2);
    }
    if (!last.equals(CRLF)) await spool.write(CRLF);
  } catch (error) {
    await spool.discard();
    throw error;
  }
  return spool.finish();
}

/** Whether a part's content has 8-bit octets; those of fields, and around the parts of a multipart, do not count. */
export async function hasEightBitContent(source: MessageSource): Promise<boolean> {
  const leaves = leavesOf((await parseStructure(source.chunks())).root);
  await countEightBit(source, leaves);
  return leaves.some(({ eightBit }) => eightBit > 0);
}

/** What is inside a part, for looking through; nothing inside a message of RFC 6532, which may be encoded. */
function inside(part: MimePart): readonly MimePart[] {
  if (part.type === 'multipart') return part.children;
  return part.message && part.subtype !== 'global' ? [part.message.root] : [];
}

function leavesOf(root: MimePart): Leaf[] {
  const found: Leaf[] = [];
  const open = [root];
  for (let part = open.pop(); part; part = open.pop()) {
    const parts = inside(part);
    if (parts.length === 0) found.push({ part, eightBit: 0 });
    else open.push(...[...parts].reverse());
  }
  return found;
}

async function countEightBit(source: MessageSource, leaves: readonly Leaf[]): Promise<void> {
  let at = 0;
  let next = 0;
  for await (const chunk of source.chunks()) {
    for (let leaf = leaves[next]; leaf && leaf.part.bodyStart < at + chunk.length; leaf = leaves[next]) {
      const end = leaf.part.bodyEnd - at;
      for (let i = Math.max(0, leaf.part.bodyStart - at); i < Math.min(end, chunk.length); i++)
        if ((chunk[i] ?? 0) >= 0x80) leaf.eightBit++;
      if (end > chunk.length) break;
      next++;
    }
    at += chunk.length;
  }
}

function plan(root: MimePart, leaves: ReadonlyMap<MimePart, Leaf>): Edit[] {
  const edits: Edit[] = [];
  const open = [root];
  for (let part = open.pop(); part; part = open.pop()) {
    const leaf = leaves.get(part);
    edits.push(...(leaf ? leafEdits(leaf, part === root) : relabel(part, part === root, '7bit')));
    if (!leaf) open.push(...[...inside(part)].reverse());
  }
  const mime = edits.some(({ start }) => start === root.headerStart);
  if (edits.length > 0 && !mime) edits.push(...headerEdit(root, true, undefined));
  return edits.sort((a, b) => a.start - b.start);
}

const isRaw = ({ encoding }: MimePart): boolean => encoding === '8BIT' || encoding === 'BINARY';

/** A label that would be wrong is put right. */
const relabel = (part: MimePart, isRoot: boolean, encoding: string): Edit[] =>
  isRaw(part) ? headerEdit(part, isRoot, encoding) : [];

function leafEdits({ part, eightBit }: Leaf, isRoot: boolean): Edit[] {
  const { bodyStart: start, bodyEnd: end, encoding } = part;
  if (eightBit === 0) return relabel(part, isRoot, '7bit');
  // What claims to be 7-bit already is made so: an escape, or nothing, as a decoder has it.
  if (encoding === 'QUOTED-PRINTABLE') return [{ start, end, encoder: () => eachEightBit((byte) => `=${hex(byte)}`) }];
  if (encoding === 'BASE64') return [{ start, end, encoder: () => eachEightBit(() => '') }];
  const opaque = part.type === 'multipart' || (part.type === 'message' && part.subtype !== 'global');
  if (opaque || !(isRaw(part) || encoding === '7BIT')) return [];
  const quoted = part.type === 'text' && eightBit * 3 <= end - start;
  const header = headerEdit(part, isRoot, quoted ? 'quoted-printable' : 'base64');
  const encoder = (): Encoder => (quoted ? new QuotedPrintableEncoder() : new Base64Encoder());
  return header.length === 0 ? [] : [...header, { start, end, encoder }];
}

const hex = (byte: number): string => byte.toString(16).toUpperCase();

function eachEightBit(replace: (byte: number) => string): Encoder {
  return {
    push: (chunk) =>
      Buffer.from(
        chunk.toString('latin1').replace(/[\x80-\xff]/g, (char) => replace(char.charCodeAt(0))),
        'latin1',
      ),
    end: () => Buffer.alloc(0),
  };
}

/** None where the header is more than anybody looks at. */
function headerEdit({ headerStart: start, bodyStart: end }: MimePart, isRoot: boolean, encoding: string | undefined): Edit[] {
  if (end - start > DEFAULT_MIME_LIMITS.headerBytes) return [];
  return [{ start, end, encoder: () => whole((header) => editMime(header, isRoot, encoding)) }];
}

function whole(edit: (bytes: Buffer) => Buffer): Encoder {
  const chunks: Buffer[] = [];
  return {
    push: (chunk) => {
      chunks.push(Buffer.from(chunk));
      return Buffer.alloc(0);
    },
    end: () => edit(Buffer.concat(chunks)),
  };
}

/** `encoding` in place of the one that is there, else at the end; a message that is no MIME yet becomes it. */
function editMime(header: Buffer, isRoot: boolean, encoding: string | undefined): Buffer {
  const fields = parseFields(header, DEFAULT_MIME_LIMITS);
  const has = (name: string): boolean => fields.some((field) => field.name === name);
  const added: string[] = [];
  const becomes = isRoot && !has('mime-version');
  if (becomes) added.push('MIME-Version: 1.0\r\n');
  if (becomes && encoding !== undefined && !has('content-type')) added.push('Content-Type: text/plain; charset=unknown-8bit\r\n');
  if (encoding !== undefined) added.push(`Content-Transfer-Encoding: ${encoding}\r\n`);
  const text = Buffer.from(added.join(''));
  const [first, ...more] = encoding === undefined ? [] : fields.filter(({ name }) => name === 'content-transfer-encoding');
  const end = header.subarray(-2).equals(CRLF) ? header.length - 2 : header.length;
  if (!first) return Buffer.concat([header.subarray(0, end), text, header.subarray(end)]);
  const parts: Buffer[] = [header.subarray(0, first.start), text];
  let at = first.end;
  for (const field of more) {
    parts.push(header.subarray(at, field.start));
    at = field.end;
  }
  return Buffer.concat([...parts, header.subarray(at)]);
}

async function* edited(source: MessageSource, edits: readonly Edit[]): AsyncGenerator<Buffer> {
  let at = 0;
  let next = 0;
  let encoder: Encoder | undefined;
  for await (const chunk of source.chunks()) {
    for (let from = 0; from < chunk.length;) {
      const edit = edits[next];
      const stop = edit ? (encoder ? edit.end : edit.start) - at : chunk.length;
      const to = Math.max(from, Math.min(chunk.length, stop));
      const piece = chunk.subarray(from, to);
      if (piece.length > 0) yield encoder ? encoder.push(piece) : piece;
      from = to;
      if (!edit || at + from < (encoder ? edit.end : edit.start)) continue;
      if (encoder) {
        yield encoder.end();
        encoder = undefined;
        next++;
      } else encoder = edit.encoder();
    }
    at += chunk.length;
  }
  if (encoder) yield encoder.end();
}
