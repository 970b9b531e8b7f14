// IMAP's modified UTF-7 (RFC 3501 section 5.1.3): how mailbox names travel on the wire, and how Dovecot names folders on disk.

/** Lone surrogates become U+FFFD. */
const wellFormed = (text: string): string => Buffer.from(text, 'utf8').toString('utf8');

const isPlain = (code: number): boolean => code >= 0x20 && code <= 0x7e;

/** Encodes `text`; printable ASCII stays itself, `&` becomes `&-`, everything else is shifted. Lone surrogates become U+FFFD. */
export function encodeModifiedUtf7(text: string): string {
  const source = wellFormed(text);
  let out = '';
  let at = 0;
  while (at < source.length) {
    const code = source.charCodeAt(at);
    if (isPlain(code)) {
      out += code === 0x26 ? '&-' : source[at];
      at++;
      continue;
    }
    const start = at;
    while (at < source.length && !isPlain(source.charCodeAt(at))) at++;
    out += `&${encodeShifted(source.slice(start, at))}-`;
  }
  return out;
}

function encodeShifted(text: string): string {
  const base64 = Buffer.from(text, 'utf16le').swap16().toString('base64');
  const end = base64.indexOf('=');
  return (end < 0 ? base64 : base64.slice(0, end)).replaceAll('/', ',');
}

/**
 * Decodes strictly: undefined for anything that `encodeModifiedUtf7` would not have written (8-bit or control characters, a shift that is
 * not ended, printable ASCII or nothing inside a shift, two shifts in a row, odd padding, lone surrogates), so that no two spellings
 * name one mailbox.
 */
export function decodeModifiedUtf7(encoded: string): string | undefined {
  let out = '';
  let at = 0;
  let afterShift = false;
  while (at < encoded.length) {
    const code = encoded.charCodeAt(at);
    if (!isPlain(code)) return undefined;
    if (code !== 0x26) {
      out += encoded[at++];
      afterShift = false;
      continue;
    }
    const end = encoded.indexOf('-', at + 1);
    if (end < 0) return undefined;
    if (end === at + 1) {
      out += '&';
      afterShift = false;
    } else {
      const shifted = afterShift ? undefined : decodeShifted(encoded.slice(at + 1, end));
      if (shifted === undefined) return undefined;
      out += shifted;
      afterShift = true;
    }
    at = end + 1;
  }
  return out;
}

const SHIFT_ALPHABET = /^[A-Za-z0-9+,]+$/;

function decodeShifted(base64: string): string | undefined {
  if (!SHIFT_ALPHABET.test(base64)) return undefined;
  const bytes = Buffer.from(base64.replaceAll(',', '/'), 'base64');
  if (bytes.length === 0 || bytes.length % 2 !== 0) return undefined;
  const text = bytes.swap16().toString('utf16le');
  if (wellFormed(text) !== text || encodeShifted(text) !== base64) return undefined;
  for (let i = 0; i < text.length; i++) if (isPlain(text.charCodeAt(i))) return undefined;
  return text;
}
