// passwd and shadow files as text: one entry is set or taken out, everything else (comments, order, unknown fields) stays as it is.
import { parsePasswd } from './passwd-file.ts';

/** The user field of the entry that counts for an address: whole before local part alone; undefined when the text has none. */
export function userIn(text: string, address: string): string | undefined {
  const entries = parsePasswd(text);
  return [address, localOf(address)].find((user) => entries.has(user));
}

/** The user field that a new entry is to have: as the others of the file. */
export function userFor(text: string, address: string): string {
  return [...parsePasswd(text).keys()].some((user) => user.includes('@')) ? address : localOf(address);
}

export const localOf = (address: string): string => address.slice(0, address.lastIndexOf('@'));

const userOf = (line: string): string => (line.startsWith('#') ? '' : (line.split(':', 1)[0] ?? '').toLowerCase());

/** With `line` in place of the user's first line, or behind the last. */
export function withLine(text: string, user: string, line: string): string {
  const lines = text.split('\n');
  const at = lines.findIndex((one) => userOf(one) === user);
  if (at >= 0) {
    lines[at] = line;
    return lines.join('\n');
  }
  return `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${line}\n`;
}

/** With another password in the user's first line. `day` (days since the epoch) replaces shadow(5)'s day of the last change where there is one. */
export function withPassword(text: string, user: string, stored: string, day?: number): string {
  const lines = text.split('\n');
  const at = lines.findIndex((one) => userOf(one) === user);
  const fields = (lines[at] ?? '').split(':');
  fields[1] = stored;
  if (day !== undefined && /^\d+$/.test(fields[2] ?? '')) fields[2] = String(day);
  lines[at] = fields.join(':');
  return lines.join('\n');
}

/** Without any line of these users. */
export function withoutUsers(text: string, users: readonly string[]): string {
  return text
    .split('\n')
    .filter((line) => line === '' || !users.includes(userOf(line)))
    .join('\n');
}
