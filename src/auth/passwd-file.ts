// passwd and shadow files as Dovecot's passwd-file driver reads them:
//
//   user:password:uid:gid:gecos:home:shell:extra fields
//
// shadow(5) has dates where a passwd-file has ids and extras: numbers and empty fields there are no extras. Lines that begin with # are comments.
import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { errnoOf } from '../lib/errors.ts';

/** Bytes of a file that are read; a whole domain's file of some thousand users fits. */
const MAX_FILE = 4 * 1024 * 1024;
const MAX_CACHED = 4_000;

export interface PasswdEntry {
  /** As in the file, lower case. */
  readonly user: string;
  /** Empty when there is none. */
  readonly password: string;
  readonly home: string;
  /** `userdb_quota_rule=…` by name; flags like `nopassword` map to an empty string. A name that comes twice (`userdb_quota_rule2`) keeps its number. */
  readonly extra: ReadonlyMap<string, string>;
}

export function parsePasswd(text: string): Map<string, PasswdEntry> {
  const entries = new Map<string, PasswdEntry>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [user = '', password = '', , , , home = '', , ...rest] = line.replace(/\r$/, '').split(':');
    if (user === '' || entries.has(user.toLowerCase())) continue;
    entries.set(user.toLowerCase(), {
      user: user.toLowerCase(),
      password,
      home: home.startsWith('/') ? home : '',
      extra: parseExtra(rest.join(':')),
    });
  }
  return entries;
}

function parseExtra(text: string): Map<string, string> {
  const extra = new Map<string, string>();
  for (const word of text.split(/\s+/)) {
    const at = word.indexOf('=');
    if (at > 0) extra.set(word.slice(0, at), word.slice(at + 1));
    else if (/^[a-z_]+$/i.test(word)) extra.set(word, '');
  }
  return extra;
}

/** A file younger than this (milliseconds) may change again without its times showing it: it is read each time. */
const YOUNG_MS = 1_000;

interface CachedFile {
  readonly stamp: string;
  readonly entries: Map<string, PasswdEntry>;
  /** The file was old enough for its stamp to prove that it is the same. */
  readonly settled: boolean;
}

/** Files by path, read again when they change. */
export class PasswdFiles {
  readonly #cache = new Map<string, CachedFile>();

  /** Undefined when there is no such file. @throws the file system's error when it cannot be read */
  async read(path: string): Promise<ReadonlyMap<string, PasswdEntry> | undefined> {
    try {
      const known = this.#cache.get(path);
      if (known?.settled && known.stamp === stampOf(await stat(path, { bigint: true }))) return known.entries;
      return await this.#load(path);
    } catch (error) {
      this.#cache.delete(path);
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  }

  async #load(path: string): Promise<ReadonlyMap<string, PasswdEntry>> {
    await using handle = await open(path, 'r');
    const found = await handle.stat({ bigint: true });
    if (!found.isFile()) throw new Error(`${path} is no file`);
    if (found.size > MAX_FILE) throw new Error(`${path} is too large for a passwd file`);
    const entries = parsePasswd(await handle.readFile('utf8'));
    this.#cache.delete(path);
    this.#cache.set(path, {
      stamp: stampOf(found),
      entries,
      settled: Math.abs(Date.now() - Number(found.ctimeMs)) > YOUNG_MS,
    });
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= MAX_CACHED) break;
      this.#cache.delete(oldest);
    }
    return entries;
  }
}

const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string => `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`;
