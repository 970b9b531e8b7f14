// The Sender Rewriting Scheme ("Guarded"), in postsrsd's form: mail that an alias sends outside gets a sender of a domain of ours, so that SPF of the next host
// holds, and reports about it find their way back.
//
//   ana@example.org           → SRS0=HHHH=TT=example.org=ana@ours
//   SRS0=hhhh=tt=x=y@theirs   → SRS1=HHHH=theirs==hhhh=tt=x=y@ours      (theirs checks its own hash; nothing grows with the number of hops)
//   SRS1=hhhh=theirs==…@other → SRS1=HHHH=theirs==…@ours
//
// HHHH: the first characters of the base64 of HMAC-SHA1 over what follows, in lower case; TT: the day, in base32. Local parts may lose their case on the way:
// hashes are compared without it.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readPemFile, type PemFile } from '../config/certificates.ts';
import type { Settings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import { formatMailbox, parseMailbox } from '../message/address-spec.ts';
import type { SenderRewriting } from './forwarding.ts';

export interface SrsOptions {
  /** srs_domain: where rewritten senders live. */
  readonly domain: string;
  /** The first makes hashes, all are good for checking: put a new one in front, and take the old one away when its mail is past. */
  readonly secrets: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const DAY = 86_400_000;
/** Days that a rewritten sender is good for: libsrs2's. */
const MAX_AGE = 21;
const HASH_LENGTH = 4;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
/** Days until TT comes round again. */
const CYCLE = 1024;

const isSrs = (local: string, tag: 'SRS0' | 'SRS1'): boolean => new RegExp(`^${tag}[-+=]`, 'i').test(local);

/** The sender to forward with; the same where there is none to rewrite (`<>`, no domain) or it is of `domain` already. */
export function srsForward(sender: string, { domain, secrets, now }: SrsOptions): string {
  const mailbox = parseMailbox(sender);
  const [secret] = secrets;
  if (!mailbox || mailbox.domain === '' || secret === undefined || mailbox.domain === domain.toLowerCase()) return sender;
  const { local, domain: host } = mailbox;
  if (isSrs(local, 'SRS0')) {
    const rest = local.slice(4);
    return formatMailbox(`SRS1=${hashOf(secret, host, rest)}=${host}=${rest}`, domain);
  }
  const first = isSrs(local, 'SRS1') ? splitSrs1(local) : undefined;
  if (first) return formatMailbox(`SRS1=${hashOf(secret, first.host, first.rest)}=${first.host}=${first.rest}`, domain);
  const day = stamp(now);
  return formatMailbox(`SRS0=${hashOf(secret, day, host, local)}=${day}=${host}=${local}`, domain);
}

export type SrsReverse =
  /** Where a report goes. */
  | { readonly kind: 'address'; readonly address: string }
  /** Of our domain, but not ours: nothing may be sent there, or we would be an open relay. */
  | { readonly kind: 'invalid'; readonly reason: 'malformed' | 'hash' | 'expired' }
  /** No rewritten sender of `domain`. */
  | { readonly kind: 'none' };

/** What a recipient stands for that may be a rewritten sender of ours. */
export function srsReverse(address: string, { domain, secrets, now }: SrsOptions): SrsReverse {
  const mailbox = parseMailbox(address);
  if (!mailbox || mailbox.domain !== domain.toLowerCase()) return { kind: 'none' };
  const { local } = mailbox;
  if (isSrs(local, 'SRS1')) {
    const parts = splitSrs1(local);
    if (!parts) return { kind: 'invalid', reason: 'malformed' };
    if (!isGood(secrets, parts.hash, parts.host, parts.rest)) return { kind: 'invalid', reason: 'hash' };
    return target(`SRS0${parts.rest}`, parts.host);
  }
  if (!isSrs(local, 'SRS0')) return { kind: 'none' };
  const [, hash = '', day = '', host = '', user = ''] = /^([^=]+)=([^=]+)=([^=]+)=(.+)$/s.exec(local.slice(5)) ?? [];
  if (user === '') return { kind: 'invalid', reason: 'malformed' };
  if (!isGood(secrets, hash, day, host, user)) return { kind: 'invalid', reason: 'hash' };
  return isFresh(day, now) ? target(user, host) : { kind: 'invalid', reason: 'expired' };
}

/** Through the parser: what the hash vouches for is nevertheless no reason to trust its form. */
function target(local: string, host: string): SrsReverse {
  const mailbox = parseMailbox(formatMailbox(local, host));
  return mailbox ? { kind: 'address', address: mailbox.address } : { kind: 'invalid', reason: 'malformed' };
}

/** `rest` begins with the separator behind the first SRS0. */
function splitSrs1(local: string): { hash: string; host: string; rest: string } | undefined {
  const [, hash = '', host = '', rest = ''] = /^([^=]+)=([^=]+)=([-+=].+)$/s.exec(local.slice(5)) ?? [];
  return rest === '' ? undefined : { hash, host, rest };
}

function hashOf(secret: string, ...parts: readonly string[]): string {
  // postsrsd lowers ASCII only.
  const text = parts.join('').replace(/[A-Z]/g, (char) => char.toLowerCase());
  return createHmac('sha1', secret).update(text).digest('base64').slice(0, HASH_LENGTH);
}

function isGood(secrets: readonly string[], hash: string, ...parts: readonly string[]): boolean {
  const given = Buffer.from(hash.toLowerCase());
  return secrets.some((secret) => {
    const made = Buffer.from(hashOf(secret, ...parts).toLowerCase());
    return made.length === given.length && timingSafeEqual(made, given);
  });
}

function stamp(now: number): string {
  const day = Math.floor(now / DAY) % CYCLE;
  return `${BASE32.charAt(day >> 5)}${BASE32.charAt(day & 31)}`;
}

function isFresh(text: string, now: number): boolean {
  const [high = -1, low = -1] = [...text.toUpperCase()].map((char) => BASE32.indexOf(char));
  if (text.length !== 2 || high < 0 || low < 0) return false;
  const age = ((Math.floor(now / DAY) % CYCLE) - (high * 32 + low) + CYCLE) % CYCLE;
  return age <= MAX_AGE;
}

/** srs_secrets_file: a secret a line, as postsrsd's own file; empty lines and blanks around them do not count. */
export function parseSrsSecrets(bytes: Buffer): string[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/**
 * What delivery asks, when the settings have both srs_domain and srs_secrets_file. `readPem` reads a file that may be root's alone; `now`: milliseconds.
 * @throws MailError config `SRS_SECRETS` for a file that cannot be read, that everybody can read, or that is empty
 */
export async function loadSenderRewriting(
  { srs_domain: domain, srs_secrets_file: file }: Pick<Settings, 'srs_domain' | 'srs_secrets_file'>,
  now: () => number,
  readPem: (path: string) => Promise<PemFile> = readPemFile,
): Promise<SenderRewriting | undefined> {
  if (domain === undefined || file === undefined) return undefined;
  const fail = (reason: string, cause?: unknown): never => {
    throw new MailError('config', 'SRS_SECRETS', `srs_secrets_file: ${reason}`, { cause });
  };
  const { bytes, mode } = await readPem(file).catch((error: unknown) => fail((error as Error).message, error));
  if ((mode & 0o007) !== 0) fail(`${file} can be used by everybody (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it`);
  const secrets = parseSrsSecrets(bytes);
  if (secrets.length === 0) fail(`${file} holds no secret; write a line of random characters into it`);
  const options = (): SrsOptions => ({ domain, secrets, now: now() });
  return {
    forward: (sender) => srsForward(sender, options()),
    original: (address) => {
      const found = srsReverse(address, options());
      return found.kind === 'address' ? found.address : found.kind === 'invalid' ? null : undefined;
    },
  };
}
