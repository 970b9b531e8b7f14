// Which address goes where: virtual_alias_maps (virtual(5)), alias_maps for mydestination (aliases(5)), virtual_mailbox_maps (virtual(8)),
// relay_domains with relay_recipient_maps, transport_maps that send it elsewhere.
//
//   recipient → aliases, again and again, until none matches → each result: a mailbox, an address for the queue, or nobody
//             → our domain, or one of relay_domains? no: only for those who may relay
import { splitAliasValue } from '../config/maps/text.ts';
import type { LookupTable } from '../config/lookup.ts';
import type { Logger } from '../lib/logger.ts';
import { lookupKeys, splitAddress, type LookupKey, type SplitAddress } from './address-keys.ts';
import { domainClasses, type DomainClass, type DomainLists } from './domain-class.ts';
import { lookUp } from './look-up.ts';
import type { Rejection, Route, Router, Target } from './types.ts';

export interface RouterOptions extends DomainLists {
  readonly hostname: string;
  readonly virtualMailboxMaps: readonly LookupTable[];
  readonly virtualAliasMaps: readonly LookupTable[];
  readonly aliasMaps: readonly LookupTable[];
  /**
   * local_recipient_maps: the addresses of mydestination that are taken, none for all of them. Undefined: those that aliasMaps have, and whatever
   * transport_maps send elsewhere.
   */
  readonly localRecipientMaps?: readonly LookupTable[];
  /** Without any, every address of relay_domains is taken. */
  readonly relayRecipientMaps?: readonly LookupTable[];
  /** smtpd_sender_login_maps: sender → log-ins that may use it. */
  readonly senderLoginMaps?: readonly LookupTable[];
  /** Where transport_maps, virtual_transport and the like send an address; without it those of ours stay here. */
  readonly transport?: (address: string) => Promise<'here' | 'queue' | Rejection>;
  /** Why an address outside may not be written to (suppression list). */
  readonly suppressed?: (address: string) => Promise<string | undefined>;
  /** The sender that an address stands for which forwarding made of it (SRS); undefined for any other, null for a forged or old one. */
  readonly originalSender?: (address: string) => string | null | undefined;
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
  /** The recipient itself. */
  readonly origin: string;
  readonly targets: Map<string, Target>;
  /** Of members that are refused, the first. */
  rejection?: Rejection;
  /** Addresses on the way from the recipient to here: meeting one again is a loop. */
  count: number;
  unknown: number;
}

export class AddressRouter implements Router {
  readonly #o: RouterOptions;
  readonly #classOf: (domain: string) => Promise<DomainClass>;

  constructor(options: RouterOptions) {
    this.#o = options;
    this.#classOf = domainClasses(options);
  }

  async isLocalDomain(domain: string): Promise<boolean> {
    return ['local', 'mailbox', 'alias'].includes(await this.#classOf(domain));
  }

  async route(recipient: string): Promise<Route> {
    const sender = this.#o.originalSender?.(recipient);
    if (sender === null) return { kind: 'unknown-user' };
    if (sender !== undefined) return { kind: 'deliver', targets: [{ kind: 'remote', address: sender, outside: true }] };
    const address = this.#split(recipient);
    const kind = await this.#classOf(address.domain);
    const expansion: Expansion = { origin: textOf(address), targets: new Map(), count: 0, unknown: 0 };
    try {
      await this.#expand(address, expansion, []);
    } catch (error) {
      if (!(error instanceof BadAlias)) throw error;
      this.#o.logger.warn('alias.refused', { recipient, code: error.code, reason: error.message });
      return kind === 'outside' ? { kind: 'relay' } : { kind: 'refused', code: error.code, reason: error.message };
    }
    return kind === 'outside' ? relayRoute(expansion) : this.#ownRoute(recipient, expansion);
  }

  #ownRoute(recipient: string, { targets, unknown, rejection }: Expansion): Route {
    if (targets.size === 0) return rejection ? { kind: 'rejected', ...rejection } : { kind: 'unknown-user' };
    if (unknown > 0) this.#o.logger.warn('alias.member.unknown', { recipient, members: unknown });
    if (rejection) this.#o.logger.warn('alias.member.rejected', { recipient, ...rejection });
    return { kind: 'deliver', targets: [...targets.values()] };
  }

