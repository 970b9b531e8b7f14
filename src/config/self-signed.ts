// A self-signed certificate (RFC 5280) for the demo and for tests: EC P-256, made without openssl. The little DER (X.690) that it
// takes is below.
import { createHash, generateKeyPair, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { ipv6Bytes } from './networks.ts';

export interface SelfSignedOptions {
  /** DNS names (also `*.example.test`) and IP addresses; the first is the subject's common name. At least one. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch from which it is valid; an hour ago when undefined. */
  readonly from?: number;
  /** How many days it is valid; default 825. */
  readonly days?: number;
}

export interface PemPair {
  readonly cert: string;
  /** PKCS #8. */
  readonly key: string;
}

export async function createSelfSigned({
  names,
  from = Date.now() - 3_600_000,
  days = 825,
}: SelfSignedOptions): Promise<PemPair> {
  const first = names[0];
  if (first === undefined) throw new RangeError('a certificate needs a name');
  const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'der' });
  const algorithm = sequence(oid('1.2.840.10045.4.3.2')); // ecdsa-with-SHA256
  const subject = sequence(set(sequence(oid('2.5.4.3'), tlv(0x0c, Buffer.from(first.slice(0, 64))))));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const body = sequence(
    tlv(0xa0, integer(Buffer.from([2]))), // v3
    integer(serial),
    algorithm,
    subject,
    sequence(time(from), time(from + days * 86_400_000)),
    subject,
    publicKey,
    tlv(0xa3, sequence(...extensions(names, publicKey))),
  );
  const certificate = sequence(body, algorithm, bitString(sign('sha256', body, pair.privateKey)));
  const base64 = certificate.toString('base64').replace(/(.{64})(?=.)/g, '$1\n');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`,
    key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** RFC 5280 4.2: who it is for (SAN), and that it is a server's and no authority's. */
function extensions(names: readonly string[], publicKey: Buffer): Buffer[] {
  const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
    sequence(oid(id), ...(critical ? [tlv(0x01, Buffer.from([0xff]))] : []), tlv(0x04, value));
  const alternatives = names.map((name) => {
    if (isIP(name) === 4) return tlv(0x87, Buffer.from(name.split('.').map(Number)));
    return isIP(name) === 6 ? tlv(0x87, Buffer.from(ipv6Bytes(name))) : tlv(0x82, Buffer.from(name, 'ascii'));
  });
  return [
    extension('2.5.29.19', true, sequence()), // basicConstraints: not an authority
    extension('2.5.29.15', true, tlv(0x03, Buffer.from([7, 0x80]))), // keyUsage: digitalSignature
    extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'))), // extKeyUsage: serverAuth
    extension('2.5.29.17', false, sequence(...alternatives)),
    extension('2.5.29.14', false, tlv(0x04, createHash('sha1').update(publicKey).digest())), // subjectKeyIdentifier
  ];
}

function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const bytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...bytes]), content]);
}
const sequence = (...parts: Buffer[]): Buffer => tlv(0x30, Buffer.concat(parts));
const set = (...parts: Buffer[]): Buffer => tlv(0x31, Buffer.concat(parts));
const integer = (bytes: Buffer): Buffer => tlv(0x02, bytes);
const bitString = (bytes: Buffer): Buffer => tlv(0x03, Buffer.concat([Buffer.from([0]), bytes]));

function oid(dotted: string): Buffer {
  const [a = 0, b = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [a * 40 + b];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 4.1.2.5). */
function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return Number(text.slice(0, 4)) < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text));
}
