// Addresses of the envelope: SMTP paths and mailboxes (RFC 5321 section 4.1.2, RFC 6531 section 3.3). Header fields have their own, more
// tolerant grammar in addresses.ts.
import { isIPv4, isIPv6 } from 'node:net';

/** Octets in UTF-8. RFC 5321 section 4.5.3.1 asks for at least 64 and 255; longer local parts (VERP, SRS) are seen in the wild. */
const ADDRESS_LIMITS = { local: 256, domain: 255, label: 63, route: 1024 } as const;

/** A mailbox of an envelope. */
export interface MailboxAddress {
  /** Without quotes and backslashes: `a b` for `"a b"@x`. Case as given. */
  readonly local: string;
  /** In lower case, `[192.0.2.1]` with its brackets for a literal; '' where there is none (`<postmaster>`). U-labels stay as they are. */
  readonly domain: string;
  /** `local@domain`, the local part quoted where it must be: fit for a log, a header, another server. */
  readonly address: string;
  /** True where the address needs SMTPUTF8 (RFC 6531). */
  readonly utf8: boolean;
}

/** A path: a mailbox, or null for the null path `<>`. */
export interface SmtpPath {
  readonly mailbox: MailboxAddress | null;
  /** Index in the text behind the path: parameters follow there. */
  readonly end: number;
}

/**
 * Parses a reverse- or forward-path at the start of `text` (what stands behind `MAIL FROM:` or `RCPT TO:`, decoded from UTF-8). As Postfix with
 * `strict_rfc821_envelopes = no`: spaces before it, missing angle brackets and dots anywhere in the local part are let through. A source route is
 * checked and dropped (RFC 5321 appendix C). Undefined for anything else; control characters, broken UTF-8 and a second unquoted `@` are always refused.
 */
export function parsePath(text: string): SmtpPath | undefined {
  let start = 0;
  while (text[start] === ' ') start++;
  if (text[start] !== '<') {
    const end = endOfBarePath(text, start);
    const mailbox = end > start ? parseMailbox(text.slice(start, end)) : undefined;
    return mailbox && { mailbox, end };
  }
  if (text[start + 1] === '>') return { mailbox: null, end: start + 2 };
  const from = skipRoute(text, start + 1);
  if (from === undefined) return undefined;
  const end = endOfPath(text, from);
  if (end === undefined) return undefined;
  const mailbox = parseMailbox(text.slice(from, end));
  return mailbox && { mailbox, end: end + 1 };
}

/** Parses `local@domain` or a lone local part; undefined where it is not one. */
export function parseMailbox(text: string): MailboxAddress | undefined {
  const parsed = text.startsWith('"') ? parseQuoted(text) : parseDotString(text);
  if (!parsed) return undefined;
  const { local, rest } = parsed;
  if (local === '' || Buffer.byteLength(local) > ADDRESS_LIMITS.local) return undefined;
  if (rest === '') return mailboxAddress(local, '');
  if (!rest.startsWith('@')) return undefined;
  const domain = normalizeDomain(rest.slice(1));
  return domain === undefined ? undefined : mailboxAddress(local, domain);
}

