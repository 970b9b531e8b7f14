// One message's FETCH response: small items as text, sections streamed from the file as literals of exactly the size announced.
import { formatImapDateTime } from '../message/date.ts';
import { CrlfEncoder } from '../message/line-ends.ts';
import { headerLength } from '../message/headers.ts';
import type { Mailbox, MessageContent, MessageRow } from '../storage/types.ts';
import { locate, selectFields, type Section, type SectionRange } from './section.ts';
import { formatBodyStructure, formatEnvelope } from './syntax/body-structure.ts';
import type { FetchItem, Partial } from './syntax/fetch.ts';
import type { ResponseWriter } from './wire/response-writer.ts';
import { wireFrom, type ResumePoint } from './wire-range.ts';
import { WireEnd } from './wire/wire-end.ts';

/** Sections up to this are read whole, so that the size announced is the size sent whatever the file's name says. */
const WHOLE = 256 * 1024;
const MAX_HEADER = 4 * 1024 * 1024;

export interface FetchTarget {
  readonly mailbox: Mailbox;
  readonly row: MessageRow;
  readonly seq: number;
  /** `(\Seen \Recent)`: as they stand when the response is made. */
  readonly flags: () => string;
  readonly writer: ResponseWriter;
  /** Of the session's mailbox. */
  readonly resume: ResumePoint;
}

/** Whether an item sets \Seen. */
export const setsSeen = (item: FetchItem): boolean => item.kind === 'section' && !item.peek;

/** Writes `* n FETCH (…)`. @throws MailError no-such-mailbox before anything is written when the message is gone */
export async function writeFetch(target: FetchTarget, items: readonly FetchItem[]): Promise<void> {
  const message = new FetchedMessage(target);
  try {
    // Everything that can fail comes first: nothing is written for a message that has vanished.
    const parts = [];
    for (const item of items) parts.push(await message.prepare(item));
    target.writer.text(`* ${target.seq} FETCH (`);
    for (const [i, part] of parts.entries()) {
      if (i > 0) target.writer.text(' ');
      await cutShort(part);
    }
    target.writer.text(')\r\n');
    await target.writer.breathe();
  } finally {
    await message.close();
  }
}

/** A fault in the middle of a response leaves no way to say so: the connection ends. */
async function cutShort(part: WritePart): Promise<void> {
  try {
    await part();
  } catch (error) {
    throw error instanceof WireEnd ? error : new WireEnd('closed', { cause: error });
  }
}

type WritePart = () => Promise<void> | void;

class FetchedMessage {
  readonly #t: FetchTarget;
  #content: MessageContent | undefined;

  constructor(target: FetchTarget) {
    this.#t = target;
  }
  async close(): Promise<void> {
    await this.#content?.close();
  }
  async #open(): Promise<MessageContent> {
    return (this.#content ??= await this.#t.mailbox.content(this.#t.row.uid));
  }

  async prepare(item: FetchItem): Promise<WritePart> {
    const { mailbox, row, writer } = this.#t;
    switch (item.kind) {
      case 'FLAGS':
        return () => writer.text(`FLAGS ${this.#t.flags()}`);
      case 'UID':
        return () => writer.text(`UID ${row.uid}`);
      case 'INTERNALDATE': {
        const { internalDate } = await mailbox.facts(row.uid);
        return () => writer.text(`INTERNALDATE "${formatImapDateTime(internalDate)}"`);
      }
      case 'RFC822.SIZE': {
        const { wireSize } = await mailbox.facts(row.uid);
        return () => writer.text(`RFC822.SIZE ${wireSize}`);
      }
      case 'ENVELOPE': {
        const { envelope } = await mailbox.structure(row.uid);
        return () => writer.text(`ENVELOPE ${formatEnvelope(envelope)}`);
      }
      case 'BODY':
      case 'BODYSTRUCTURE': {
        const { root } = await mailbox.structure(row.uid);
        return () => writer.text(`${item.kind} ${formatBodyStructure(root, item.kind === 'BODYSTRUCTURE')}`);
      }
      case 'section':
        return this.#section(item.label, item.section, item.partial);
    }
  }

