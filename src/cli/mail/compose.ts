// A message of `mail`: header, text, attachments (RFC 2045, 2046, 2183).
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { isAscii } from 'node:buffer';
import { encodeWords } from '../../message/encode-words.ts';
import { MailError } from '../../lib/errors.ts';

export interface Attachment {
  readonly name: string;
  readonly type: string;
  readonly content: Buffer;
}

export interface Draft {
  /** `Name: value`, text. */
  readonly fields: readonly string[];
  readonly body: Buffer;
  readonly attachments: readonly Attachment[];
}

/** @throws MailError bad-syntax for a field that is none */
export function composeMessage({ fields, body, attachments }: Draft): Buffer {
  const header = fields.map(fieldLine);
  const own = (name: string): boolean => fields.some((field) => field.toLowerCase().startsWith(`${name}:`));
  if (attachments.length > 0) {
    const boundary = `=_${randomBytes(12).toString('hex')}`;
    header.push('MIME-Version: 1.0', `Content-Type: multipart/mixed; boundary="${boundary}"`);
    const parts = [textPart(body), ...attachments.map(attachmentPart)];
    const text = parts.map((part) => Buffer.concat([Buffer.from(`--${boundary}\n`), part, Buffer.from('\n')]));
    return Buffer.concat([Buffer.from(`${header.join('\n')}\n\n`), ...text, Buffer.from(`--${boundary}--\n`)]);
  }
  if (!isAscii(body)) {
    if (!own('mime-version')) header.push('MIME-Version: 1.0');
    if (!own('content-type')) header.push('Content-Type: text/plain; charset=UTF-8');
    if (!own('content-transfer-encoding')) header.push('Content-Transfer-Encoding: 8bit');
  }
  return Buffer.concat([Buffer.from(`${header.join('\n')}\n\n`), body]);
}

function fieldLine(field: string): string {
  const [, name, value] = /^([\x21-\x39\x3b-\x7e]+):[ \t]*([^]*)$/.exec(field.trim()) ?? [];
  if (name === undefined || value === undefined || /[\r\n\0]/.test(value))
    throw new MailError('bad-syntax', 'BAD_FIELD', `invalid header: ${field.replace(/[^\x20-\x7e]/g, '?').slice(0, 100)}`);
  return `${name}: ${encodeWords(value)}`;
}

function textPart(body: Buffer): Buffer {
  const head = `Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: ${isAscii(body) ? '7bit' : '8bit'}\n\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function attachmentPart({ name, type, content }: Attachment): Buffer {
  const shown = basename(name);
  const file = /^[\x20-\x7e]*$/.test(shown)
    ? `filename="${shown.replace(/["\\]/g, '\\$&')}"`
    : `filename*=UTF-8''${encodeURIComponent(shown).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;
  const head = `Content-Type: ${type}\nContent-Disposition: attachment; ${file}\nContent-Transfer-Encoding: base64\n\n`;
  return Buffer.from(head + (content.toString('base64').match(/.{1,76}/g) ?? []).join('\n') + '\n');
}
