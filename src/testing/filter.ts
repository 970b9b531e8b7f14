// Whether a message is the one that a test waits for, and how that is said in an error.
import type { DecodedAddress } from '../message/decode.ts';
import type { MessageFields, MessageFilter, TestMessage, TextMatch } from './types.ts';

/** @throws what the caller's own function throws */
export function matches(message: TestMessage, filter: MessageFilter): boolean {
  if (typeof filter === 'function') return filter(message);
  return Object.entries(filter).every(
    ([name, wanted]) => wanted === undefined || FIELDS[name as keyof MessageFields](message, wanted as TextMatch),
  );
}

const addresses = (...lists: (readonly DecodedAddress[])[]): string[] => lists.flat().map(({ address }) => address);
const anyOf = (values: readonly string[], wanted: TextMatch): boolean => values.some((value) => isWhole(value, wanted));

const FIELDS: Readonly<Record<keyof MessageFields, (message: TestMessage, wanted: TextMatch) => boolean>> = {
  from: ({ envelope, parsed }, wanted) => anyOf([envelope.from, ...addresses(parsed.from)], wanted),
  to: ({ envelope, parsed }, wanted) => anyOf([...envelope.to, ...addresses(parsed.to, parsed.cc)], wanted),
  subject: ({ parsed }, wanted) => isWhole(parsed.subject, wanted),
  text: ({ parsed }, wanted) => {
    const text = parsed.text ?? parsed.html ?? '';
    return typeof wanted === 'string' ? text.includes(wanted) : text.search(wanted) >= 0;
  },
  user: ({ envelope }, wanted) => envelope.user !== undefined && isWhole(envelope.user, wanted),
};

// `search` and not `test`: a pattern with the flag g would remember where it was.
const isWhole = (value: string, wanted: TextMatch): boolean =>
  typeof wanted === 'string' ? value.toLowerCase() === wanted.toLowerCase() : value.search(wanted) >= 0;

/** @throws TypeError for a field that there is not: a typing error would match everything */
export function checkFilter(filter: MessageFilter): void {
  if (typeof filter === 'function') return;
  for (const name of Object.keys(filter))
    if (!Object.hasOwn(FIELDS, name))
      throw new TypeError(`waitForMessage: there is no field ${name} to filter by; known are ${Object.keys(FIELDS).join(', ')}`);
}

/** In one short line. */
export function describeFilter(filter: MessageFilter): string {
  if (typeof filter === 'function') return shorten(filter.toString().replace(/\s+/g, ' '));
  const parts = Object.entries(filter).filter(([, wanted]) => wanted !== undefined);
  if (parts.length === 0) return 'any message';
  return parts
    .map(([name, wanted]) => `${name} ${typeof wanted === 'string' ? JSON.stringify(wanted) : String(wanted)}`)
    .join(', ');
}

/** One line a message. */
export function describeMessage({ envelope, parsed, receivedAt }: TestMessage): string {
  const to = envelope.to.map((address) => `<${address}>`).join(', ');
  return `${receivedAt.toISOString().slice(11, 23)} from <${envelope.from}> to ${shorten(to)}, subject ${JSON.stringify(shorten(parsed.subject))}`;
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}...` : text);
