// RFC 3461 section 4: xtext, how ENVID and ORCPT carry any ASCII text.

/** Undefined for text that is not ASCII: ORCPT has another type for it. */
export function encodeXtext(text: string): string | undefined {
  if (/[^\x00-\x7f]/.test(text)) return undefined;
  return text.replace(/[^!-~]|[+=]/g, (char) => `+${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}
