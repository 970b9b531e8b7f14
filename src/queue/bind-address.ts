// From which of its addresses this host sends a message.
import { isIP } from 'node:net';
import type { LookupTable } from '../config/lookup.ts';
import { lookupKeys, splitAddress } from '../delivery/address-keys.ts';
import { lookUp } from '../delivery/look-up.ts';
import { parentOf } from '../delivery/domain-class.ts';

/** What is not there is left to the system. */
export interface BindAddresses {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

/** Of an envelope sender. @throws MailError temporary when a map cannot be read */
export type FindBindAddresses = (sender: string) => Promise<BindAddresses>;

/** smtp_bind_address_maps by address, `@domain`, domain and the domains above it (`.parent`); smtp_bind_address(6) for the rest. */
export function bindAddressFinder(maps: readonly LookupTable[], standard: BindAddresses): FindBindAddresses {
  return async (sender) => {
    const address = splitAddress(sender, '');
    if (maps.length === 0 || address.domain === '') return standard;
    const keys = [...lookupKeys(address, false).map(({ key }) => key), address.domain];
    for (let parent = parentOf(address.domain); parent !== ''; parent = parentOf(parent)) keys.push(`.${parent}`);
    const found = await lookUp(
      maps,
      keys.map((key) => ({ key, unmatched: '', catchAll: false })),
    );
    return found ? { ...standard, ...readBindAddresses(found.value) } : standard;
  };
}

/** `192.0.2.1 2001:db8::1`: one of each family, between white space or commas; what is none is left out. */
export function readBindAddresses(value: string): BindAddresses {
  const words = value.split(/[\s,]+/).map((word) => word.replace(/^\[|\]$/g, ''));
  const ipv4 = words.find((word) => isIP(word) === 4);
  const ipv6 = words.find((word) => isIP(word) === 6);
  return { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
}
