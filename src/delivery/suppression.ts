// Addresses outside that this host does not write to: tables (suppression_maps) and a list of its own, a text file that people may read and edit:
//
//   <data_directory>/suppressed: `address  2026-11-25T10:00:00Z reason`, one a line; # begins a comment
//
// Lines are appended whole, under a dot-lock; to take one out the file is written anew. Readers look at the file's state before each question.
import { statSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { LookupTable } from '../config/lookup.ts';
import { errnoOf, toMailError } from '../lib/errors.ts';
import { withDotlock } from '../storage/dotlock.ts';
import { replaceFile } from '../storage/files.ts';
import { lookupKeys, splitAddress } from './address-keys.ts';
import { lookUp } from './look-up.ts';

export interface SuppressionOptions {
  /** The list's path. */
  readonly file: string;
  readonly maps: readonly LookupTable[];
  readonly recipientDelimiter: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface SuppressedAddress {
  /** Lower case. */
  readonly address: string;
  /** When and why, as it stands in the file. */
  readonly reason: string;
}

/** Where a server with these settings keeps its list. */
export const suppressionFile = (settings: { readonly data_directory: string }): string =>
  join(settings.data_directory, 'suppressed');

/** RFC 3463 section 3.2: no such mailbox, no such system, moved, null MX (RFC 7505). */
const HARD = new Set(['5.1.1', '5.1.2', '5.1.6', '5.1.10']);
const FILE_MODE = 0o640;
const MAX_REASON = 300;

export class SuppressionList {
  readonly #o: SuppressionOptions;
  #state = '';
  #entries: ReadonlyMap<string, string> = new Map();

  constructor(options: SuppressionOptions) {
    this.#o = options;
  }

  /** Why an address is not written to; asked for `user+ext@domain`, `user@domain`, `@domain`. @throws MailError temporary */
  async find(address: string): Promise<string | undefined> {
    const { maps, recipientDelimiter } = this.#o;
    const keys = lookupKeys(splitAddress(address, recipientDelimiter), false);
    const entries = await this.#read();
    const own = keys.map(({ key }) => entries.get(key)).find((reason) => reason !== undefined);
    return own ?? (await lookUp(maps, keys))?.value;
  }

  /** All of the list, the tables aside, in order. @throws MailError temporary */
  async list(): Promise<SuppressedAddress[]> {
    return [...(await this.#read())].map(([address, reason]) => ({ address, reason }));
  }

  /** False when it is there already. Safe on disk when it resolves. @throws MailError */
  async add(address: string, reason: string): Promise<boolean> {
    const key = address.toLowerCase();
    const { file, now } = this.#o;
    await mkdir(dirname(file), { recursive: true });
    return withDotlock(file, FILE_MODE, async () => {
      if ((await this.#read()).has(key)) return false;
      const at = new Date(now()).toISOString().replace(/\.\d+Z$/, 'Z');
      await using handle = await open(file, 'a', FILE_MODE);
      await handle.writeFile(`${key}  ${at} ${reason.replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, MAX_REASON)}\n`);
      await handle.sync();
      return true;
    });
  }

  /** False when it was not there. @throws MailError */
  async remove(address: string): Promise<boolean> {
    const key = address.toLowerCase();
    const { file } = this.#o;
    if (!(await this.#read()).has(key)) return false;
    return withDotlock(file, FILE_MODE, async () => {
      const lines = (await readFile(file, 'utf8')).split('\n');
      const kept = lines.filter((line) => keyOf(line) !== key);
      await replaceFile(file, kept.join('\n'), FILE_MODE);
      return kept.length < lines.length;
    });
  }

  /** For the queue: puts an address on the list whose host has said for good that there is none. Gives whether it did. @throws MailError */
  async noteFailure(address: string, status: string, reason: string): Promise<boolean> {
    return HARD.has(status) && this.add(address, `bounced: ${status} ${reason}`);
  }

  async #read(): Promise<ReadonlyMap<string, string>> {
    try {
      // In place, as tables are looked at: asked for each recipient.
      const { ino, size, mtimeNs, ctimeNs } = statSync(this.#o.file, { bigint: true });
      const state = `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
      if (state === this.#state) return this.#entries;
      this.#entries = parseSuppressed(await readFile(this.#o.file, 'utf8'));
      this.#state = state;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw toMailError(error, 'reading the suppression list');
      this.#state = '';
      this.#entries = new Map();
    }
    return this.#entries;
  }
}

/** Empty for comments and blank lines. */
const keyOf = (line: string): string => (line.startsWith('#') ? '' : (line.trim().split(/\s/, 1)[0] ?? '').toLowerCase());

/** The first line of an address counts. */
export function parseSuppressed(text: string): Map<string, string> {
  const entries = new Map<string, string>();
  for (const line of text.split('\n')) {
    const key = keyOf(line);
    if (key !== '' && !entries.has(key)) entries.set(key, line.trim().slice(key.length).trim());
  }
  return entries;
}
