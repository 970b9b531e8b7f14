// mynetworks: CIDR lists as Postfix writes them (postconf(5)): `10.0.0.0/8`, `[::1]/128`, `192.0.2.7`, `!10.1.0.0/16`.
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { show, ValueError } from './values.ts';

interface NetworkPattern {
  readonly negated: boolean;
  readonly family: 'ipv4' | 'ipv6';
  readonly address: string;
  readonly bits: number;
}

/** Reads one pattern. @throws ValueError */
export function readNetwork(text: string): NetworkPattern {
  const negated = text.startsWith('!');
  const [host, mask, ...rest] = text.slice(negated ? 1 : 0).split('/');
  const address = host?.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : (host ?? '');
  const version = isIP(address);
  const right = 'a network such as 192.168.1.0/24, [2001:db8::]/32, or one address';
  if (version === 0 || address.includes('%') || rest.length > 0) throw new ValueError(`${show(text)} is not a network`, right);
  const width = version === 4 ? 32 : 128;
  const bits = mask === undefined ? width : /^\d{1,3}$/.test(mask) ? Number(mask) : NaN;
  if (!(bits >= 0 && bits <= width)) throw new ValueError(`${show(text)} has a prefix length outside 0 to ${width}`, right);
  const pattern: NetworkPattern = { negated, family: version === 4 ? 'ipv4' : 'ipv6', address, bits };
  if (hostBitsSet(pattern))
    throw new ValueError(`${show(text)} has a non-null host part`, `its host part zero, or the prefix length /${width}`);
  return pattern;
}

function hostBitsSet({ family, address, bits }: NetworkPattern): boolean {
  const bytes = family === 'ipv4' ? address.split('.').map(Number) : ipv6Bytes(address);
  return bytes.some((byte, i) => (byte & (0xff >> Math.min(8, Math.max(0, bits - i * 8)))) !== 0);
}

/** The 16 bytes of a valid IPv6 address without zone. */
export function ipv6Bytes(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (a: string | undefined, b: string | undefined): string => (Number(a) * 256 + Number(b)).toString(16);
  const plain = dotted ? `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}` : address;
  const [head = '', tail] = plain.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = new Array<number>(tail === undefined ? 0 : 8 - before.length - after.length).fill(0);
  return [...before, ...zeros, ...after].flatMap((group) => [group >> 8, group & 0xff]);
}

/**
 * Says whether an address (v4, v6, or v4 mapped in v6) lies in the networks; the first pattern that matches decides, as in Postfix.
 * Patterns that `readNetwork` refuses throw here.
 */
export function networkMatcher(patterns: readonly string[]): (address: string) => boolean {
  const lists = patterns.map((text) => {
    const pattern = readNetwork(text);
    const list = new BlockList();
    list.addSubnet(pattern.address, pattern.bits, pattern.family);
    // An IPv6 prefix speaks of IPv4 addresses only where it lies within ::ffff:0:0/96.
    const v4Too = pattern.family === 'ipv4' || pattern.bits >= 96;
    return { negated: pattern.negated, v4Too, list };
  });
  return (address) => {
    const bare = unmapped(address.replace(/%.*$/, ''));
    if (!isIPv4(bare) && !isIPv6(bare)) return false;
    const family = isIPv4(bare) ? 'ipv4' : 'ipv6';
    const hit = lists.find(({ list, v4Too }) => (family === 'ipv6' || v4Too) && list.check(bare, family));
    return hit !== undefined && !hit.negated;
  };
}

/** `192.0.2.1` from `::ffff:192.0.2.1`; other addresses as they are. */
export function unmapped(address: string): string {
  const match = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return match?.[1] ?? address;
}
