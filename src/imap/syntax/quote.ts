// Strings on the way out: an atom or a quoted string where it can be one, a literal where it must (RFC 3501 section 9).

/** nstring: text holds bytes (latin1). Anything with 8-bit bytes, CR, LF or more than 1,000 bytes goes as a literal; NUL is left out. */
export function nstring(text: string | null): string {
  return text === null ? 'NIL' : quoted(text);
}

export function quoted(text: string): string {
  const clean = text.includes('\0') ? text.replaceAll('\0', '') : text;
  if (clean.length <= 1000 && /^[\x01-\x09\x0b\x0c\x0e-\x7f]*$/.test(clean)) return `"${clean.replace(/["\\]/g, '\\$&')}"`;
  return `{${clean.length}}\r\n${clean}`;
}

/** astring, for mailbox names: an atom where it can be one. */
export function astring(text: string): string {
  return /^[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~[-]+$/.test(text) && text.toUpperCase() !== 'NIL' ? text : quoted(text);
}
