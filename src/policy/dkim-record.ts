// The public half of a signing key as a TXT record (RFC 6376 section 3.6.1, RFC 8463 section 4).
import { createPublicKey, type KeyObject } from 'node:crypto';

/** `v=DKIM1; k=rsa; p=…` of a private or public key, RSA or Ed25519. */
export function dkimRecord(key: KeyObject): string {
  const der = (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });
  const rsa = key.asymmetricKeyType === 'rsa';
  // Ed25519's is the bare key: the last 32 bytes of its SubjectPublicKeyInfo.
  return `v=DKIM1; k=${rsa ? 'rsa' : 'ed25519'}; p=${(rsa ? der : der.subarray(-32)).toString('base64')}`;
}

/** As a line of a zone file: strings of at most 255 octets (RFC 1035 section 3.3). */
export function zoneLine(domain: string, selector: string, record: string): string {
  const strings = record.match(/.{1,250}/g) ?? [];
  return `${selector}._domainkey.${domain}.\tIN\tTXT\t( ${strings.map((text) => `"${text}"`).join('\n\t')} )\n`;
}
