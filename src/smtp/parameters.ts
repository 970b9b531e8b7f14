// Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), AUTH (RFC 4954), RET, ENVID, NOTIFY, ORCPT (RFC 3461, its
// utf-8 addresses RFC 6533), REQUIRETLS (RFC 8689), XVERP (Postfix's VERP_README).
import type { DsnRecipient } from '../delivery/types.ts';
import { readVerpDelimiters } from '../delivery/verp.ts';
import { reply, type Reply } from './reply.ts';

export interface MailParameters {
  readonly size?: number;
  readonly bodyType: '7BIT' | '8BITMIME';
  readonly smtpUtf8: boolean;
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  readonly requireTls?: boolean;
  /** XVERP's delimiters; '' for those of the settings. */
  readonly verp?: string;
}

/** `KEY=value` by upper-case key; a reply when they cannot be read. */
function split(text: string): Map<string, string | undefined> | Reply {
  const found = new Map<string, string | undefined>();
  for (const word of text.split(' ').filter((w) => w !== '')) {
    const at = word.indexOf('=');
    const key = (at < 0 ? word : word.slice(0, at)).toUpperCase();
    if (!/^[A-Z0-9][A-Z0-9-]{0,63}$/.test(key)) return reply(501, '5.5.4', 'Syntax: bad parameter');
    if (found.has(key)) return reply(501, '5.5.4', 'Syntax: duplicate parameter');
    if (found.size >= 20) return reply(501, '5.5.4', 'Too many parameters');
    found.set(key, at < 0 ? undefined : word.slice(at + 1));
  }
  return found;
}
const isReply = (value: object): value is Reply => 'code' in value;
const unknown = (key: string): Reply => reply(555, '5.5.4', `Unsupported option: ${key}`);

/** `tls`: the connection is encrypted, REQUIRETLS was announced. `trusted`: so was XVERP. */
export function parseMailParameters(
  text: string,
  { tls, trusted = false }: { readonly tls: boolean; readonly trusted?: boolean },
): MailParameters | Reply {
  const params = split(text);
  if (isReply(params)) return params;
  const result: { -readonly [K in keyof MailParameters]: MailParameters[K] } = { bodyType: '7BIT', smtpUtf8: false };
  for (const [key, value] of params) {
    switch (key) {
      case 'SIZE':
        if (!/^\d{1,20}$/.test(value ?? '')) return reply(501, '5.5.4', 'Bad message size syntax');
        result.size = Number(value);
        break;
      case 'BODY':
        if (!/^(7BIT|8BITMIME)$/i.test(value ?? '')) return reply(501, '5.5.4', 'BODY is 7BIT or 8BITMIME');
        result.bodyType = value?.toUpperCase() as '7BIT' | '8BITMIME';
        break;
      case 'SMTPUTF8':
        if (value !== undefined) return reply(501, '5.5.4', 'SMTPUTF8 takes no value');
        result.smtpUtf8 = true;
        break;
      case 'RET':
        if (!/^(FULL|HDRS)$/i.test(value ?? '')) return reply(501, '5.5.4', 'RET is FULL or HDRS');
        result.ret = value?.toUpperCase() as 'FULL' | 'HDRS';
        break;
      case 'ENVID':
        if (value === undefined || value.length > 100 || !isXtext(value)) return reply(501, '5.5.4', 'ENVID is bad xtext');
        result.envid = value;
        break;
      case 'REQUIRETLS':
        if (!tls) return unknown(key);
        if (value !== undefined) return reply(501, '5.5.4', 'REQUIRETLS takes no value');
        result.requireTls = true;
        break;
      case 'XVERP':
        if (!trusted) return unknown(key);
        if (value !== undefined && readVerpDelimiters(value) === undefined)
          return reply(501, '5.5.4', 'XVERP is two of the characters - = +');
        result.verp = value ?? '';
        break;
      case 'AUTH':
        // RFC 4954 5: taken and not relied upon.
        if (value === undefined || !isXtext(value)) return reply(501, '5.5.4', 'AUTH is bad xtext');
        break;
      default:
        return unknown(key);
    }
  }
  return result;
}

/** `smtpUtf8`: MAIL had that parameter. */
export function parseRcptParameters(text: string, smtpUtf8: boolean): DsnRecipient | Reply {
  const params = split(text);
  if (isReply(params)) return params;
  const result: { notify?: ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[]; orcpt?: string } = {};
  for (const [key, value] of params) {
    if (key === 'NOTIFY') {
      const words = (value ?? '').toUpperCase().split(',');
      if (
        !words.every((w) => ['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'].includes(w)) ||
        (words.includes('NEVER') && words.length > 1)
      )
        return reply(501, '5.5.4', 'NOTIFY is NEVER, or of SUCCESS, FAILURE, DELAY');
      result.notify = words as ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[];
    } else if (key === 'ORCPT') {
      if (value === undefined || value.length > 500 || !isOriginalRecipient(value, smtpUtf8))
        return reply(501, '5.5.4', 'ORCPT is type;xtext');
      result.orcpt = value;
    } else return unknown(key);
  }
  return result;
}

/** RFC 3461 4.2: `rfc822;xtext`; RFC 6533 3: `utf-8;` with characters beyond ASCII as they are (with SMTPUTF8 only) or as `\x{HEX}`. */
function isOriginalRecipient(text: string, smtpUtf8: boolean): boolean {
  const semicolon = text.indexOf(';');
  const [type, address] = [text.slice(0, Math.max(0, semicolon)), text.slice(semicolon + 1)];
  if (!/^[A-Za-z0-9-]{1,64}$/.test(type) || address === '') return false;
  if (type.toLowerCase() !== 'utf-8') return isXtext(address);
  if (!smtpUtf8 && /[^\x00-\x7f]/.test(address)) return false;
  // C1 controls do not come this far from an address either.
  if (/[\x80-\x9f\u2028\u2029\ufffd]/.test(address)) return false;
  const plain = address
    .replace(/\\x\{(5C|[A-F][0-9A-F]|[1-9A-F][0-9A-F]{2,4}|10[0-9A-F]{4})\}/g, 'x')
    .replace(/[\u00a0-\uffff]/g, 'x');
  return !plain.includes('\\') && isXtext(plain);
}

/** RFC 3461 4: printable ASCII without + and =, and +HH in upper case; what it decodes to has no control characters. */
function isXtext(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === '+') {
      const hex = text.slice(i + 1, i + 3);
      if (!/^[0-9A-F]{2}$/.test(hex) || Number.parseInt(hex, 16) < 0x20 || hex === '7F') return false;
      i += 2;
    } else if (c < '!' || c > '~' || c === '=') return false;
  }
  return true;
}
