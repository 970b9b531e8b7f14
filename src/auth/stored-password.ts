// What a stored password says of itself; nothing here computes anything that takes long.

export interface StoredPassword {
  /** Upper case, without `.HEX`/`.B64`. */
  readonly scheme: string;
  readonly encoding: 'hex' | 'base64' | undefined;
  readonly data: string;
}

/** What a stored password says of itself: `{SCHEME}data`, or crypt's `$id$…`, or the default scheme. */
export function parseStored(text: string, defaultScheme: string): StoredPassword {
  const m = /^\{([A-Za-z0-9-]+)(?:\.(hex|b64|base64))?\}(.*)$/is.exec(text);
  if (!m) return { scheme: defaultScheme.toUpperCase(), encoding: undefined, data: text };
  const encoding = m[2]?.toLowerCase();
  return {
    scheme: (m[1] ?? '').toUpperCase(),
    encoding: encoding === 'hex' ? 'hex' : encoding === undefined ? undefined : 'base64',
    data: m[3] ?? '',
  };
}

/** All that schemes.ts can check. */
const SUPPORTED: ReadonlySet<string> = new Set(
  (
    'CRYPT SHA512-CRYPT SHA256-CRYPT MD5-CRYPT MD5 BLF-CRYPT ARGON2I ARGON2ID PLAIN CLEARTEXT CLEAR PBKDF2 SCRAM-SHA-1 SCRAM-SHA-256 CRAM-MD5 HMAC-MD5 ' +
    'SHA SHA1 SHA256 SHA512 SSHA SSHA256 SSHA512 SMD5 PLAIN-MD5 LDAP-MD5'
  ).split(' '),
);

/** Why a stored password can never match; undefined when it can. For `buzon check`, `buzon user show` and the log. */
export function unsupportedReason(text: string, defaultScheme: string): string | undefined {
  const { scheme, data } = parseStored(text, defaultScheme);
  if (!SUPPORTED.has(scheme)) return `the scheme ${scheme} is not supported`;
  if (!/CRYPT|^MD5$|^ARGON/.test(scheme)) return undefined;
  if (data.startsWith('$y$') || data.startsWith('$gy$'))
    return 'yescrypt ($y$) is not supported: set the password anew with "buzon user passwd"';
  return /^\$(1|5|6|2[abxy]|argon2id?)\$/.test(data)
    ? undefined
    : 'the hash is none of $1$, $5$, $6$, $2a$, $2b$, $2y$, $argon2i$, $argon2id$: set the password anew with "buzon user passwd"';
}

const CRYPT_NAMES: Readonly<Record<string, string>> = { '1': 'MD5-CRYPT', '5': 'SHA256-CRYPT', '6': 'SHA512-CRYPT' };

/** What a person calls the scheme of a stored password: of CRYPT the kind that its `$id$` tells. */
export function schemeName(text: string, defaultScheme: string): string {
  const { scheme, data } = parseStored(text, defaultScheme);
  const id = scheme === 'CRYPT' ? /^\$([a-z0-9]{1,9})\$/.exec(data)?.[1] : undefined;
  if (id === undefined) return scheme;
  return CRYPT_NAMES[id] ?? (id.startsWith('2') ? 'BLF-CRYPT' : id.toUpperCase());
}

/** The password itself, where it is stored in plain text. */
export function plainSecret({ scheme, encoding, data }: StoredPassword): Buffer | undefined {
  return ['PLAIN', 'CLEARTEXT', 'CLEAR'].includes(scheme) ? Buffer.from(data, encoding ?? 'utf8') : undefined;
}

export interface ScramSecret {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** `iterations,salt,stored key,server key`. */
export function parseScram(data: string): ScramSecret | undefined {
  const [iterations = '', salt = '', stored = '', server = ''] = data.split(',');
  if (!/^\d{1,8}$/.test(iterations) || salt === '' || stored === '' || server === '') return undefined;
  return {
    iterations: Number(iterations),
    salt: Buffer.from(salt, 'base64'),
    storedKey: Buffer.from(stored, 'base64'),
    serverKey: Buffer.from(server, 'base64'),
  };
}
