// Which address goes where: virtual_alias_maps (virtual(5)), alias_maps for mydestination (aliases(5)), virtual_mailbox_maps (virtual(8)).
//
//   recipient → our domain? no: relay
//             → aliases, again and again, until none matches → each result: a mailbox, an address outside, or nobody
import { splitAliasValue } from '../config/maps/text.ts';
import type { LookupTable } from '../config/lookup.ts';
import type { Logger } from '../lib/logger.ts';
import { lookupKeys, splitAddress, type LookupKey, type SplitAddress } from './address-keys.ts';
import type { Route, Router, Target } from './types.ts';

/** A set of domains (a list of the settings). */
export interface Domains {
  has(domain: string): Promise<boolean>;
}

export interface RouterOptions {
  readonly hostname: string;
  readonly myDestination: Domains;
  readonly virtualMailboxDomains: Domains;
  readonly virtualAliasDomains: Domains;
  readonly virtualMailboxMaps: readonly LookupTable[];
  readonly virtualAliasMaps: readonly LookupTable[];
  readonly aliasMaps: readonly LookupTable[];
  readonly recipientDelimiter: string;
  /** Mailbox for postmaster@ and abuse@ of every domain that does not say otherwise. */
  readonly postmaster?: string;
  /** virtual_alias_expansion_limit, virtual_alias_recursion_limit. */
  readonly expansionLimit: number;
  readonly recursionLimit: number;
  readonly logger: Logger;
}

