// A DKIM key record as a verifier reads it (RFC 6376 section 3.6.1), against the private key that signs: does what we sign hold with it?
import { createPublicKey, type KeyObject } from 'node:crypto';
import { dkimRecord } from './dkim-record.ts';

export interface PublishedKey {
  /** Why signatures do not hold with it; undefined when they do. */
  readonly problem?: string;
  /** `t=y`: verifiers may ignore that a signature fails. */
  readonly testing: boolean;
}

/** `records` are the TXT records at SELECTOR._domainkey.DOMAIN; without `key` only what they say is looked at. */
export function examinePublished(records: readonly string[], key?: KeyObject): PublishedKey {
  const [record, ...more] = records;
  if (record === undefined) return { problem: 'record not found', testing: false };
  if (more.length > 0) return { problem: 'more than one record', testing: false };
  const tags = tagsOf(record);
  const flags = list(tags.get('t'));
  const problem = problemOf(record, tags) ?? (key && !isSameKey(tags.get('p') ?? '', key) ? 'keys do not match' : undefined);
  return { ...(problem === undefined ? {} : { problem }), testing: flags.includes('y') };
}

function tagsOf(record: string): Map<string, string> {
  const tags = new Map<string, string>();
  for (const tag of record.split(';')) {
    const at = tag.indexOf('=');
    if (at > 0) tags.set(tag.slice(0, at).trim(), tag.slice(at + 1).trim());
  }
  return tags;
}
const list = (value = ''): string[] => value.split(':').map((one) => one.trim().toLowerCase());

function problemOf(record: string, tags: ReadonlyMap<string, string>): string | undefined {
  if (tags.has('v') && !/^\s*v\s*=\s*DKIM1\s*(?:;|$)/.test(record)) return 'v=DKIM1 is not its first tag';
  if (!['rsa', 'ed25519'].includes(tags.get('k') ?? 'rsa')) return `unknown key type "${tags.get('k')}"`;
  if (tags.has('h') && !list(tags.get('h')).includes('sha256')) return 'sha256 is not among its hash algorithms (h=)';
  if (tags.has('s') && !list(tags.get('s')).some((one) => one === '*' || one === 'email')) return 'it is not for mail (s=)';
  const key = tags.get('p');
  if (key === undefined) return 'it has no key (p=)';
  return key === '' ? 'the key is revoked (p= is empty)' : undefined;
}

/** SubjectPublicKeyInfo as everybody publishes it, RSAPublicKey as the RFC has it too; 32 bytes for Ed25519 (RFC 8463 section 4). */
function isSameKey(published: string, key: KeyObject): boolean {
  const text = published.replace(/\s+/g, '');
  const [, ours = ''] = /p=(.*)$/.exec(dkimRecord(key)) ?? [];
  if (text === ours) return true;
  if (key.asymmetricKeyType !== 'rsa') return false;
  const bare = createPublicKey(key).export({ type: 'pkcs1', format: 'der' });
  return bare.equals(Buffer.from(text, 'base64'));
}
