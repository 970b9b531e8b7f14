// Bytes to text in whatever charset a sender named. Unknown charsets and broken bytes never fail: they are read as latin1.

const ALIASES: Readonly<Record<string, string>> = {
  'us-ascii': 'windows-1252',
  ascii: 'windows-1252',
  latin1: 'iso-8859-1',
  utf8: 'utf-8',
  'x-unknown': 'windows-1252',
};

/** Decodes a piece of text; `charset` may be undefined (UTF-8 when it is valid UTF-8, else latin1). */
export function decodeText(bytes: Buffer, charset: string | undefined): string {
  const name = charset?.trim().toLowerCase() ?? '';
  if (name === '' || name === 'us-ascii' || name === 'ascii') return decodeUnknown(bytes);
  try {
    return new TextDecoder(ALIASES[name] ?? name).decode(bytes);
  } catch {
    return decodeUnknown(bytes);
  }
}

function decodeUnknown(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}