/** An alias that cannot be followed. */
class BadAlias extends Error {
  readonly code: string;
  constructor(code: string, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** Where the members of an expansion are gathered. */
interface Expansion {
  readonly targets: Map<string, Target>;
  /** Addresses on the way from the recipient to here: meeting one again is a loop. */
  count: number;
  unknown: number;
}

export class AddressRouter implements Router {
  readonly #o: RouterOptions;

  constructor(options: RouterOptions) {
    this.#o = options;
  }

  async isLocalDomain(domain: string): Promise<boolean> {
    return (await this.#classOf(domain)) !== 'outside';
  }

  async #classOf(domain: string): Promise<'local' | 'mailbox' | 'alias' | 'outside'> {
    if (domain === '' || (await this.#o.myDestination.has(domain))) return 'local';
    if (await this.#o.virtualMailboxDomains.has(domain)) return 'mailbox';
    return (await this.#o.virtualAliasDomains.has(domain)) ? 'alias' : 'outside';
  }

  async route(recipient: string): Promise<Route> {
    const address = splitAddress(recipient, this.#o.recipientDelimiter);
    if ((await this.#classOf(address.domain)) === 'outside') return { kind: 'relay' };
    const expansion: Expansion = { targets: new Map(), count: 0, unknown: 0 };
    try {
      await this.#expand(address, expansion, []);
    } catch (error) {
      if (!(error instanceof BadAlias)) throw error;
      this.#o.logger.warn('alias.refused', { recipient, code: error.code, reason: error.message });
      return { kind: 'refused', code: error.code, reason: error.message };
    }
    if (expansion.targets.size === 0) return { kind: 'unknown-user' };
    if (expansion.unknown > 0) this.#o.logger.warn('alias.member.unknown', { recipient, members: expansion.unknown });
    return { kind: 'deliver', targets: [...expansion.targets.values()] };
  }

  async #expand(address: SplitAddress, expansion: Expansion, path: readonly string[]): Promise<void> {
    const text = `${address.local}@${address.domain}`;
    if (path.includes(text)) throw new BadAlias('ALIAS_LOOP', 'the alias leads back to itself');
    if (path.length > this.#o.recursionLimit) throw new BadAlias('ALIAS_TOO_DEEP', 'the alias leads through too many others');
    if (++expansion.count > this.#o.expansionLimit)
      throw new BadAlias('ALIAS_TOO_WIDE', 'the alias stands for too many addresses');
    const kind = await this.#classOf(address.domain);
    const members = await this.#virtualAlias(address, kind === 'local');
    if (!members) return this.#settle(address, kind, expansion, [...path, text]);
    for (const member of members) {
      // An alias to itself means: and here, too.
      if (`${member.local}@${member.domain}` === text) await this.#settle(member, kind, expansion, [...path, text]);
      else await this.#expand(member, expansion, [...path, text]);
    }
  }

  /** What virtual_alias_maps makes of an address; undefined when nothing matches. */
  async #virtualAlias(address: SplitAddress, bare: boolean): Promise<SplitAddress[] | undefined> {
    const found = await lookUp(this.#o.virtualAliasMaps, lookupKeys(address, bare));
    if (!found) return undefined;
    return splitAliasValue(found.value).map((member) => {
      // `@domain @other`: the same user there.
      if (member.startsWith('@')) return this.#split(`${address.local}${member}`);
      const split = this.#split(member.includes('@') ? member : `${member}@${this.#o.hostname}`);
      return found.key.unmatched === '' || split.extension !== ''
        ? split
        : this.#split(`${split.local}${found.key.unmatched}@${split.domain}`);
    });
  }
  #split(address: string): SplitAddress {
    return splitAddress(address, this.#o.recipientDelimiter);
  }

  /** No virtual alias (any more): the end of the way, or an alias of the host itself. */
  async #settle(
    address: SplitAddress,
    kind: 'local' | 'mailbox' | 'alias' | 'outside',
    expansion: Expansion,
    path: readonly string[],
  ): Promise<void> {
    const text = `${address.local}@${address.domain}`;
    if (kind === 'outside') return void expansion.targets.set(text, { kind: 'remote', address: text });
    if (kind === 'local') return this.#localAlias(address, expansion, path);
    if (kind === 'mailbox') {
      const found = await lookUp(this.#o.virtualMailboxMaps, lookupKeys(address, false));
      if (found) return this.#mailbox(found.key.key, text, found.value, expansion);
    }
    return this.#nobody(address, expansion, path);
  }

  #mailbox(account: string, recipient: string, value: string, expansion: Expansion): void {
    if (!value.trimEnd().endsWith('/'))
      throw new BadAlias('MBOX', 'its mailbox is not a Maildir (a trailing slash is missing in virtual_mailbox_maps)');
    if (!expansion.targets.has(account)) expansion.targets.set(account, { kind: 'mailbox', address: account, recipient });
  }

  async #localAlias(address: SplitAddress, expansion: Expansion, path: readonly string[]): Promise<void> {
    const keys: LookupKey[] = [{ key: address.local, unmatched: '', catchAll: false }];
    if (address.extension !== '') keys.push({ key: address.user, unmatched: '', catchAll: false });
    const found = await lookUp(this.#o.aliasMaps, keys);
    if (!found) return this.#nobody(address, expansion, path);
    for (const member of splitAliasValue(found.value)) {
      const refusal = refusedMember(member);
      if (refusal) throw new BadAlias('ALIAS_COMMAND', refusal);
      // A name without domain is one of the host itself; one that stands for itself ends there.
      const next = this.#split(
        member.replace(/^\\/, '').includes('@') ? member : `${member.replace(/^\\/, '')}@${this.#o.hostname}`,
      );
      if (next.local === address.local && (await this.#classOf(next.domain)) === 'local')
        await this.#nobody(address, expansion, path);
      else await this.#expand(next, expansion, path);
    }
  }

  /** RFC 2142, RFC 5321 4.5.1: postmaster and abuse always reach somebody. */
  async #nobody(address: SplitAddress, expansion: Expansion, path: readonly string[]): Promise<void> {
    const { postmaster } = this.#o;
    const isRole = address.user === 'postmaster' || address.user === 'abuse';
    if (isRole && postmaster !== undefined && !path.includes(postmaster.toLowerCase()))
      return this.#expand(this.#split(postmaster), expansion, path);
    expansion.unknown++;
  }

  async maySendAs(account: string, sender: string): Promise<boolean> {
    const address = this.#split(sender);
    const own = account.toLowerCase();
    if (`${address.local}@${address.domain}` === own || `${address.user}@${address.domain}` === own) return true;
    const route = await this.route(sender);
    return route.kind === 'deliver' && route.targets.some((target) => target.kind === 'mailbox' && target.address === own);
  }
}

/** The first match: every table is asked for a key before the next key, tables of patterns for the whole address only. */
async function lookUp(
  tables: readonly LookupTable[],
  keys: readonly LookupKey[],
): Promise<{ key: LookupKey; value: string } | undefined> {
  for (const [i, key] of keys.entries())
    for (const table of tables) {
      if (table.whole && i > 0) continue;
      const value = await table.get(key.key);
      if (value !== undefined) return { key, value };
    }
  return undefined;
}

function refusedMember(member: string): string | undefined {
  const text = member.replace(/^"/, '');
  if (text.startsWith('|')) return 'the alias leads to a command, which is not supported';
  if (text.startsWith('/')) return 'the alias leads to a file, which is not supported';
  if (/^:include:/i.test(text)) return 'the alias includes a file, which is not supported';
  return undefined;
}
