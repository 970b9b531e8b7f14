// Dovecot's password schemes (doc: Password Schemes; doveadm-pw(1)). Everything here may take long and runs in a hashing thread only.
import { hashSync as argon2Hash, verifySync as argon2Verify } from '@node-rs/argon2';
import { compareSync as bcryptCompare } from 'bcryptjs';
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import { encrypt as shaCrypt, verify as shaCryptVerify } from 'unixcrypt';
import { cramMd5Context } from './md5.ts';
import { md5Crypt } from './md5-crypt.ts';
import { NEW_SCHEMES } from './new-schemes.ts';
import { parseScram, parseStored, type ScramSecret, type StoredPassword } from './stored-password.ts';

/** Past these a stored hash would stall everybody's log-ins: refused as if wrong. */
const CAPS = {
  shaRounds: 1_000_000,
  bcryptCost: 15,
  pbkdf2Rounds: 5_000_000,
  argonMemory: 1_048_576,
  argonTime: 32,
  argonLanes: 16,
  scramRounds: 5_000_000,
};

type Verify = (password: string, stored: StoredPassword) => boolean;

const DIGESTS: Readonly<Record<string, readonly [algorithm: string, salted: boolean]>> = {
  SHA: ['sha1', false],
  SHA1: ['sha1', false],
  SHA256: ['sha256', false],
  SHA512: ['sha512', false],
  SSHA: ['sha1', true],
  SSHA256: ['sha256', true],
  SSHA512: ['sha512', true],
  SMD5: ['md5', true],
  'PLAIN-MD5': ['md5', false],
  'LDAP-MD5': ['md5', false],
};

const SCHEMES: Readonly<Record<string, Verify>> = {
  CRYPT: (password, { data }) => verifyCrypt(password, data),
  'SHA512-CRYPT': (password, { data }) => data.startsWith('$6$') && verifyCrypt(password, data),
  'SHA256-CRYPT': (password, { data }) => data.startsWith('$5$') && verifyCrypt(password, data),
  'MD5-CRYPT': (password, { data }) => data.startsWith('$1$') && verifyCrypt(password, data),
  MD5: (password, { data }) => data.startsWith('$1$') && verifyCrypt(password, data),
  'BLF-CRYPT': (password, { data }) => /^\$2[abxy]\$/.test(data) && verifyCrypt(password, data),
  ARGON2I: (password, { data }) => data.startsWith('$argon2i$') && verifyCrypt(password, data),
  ARGON2ID: (password, { data }) => data.startsWith('$argon2id$') && verifyCrypt(password, data),
  PLAIN: verifyPlain,
  CLEARTEXT: verifyPlain,
  CLEAR: verifyPlain,
  PBKDF2: verifyPbkdf2,
  'SCRAM-SHA-1': (password, { data }) => verifyScram(password, data, 'sha1'),
  'SCRAM-SHA-256': (password, { data }) => verifyScram(password, data, 'sha256'),
  'CRAM-MD5': verifyCramMd5,
  'HMAC-MD5': verifyCramMd5,
};

/** Whether the password is the stored one. False also for what cannot be read or would cost too much. Never throws. */
export function verifyPassword(password: string, text: string, defaultScheme: string): boolean {
  const stored = parseStored(text, defaultScheme);
  const digest = Object.hasOwn(DIGESTS, stored.scheme) ? DIGESTS[stored.scheme] : undefined;
  try {
    if (digest) return verifyDigest(password, stored, ...digest);
    const verify = Object.hasOwn(SCHEMES, stored.scheme) ? SCHEMES[stored.scheme] : undefined;
    return verify?.(password, stored) ?? false;
  } catch {
    return false;
  }
}

function equal(a: Buffer | string, b: Buffer | string): boolean {
  const key = randomBytes(16);
  const mac = (x: Buffer | string): Buffer => createHmac('sha256', key).update(x).digest();
  return timingSafeEqual(mac(a), mac(b));
}

function verifyPlain(password: string, { encoding, data }: StoredPassword): boolean {
  return equal(password, encoding === undefined ? data : Buffer.from(data, encoding));
}

