// Replies of other servers (RFC 5321 section 4.2): read, and made fit for logs and reports.

export interface SmtpReply {
  /** 200 to 599; of a reply of several lines, the last one's. */
  readonly code: number;
  /** RFC 3463; the reply's own (RFC 2034) or, where it has none that fits the code, one made from the code. */
  readonly status: string;
  /** All lines with their codes, joined by a space: no control characters, at most 600 of any. */
  readonly text: string;
}

const MAX_REPLY_TEXT = 600;

/** What a code alone says, as RFC 3463 would (RFC 5248 section 2.4); other codes give `X.0.0`. */
const STATUS_OF: Readonly<Record<number, string>> = {
  421: '4.3.2',
  450: '4.2.0',
  451: '4.3.0',
  452: '4.3.1',
  454: '4.7.0',
  500: '5.5.2',
  501: '5.5.4',
  502: '5.5.1',
  503: '5.5.1',
  504: '5.5.4',
  530: '5.7.0',
  534: '5.7.9',
  535: '5.7.8',
  553: '5.1.3',
  555: '5.5.4',
  556: '5.1.10',
};

/** Reads the lines of one reply (without CR, joined by LF). Undefined when it is none. */
export function parseReply(raw: string): SmtpReply | undefined {
  const lines = raw.split('\n').filter((line) => line !== '');
  const code = Number(/^([2-5]\d\d)(?:[ -]|\r?$)/.exec(lines.at(-1) ?? '')?.[1]);
  if (!(code >= 200)) return undefined;
  const own = lines.map((line) => /^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?:[ \r]|$)/.exec(line)?.[1]).find((status) => status);
  const status = own !== undefined && own[0] === String(code)[0] ? own : (STATUS_OF[code] ?? `${String(code)[0]}.0.0`);
  return { code, status, text: printable(lines.join(' '), MAX_REPLY_TEXT) };
}

/** Control characters (C0, DEL, C1, line and paragraph separators, directions) become `?`, and the text ends at `max` characters. */
export function printable(text: string, max: number): string {
  const clean = text
    .slice(0, max + 1)
    .replaceAll('\t', ' ')
    .replaceAll(/[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?')
    .trim();
  return clean.length > max ? `${clean.slice(0, max - 3)}...` : clean;
}

/** As they came: each line end begins another. */
export function countLines(text: string): number {
  let count = 1;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

/** RFC 5321 section 4.1.1.1: keywords of an EHLO reply, `AUTH=` of old servers as AUTH. */
export function extensionsOf(reply: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of reply.split('\n').slice(1)) {
    const [, keyword, parameters = ''] = /^\d{3}[ -]([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?\s*$/.exec(line) ?? [];
    if (keyword === undefined) continue;
    const key = keyword.toUpperCase();
    found.set(key, found.has(key) ? `${found.get(key)} ${parameters}` : parameters);
  }
  return found;
}
