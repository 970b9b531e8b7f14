// Addresses of the public internet. What a domain's DNS says is no reason to speak to this host or its own network.
import { BlockList, isIP } from 'node:net';

const NOT_PUBLIC_4 = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const;
/** Within 2000::/3: documentation, and what carries IPv4 addresses (Teredo, 6to4). */
const NOT_PUBLIC_6 = [
  ['2001:db8::', 32],
  ['3fff::', 20],
  ['2001::', 32],
  ['2002::', 16],
] as const;

const barred = new BlockList();
for (const [network, bits] of NOT_PUBLIC_4) barred.addSubnet(network, bits, 'ipv4');
for (const [network, bits] of NOT_PUBLIC_6) barred.addSubnet(network, bits, 'ipv6');
const unicast = new BlockList();
unicast.addSubnet('2000::', 3, 'ipv6');

/** Not private, loopback, link-local, multicast or reserved (IANA's special-purpose registries). */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !barred.check(address, 'ipv4');
  return isIP(address) === 6 && unicast.check(address, 'ipv6') && !barred.check(address, 'ipv6');
}