function verifyCrypt(password: string, hash: string): boolean {
  if (hash.startsWith('$1$')) return equal(md5Crypt(password, hash), hash);
  if (/^\$[56]\$/.test(hash)) {
    const rounds = Number(/^\$[56]\$rounds=(\d{1,12})\$/.exec(hash)?.[1] ?? 5000);
    return rounds <= CAPS.shaRounds && shaCryptVerify(password, hash);
  }
  const bcrypt = /^\$2[abxy]\$(\d\d)\$/.exec(hash);
  // bcryptjs knows $2a$ and $2b$; $2y$ is PHP's name for the same.
  if (bcrypt) return Number(bcrypt[1]) <= CAPS.bcryptCost && bcryptCompare(password, hash.replace(/^\$2[xy]\$/, '$2b$'));
  const argon = /^\$argon2(?:i|id)\$v=\d+\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})/.exec(hash);
  if (!argon) return false;
  const [, m, t, p] = argon.map(Number);
  return (
    (m ?? 0) <= CAPS.argonMemory && (t ?? 0) <= CAPS.argonTime && (p ?? 0) <= CAPS.argonLanes && argon2Verify(hash, password)
  );
}

function verifyDigest(password: string, { encoding, data }: StoredPassword, algorithm: string, salted: boolean): boolean {
  const size = createHash(algorithm).digest().length;
  const isHex = /^[0-9a-fA-F]+$/.test(data) && data.length >= 2 * size && data.length % 2 === 0;
  const bytes = Buffer.from(data, encoding ?? (isHex ? 'hex' : 'base64'));
  if (bytes.length < size || (!salted && bytes.length !== size)) return false;
  const salt = bytes.subarray(size);
  return equal(createHash(algorithm).update(password, 'utf8').update(salt).digest(), bytes.subarray(0, size));
}

/** `$1$salt$rounds$hex`, SHA-1. */
function verifyPbkdf2(password: string, { data }: StoredPassword): boolean {
  const m = /^\$1\$([^$]{1,64})\$(\d{1,8})\$([0-9a-f]{40})$/.exec(data);
  if (!m || Number(m[2]) > CAPS.pbkdf2Rounds) return false;
  return equal(pbkdf2Sync(password, m[1] ?? '', Number(m[2]), 20, 'sha1'), Buffer.from(m[3] ?? '', 'hex'));
}

/** The keys of RFC 5802 section 3 for a password. */
export function scramKeys(
  password: string,
  salt: Buffer,
  iterations: number,
  hash: 'sha1' | 'sha256',
): Pick<ScramSecret, 'storedKey' | 'serverKey'> {
  const size = hash === 'sha1' ? 20 : 32;
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, size, hash);
  const clientKey = createHmac(hash, salted).update('Client Key').digest();
  return {
    storedKey: createHash(hash).update(clientKey).digest(),
    serverKey: createHmac(hash, salted).update('Server Key').digest(),
  };
}
function verifyScram(password: string, data: string, hash: 'sha1' | 'sha256'): boolean {
  const secret = parseScram(data);
  if (!secret || secret.iterations > CAPS.scramRounds) return false;
  return equal(scramKeys(password, secret.salt, secret.iterations, hash).storedKey, secret.storedKey);
}

const contextOf = (password: string): Buffer =>
  cramMd5Context(Buffer.from(password, 'utf8'), (bytes) => createHash('md5').update(bytes).digest());

function verifyCramMd5(password: string, { data }: StoredPassword): boolean {
  return equal(contextOf(password), Buffer.from(data, data.length === 64 ? 'hex' : 'base64'));
}

/** The package's number for it (its enum does not exist at run time). */
const ARGON2ID = 2;

/** A new stored password, in one of NEW_SCHEMES. @throws RangeError for another */
export function hashPassword(password: string, scheme: string): string {
  switch (scheme.toUpperCase()) {
    case 'ARGON2ID':
      return `{ARGON2ID}${argon2Hash(password, { algorithm: ARGON2ID, memoryCost: 65_536, timeCost: 3, parallelism: 1 })}`;
    case 'SCRAM-SHA-256': {
      const salt = randomBytes(16);
      const { storedKey, serverKey } = scramKeys(password, salt, 15_000, 'sha256');
      return `{SCRAM-SHA-256}15000,${[salt, storedKey, serverKey].map((b) => b.toString('base64')).join(',')}`;
    }
    case 'SSHA512': {
      const salt = randomBytes(8);
      return `{SSHA512}${Buffer.concat([createHash('sha512').update(password, 'utf8').update(salt).digest(), salt]).toString('base64')}`;
    }
    case 'SHA512-CRYPT':
      return `{SHA512-CRYPT}${shaCrypt(password)}`;
    case 'CRAM-MD5':
      return `{CRAM-MD5}${contextOf(password).toString('hex')}`;
    case 'PLAIN':
      // A colon would end the field.
      return /^[\x21-\x39\x3b-\x7e]+$/.test(password)
        ? `{PLAIN}${password}`
        : `{PLAIN.b64}${Buffer.from(password).toString('base64')}`;
    default:
      throw new RangeError(`new passwords are stored as one of ${NEW_SCHEMES.join(', ')}`);
  }
}
