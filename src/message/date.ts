// Dates: RFC 5322 section 3.3 in headers, RFC 3501's date and date-time in IMAP.

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const two = (n: number): string => String(n).padStart(2, '0');

/** Minutes that local time is ahead of UTC. */
const localOffset = (at: number): number => -new Date(at).getTimezoneOffset();
function zone(minutes: number): string {
  const m = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(m / 60))}${two(m % 60)}`;
}

/** `Tue, 24 Nov 2026 13:41:13 +0000`, in local time unless `offset` (minutes) says otherwise. */
export function formatRfc5322(at: number, offset: number = localOffset(at)): string {
  const d = new Date(at + offset * 60_000);
  return `${DAYS[d.getUTCDay()]}, ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]} ${d.getUTCFullYear()} ${time(d)} ${zone(offset)}`;
}
const time = (d: Date): string => `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;

/** IMAP's date-time without quotes: `24-Nov-2026 13:41:13 +0000`, the day padded with a space. */
export function formatImapDateTime(at: number, offset: number = localOffset(at)): string {
  const d = new Date(at + offset * 60_000);
  return `${String(d.getUTCDate()).padStart(2)}-${MONTHS[d.getUTCMonth()]}-${String(d.getUTCFullYear()).padStart(4, '0')} ${time(d)} ${zone(offset)}`;
}

const monthOf = (name: string): number => MONTHS.findIndex((m) => m.toLowerCase() === name.toLowerCase());

/** Days since the epoch for a real calendar day; undefined for 31-Feb and the like. */
function dayNumber(year: number, month: number, day: number): number | undefined {
  const at = Date.UTC(year, month, day);
  const d = new Date(at);
  if (year < 100) d.setUTCFullYear(year);
  return d.getUTCMonth() === month && d.getUTCDate() === day ? Math.floor(at / 86_400_000) : undefined;
}

/** IMAP's date-time (RFC 3501 section 9), milliseconds since the epoch; undefined when it is none. */
export function parseImapDateTime(text: string): number | undefined {
  const m = /^([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/.exec(text);
  if (!m) return undefined;
  const [, day = '', month = '', year = '', h = '', min = '', s = '', sign, zh = '', zm = ''] = m;
  const days = dayNumber(Number(year), monthOf(month), Number(day));
  if (days === undefined || Number(h) > 23 || Number(min) > 59 || Number(s) > 60 || Number(zm) > 59) return undefined;
  const offset = (Number(zh) * 60 + Number(zm)) * (sign === '-' ? -1 : 1);
  return days * 86_400_000 + ((Number(h) * 60 + Number(min) - offset) * 60 + Number(s)) * 1000;
}

/** IMAP's date (`1-Feb-1994`) as a day number: days since the epoch. */
export function parseImapDate(text: string): number | undefined {
  const m = /^(\d{1,2})-([A-Za-z]{3})-(\d{4})$/.exec(text);
  return m ? dayNumber(Number(m[3]), monthOf(m[2] ?? ''), Number(m[1])) : undefined;
}

const ZONES: Readonly<Record<string, number>> = {
  UT: 0,
  GMT: 0,
  Z: 0,
  EST: -300,
  EDT: -240,
  CST: -360,
  CDT: -300,
  MST: -420,
  MDT: -360,
  PST: -480,
  PDT: -420,
};

/**
 * A Date header, tolerantly: comments, missing day name or seconds, two-digit years, obsolete zones (RFC 5322 4.3).
 * `day` is the calendar day as written (SENTSINCE disregards time and zone, RFC 3501 6.4.4); undefined when nothing can be made of it.
 */
export function parseRfc5322Date(text: string): { readonly at: number; readonly day: number } | undefined {
  const plain = stripComments(text.slice(0, 200));
  const m =
    /(\d{1,2})[\s-]{1,3}([A-Za-z]{3})[a-z]{0,6}[\s-]{1,3}(\d{2,4})\s{0,3}(?:(\d{1,2}):(\d{2})(?::(\d{2}))?\s{0,3}([+-]\d{4}|[A-Za-z]{1,3})?)?/.exec(
      plain,
    );
  if (!m) return undefined;
  const [, day = '', month = '', rawYear = '', h = '0', min = '0', s = '0', tz = ''] = m;
  const short = Number(rawYear);
  const year = rawYear.length === 2 ? (short < 50 ? 2000 + short : 1900 + short) : rawYear.length === 3 ? 1900 + short : short;
  const days = dayNumber(year, monthOf(month), Number(day));
  if (days === undefined) return undefined;
  const offset = /^[+-]/.test(tz)
    ? (Number(tz.slice(1, 3)) * 60 + Number(tz.slice(3))) * (tz.startsWith('-') ? -1 : 1)
    : (ZONES[tz.toUpperCase()] ?? 0);
  return { at: days * 86_400_000 + ((Number(h) * 60 + Number(min) - offset) * 60 + Number(s)) * 1000, day: days };
}

function stripComments(text: string): string {
  let depth = 0;
  let out = '';
  for (const c of text) {
    if (c === '(') depth++;
    else if (c === ')') depth = Math.max(0, depth - 1);
    else if (depth === 0) out += c;
  }
  return out;
}
