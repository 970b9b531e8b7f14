// The MIME tree of a message in one pass over its bytes (RFC 2045, RFC 2046): offsets on disk, sizes on the wire. Memory is bounded by
// the limits, not by the message; past a limit the parser goes no deeper and what it has found stays valid.
//
//   line → is it a boundary of an open multipart (innermost first)? → close what it closes, open the next part
//        → else: header line (kept until the empty line) or body line (only counted)
import { yieldToLoop } from '../lib/async.ts';
import type { ContentType } from './content-type.ts';
import { Header } from './envelope.ts';
import {
  DEFAULT_MIME_LIMITS,
  type EmbeddedMessage,
  type Envelope,
  type MessageStructure,
  type MimeLimits,
  type MimePart,
} from './types.ts';

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
/** RFC 2046 allows 70 bytes; senders have used more. */
const MAX_BOUNDARY = 256;
const LINE_PREFIX = MAX_BOUNDARY + 16;
/** Bytes parsed before the clock is looked at, and milliseconds before other sessions get a turn. */
const SLICE = 16 * 1024;
const TURN = 8;
/** Header bytes of a whole message that are looked at, in blocks of `headerBytes`: what is kept of a message stays bounded. */
const HEADER_BLOCKS = 8;

const EMPTY: Buffer = Buffer.alloc(0);

/** A place in the message: bytes on disk, octets on the wire, line ends passed. */
interface Place {
  readonly disk: number;
  readonly wire: number;
  readonly lines: number;
}

class Entity {
  readonly start: Place;
  readonly depth: number;
  /** What the entity is when its header does not say (RFC 2046 5.1.5: message/rfc822 in a digest). */
  readonly defaultType: ContentType;
  /** The header's first bytes as they came, and how many they are. */
  header: Buffer = EMPTY;
  headerBytes = 0;
  inHeader = true;
  bodyStart: Place;
  fields: Header | undefined;
  type: ContentType;
  /** `--boundary` of an open multipart. */
  delimiter: Buffer | undefined;
  children: MimePart[] = [];
  message: EmbeddedMessage | null = null;

  constructor(start: Place, depth: number, defaultType: ContentType) {
    this.start = start;
    this.depth = depth;
    this.defaultType = defaultType;
    this.type = defaultType;
    this.bodyStart = start;
  }

  /** Keeps `chunk[start, end)` as part of the header; chunks are reused or large, so it is copied. */
  keep(chunk: Buffer, start: number, end: number): void {
    const length = this.headerBytes + end - start;
    if (length > this.header.length) {
      const grown = Buffer.allocUnsafe(Math.max(512, 2 * length));
      this.header.copy(grown, 0, 0, this.headerBytes);
      this.header = grown;
    }
    chunk.copy(this.header, this.headerBytes, start, end);
    this.headerBytes = length;
  }
}

const TEXT_PLAIN: ContentType = { type: 'text', subtype: 'plain', params: [['charset', 'us-ascii']] };
const DEFAULT_TEXT: ContentType = { type: 'text', subtype: 'plain', params: [] };
const RFC822: ContentType = { type: 'message', subtype: 'rfc822', params: [] };

class StructureParser {
  readonly #limits: MimeLimits;
  readonly #stack: Entity[] = [];
  #headerBudget: number;
  #parts = 1;
  /** Too many parts: boundaries are not looked at any more. */
  #stopped = false;
  #disk = 0;
  #wire = 0;
  #lines = 0;
  /** The line that is being read: its first bytes, its length, its last byte. */
  #prefix: Buffer = EMPTY;
  #length = 0;
  #lastByte = -1;
  /** Bytes (disk, wire) of the last line's end: they belong to a boundary that follows. */
  #lastEnd = { disk: 0, wire: 0, lines: 0 };
  #root: MimePart | undefined;
  #envelope: Envelope | undefined;

  constructor(limits: MimeLimits = DEFAULT_MIME_LIMITS) {
    this.#limits = limits;
    this.#headerBudget = HEADER_BLOCKS * limits.headerBytes;
    this.#stack.push(new Entity(this.#place(), 1, DEFAULT_TEXT));
  }

