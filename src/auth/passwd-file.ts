// passwd and shadow files as Dovecot's passwd-file driver reads them:
//
//   user:password:uid:gid:gecos:home:shell:extra fields
//
// shadow(5) has dates where a passwd-file has ids and extras: numbers and empty fields there are no extras. Lines that begin with # are comments.
import { open } from 'node:fs/promises';
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

/** Files by path, read again when they change. */
export class PasswdFiles {
  readonly #cache = new Map<string, { stamp: string; entries: Map<string, PasswdEntry> }>();

  /** Undefined when there is no such file. @throws the file system's error when it cannot be read */
  async read(path: string): Promise<ReadonlyMap<string, PasswdEntry> | undefined> {
    let handle;
    try {
      handle = await open(path, 'r');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') {
        this.#cache.delete(path);
        return undefined;
      }
      throw error;
    }
    try {
      const { ino, size, mtimeNs } = await handle.stat({ bigint: true });
      const stamp = `${ino}.${size}.${mtimeNs}`;
      const known = this.#cache.get(path);
      if (known?.stamp === stamp) return known.entries;
      if (size > MAX_FILE) throw new Error(`${path} is too large for a passwd file`);
      const entries = parsePasswd(await handle.readFile('utf8'));
      this.#cache.delete(path);
      this.#cache.set(path, { stamp, entries });
      for (const oldest of this.#cache.keys()) {
        if (this.#cache.size <= MAX_CACHED) break;
        this.#cache.delete(oldest);
      }
      return entries;
    } finally {
      await handle.close();
    }
  }
}
