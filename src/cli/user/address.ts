// Addresses and domains as arguments of commands.
import { isIP } from 'node:net';
import { isDomainName, show } from '../../config/values.ts';
import { MailError } from '../../lib/errors.ts';

/** A folder and a field of passwd are named after it: letters, digits and the signs that neither a shell, a path nor a table reads otherwise. */
const LOCAL = /^[\p{L}\p{N}_+=~&-][\p{L}\p{M}\p{N}_+=~&.'-]*$/u;
const MAX_LOCAL_BYTES = 64;

/** @throws MailError config `BAD_DOMAIN` */
export function readDomain(text: string): string {
  const domain = text.toLowerCase().replace(/\.$/, '');
  if (isDomainName(domain) && domain.includes('.') && isIP(domain) === 0) return domain;
  throw new MailError('config', 'BAD_DOMAIN', `${show(text)} is not a domain; write it as example.com`);
}

/** Lower case. @throws MailError config `BAD_ADDRESS` */
export function readAddress(text: string): string {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, Math.max(0, at)).toLowerCase().normalize('NFC');
  const bad =
    at < 1 ||
    !LOCAL.test(local) ||
    local.includes('..') ||
    local.endsWith('.') ||
    local.startsWith('-') ||
    Buffer.byteLength(local) > MAX_LOCAL_BYTES;
  if (bad)
    throw new MailError(
      'config',
      'BAD_ADDRESS',
      `${show(text)} is not an address that can have a mailbox; write it as name@example.com`,
    );
  return `${local}@${readDomain(text.slice(at + 1))}`;
}
