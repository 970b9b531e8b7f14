// The relaxed canonical form of a header field in DKIM (RFC 6376 section 3.4.2). The body's: dkim-body.ts.

/** A field (name, colon, value, folds; latin1), without the line end that a signed field has behind it. */
export function relaxedField(text: string): string {
  const colon = text.indexOf(':');
  // Not trim(): in latin1 it takes the last byte of "à" for a blank.
  const [name, value] = [text.slice(0, colon), text.slice(colon + 1).replace(/[\r\n]/g, '')].map((part) =>
    part.replace(/[ \t]+/g, ' ').replace(/^ | $/g, ''),
  );
  return `${(name ?? '').toLowerCase()}:${value ?? ''}`;
}