  #place(): Place {
    return { disk: this.#disk, wire: this.#wire, lines: this.#lines };
  }
  get #top(): Entity {
    const top = this.#stack.at(-1);
    if (!top) throw new Error('the parser has ended');
    return top;
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const lf = chunk.indexOf(LF, at);
      const end = lf < 0 ? chunk.length : lf + 1;
      this.#linePart(chunk, at, end);
      if (lf >= 0) this.#line(true);
      at = end;
    }
  }

  #linePart(chunk: Buffer, start: number, end: number): void {
    const top = this.#top;
    if (top.inHeader && top.headerBytes < this.#limits.headerBytes) {
      top.keep(chunk, start, Math.min(end, start + this.#limits.headerBytes - top.headerBytes));
    }
    if (this.#prefix.length < LINE_PREFIX && (this.#prefix.length > 0 || this.#length === 0)) {
      const part = chunk.subarray(start, Math.min(end, start + LINE_PREFIX - this.#prefix.length));
      this.#prefix = this.#prefix.length === 0 ? part : Buffer.concat([this.#prefix, part]);
    }
    this.#length += end - start;
    // The byte before a line feed tells CRLF from LF.
    const before = chunk[end - 1] === LF ? end - 2 : end - 1;
    if (before >= start) this.#lastByte = chunk[before] ?? -1;
  }

  /** A whole line has been read; `ended` is false for a last line without line end. */
  #line(ended: boolean): void {
    const crlf = ended && this.#length >= 2 && this.#lastByte === CR;
    const contentLength = this.#length - (ended ? (crlf ? 2 : 1) : 0);
    const closed = this.#opensTooMany(this.#isDelimiter(contentLength));
    if (closed) this.#boundary(closed.index, closed.final);
    this.#disk += this.#length;
    this.#wire += this.#length + (ended && !crlf ? 1 : 0);
    this.#lines += ended ? 1 : 0;
    this.#lastEnd = ended ? { disk: crlf ? 2 : 1, wire: 2, lines: 1 } : { disk: 0, wire: 0, lines: 0 };
    if (closed) this.#afterBoundary(closed.index, closed.final);
    else if (this.#top.inHeader && contentLength === 0 && ended) this.#endHeader(this.#top);
    // A chunk may be kept by the prefix only until here.
    this.#prefix = EMPTY;
    this.#length = 0;
    this.#lastByte = -1;
  }

  /**
   * The open multipart whose boundary begins this line. RFC 2046 section 5.1.1: what follows the boundary on its line does not matter. Of several
   * the longest counts (as in Dovecot: senders nest `abc` in `abcdef`), of equal ones the innermost.
   */
  #isDelimiter(contentLength: number): { index: number; final: boolean } | undefined {
    const line = this.#prefix;
    if (this.#stopped || line[0] !== DASH || line[1] !== DASH) return undefined;
    const length = Math.min(contentLength, line.length);
    let index = -1;
    let longest = 2;
    for (let i = this.#stack.length - 1; i >= 0; i--) {
      const delimiter = this.#stack[i]?.delimiter;
      if (!delimiter || delimiter.length <= longest || delimiter.length > length || delimiter[2] !== line[2]) continue;
      if (line.compare(delimiter, 0, delimiter.length, 0, delimiter.length) !== 0) continue;
      index = i;
      longest = delimiter.length;
    }
    return index < 0
      ? undefined
      : { index, final: length >= longest + 2 && line[longest] === DASH && line[longest + 1] === DASH };
  }

  /** A boundary that would open one part too many is none: the rest of the message belongs to the last part. */
  #opensTooMany(found: { index: number; final: boolean } | undefined): { index: number; final: boolean } | undefined {
    if (!found || found.final || this.#parts < this.#limits.parts) return found;
    this.#stopped = true;
    return undefined;
  }

  /**
   * Closes everything inside the multipart at `index`: their content ends before the line end that precedes the boundary, unless that is the end of
   * a header line.
   */
  #boundary(index: number, final: boolean): void {
    const { disk, wire, lines } = this.#top.inHeader ? { disk: 0, wire: 0, lines: 0 } : this.#lastEnd;
    let end: Place = { disk: this.#disk - disk, wire: this.#wire - wire, lines: this.#lines - lines };
    while (this.#stack.length > index + 1) end = this.#close(end);
    if (final) this.#top.delimiter = undefined;
  }

  #afterBoundary(index: number, final: boolean): void {
    if (final) return;
    const parent = this.#stack[index];
    if (!parent) return;
    this.#parts++;
    const digest = parent.type.subtype === 'digest';
    this.#stack.push(new Entity(this.#place(), parent.depth + 1, digest ? RFC822 : DEFAULT_TEXT));
  }

  #endHeader(entity: Entity): void {
    entity.inHeader = false;
    entity.bodyStart = this.#place();
    this.#readHeader(entity);
    if (entity.depth >= this.#limits.depth || this.#parts >= this.#limits.parts) return;
    if (entity.type.type === 'multipart') {
      const boundary = entity.type.params.find(([name]) => name.toLowerCase() === 'boundary')?.[1] ?? '';
      if (boundary !== '' && boundary.length <= MAX_BOUNDARY) entity.delimiter = Buffer.from(`--${boundary.trimEnd()}`, 'latin1');
    } else if (isMessage(entity.type) && isIdentity(entity.fields?.encoding() ?? '7BIT')) {
      this.#parts++;
      this.#stack.push(new Entity(this.#place(), entity.depth + 1, DEFAULT_TEXT));
    }
  }

  #readHeader(entity: Entity): void {
    const looked = Math.min(entity.headerBytes, this.#headerBudget);
    this.#headerBudget -= looked;
    const fields = new Header(entity.header.subarray(0, looked), this.#limits);
    entity.header = EMPTY;
    entity.fields = fields;
    const type = fields.contentType();
    if (type) entity.type = type;
    if (entity.depth === 1) this.#envelope = fields.envelope();
  }

  /** Closes the innermost entity at `end`, or where its body begins when that is later, and hangs it where it belongs. Gives where it closed. */
  #close(at: Place): Place {
    const entity = this.#stack.pop();
    if (!entity) return at;
    if (entity.inHeader) {
      // The boundary (or the end) came before an empty line: all of it is header.
      entity.inHeader = false;
      entity.bodyStart = this.#place();
      this.#readHeader(entity);
    }
    const end = at.disk < entity.bodyStart.disk ? entity.bodyStart : at;
    const part = makePart(entity, end);
    const parent = this.#stack.at(-1);
    if (!parent) this.#root = part;
    else if (isMessage(parent.type) && !parent.delimiter && parent.type.type === 'message')
      parent.message = { envelope: entity.fields?.envelope() ?? EMPTY_ENVELOPE, root: part };
    else parent.children.push(part);
    return end;
  }

  /** The message has ended. */
  end(): MessageStructure {
    if (this.#length > 0) this.#line(false);
    const end = this.#place();
    while (this.#stack.length > 0) this.#close(end);
    if (!this.#root) throw new Error('the parser has ended twice');
    return { size: this.#disk, wireSize: this.#wire, envelope: this.#envelope ?? EMPTY_ENVELOPE, root: this.#root };
  }
}

const EMPTY_ENVELOPE: Envelope = new Header(EMPTY, DEFAULT_MIME_LIMITS).envelope();

const isMessage = ({ type, subtype }: ContentType): boolean =>
  type === 'message' && (subtype === 'rfc822' || subtype === 'global');
/** RFC 2046 5.2.1: nothing else is allowed on message/rfc822, and what is inside could not be found by offset. */
const isIdentity = (encoding: string): boolean => encoding === '7BIT' || encoding === '8BIT' || encoding === 'BINARY';

function makePart(entity: Entity, end: Place): MimePart {
  const { start, bodyStart, type, fields } = entity;
  const multipart = type.type === 'multipart';
  return {
    headerStart: start.disk,
    bodyStart: bodyStart.disk,
    bodyEnd: end.disk,
    headerSize: bodyStart.wire - start.wire,
    bodySize: end.wire - bodyStart.wire,
    bodyLines: end.lines - bodyStart.lines,
    type: type.type,
    subtype: type.subtype,
    params: type.params,
    id: fields?.value('content-id') ?? null,
    description: fields?.value('content-description') ?? null,
    encoding: fields?.encoding() ?? '7BIT',
    md5: fields?.value('content-md5') ?? null,
    disposition: fields?.disposition() ?? null,
    language: fields?.languages() ?? null,
    location: fields?.value('content-location') ?? null,
    children: multipart && entity.children.length === 0 ? [emptyPart(end)] : entity.children,
    message: entity.message,
  };
}

/** A multipart without any part is given an empty one, as BODYSTRUCTURE's grammar demands. */
function emptyPart(at: Place): MimePart {
  return {
    headerStart: at.disk,
    bodyStart: at.disk,
    bodyEnd: at.disk,
    headerSize: 0,
    bodySize: 0,
    bodyLines: 0,
    ...TEXT_PLAIN,
    id: null,
    description: null,
    encoding: '7BIT',
    md5: null,
    disposition: null,
    language: null,
    location: null,
    children: [],
    message: null,
  };
}

/** Parses a whole message in one pass; other sessions get a turn every few milliseconds. Fails only as `chunks` does. */
export async function parseStructure(
  chunks: AsyncIterable<Buffer>,
  limits: MimeLimits = DEFAULT_MIME_LIMITS,
): Promise<MessageStructure> {
  const parser = new StructureParser(limits);
  let turn = performance.now();
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += SLICE) {
      parser.push(chunk.subarray(at, at + SLICE));
      if (performance.now() - turn < TURN) continue;
      await yieldToLoop();
      turn = performance.now();
    }
  }
  return parser.end();
}
