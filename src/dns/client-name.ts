// The name of a client, as Postfix's smtpd looks it up: the address's name counts only when that name leads back to the address.
import { isIP } from 'node:net';
import type { Resolver } from './resolver.ts';

/** Names of one address that are tried. */
const MAX_NAMES = 3;

/** Undefined where there is none, where it does not lead back, and where DNS fails. Never throws; takes as long as the resolver does, a few times. */
export async function clientName(resolver: Resolver, address: string): Promise<string | undefined> {
  const family = isIP(address);
  try {
    for (const name of (await resolver.ptr(address)).slice(0, MAX_NAMES)) {
      const addresses = family === 6 ? await resolver.aaaa(name) : await resolver.a(name);
      if (addresses.includes(address)) return name;
    }
  } catch {
    // For the time being it has no name.
  }
  return undefined;
}
