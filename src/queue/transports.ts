// Where mail goes next, in the order of Postfix's trivial-rewrite(8):
//
//   class of the domain → virtual_transport, relay_transport, or sender_dependent_default_transport_maps and default_transport
//     → without a next hop of its own (relay, outside): sender_dependent_relayhost_maps, relayhost, the domain
//     → transport_maps (transport(5)): user+ext@domain, user@domain, domain, .parent … , *
import type { LookupTable } from '../config/lookup.ts';
import { lookupKeys, splitAddress } from '../delivery/address-keys.ts';
import type { DomainClass } from '../delivery/domain-class.ts';
import { lookUp } from '../delivery/look-up.ts';
import type { Rejection } from '../delivery/types.ts';
import type { Logger } from '../lib/logger.ts';
import { NextHopError, parseNextHop } from './next-hop.ts';
import type { NextHop, Transports } from './types.ts';

export interface TransportOptions {
  readonly classOf: (domain: string) => Promise<DomainClass>;
  readonly transportMaps: readonly LookupTable[];
  readonly senderDependentRelayhostMaps: readonly LookupTable[];
  readonly senderDependentDefaultTransportMaps: readonly LookupTable[];
  /** Empty for none. */
  readonly relayhost: string;
  readonly defaultTransport: string;
  readonly relayTransport: string;
  /** `virtual` or empty: the Maildirs here. */
  readonly virtualTransport: string;
  /** Whether an address of mydestination was taken though nobody here gets its mail (local_recipient_maps). */
  readonly returnsMail?: (recipient: string) => Promise<boolean>;
  readonly recipientDelimiter: string;
  readonly logger: Logger;
}

/** Transports that mean this server's own delivery. */
const LOCAL = new Set(['', 'virtual', 'local']);
/** What stands behind their colon is a text, not a host. */
const HOSTLESS: Readonly<Record<string, string>> = {
  error: 'Address is undeliverable',
  retry: 'Address is undeliverable',
  discard: '',
  hold: '',
};
/** empty_address_relayhost_maps_lookup_key, empty_address_default_transport_maps_lookup_key. */
const NULL_SENDER = '<>';

const UNAVAILABLE = 'mail transport unavailable';

/** `transport:nexthop`, taken apart. */
interface Channel {
  readonly transport: string;
  readonly nexthop: string;
}

/** Answers anew each time: tables that change count at once. */
export class TransportTable implements Transports {
  readonly #o: TransportOptions;

  constructor(options: TransportOptions) {
    this.#o = options;
  }

  async resolve(recipient: string, sender: string): Promise<NextHop> {
    const { local, domain } = splitAddress(recipient, '');
    const channel = await this.#channel(recipient, sender);
    if (LOCAL.has(channel.transport)) {
      // In local(8)'s words.
      if (await this.#o.returnsMail?.(recipient)) return { kind: 'error', status: '5.1.1', reason: `unknown user: "${local}"` };
      return { kind: 'error', status: '4.3.5', reason: `mail for ${domain} is delivered by this server itself` };
    }
    const text = `${channel.transport}:${channel.nexthop}`;
    try {
      return parseNextHop(text, domain);
    } catch (error) {
      if (!(error instanceof NextHopError)) throw error;
      this.#o.logger.error('transport.bad', { recipient, transport: text, error: error.message });
      return { kind: 'error', status: '4.3.5', reason: UNAVAILABLE };
    }
  }

  /** For the router: whether mail for an address stays here, goes into the queue, or is refused (`error:5…`). @throws as resolve */
  async handling(recipient: string): Promise<'here' | 'queue' | Rejection> {
    const channel = await this.#channel(recipient, undefined);
    if (LOCAL.has(channel.transport)) return 'here';
    if (channel.transport !== 'error') return 'queue';
    const hop = parseNextHop(`error:${channel.nexthop}`);
    if (hop.kind !== 'error' || hop.status.startsWith('4')) return 'queue';
    // As smtpd(8): an address that fails without a status of its own does not exist.
    return { status: hop.status === '5.0.0' ? '5.1.1' : hop.status, reason: hop.reason };
  }

  /** Without a sender: what does not depend on one. */
  async #channel(recipient: string, sender: string | undefined): Promise<Channel> {
    const { domain } = splitAddress(recipient, '');
    const standard = await this.#standard(domain, sender);
    const entry = await this.#mapped(recipient);
    return entry === undefined ? standard : override(entry, standard, domain);
  }

