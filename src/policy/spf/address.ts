// Addresses as SPF compares and writes them (RFC 7208 sections 5 and 7.3).
import { isIPv4 } from 'node:net';
import { ipv6Bytes } from '../../config/networks.ts';

/** 4 or 16 bytes; an IPv4 address that is mapped into IPv6 is an IPv4 address (section 5). `address` is valid, its zone is left out. */
export function addressBytes(address: string): number[] {
  if (isIPv4(address)) return address.split('.').map(Number);
  const bytes = ipv6Bytes(address.replace(/%.*$/, ''));
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return mapped ? bytes.slice(12) : bytes;
}

/** Whether the first `bits` of both are the same; never for addresses of two families. */
export function inNetwork(address: readonly number[], network: readonly number[], bits: number): boolean {
  if (address.length !== network.length) return false;
  return address.every((byte, i) => {
    const mask = 0xff00 >> Math.min(8, Math.max(0, bits - 8 * i));
    return ((byte ^ (network[i] ?? 0)) & mask & 0xff) === 0;
  });
}

/** `%{i}`: dotted quad, or nibbles (in upper case, as RFC 7208 section 7.4 writes them) with dots between them. */
export const dottedForm = (bytes: readonly number[]): string =>
  bytes.length === 4
    ? bytes.join('.')
    : bytes
        .flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)])
        .join('.')
        .toUpperCase();
