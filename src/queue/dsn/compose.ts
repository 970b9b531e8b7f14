// A report as a message: multipart/report (RFC 6522) of a text, the status fields, and what is given back. RFC 6533 where addresses are UTF-8: to a sender who
// has such an address the parts go as they are (and need SMTPUTF8); to one who has not, everything is ASCII or base64, so that any host takes it.
import { formatRfc5322 } from '../../message/date.ts';
import { parseMailbox } from '../../message/address-spec.ts';
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import { QuotedPrintableEncoder } from '../../message/transfer-encoder.ts';
import type { QueuedEnvelope } from '../types.ts';
import { base64Source, enclosedSource, type Returned } from './returned.ts';
import { oneLine, statusFields, type ReportRecipient } from './status-fields.ts';
import { hintFor, type LanguageTexts, type ReportKind, type ReportText } from './texts.ts';

export interface ReportContent {
  /** Of the report itself. */
  readonly id: string;
  readonly kind: ReportKind;
  readonly hostname: string;
  /** Whom it goes to. */
  readonly to: string;
  /** Of the message that it is about. */
  readonly envelope: QueuedEnvelope;
  readonly recipients: readonly ReportRecipient[];
  readonly returned: Returned;
  readonly text: ReportText;
  readonly language: LanguageTexts;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Not to be guessed by who wrote the message that is given back. */
  readonly boundary: string;
}

export interface ComposedReport {
  /** Lives as long as what it gives back does. */
  readonly source: MessageSource;
  readonly smtpUtf8: boolean;
  readonly bodyType: '7BIT' | '8BITMIME';
}

const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);

/** @throws MailError bad-syntax `BAD_ADDRESS` when `to` is no address: nothing of it may get into a header */
export function composeReport(content: ReportContent): ComposedReport {
  const { to, envelope, recipients, returned, boundary, hostname } = content;
  const international = envelope.smtpUtf8 || recipients.some(({ address }) => !isAscii(address));
  const raw = international && !isAscii(to);
  const type = returnedType(returned, international);
  const encoded = international && !raw && returned.eightBit;
  const body = encoded ? base64Source(returned.source) : returned.source;
  const eightBit = returned.eightBit && !encoded;
  const before =
    reportHeader(content) +
    `--${boundary}\r\n${textPart(content)}\r\n` +
    `--${boundary}\r\nContent-Description: Delivery report\r\n` +
    `Content-Type: message/${raw ? 'global-delivery-status; charset=utf-8' : 'delivery-status'}\r\n` +
    `${raw ? 'Content-Transfer-Encoding: 8bit\r\n' : ''}\r\n${statusFields(hostname, envelope, recipients, !raw)}\r\n` +
    `--${boundary}\r\nContent-Description: ${returned.kind === 'message' ? 'Undelivered Message' : 'Message Headers'}\r\n` +
    `Content-Type: ${type}\r\n${encoded ? 'Content-Transfer-Encoding: base64\r\n' : eightBit ? 'Content-Transfer-Encoding: 8bit\r\n' : ''}\r\n`;
  return {
    source: enclosedSource(Buffer.from(before), body, Buffer.from(`\r\n--${boundary}--\r\n`)),
    smtpUtf8: raw,
    bodyType: raw || eightBit ? '8BITMIME' : '7BIT',
  };
}

function returnedType({ kind }: Returned, international: boolean): string {
  if (international) return kind === 'message' ? 'message/global' : 'message/global-headers';
  return kind === 'message' ? 'message/rfc822' : 'text/rfc822-headers';
}

function reportHeader({ id, kind, hostname, to, envelope, text, now, boundary }: ReportContent): string {
  const mailbox = parseMailbox(to);
  if (!mailbox || /[\r\n\0]/.test(mailbox.address)) throw new MailError('bad-syntax', 'BAD_ADDRESS', 'The sender has no address');
  const { messageId = '' } = envelope;
  // A Message-ID that we have not checked is not copied.
  const about = /^<[!-;=?-~]{1,200}>$/.test(messageId) ? `References: ${messageId}\r\nIn-Reply-To: ${messageId}\r\n` : '';
  return (
    `Received: by ${hostname} (Buzon)\r\n\tid ${id}; ${formatRfc5322(now)}\r\n` +
    `Date: ${formatRfc5322(now)}\r\n` +
    `From: Mail Delivery System <MAILER-DAEMON@${hostname}>\r\n` +
    `Subject: ${encodeSubject(text.subject)}\r\n` +
    `To: ${mailbox.address}\r\n` +
    `Message-ID: <${new Date(now).toISOString().replace(/\D/g, '').slice(0, 14)}.${id}@${hostname}>\r\n` +
    about +
    `Auto-Submitted: auto-replied\r\n` +
    (kind === 'postmaster' ? `${POSTMASTER_NOTICE}\r\n` : '') +
    'MIME-Version: 1.0\r\n' +
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${boundary}"\r\n\r\n` +
    'This is a MIME-encapsulated message.\r\n\r\n'
  );
}

/** Marks what the postmaster is told about a report: when that cannot be delivered either, it ends there. */
export const POSTMASTER_NOTICE = 'X-Buzon-Notice: double-bounce';

/** RFC 2047 where it is not ASCII. */
function encodeSubject(text: string): string {
  const line = oneLine(text, false, 200);
  if (isAscii(line)) return line;
  const words: string[] = [''];
  for (const char of line) {
    if (Buffer.byteLength((words.at(-1) ?? '') + char) > 42) words.push('');
    words[words.length - 1] += char;
  }
  return words.map((word) => `=?utf-8?B?${Buffer.from(word).toString('base64')}?=`).join('\r\n ');
}

function textPart({ text, language, recipients }: ReportContent): string {
  const lines = [...text.lines, '', ...recipients.flatMap((recipient) => recipientLines(recipient, language)), ''];
  const body = lines.join('\r\n');
  const head = `Content-Description: Notification\r\nContent-Type: text/plain; charset=${isAscii(body) ? 'us-ascii' : 'utf-8'}\r\n`;
  if (isAscii(body)) return `${head}\r\n${body}`;
  const encoder = new QuotedPrintableEncoder();
  const encoded = Buffer.concat([Buffer.from(encoder.push(Buffer.from(body))), encoder.end()]).toString('latin1');
  return `${head}Content-Transfer-Encoding: quoted-printable\r\n\r\n${encoded}`;
}

/** `<address>: reason`, and what to do about it. */
function recipientLines({ address, action, status, reason }: ReportRecipient, language: LanguageTexts): string[] {
  const outcome = action === 'failed' || action === 'delayed' ? '' : `${action}: `;
  const hint = outcome === '' || action === 'undeliverable' ? hintFor(status, language) : undefined;
  return [
    ...wrap(`<${oneLine(address, false, 320)}>: ${outcome}${oneLine(reason, false)}`),
    ...(hint === undefined ? [] : wrap(`-> ${hint}`, '    ')),
    '',
  ];
}

/** Lines of at most 76 characters where words allow it; those behind the first are indented. */
function wrap(text: string, indent = ''): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ').filter((w) => w !== '')) {
    const empty = line.trim() === '';
    if (!empty && line.length + 1 + word.length > 76) {
      lines.push(line);
      line = `    ${word}`;
    } else line += empty ? word : ` ${word}`;
  }
  return [...lines, line];
}
