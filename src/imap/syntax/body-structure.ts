// ENVELOPE, BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2): always valid, whatever the message was.
import type { Disposition, Envelope, EnvelopeAddress, MimePart, Parameters } from '../../message/types.ts';
import { nstring, quoted } from './quote.ts';

const address = (a: EnvelopeAddress): string =>
  `(${nstring(a.name)} ${nstring(a.route)} ${nstring(a.mailbox)} ${nstring(a.host)})`;
const addresses = (list: readonly EnvelopeAddress[]): string => (list.length === 0 ? 'NIL' : `(${list.map(address).join('')})`);

/** An absent Sender or Reply-To is From's (RFC 3501 7.4.2). */
export function formatEnvelope(e: Envelope): string {
  const orFrom = (list: readonly EnvelopeAddress[]): string => addresses(list.length === 0 ? e.from : list);
  return `(${[
    nstring(e.date),
    nstring(e.subject),
    addresses(e.from),
    orFrom(e.sender),
    orFrom(e.replyTo),
    addresses(e.to),
    addresses(e.cc),
    addresses(e.bcc),
    nstring(e.inReplyTo),
    nstring(e.messageId),
  ].join(' ')})`;
}

const params = (list: Parameters): string =>
  list.length === 0 ? 'NIL' : `(${list.map(([name, value]) => `${quoted(name)} ${quoted(value)}`).join(' ')})`;
/** A text part that names no charset is in US-ASCII (RFC 2045 section 5.2): said aloud, as Dovecot does. */
const withCharset = (part: MimePart): Parameters =>
  part.type !== 'text' || part.params.some(([name]) => /^charset\*?$/i.test(name))
    ? part.params
    : [...part.params, ['charset', 'us-ascii']];
const disposition = (d: Disposition | null): string => (d === null ? 'NIL' : `(${quoted(d.type)} ${params(d.params)})`);
function language(tags: readonly string[] | null): string {
  if (tags === null || tags.length === 0) return 'NIL';
  return `(${tags.map(quoted).join(' ')})`;
}

/** BODYSTRUCTURE when `extended`, else BODY. */
export function formatBodyStructure(part: MimePart, extended: boolean): string {
  if (part.type === 'multipart') return formatMultipart(part, extended);
  const isMessage = part.type === 'message' && (part.subtype === 'rfc822' || part.subtype === 'global');
  // The grammar wants an envelope in message/rfc822: where the parser did not look inside, it is an opaque body.
  const opaque = isMessage && part.message === null;
  const fields = [
    quoted(opaque ? 'application' : part.type),
    quoted(opaque ? 'octet-stream' : part.subtype),
    params(withCharset(part)),
    nstring(part.id),
    nstring(part.description),
    quoted(part.encoding.toLowerCase()),
    String(part.bodySize),
  ];
  if (isMessage && part.message)
    fields.push(formatEnvelope(part.message.envelope), formatBodyStructure(part.message.root, extended), String(part.bodyLines));
  else if (part.type === 'text') fields.push(String(part.bodyLines));
  if (extended) fields.push(nstring(part.md5), disposition(part.disposition), language(part.language), nstring(part.location));
  return `(${fields.join(' ')})`;
}

function formatMultipart(part: MimePart, extended: boolean): string {
  const children = part.children.map((child) => formatBodyStructure(child, extended)).join('');
  const tail = extended
    ? ` ${params(part.params)} ${disposition(part.disposition)} ${language(part.language)} ${nstring(part.location)}`
    : '';
  return `(${children} ${quoted(part.subtype)}${tail})`;
}
