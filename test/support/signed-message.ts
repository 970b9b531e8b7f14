// Messages with DKIM signatures of any shape: such as no signer of good sense makes.
import { createHash, createSign, sign } from 'node:crypto';
import { headerLength, parseFields } from '../../src/message/headers.ts';
import { memorySource } from '../../src/message/source.ts';
import { BodyHash } from '../../src/policy/dkim-body.ts';
import { relaxedField } from '../../src/policy/dkim-canonical.ts';
import type { UnverifiedMessage } from '../../src/policy/verify.ts';
import type { TestKey } from './dkim.ts';

export interface SignatureShape {
  /** Tags over the usual ones; undefined leaves one out. */
  readonly tags?: Readonly<Record<string, string | undefined>>;
  /** Octets of the body that are hashed, and `l=`. */
  readonly limit?: number;
  /** `h=`; default from, to, subject. */
  readonly names?: readonly string[];
}

/** The message with a signature on top: relaxed/relaxed, made over the tags as they are given. */
export function signed(message: string, key: TestKey, shape: SignatureShape = {}): string {
  const bytes = Buffer.from(message, 'latin1');
  const head = bytes.subarray(0, headerLength(bytes) ?? bytes.length);
  const names = shape.names ?? ['from', 'to', 'subject'];
  const body = new BodyHash('relaxed', shape.limit);
  body.push(bytes.subarray(head.length));
  const type = key.key.asymmetricKeyType === 'rsa' ? 'rsa' : 'ed25519';
  const tags = {
    v: '1',
    a: `${type}-sha256`,
    c: 'relaxed/relaxed',
    d: key.domain,
    s: key.selector,
    ...(shape.limit === undefined ? {} : { l: String(shape.limit) }),
    h: names.join(':'),
    bh: body.digest(),
    ...shape.tags,
  };
  const list = Object.entries(tags).flatMap(([name, value]) => (value === undefined ? [] : `${name}=${value}`));
  const field = `DKIM-Signature: ${list.join('; ')}; b=`;
  const fields = parseFields(head, { headerBytes: head.length, headerFields: 1000 });
  const covered = names.flatMap((name) => fields.filter((one) => one.name === name).slice(-1));
  const text = covered.map(({ start, end }) => `${relaxedField(head.toString('latin1', start, end))}\r\n`).join('');
  const data = Buffer.from(text + relaxedField(field), 'latin1');
  const made =
    type === 'rsa'
      ? createSign(tags.a === 'rsa-sha1' ? 'sha1' : 'sha256')
          .update(data)
          .sign(key.key)
      : sign(null, createHash('sha256').update(data).digest(), key.key);
  return `${field}${made.toString('base64')}\r\n${message}`;
}

/** As a session hands it over. */
export function unverified(message: string | Buffer): UnverifiedMessage {
  const bytes = typeof message === 'string' ? Buffer.from(message, 'latin1') : message;
  const headLength = headerLength(bytes) ?? bytes.length;
  return { header: bytes.subarray(0, headLength), headLength, source: memorySource(bytes) };
}

export const PLAIN =
  'From: Ana <ana@sender.test>\r\nTo: info@example.test\r\nSubject: Hola\r\n\r\nBuenos  dias\t\r\n\r\nAna \r\n\r\n\r\n';
