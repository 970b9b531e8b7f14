// Lines that name a message: mail's header summary, frm's list.
import { decodeWords } from '../../message/encoded-words.ts';
import { parseAddressList } from '../../message/addresses.ts';
import { parseRfc5322Date } from '../../message/date.ts';
import type { BoxMessage } from './box-types.ts';
import { formatShort } from './dates.ts';

const LIMITS = { addressBytes: 10_000, addresses: 100 };

/** A field's decoded value, fit for a terminal: control characters are spaces. Empty when absent. */
export function fieldOf({ header }: Pick<BoxMessage, 'header'>, name: string): string {
  return plain(decodeWords(rawField(header, name)));
}
/** Latin1, unfolded; empty when absent. */
export function rawField(header: string, name: string): string {
  const lines = header.split('\n');
  const first = lines.findIndex((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`));
  if (first < 0) return '';
  const rest = lines.slice(first + 1);
  const end = rest.findIndex((line) => !/^[ \t]/.test(line));
  return [(lines[first] ?? '').slice(name.length + 1), ...rest.slice(0, end < 0 ? rest.length : end)].join('').trim();
}
const plain = (text: string): string => text.replace(/[\x00-\x1f\x7f-\x9f]/g, ' ').trim();

/** The name of a From or To, or its address where it has none. */
export function personOf(message: Pick<BoxMessage, 'header'>, name: string): string {
  const [first] = parseAddressList(rawField(message.header, name), LIMITS);
  if (!first) return '';
  if (first.name !== null && first.name !== '') return plain(decodeWords(first.name));
  return plain(`${first.mailbox ?? ''}${first.host === null || first.host === 'MISSING_DOMAIN' ? '' : `@${first.host}`}`);
}

/** `>N   1 Ana                Mon Nov  2 10:00   7/122   one` */
export function summaryLine(message: BoxMessage, number: number, current: boolean): string {
  const state = message.deleted ? '*' : message.answered ? 'A' : message.seen ? ' ' : message.isNew ? 'N' : 'U';
  const sent = parseRfc5322Date(rawField(message.header, 'date'))?.at ?? message.received;
  const from = [...personOf(message, 'from')].slice(0, 18).join('').padEnd(18);
  const size = `${String(message.lines).padStart(3)}/${String(message.size).padEnd(5)}`;
  return `${current ? '>' : ' '}${state} ${String(number).padStart(3)} ${from} ${formatShort(sent)} ${size} ${[...fieldOf(message, 'subject')].slice(0, 40).join('')}`.trimEnd();
}
