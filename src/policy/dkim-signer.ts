// Signs outgoing mail with DKIM (RFC 6376, RFC 8301; Ed25519 beside RSA: RFC 8463): relaxed/relaxed, never `l=`, and fields that make a message what it is
// are signed once more than they are there, so that none can be added (RFC 6376 section 8.15).
import { createHash, sign, type KeyObject } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { aLabels } from '../dns/a-labels.ts';
import { promisify } from 'node:util';
import { yieldToLoop } from '../lib/async.ts';
import type { Logger } from '../lib/logger.ts';
import { extractAddresses } from '../message/addresses.ts';
import { fieldValue, headerLength, parseFields, type HeaderField } from '../message/headers.ts';
import { prefixedSource, readHead, replaceHead, type MessageSource } from '../message/source.ts';
import { BodyHash } from './dkim-body.ts';
import { relaxedField } from './dkim-canonical.ts';
import type { DkimKey } from './dkim-keys.ts';

/** Signed once more than they are there. */
const GUARDED = [
  'From',
  'Reply-To',
  'To',
  'Cc',
  'Subject',
  'Date',
  'Message-ID',
  'In-Reply-To',
  'References',
  'MIME-Version',
  'Content-Type',
  'Content-Transfer-Encoding',
] as const;
/** Signed where they are there: lists and forwarders may add their own. */
const SIGNED = [
  'Sender',
  'List-Id',
  'List-Unsubscribe',
  'List-Unsubscribe-Post',
  'Resent-From',
  'Resent-To',
  'Resent-Date',
] as const;

const LIMITS = { headerBytes: 1_048_576, headerFields: 10_000 } as const;
/** Names in `h=`; the fields at the bottom of the header are the ones that count (RFC 6376 section 5.4.2). */
const MOST_OF_A_NAME = 20;
/** Bytes hashed before others get a turn. */
const TURN_BYTES = 512 * 1024;

const signAsync = promisify(sign) as (algorithm: string | null, data: Buffer, key: KeyObject) => Promise<Buffer>;

/** As DkimKeys has them. */
export interface SigningKeys {
  /** Those that mail of this author is signed with. */
  find(domain: string, local?: string): readonly DkimKey[];
  /** Whether a signature with these `d=` and `s=` is ours. */
  has(domain: string, selector: string): boolean;
}

export interface DkimSignerOptions {
  readonly keys: SigningKeys;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
}

export class DkimSigner {
  readonly #o: DkimSignerOptions;

  constructor(options: DkimSignerOptions) {
    this.#o = options;
  }