/** `local@domain` with quotes where the local part needs them (RFC 5321 section 4.1.2). */
export function formatMailbox(local: string, domain: string): string {
  const atoms = local.length > 0 && [...local].every((char) => char === '.' || isAtext(char));
  const written = atoms ? local : `"${local.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  return domain === '' ? written : `${written}@${domain}`;
}

/** The domain in lower case, or undefined where it is neither a host name (ASCII or U-labels) nor an address literal. */
export function normalizeDomain(text: string): string | undefined {
  if (text.startsWith('[')) return normalizeLiteral(text);
  if (text === '' || Buffer.byteLength(text) > ADDRESS_LIMITS.domain) return undefined;
  const domain = text.toLowerCase();
  return domain.split('.').every(isLabel) ? domain : undefined;
}

function mailboxAddress(local: string, domain: string): MailboxAddress {
  const address = formatMailbox(local, domain);
  return { local, domain, address, utf8: [...address].some((char) => char > '\u007f') };
}

const ATEXT = new Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~");

/** Not ASCII, and not a C1 control, a lone surrogate, or what is left of broken UTF-8. */
function isUtf8Text(char: string): boolean {
  const code = char.codePointAt(0) ?? 0;
  return code >= 0xa0 && code !== 0xfffd && !(code >= 0xd800 && code <= 0xdfff) && code !== 0x2028 && code !== 0x2029;
}

const isAtext = (char: string): boolean => ATEXT.has(char) || isUtf8Text(char);

function parseDotString(text: string): { local: string; rest: string } | undefined {
  const at = text.indexOf('@');
  const local = at < 0 ? text : text.slice(0, at);
  if (local.length > ADDRESS_LIMITS.local) return undefined;
  for (const char of local) if (char !== '.' && !isAtext(char)) return undefined;
  return { local, rest: at < 0 ? '' : text.slice(at) };
}

function parseQuoted(text: string): { local: string; rest: string } | undefined {
  let local = '';
  let at = 1;
  while (at < text.length && local.length <= ADDRESS_LIMITS.local) {
    let char = String.fromCodePoint(text.codePointAt(at) ?? 0);
    at += char.length;
    if (char === '"') return { local, rest: text.slice(at) };
    if (char === '\\') {
      char = text[at++] ?? '';
      if (!(char >= ' ' && char <= '~')) return undefined;
    } else if (!((char >= ' ' && char <= '~') || isUtf8Text(char))) return undefined;
    local += char;
  }
  return undefined;
}

function isLabel(label: string): boolean {
  if (label === '' || Buffer.byteLength(label) > ADDRESS_LIMITS.label * 3 || label.startsWith('-') || label.endsWith('-'))
    return false;
  const ascii = /^[a-z0-9_-]+$/.test(label);
  if (ascii) return label.length <= ADDRESS_LIMITS.label;
  return [...label].every((char) => /^[a-z0-9_-]$/.test(char) || isUtf8Text(char));
}

function normalizeLiteral(text: string): string | undefined {
  if (!text.endsWith(']')) return undefined;
  const inner = text.slice(1, -1);
  if (/^ipv6:/i.test(inner)) {
    const address = inner.slice(5);
    return isIPv6(address) && !address.includes('%') ? `[IPv6:${address.toLowerCase()}]` : undefined;
  }
  return isIPv4(inner) ? text : undefined;
}

/** Behind `@one,@two:`, or `from` itself where there is none. */
function skipRoute(text: string, from: number): number | undefined {
  if (text[from] !== '@') return from;
  const colon = routeEnd(text, from);
  if (colon === undefined) return undefined;
  const hops = text.slice(from, colon).split(',');
  const valid = hops.every((hop) => hop.startsWith('@') && normalizeDomain(hop.slice(1)) !== undefined);
  return valid ? colon + 1 : undefined;
}

/** The colon that ends a source route; colons inside `[IPv6:…]` are not it. */
function routeEnd(text: string, from: number): number | undefined {
  let inLiteral = false;
  for (let i = from; i < text.length && i - from <= ADDRESS_LIMITS.route; i++) {
    const char = text[i];
    if (char === '[') inLiteral = true;
    else if (char === ']') inLiteral = false;
    else if (char === ':' && !inLiteral) return i;
  }
  return undefined;
}

/** The `>` that ends a path: not one inside quotes. */
function endOfPath(text: string, from: number): number | undefined {
  const end = scanUnquoted(text, from, '>');
  return end < text.length ? end : undefined;
}

function endOfBarePath(text: string, from: number): number {
  return scanUnquoted(text, from, ' ');
}

function scanUnquoted(text: string, from: number, stop: string): number {
  let quoted = false;
  for (let i = from; i < text.length; i++) {
    const char = text[i];
    if (char === '\\' && quoted) i++;
    else if (char === '"') quoted = !quoted;
    else if (char === stop && !quoted) return i;
  }
  return text.length;
}
