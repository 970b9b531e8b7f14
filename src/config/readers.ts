// Readers of settings that mean more than a number: names, paths, tables, networks. As in values.ts they throw ValueError.
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { isAbsolute, resolve } from 'node:path';
import { looksLikeMap, readMapSpec } from './map-spec.ts';
import { readNetwork } from './networks.ts';
import { isDomainName, nearest, readInteger, readList, show, ValueError } from './values.ts';

export function readText(value: unknown): string {
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'string') throw new ValueError(`${show(value)} is not text`, 'text');
  if (/[\u0000-\u001f\u007f]/.test(value)) throw new ValueError(`${show(value)} holds a control character`, 'one line of text');
  return value.trim();
}

/** A fully qualified host name: RFC 5321 4.1.1.1 wants one in the greeting. */
export function readHostname(value: unknown): string {
  const text = typeof value === 'string' ? value.trim().toLowerCase().replace(/\.$/, '') : '';
  if (isDomainName(text) && text.includes('.') && isIP(text) === 0) return text;
  throw new ValueError(
    `${show(value)} is not a full host name`,
    'the name that the MX record points to, such as mail.example.com',
  );
}

/** One of a closed list of words, in any case. */
export function readWord<const T extends string>(words: readonly T[]): (value: unknown) => T {
  return (value) => {
    const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : value === undefined ? '' : readText(value);
    const found = words.find((word) => word.toLowerCase() === text.toLowerCase());
    if (found !== undefined) return found;
    const guess = nearest(text, words);
    throw new ValueError(`${show(value)} is not known${guess ? `, did you mean ${guess}?` : ''}`, `one of ${words.join(', ')}`);
  };
}

export function readWords<const T extends string>(words: readonly T[]): (value: unknown) => readonly T[] {
  const one = readWord(words);
  return (value) => [...new Set(readList(value).map(one))];
}

/** How many processes serve. */
export function readWorkers(value: unknown): number {
  if (value === 'auto') return Math.min(availableParallelism(), MAX_WORKERS);
  return readInteger(value, 0, MAX_WORKERS);
}
const MAX_WORKERS = 64;

/** Absolute; relative ones start at the settings file's folder. */
export function readPath(base: string): (value: unknown) => string {
  return (value) => {
    const text = readText(value);
    if (text === '') throw new ValueError('a path is missing', 'an absolute path');
    return isAbsolute(text) ? resolve(text) : resolve(base, text);
  };
}

/** Lists of domains: names, tables (`hash:/etc/postfix/vdomains`), files (`/etc/postfix/domains`, one or more names a line). */
export function readDomainList(base: string): (value: unknown) => readonly string[] {
  return (value) =>
    readList(value).map((entry) => {
      if (entry.startsWith('/')) return entry;
      if (looksLikeMap(entry)) return readMapSpec(entry, base).spec;
      const name = entry.toLowerCase().replace(/\.$/, '');
      if (isDomainName(name) && isIP(name) === 0) return name;
      if (/^\[[^\]]+\]$/.test(entry) && isIP(entry.slice(1, -1).replace(/^ipv6:/i, '')) !== 0) return entry.toLowerCase();
      if (entry.startsWith('!'))
        throw new ValueError(
          `${show(entry)}: exceptions are not supported in lists of domains`,
          'only the domains that are meant',
        );
      throw new ValueError(
        `${show(entry)} is not a domain`,
        'names such as example.com, or a table such as hash:/etc/postfix/vdomains',
      );
    });
}

export function readMapList(base: string): (value: unknown) => readonly string[] {
  return (value) => readList(value).map((entry) => readMapSpec(entry, base).spec);
}

export function readNetworks(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    if (looksLikeMap(entry) && !/^[0-9a-f]+:/i.test(entry))
      throw new ValueError(`${show(entry)}: tables are not supported here`, 'the networks themselves');
    readNetwork(entry);
    return entry;
  });
}

/** A mailbox: `info@example.com`. */
export function readAddress(value: unknown): string {
  const text = readText(value);
  const at = text.lastIndexOf('@');
  if (at > 0 && at <= 64 && isDomainName(text.slice(at + 1)) && !/[\s<>,;:"()]/.test(text.slice(0, at)))
    return text.toLowerCase();
  throw new ValueError(`${show(value)} is not an address`, 'a mailbox such as info@example.com');
}

/** An IP address without brackets. */
export function readIpAddress(value: unknown): string {
  const text = readText(value);
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  if (isIP(bare) !== 0) return bare;
  throw new ValueError(`${show(value)} is not an IP address`, 'an address such as 192.0.2.1 or 2001:db8::1');
}

/** `none` and nothing are undefined; anything else goes to `read`. */
export function optional<T>(read: (value: unknown) => T): (value: unknown) => T | undefined {
  return (value) => (value === null || value === undefined || value === '' || value === 'none' ? undefined : read(value));
}

/** A DKIM selector. @throws ValueError */
export function readSelector(value: unknown): string {
  const text = readText(value).toLowerCase();
  if (isDomainName(text)) return text;
  throw new ValueError(`${show(value)} is not a selector`, 'a DNS label such as default');
}
