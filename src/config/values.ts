// How values are written in buzon.yaml: Postfix's and Dovecot's ways beside YAML's own. Each reader gives the value or throws a
// ValueError whose text says what is wrong and what would be right.

/** A value that cannot be read. `message` says what is wrong, `right` what would be right. */
export class ValueError extends Error {
  readonly right: string;
  constructor(message: string, right: string) {
    super(message);
    this.right = right;
  }
}

const TRUE = new Set(['yes', 'true', 'on', '1']);
const FALSE = new Set(['no', 'false', 'off', '0']);

/** YAML's booleans, Postfix's and Dovecot's `yes` and `no`. */
export function readBoolean(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  const text = typeof value === 'string' || typeof value === 'number' ? String(value).toLowerCase() : '';
  if (TRUE.has(text)) return true;
  if (FALSE.has(text)) return false;
  throw new ValueError(`${show(value)} is neither yes nor no`, 'yes or no');
}

/** A count between `min` and `max`. */
export function readInteger(value: unknown, min: number, max: number): number {
  const number = typeof value === 'number' ? value : typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : NaN;
  if (Number.isSafeInteger(number) && number >= min && number <= max) return number;
  throw new ValueError(`${show(value)} is not a whole number from ${min} to ${max}`, `a whole number from ${min} to ${max}`);
}

const SIZE_UNITS: Record<string, number> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes: a number, or with `k`, `M`, `G`, `T` (times 1024, as Dovecot reads them; `KB`, `MiB` are accepted). */
export function readSize(value: unknown, min = 0, max = 2 ** 50): number {
  const match = /^(\d{1,15}) ?([kmgtb]?)(?:i?b)?$/i.exec(
    typeof value === 'number' || typeof value === 'string' ? String(value) : '',
  );
  const bytes = match ? Number(match[1]) * (SIZE_UNITS[(match[2] ?? '').toLowerCase()] ?? NaN) : NaN;
  if (Number.isSafeInteger(bytes) && bytes >= min && bytes <= max) return bytes;
  const range = min > 0 ? ` of at least ${min}` : '';
  throw new ValueError(`${show(value)} is not a size in bytes${range}`, 'bytes, or a number with k, M or G, such as 50M');
}

const TIME_UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Milliseconds from `30s`, `5m`, `2 mins`, `1h`, `1d`, `1w` (Postfix's and Dovecot's units); a bare number is seconds. */
export function readTime(value: unknown, minMs = 0, maxMs = 10 * 365 * 86_400_000): number {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value) : '';
  const match = /^(\d{1,12}) ?(ms|msecs?|s|secs?|m|mins?|h|hours?|d|days?|w|weeks?)?$/i.exec(text);
  const unit = (match?.[2] ?? 's').toLowerCase();
  const ms = match ? Number(match[1]) * (TIME_UNITS[unit.startsWith('ms') ? 'ms' : unit.charAt(0)] ?? NaN) : NaN;
  if (Number.isSafeInteger(ms) && ms >= minMs && ms <= maxMs) return ms;
  const range = minMs > 0 ? ` of at least ${minMs / 1000} s` : '';
  throw new ValueError(`${show(value)} is not a time${range}`, 'seconds, or a number with s, m, h, d or w, such as 5m');
}

/**
 * The entries of a list: a YAML list, or Postfix's form (commas and white space between them). Braces keep together what belongs
 * together: `inline:{ {a = b} }` is one entry.
 */
export function readList(value: unknown): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value === 'string') return splitList(value);
  if (typeof value === 'number') return [String(value)];
  if (!Array.isArray(value))
    throw new ValueError(`${show(value)} is not a list`, 'a YAML list, or names with commas between them');
  return value.flatMap((item: unknown) => {
    if (typeof item === 'string') return splitList(item);
    if (typeof item === 'number') return [String(item)];
    throw new ValueError(`${show(item)} is not an entry of a list of names`, 'text');
  });
}

/** Splits at commas and white space outside braces. @throws ValueError when a brace is not closed */
export function splitList(text: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let current = '';
  for (const char of text) {
    if (char === '{') depth++;
    if (char === '}') depth--;
    if (depth < 0) throw new ValueError('a } without its {', 'one } for each {');
    if (depth === 0 && (char === ',' || /\s/.test(char))) {
      if (current) found.push(current);
      current = '';
    } else current += char;
  }
  if (depth > 0) throw new ValueError('a { without its }', 'one } for each {');
  if (current) found.push(current);
  return found;
}

const LABEL = /^[\p{L}\p{N}_](?:[\p{L}\p{N}\p{M}_-]{0,61}[\p{L}\p{N}\p{M}_])?$/u;

/** Whether this is a domain name (RFC 1035 sizes; letters of any script, RFC 5890). */
export function isDomainName(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => LABEL.test(label));
}

/** For messages: short, and never over more than one line. */
export function show(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? 'nothing');
  const line = text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
  return line.length > 80 ? `${line.slice(0, 77)}...` : line;
}

/** The candidate nearest to `word`, when it is near enough to be what was meant. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.round(word.length / 2.5)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
