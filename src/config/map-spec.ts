// `type:name` of Postfix's lookup tables (postconf(5), DATABASE_README), read once for the settings and for opening them.
import { isAbsolute, resolve } from 'node:path';
import { nearest, show, ValueError } from './values.ts';

export const FILE_MAP_TYPES = ['hash', 'btree', 'lmdb', 'texthash', 'regexp', 'pcre'] as const;
const VALUE_MAP_TYPES = ['inline', 'static'] as const;
type MapType = (typeof FILE_MAP_TYPES)[number] | (typeof VALUE_MAP_TYPES)[number];

/** Types that Postfix has and Buzon does not: told apart from typing errors. */
const FOREIGN = new Set(
  'cdb cidr dbm environ fail internal ldap memcache mongodb mysql netinfo nis nisplus pgsql pipemap proxy randmap sdbm socketmap sqlite tcp unionmap unix'.split(
    ' ',
  ),
);

export interface MapSpec {
  readonly type: MapType;
  /** Absolute path for the file types; what stands behind the colon for the others. */
  readonly name: string;
  /** `type:name`, with the path absolute. */
  readonly spec: string;
}

/** Whether an entry of a list of domains means a table or a file rather than a name. */
export function looksLikeMap(entry: string): boolean {
  return entry.startsWith('/') || /^[a-z]+:/.test(entry);
}

/**
 * Reads `hash:/etc/postfix/vmailbox`; a path alone is `hash:` (Debian's default_database_type). `proxy:` in front is dropped: there
 * is nothing to proxy. Relative paths start at `base`. @throws ValueError
 */
export function readMapSpec(text: string, base: string): MapSpec {
  const bare = text.startsWith('proxy:') ? text.slice('proxy:'.length) : text;
  const match = /^([a-z][a-z0-9]*):([\s\S]*)$/.exec(bare);
  const type = match?.[1] ?? 'hash';
  const name = match?.[2] ?? bare;
  const right = 'type:name, where type is one of hash, texthash, btree, lmdb, inline, static, regexp, pcre';
  if (name === '') throw new ValueError(`${show(text)} names no table`, right);
  if ((VALUE_MAP_TYPES as readonly string[]).includes(type)) return { type: type as MapType, name, spec: `${type}:${name}` };
  if ((FILE_MAP_TYPES as readonly string[]).includes(type)) {
    if (name.includes('\0')) throw new ValueError(`${show(text)} is not a file's name`, right);
    const path = isAbsolute(name) ? name : resolve(base, name);
    return { type: type as MapType, name: path, spec: `${type}:${path}` };
  }
  if (FOREIGN.has(type)) throw new ValueError(`Buzon has no ${type}: tables`, right);
  const guess = nearest(type, [...FILE_MAP_TYPES, ...VALUE_MAP_TYPES]);
  throw new ValueError(`${show(type)} is not a type of table${guess ? `, did you mean ${guess}:?` : ''}`, right);
}