  /**
   * The DKIM-Signature fields for the head of a message (CRLF, lines of at most 998 octets: as it will be sent), one for each key of its author's domain.
   * Undefined where there is no such key, or the header does not say whose domain it is. Fails only as the source does.
   */
  async sign(source: MessageSource, id: string): Promise<Buffer | undefined> {
    const head = await readHead(source, LIMITS.headerBytes);
    const length = headerLength(head) ?? (head.length === source.size ? head.length : undefined);
    if (length === undefined) return undefined;
    const header = head.subarray(0, length);
    const fields = parseFields(header, LIMITS);
    const keys = this.#keysFor(header, fields);
    if (keys.length === 0) return undefined;
    const signed = signedFields(header, fields);
    const bodyHash = await hashBody(source, length);
    const out: string[] = [];
    for (const key of keys) {
      out.push(await signature(key, signed, bodyHash, Math.floor(this.#o.now() / 1000)));
      this.#o.logger.debug('dkim.signed', { id, domain: key.domain, selector: key.selector });
    }
    return Buffer.from(out.join(''), 'latin1');
  }

  /** The message without our signatures and with new ones where it had any: its bytes have changed on their way out. Disposing it disposes `source`. */
  async resign(source: MessageSource, id: string): Promise<MessageSource> {
    const head = await readHead(source, LIMITS.headerBytes);
    const length = headerLength(head) ?? head.length;
    const header = head.subarray(0, length);
    const ours = parseFields(header, LIMITS).filter((field) => this.#isOurs(header, field));
    if (ours.length === 0) return source;
    const bare = replaceHead(source, length, without(header, ours));
    const fresh = await this.sign(bare, id);
    return fresh ? { ...prefixedSource(fresh, bare), dispose: () => bare.dispose() } : bare;
  }

  #keysFor(header: Buffer, fields: readonly HeaderField[]): readonly DkimKey[] {
    const from = fields.filter(({ name }) => name === 'from');
    const [only] = from;
    if (!only || from.length > 1) return [];
    const authors = extractAddresses(Buffer.from(fieldValue(header, only), 'latin1').toString('utf8'));
    const domain = authors?.[0]?.domain ?? '';
    if (domain === '' || authors?.some((author) => author.domain !== domain)) return [];
    const local = authors?.[0]?.local;
    const found = this.#o.keys.find(domain, local);
    const ascii = domainToASCII(domain);
    return found.length > 0 || ascii === domain || ascii === '' ? found : this.#o.keys.find(ascii, local);
  }

  #isOurs(header: Buffer, field: HeaderField): boolean {
    if (field.name !== 'dkim-signature') return false;
    const value = fieldValue(header, field, 4096);
    const tag = (name: string): string =>
      new RegExp(`(?:^|;)[ \\t]*${name}[ \\t]*=[ \\t]*([^; \\t]{1,255})`).exec(value)?.[1] ?? '';
    return this.#o.keys.has(tag('d').toLowerCase(), tag('s'));
  }
}

function without(header: Buffer, fields: readonly HeaderField[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end } of fields) {
    parts.push(header.subarray(at, start));
    at = end;
  }
  return Buffer.concat([...parts, header.subarray(at)]);
}

interface SignedFields {
  /** For `h=`. */
  readonly names: readonly string[];
  /** Canonical, in that order; a name that is there once too often stands for nothing. */
  readonly text: string;
}

function signedFields(header: Buffer, fields: readonly HeaderField[]): SignedFields {
  const names: string[] = [];
  let text = '';
  for (const name of [...GUARDED, ...SIGNED]) {
    const present = fields.filter((field) => field.name === name.toLowerCase());
    const taken = present.slice(-MOST_OF_A_NAME).reverse();
    for (const { start, end } of taken) text += `${relaxedField(header.toString('latin1', start, end))}\r\n`;
    const guard = (GUARDED as readonly string[]).includes(name) && taken.length === present.length ? 1 : 0;
    for (let i = 0; i < taken.length + guard; i++) names.push(name);
  }
  return { names, text };
}

async function hashBody(source: MessageSource, headLength: number): Promise<string> {
  const hash = new BodyHash();
  let skip = headLength;
  let turn = 0;
  for await (const chunk of source.chunks()) {
    if (skip < chunk.length) hash.push(chunk.subarray(skip));
    skip = Math.max(0, skip - chunk.length);
    turn += chunk.length;
    if (turn < TURN_BYTES) continue;
    turn = 0;
    await yieldToLoop();
  }
  return hash.digest();
}

/** One field with its line end. What is in it is ours or was checked when the settings were read: no CR or LF can come in. */
async function signature(key: DkimKey, { names, text }: SignedFields, bodyHash: string, at: number): Promise<string> {
  const rsa = key.key.asymmetricKeyType === 'rsa';
  const domain = aLabels(key.domain);
  const identity = key.identity === undefined ? '' : ` i=${key.identity};\r\n\t`;
  const field =
    `DKIM-Signature: v=1; a=${rsa ? 'rsa' : 'ed25519'}-sha256; c=relaxed/relaxed; d=${domain};\r\n` +
    `\ts=${key.selector};${identity} t=${at}; h=${foldNames(names)};\r\n\tbh=${bodyHash};\r\n\tb=`;
  const data = Buffer.from(text + relaxedField(field), 'latin1');
  // RFC 8463 section 3: Ed25519 signs the hash.
  const made = rsa
    ? await signAsync('sha256', data, key.key)
    : await signAsync(null, createHash('sha256').update(data).digest(), key.key);
  return `${field}${(made.toString('base64').match(/.{1,72}/g) ?? []).join('\r\n\t ')}\r\n`;
}

/** `From:From:To`, at most some 70 characters a line. */
function foldNames(names: readonly string[]): string {
  let out = '';
  let column = 40;
  for (const [i, name] of names.entries()) {
    const item = i === names.length - 1 ? name : `${name}:`;
    if (column + item.length > 70) {
      out += '\r\n\t ';
      column = 9;
    }
    out += item;
    column += item.length;
  }
  return out;
}
