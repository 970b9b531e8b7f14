// RFC 3461 section 4: xtext, how ENVID and ORCPT carry any ASCII text.

/** Undefined for text that is not ASCII: ORCPT has another type for it. */
export function encodeXtext(text: string): string | undefined {
  if (/[^\x00-\x7f]/.test(text)) return undefined;
  return text.replace(/[^!-~]|[+=]/g, (char) => `+${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}

/** The text; what is no escape stays as it is. It may hold control characters. */
export function decodeXtext(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** RFC 6533 section 3, utf-8-addr-xtext: an address of any script in ASCII. */
export function encodeUtf8Address(address: string): string {
  return [...address]
    .map((char) => {
      const code = char.codePointAt(0) ?? 0;
      return code > 0x20 && code < 0x7f && !'+=\\'.includes(char)
        ? char
        : `\\x{${code.toString(16).toUpperCase().padStart(2, '0')}}`;
    })
    .join('');
}

/** The address of ORCPT's `utf-8` type, in either of its forms. */
export function decodeUtf8Address(text: string): string {
  return decodeXtext(text).replace(/\\x\{([0-9A-Fa-f]{2,6})\}/g, (whole, hex: string) => {
    const code = Number.parseInt(hex, 16);
    return code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