  async #expand(address: SplitAddress, expansion: Expansion, path: readonly string[]): Promise<void> {
    const text = textOf(address);
    if (path.includes(text)) throw new BadAlias('ALIAS_LOOP', 'the alias leads back to itself');
    if (path.length > this.#o.recursionLimit) throw new BadAlias('ALIAS_TOO_DEEP', 'the alias leads through too many others');
    if (++expansion.count > this.#o.expansionLimit)
      throw new BadAlias('ALIAS_TOO_WIDE', 'the alias stands for too many addresses');
    const kind = await this.#classOf(address.domain);
    const members = await this.#virtualAlias(address, kind === 'local');
    if (!members) return this.#settle(address, kind, expansion, [...path, text]);
    for (const member of members) {
      // An alias to itself means: and here, too.
      if (textOf(member) === text) await this.#settle(member, kind, expansion, [...path, text]);
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
  async #settle(address: SplitAddress, kind: DomainClass, expansion: Expansion, path: readonly string[]): Promise<void> {
    const text = textOf(address);
    if (kind === 'alias') return this.#nobody(address, expansion, path);
    const handling = this.#o.transport ? await this.#o.transport(text) : isForQueue(kind) ? 'queue' : 'here';
    if (typeof handling === 'object') return void (expansion.rejection ??= handling);
    const taken = kind === 'local' && path.length === 1 ? await this.#isTaken(address) : undefined;
    if (taken === false) return this.#nobody(address, expansion, path);
    if (handling === 'queue' || isForQueue(kind)) return this.#queued(address, kind, expansion, path);
    if (kind === 'local') return this.#localAlias(address, expansion, path, taken);
    const found = await lookUp(this.#o.virtualMailboxMaps, lookupKeys(address, false));
    if (found) return this.#mailbox(found.key.key, text, found.value, expansion);
    return this.#nobody(address, expansion, path);
  }

  /** Of a recipient in mydestination, not of what aliases make of others; undefined where local_recipient_maps say nothing of their own. */
  async #isTaken(address: SplitAddress): Promise<boolean | undefined> {
    const { localRecipientMaps: maps } = this.#o;
    if (maps === undefined) return undefined;
    return maps.length === 0 || (await lookUp(maps, lookupKeys(address, true))) !== undefined;
  }

  /** Whether mail for an address is taken though nobody gets it: it goes back to its sender, as local(8) sends it. */
  async returnsMail(recipient: string): Promise<boolean> {
    const text = textOf(this.#split(recipient));
    if (this.#o.localRecipientMaps === undefined || (await this.#classOf(this.#split(recipient).domain)) !== 'local')
      return false;
    const found = await this.route(recipient);
    return found.kind === 'deliver' && found.targets.some(({ kind, address }) => kind === 'remote' && address === text);
  }

  /** What its map does not have is refused here: the next hop would, and we would owe a bounce to a sender that may be forged. */
  async #queued(address: SplitAddress, kind: DomainClass, expansion: Expansion, path: readonly string[]): Promise<void> {
    const { virtualMailboxMaps, relayRecipientMaps = [], suppressed } = this.#o;
    const maps = kind === 'mailbox' ? virtualMailboxMaps : kind === 'relay' ? relayRecipientMaps : [];
    if (maps.length > 0 && !(await lookUp(maps, lookupKeys(address, false)))) return this.#nobody(address, expansion, path);
    const text = textOf(address);
    const outside = kind === 'outside';
    if (outside && (await suppressed?.(text)) !== undefined) return void (expansion.rejection ??= SUPPRESSED);
    if (expansion.targets.has(text)) return;
    const via = path[0] !== undefined && expansion.origin !== text ? { via: expansion.origin } : {};
    expansion.targets.set(text, { kind: 'remote', address: text, ...via, ...(outside ? { outside } : {}) });
  }

  #mailbox(account: string, recipient: string, value: string, expansion: Expansion): void {
    if (!value.trimEnd().endsWith('/'))
      throw new BadAlias('MBOX', 'its mailbox is not a Maildir (a trailing slash is missing in virtual_mailbox_maps)');
    if (!expansion.targets.has(account)) expansion.targets.set(account, { kind: 'mailbox', address: account, recipient });
  }

  async #localAlias(address: SplitAddress, expansion: Expansion, path: readonly string[], taken = false): Promise<void> {
    const keys: LookupKey[] = [{ key: address.local, unmatched: '', catchAll: false }];
    if (address.extension !== '') keys.push({ key: address.user, unmatched: '', catchAll: false });
    const found = await lookUp(this.#o.aliasMaps, keys);
    if (!found) return this.#nobody(address, expansion, path, taken);
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

  /** RFC 2142, RFC 5321 4.5.1: postmaster and abuse always reach somebody. `taken`: what reaches nobody is queued, to be returned. */
  async #nobody(address: SplitAddress, expansion: Expansion, path: readonly string[], taken = false): Promise<void> {
    const { postmaster } = this.#o;
    const isRole = address.user === 'postmaster' || address.user === 'abuse';
    if (isRole && postmaster !== undefined && !path.includes(postmaster.toLowerCase()))
      return this.#expand(this.#split(postmaster), expansion, path);
    if (taken) expansion.targets.set(textOf(address), { kind: 'remote', address: textOf(address) });
    else expansion.unknown++;
  }

  async maySendAs(account: string, sender: string): Promise<boolean> {
    const address = this.#split(sender);
    const own = account.toLowerCase();
    if (textOf(address) === own || `${address.user}@${address.domain}` === own) return true;
    if (await this.#logsInAs(own, address)) return true;
    const route = await this.route(sender);
    return route.kind === 'deliver' && route.targets.some((target) => target.address === own);
  }

  /** smtpd_sender_login_maps. */
  async #logsInAs(account: string, sender: SplitAddress): Promise<boolean> {
    const { senderLoginMaps = [] } = this.#o;
    if (senderLoginMaps.length === 0) return false;
    const bare = (await this.#classOf(sender.domain)) === 'local';
    const found = await lookUp(senderLoginMaps, lookupKeys(sender, bare));
    return found !== undefined && splitAliasValue(found.value).some((login) => login.toLowerCase() === account);
  }
}

const SUPPRESSED: Rejection = { status: '5.7.1', reason: 'Address is on the suppression list' };

const textOf = ({ local, domain }: SplitAddress): string => `${local}@${domain}`;
const isForQueue = (kind: DomainClass): boolean => kind === 'relay' || kind === 'outside';

/** Not our domain: what becomes of it concerns those only who may relay. */
function relayRoute({ origin, targets, rejection }: Expansion): Route {
  if (targets.size === 0) return { kind: 'relay', rejection: rejection ?? { status: '5.1.1', reason: 'User unknown' } };
  const [only, more] = targets.values();
  const itself = !more && only?.kind === 'remote' && only.address === origin;
  return itself ? { kind: 'relay' } : { kind: 'relay', targets: [...targets.values()] };
}

function refusedMember(member: string): string | undefined {
  const text = member.replace(/^"/, '');
  if (text.startsWith('|')) return 'the alias leads to a command, which is not supported';
  if (text.startsWith('/')) return 'the alias leads to a file, which is not supported';
  if (/^:include:/i.test(text)) return 'the alias includes a file, which is not supported';
  return undefined;
}
