// What a verified message gets at its head: Authentication-Results (RFC 8601), Received-SPF (RFC 7208 section 9.1), and the words of warnings. Everything
// in them that a peer chose is written so that it stays in its place.
import type { AuthenticationResult } from './verify.ts';
import type { ArcResult, DkimResult } from './dkim-result.ts';
import type { DmarcResult } from './dmarc/evaluate.ts';
import type { SpfResult } from './spf/check.ts';

/** A value of a peer's: longer ones say nothing, and would make lines too long. */
const MAX_VALUE = 255;
const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+$/;
const ADDRESS = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*@[A-Za-z0-9._-]+$/;

/** Printable ASCII, cut. */
const plain = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_VALUE);
/** RFC 8601 section 2.2: pvalue. */
function propertyValue(text: string): string {
  const value = plain(text);
  return TOKEN.test(value) || ADDRESS.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`;
}
const comment = (text: string): string => ` (${plain(text).replace(/[()\\]/g, '\\$&')})`;
const property = (name: string, value: string | undefined): string =>
  value === undefined || value === '' ? '' : ` ${name}=${propertyValue(value)}`;

/** The field with its line ends; `authservId` is a host name. */
export function authenticationResults(authservId: string, result: AuthenticationResult, disposition: string): string {
  const parts = [spfPart(result.spf), ...dkimParts(result.dkim), dmarcPart(result.dmarc, disposition), ...arcParts(result.arc)];
  return `Authentication-Results: ${authservId};\r\n\t${parts.join(';\r\n\t')}\r\n`;
}

const spfPart = ({ result, identity, domain, reason }: SpfResult): string =>
  `spf=${result}${reason === undefined ? '' : comment(reason)}${property(identity === 'helo' ? 'smtp.helo' : 'smtp.mailfrom', domain)}`;

function dkimParts(results: readonly DkimResult[]): string[] {
  if (results.length === 0) return ['dkim=none'];
  // Folded: each of them may be long.
  return results.map(({ result, reason, domain, identity, selector, algorithm, signature }) =>
    `dkim=${result}${reason === undefined ? '' : comment(reason)}${property('header.d', domain)}${property('header.i', identity)}\r\n\t ${[
      property('header.s', selector),
      property('header.a', algorithm),
      property('header.b', signature),
    ].join('')}`.replace(/\r\n\t $/, ''),
  );
}

function dmarcPart({ result, domain, policy, published, reason }: DmarcResult, disposition: string): string {
  const words = reason ?? (published === undefined ? undefined : `p=${published} dis=${disposition}`);
  return `dmarc=${result}${words === undefined ? '' : comment(words)}${property('header.from', domain)}${property('policy.dmarc', policy)}`;
}

function arcParts({ result, reason, instance }: ArcResult): string[] {
  if (result === 'none') return [];
  return [`arc=${result}${comment(reason ?? `i=${instance ?? 0}`)}`];
}

export interface Hop {
  readonly ip: string;
  readonly helo: string;
  /** Empty for `<>`. */
  readonly sender: string;
}

const WORDS: Readonly<Record<SpfResult['result'], string>> = {
  pass: 'designates the client as permitted sender',
  fail: 'does not designate the client as permitted sender',
  softfail: 'does not designate the client as permitted sender, but only says so softly',
  neutral: 'says nothing of the client',
  none: 'has no SPF record',
  temperror: 'could not be asked',
  permerror: 'has an SPF record that cannot be evaluated',
};

/** The field with its line ends. */
export function receivedSpf(receiver: string, { result, identity, domain, reason, mechanism }: SpfResult, hop: Hop): string {
  const pairs = [
    `client-ip=${hop.ip.replace(/%.*$/, '')}`,
    `envelope-from=${quoted(hop.sender === '' ? `postmaster@${hop.helo}` : hop.sender)}`,
    `helo=${keyValue(hop.helo)}`,
    `receiver=${receiver}`,
    `identity=${identity}`,
    ...(mechanism === undefined ? [] : [`mechanism=${keyValue(mechanism)}`]),
    ...(reason === undefined ? [] : [`problem=${quoted(reason)}`]),
  ];
  return `Received-SPF: ${result}${comment(`${receiver}: ${domain || 'no domain'} ${WORDS[result]}`)}\r\n\t${pairs.join(';\r\n\t')}\r\n`;
}
const quoted = (text: string): string => `"${plain(text).replace(/["\\]/g, '\\$&')}"`;
const keyValue = (text: string): string => (/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,255}$/.test(text) ? text : quoted(text));

/** sendmail's name for what a message is to be distrusted for. */
export const authenticationWarning = (hostname: string, text: string): string =>
  `X-Authentication-Warning: ${hostname}: ${plain(text)}\r\n`;

/** Octets of a field that are looked at. */
const MAX_FIELD = 4_096;

/**
 * Whether an Authentication-Results field says that it is of `authservId` (RFC 8601 section 5): to any reader, also one that does not know comments, quotes
 * or where a name ends. Rather one too many: a field that is lost misleads nobody.
 */
export function claimsToBeFrom(value: string, authservId: string): boolean {
  const text = value.slice(0, MAX_FIELD).toLowerCase();
  const readings = [text, withoutComments(text, true), withoutComments(text, false)];
  // The name may stand behind what is looked at.
  if (value.length > MAX_FIELD && readings.some((reading) => !reading.includes(';'))) return true;
  const heads = readings.map((reading) => reading.split(';')[0]?.replace(/["\\]/g, '') ?? '');
  return heads.some((head) => [head, head.replace(/\s+/g, '')].some((form) => names(form, authservId.toLowerCase())));
}

/** Whether `name` stands there as a whole name. */
function names(text: string, name: string): boolean {
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const behind = text.slice(at + name.length, at + name.length + 2);
    if (!/[a-z0-9.-]/.test(text[at - 1] ?? '') && !/^(?:[a-z0-9-]|\.[a-z0-9])/.test(behind)) return true;
  }
  return false;
}

/** `pairs`: whether a backslash takes the next character's meaning away. */
function withoutComments(text: string, pairs: boolean): string {
  let depth = 0;
  let out = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (char === '\\' && pairs) {
      at++;
      continue;
    }
    if (char === '(') depth++;
    if (depth === 0) out += char;
    if (char === ')' && depth > 0) depth--;
  }
  return out;
}
