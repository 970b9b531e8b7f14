// A message as a test wants to look at it: names, addresses, text and attachments decoded. For messages of a size that fits in memory.
import { decodeText } from './charset.ts';
import { decodeWords, parameterValue } from './encoded-words.ts';
import { parseRfc5322Date } from './date.ts';
import { fieldValue, parseFields } from './headers.ts';
import { parseStructure } from './structure.ts';
import { transferDecoder } from './transfer-encoding.ts';
import { DEFAULT_MIME_LIMITS, type EnvelopeAddress, type MessageStructure, type MimePart } from './types.ts';

/** One address: `name` is '' where there is none. */
export interface DecodedAddress {
  readonly name: string;
  readonly address: string;
}

export interface DecodedAttachment {
  /** Decoded; undefined where the sender named none. */
  readonly filename: string | undefined;
  /** `type/subtype` in lower case. */
  readonly contentType: string;
  /** With the transfer encoding undone. */
  readonly content: Buffer;
}

export interface DecodedMail {
  readonly from: readonly DecodedAddress[];
  readonly to: readonly DecodedAddress[];
  readonly cc: readonly DecodedAddress[];
  readonly bcc: readonly DecodedAddress[];
  readonly replyTo: readonly DecodedAddress[];
  /** '' when absent. */
  readonly subject: string;
  readonly date: Date | undefined;
  /** With its angle brackets. */
  readonly messageId: string | undefined;
  /** All text/plain parts that are no attachments, joined, line ends LF; undefined when there is none. */
  readonly text: string | undefined;
  /** The same of text/html. */
  readonly html: string | undefined;
  /** Every other leaf; a message/rfc822 is one attachment. */
  readonly attachments: readonly DecodedAttachment[];
  /** Decoded values by lower-case name, in their order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
}

/** Decodes `message`; never fails, whatever the bytes. */
export async function parseMail(message: Buffer): Promise<DecodedMail> {
  async function* chunks(): AsyncGenerator<Buffer> {
    yield message;
  }
  const structure = await parseStructure(chunks());
  const leaves = [...leafParts(structure.root)];
  const texts = (subtype: string): string | undefined => {
    const parts = leaves.filter((part) => isInlineText(part) && part.subtype === subtype);
    return parts.length === 0 ? undefined : parts.map((part) => textOf(part, message)).join('\n');
  };
  return {
    ...envelopeOf(structure),
    text: texts('plain'),
    html: texts('html'),
    attachments: leaves.filter((part) => !isInlineText(part)).map((part) => attachmentOf(part, message)),
    headers: headersOf(message.subarray(0, structure.root.bodyStart)),
  };
}

function envelopeOf({ envelope }: MessageStructure): Omit<DecodedMail, 'text' | 'html' | 'attachments' | 'headers'> {
  const date = envelope.date === null ? undefined : parseRfc5322Date(envelope.date);
  return {
    from: addressesOf(envelope.from),
    to: addressesOf(envelope.to),
    cc: addressesOf(envelope.cc),
    bcc: addressesOf(envelope.bcc),
    replyTo: addressesOf(envelope.replyTo),
    subject: decodeWords(envelope.subject ?? ''),
    date: date && new Date(date.at),
    messageId: envelope.messageId ?? undefined,
  };
}

function addressesOf(list: readonly EnvelopeAddress[]): DecodedAddress[] {
  return list.flatMap(({ name, mailbox, host }) =>
    mailbox === null || host === null
      ? []
      : [{ name: decodeWords(name ?? ''), address: decodeText(Buffer.from(`${mailbox}@${host}`, 'latin1'), undefined) }],
  );
}

function headersOf(block: Buffer): Map<string, string[]> {
  const headers = new Map<string, string[]>();
  for (const field of parseFields(block, DEFAULT_MIME_LIMITS)) {
    const value = decodeWords(fieldValue(block, field));
    const values = headers.get(field.name);
    if (values) values.push(value);
    else headers.set(field.name, [value]);
  }
  return headers;
}

function* leafParts(part: MimePart): Generator<MimePart> {
  if (part.type !== 'multipart') yield part;
  // The empty part that stands in for a multipart without any is no part of the message.
  else
    for (const child of part.children) if (child.headerStart < child.bodyEnd || part.children.length > 1) yield* leafParts(child);
}

const isInlineText = (part: MimePart): boolean =>
  part.type === 'text' &&
  (part.subtype === 'plain' || part.subtype === 'html') &&
  part.disposition?.type.toLowerCase() !== 'attachment' &&
  filenameOf(part) === undefined;

const filenameOf = (part: MimePart): string | undefined =>
  parameterValue(part.disposition?.params ?? [], 'filename') ?? parameterValue(part.params, 'name');

function contentOf(part: MimePart, message: Buffer): Buffer {
  const decoder = transferDecoder(part.encoding);
  return Buffer.concat([decoder.push(message.subarray(part.bodyStart, part.bodyEnd)), decoder.end()]);
}
const textOf = (part: MimePart, message: Buffer): string =>
  decodeText(contentOf(part, message), parameterValue(part.params, 'charset')).replaceAll('\r\n', '\n');

const attachmentOf = (part: MimePart, message: Buffer): DecodedAttachment => ({
  filename: filenameOf(part),
  contentType: `${part.type}/${part.subtype}`,
  content: contentOf(part, message),
});