  async #section(label: string, section: Section, partial: Partial | undefined): Promise<WritePart> {
    const { writer } = this.#t;
    if (section.part.length === 0 && section.text.startsWith('HEADER')) {
      const header = await this.#topHeader();
      return this.#buffer(
        label,
        section.text === 'HEADER' ? header : selectFields(header, section.fields, section.text === 'HEADER.FIELDS.NOT'),
        partial,
      );
    }
    const range = await this.#locate(section);
    if (!range) return () => writer.text(`${label} NIL`);
    if (section.text.startsWith('HEADER.FIELDS'))
      return this.#buffer(
        label,
        selectFields(
          await this.#wire({ ...range, end: Math.min(range.end, range.start + MAX_HEADER) }),
          section.fields,
          section.text === 'HEADER.FIELDS.NOT',
        ),
        partial,
      );
    if (range.end - range.start <= WHOLE) return this.#buffer(label, await this.#wire(range), partial);
    return this.#stream(label, range, partial);
  }

  async #locate(section: Section): Promise<SectionRange | undefined> {
    if (section.part.length > 0 || section.text !== '') return locate(await this.#t.mailbox.structure(this.#t.row.uid), section);
    const content = await this.#open();
    const { wireSize } = await this.#t.mailbox.facts(this.#t.row.uid);
    return { start: 0, end: content.size, size: wireSize };
  }

  /** The message's own header, without parsing what follows. */
  async #topHeader(): Promise<Buffer> {
    const content = await this.#open();
    const crlf = new CrlfEncoder();
    let all: Buffer = Buffer.alloc(0);
    for await (const chunk of content.read(0, MAX_HEADER)) {
      all = Buffer.concat([all, crlf.push(chunk)]);
      const end = headerLength(all);
      if (end !== undefined) return all.subarray(0, end);
    }
    return all;
  }
  async #wire(range: SectionRange): Promise<Buffer> {
    const content = await this.#open();
    const chunks: Buffer[] = [];
    for await (const chunk of content.readWire(range.start, range.end)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  #buffer(label: string, bytes: Buffer, partial: Partial | undefined): WritePart {
    const shown = partial ? bytes.subarray(partial.start, partial.start + partial.count) : bytes;
    return () => {
      this.#t.writer.text(`${label} {${shown.length}}\r\n`);
      this.#t.writer.raw(withoutNul(shown));
    };
  }

  async #stream(label: string, range: SectionRange, partial: Partial | undefined): Promise<WritePart> {
    const content = await this.#open();
    const from = Math.min(partial?.start ?? 0, range.size);
    const count = Math.min(partial?.count ?? range.size, range.size - from);
    return async () => {
      const { writer } = this.#t;
      writer.text(`${label} {${count}}\r\n`);
      let left = count;
      if (left > 0)
        for await (const chunk of wireFrom(content, this.#t.row.uid, range, from, this.#t.resume)) {
          const piece = chunk.subarray(0, left);
          left -= piece.length;
          writer.raw(withoutNul(piece));
          if (left === 0) break;
          await writer.breathe();
        }
      // Less than its name says (a wrong W=): the literal must still be whole, or every later response would be read wrongly.
      for (; left > 0; left -= Math.min(left, PADDING.length)) writer.raw(PADDING.subarray(0, left));
    };
  }
}

/** No literal may hold NUL (RFC 3501 section 9): 0x80 stands in its place, as in Dovecot. */
function withoutNul(bytes: Buffer): Buffer {
  if (!bytes.includes(0)) return bytes;
  return Buffer.from(bytes.map((byte) => (byte === 0 ? 0x80 : byte)));
}
const PADDING = Buffer.alloc(8192, ' ');