  async #standard(domain: string, sender: string | undefined): Promise<Channel> {
    const { defaultTransport, relayTransport, virtualTransport } = this.#o;
    switch (await this.#o.classOf(domain)) {
      case 'local':
        return { transport: 'local', nexthop: domain };
      case 'mailbox':
        return withDomain(parseChannel(virtualTransport), domain);
      case 'alias':
        return { transport: 'error', nexthop: '5.1.1 User unknown in virtual alias table' };
      case 'relay':
        return this.#relayed(parseChannel(relayTransport), domain, sender);
      case 'outside':
        return this.#relayed(await this.#defaultFor(sender, defaultTransport), domain, sender);
    }
  }

  /** What its map says is written as default_transport is: a value that only transport(5) would understand is none (postconf(5)). */
  async #defaultFor(sender: string | undefined, standard: string): Promise<Channel> {
    const own = await this.#bySender(this.#o.senderDependentDefaultTransportMaps, sender);
    if (own === undefined) return parseChannel(standard);
    const channel = parseChannel(own);
    if (channel.transport !== '') return channel;
    this.#o.logger.error('transport.bad', { sender, transport: own, error: 'a transport is missing in front of the colon' });
    return { transport: 'error', nexthop: `4.3.5 ${UNAVAILABLE}` };
  }

  async #relayed(channel: Channel, domain: string, sender: string | undefined): Promise<Channel> {
    if (channel.nexthop !== '' || Object.hasOwn(HOSTLESS, channel.transport)) return withDomain(channel, domain);
    const own = await this.#bySender(this.#o.senderDependentRelayhostMaps, sender);
    return { ...channel, nexthop: own ?? (this.#o.relayhost === '' ? domain : this.#o.relayhost) };
  }

  /** Undefined without an entry, and for one that says DUNNO. */
  async #bySender(maps: readonly LookupTable[], sender: string | undefined): Promise<string | undefined> {
    if (sender === undefined || maps.length === 0) return undefined;
    const address = splitAddress(sender, this.#o.recipientDelimiter);
    const keys =
      sender === ''
        ? [{ key: NULL_SENDER, unmatched: '', catchAll: false }]
        : lookupKeys(address, (await this.#o.classOf(address.domain)) === 'local');
    const value = (await lookUp(maps, keys))?.value.trim();
    return value === undefined || value === '' || value.toUpperCase() === 'DUNNO' ? undefined : value;
  }

  /** transport(5)'s order; patterns are asked for the whole address only. */
  async #mapped(recipient: string): Promise<string | undefined> {
    const maps = this.#o.transportMaps;
    if (maps.length === 0) return undefined;
    const address = splitAddress(recipient, this.#o.recipientDelimiter);
    const keys = [`${address.local}@${address.domain}`];
    if (address.extension !== '') keys.push(`${address.user}@${address.domain}`);
    keys.push(address.domain);
    for (let dot = address.domain.indexOf('.', 1); dot > 0; dot = address.domain.indexOf('.', dot + 1))
      keys.push(address.domain.slice(dot));
    keys.push('*');
    const found = await lookUp(
      maps,
      keys.filter((key) => key !== '').map((key) => ({ key, unmatched: '', catchAll: false })),
    );
    return found?.value.trim();
  }
}

function parseChannel(text: string): Channel {
  const colon = text.indexOf(':');
  return colon < 0
    ? { transport: text.trim(), nexthop: '' }
    : { transport: text.slice(0, colon), nexthop: text.slice(colon + 1) };
}

function withDomain(channel: Channel, domain: string): Channel {
  return channel.nexthop === '' ? { ...channel, nexthop: HOSTLESS[channel.transport] ?? domain } : channel;
}

/** `:nexthop` changes the next hop, `:` nothing, `transport:` both (the next hop back to the recipient's domain, past relayhost). */
function override(entry: string, standard: Channel, domain: string): Channel {
  const { transport, nexthop } = parseChannel(entry);
  if (transport !== '') return withDomain({ transport, nexthop }, domain);
  return nexthop === '' ? standard : { ...standard, nexthop };
}

/** What is wrong with a value of transport_maps (or a transport of the settings), in a few words; undefined when nothing is. */
export function transportProblem(entry: string): string | undefined {
  const { transport, nexthop } = withDomain(override(entry, { transport: 'smtp', nexthop: '' }, 'example.com'), 'example.com');
  if (LOCAL.has(transport)) return undefined;
  try {
    parseNextHop(`${transport}:${nexthop}`, 'example.com');
    return undefined;
  } catch (error) {
    if (error instanceof NextHopError) return error.message;
    throw error;
  }
}
