// always_bcc, sender_bcc_maps, recipient_bcc_maps: more recipients for messages that come in from outside the house. What this host makes
// itself (reports) does not pass here, as in Postfix.
import type { LookupTable } from '../config/lookup.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { lookupKeys, splitAddress } from './address-keys.ts';
import type { DomainClass } from './domain-class.ts';
import { targetsOf } from './forwarding.ts';
import { lookUp } from './look-up.ts';
import type { AcceptMessage, EnvelopeRecipient, ReceivedMessage, Route, Router, Target } from './types.ts';

export interface CopyOptions {
  readonly router: Pick<Router, 'route'>;
  readonly classOf: (domain: string) => Promise<DomainClass>;
  /** Whether a mailbox can take anything. @throws MailError over-quota and the like */
  readonly checkMailbox: (address: string) => Promise<void>;
  readonly alwaysBcc?: string;
  readonly senderBccMaps: readonly LookupTable[];
  readonly recipientBccMaps: readonly LookupTable[];
  readonly recipientDelimiter: string;
  readonly logger: Logger;
}

/** `accept` with the recipients that the settings add. A copy that cannot be delivered holds nothing up: it is left out, and logged as an error. */
export function withCopies(accept: AcceptMessage, options: CopyOptions): AcceptMessage {
  const { alwaysBcc, senderBccMaps, recipientBccMaps } = options;
  if (alwaysBcc === undefined && senderBccMaps.length === 0 && recipientBccMaps.length === 0) return accept;
  return async (message) => {
    const copies = await copiesOf(message, options);
    if (copies.length === 0) return accept(message);
    return accept({ ...message, envelope: { ...message.envelope, recipients: [...message.envelope.recipients, ...copies] } });
  };
}

async function copiesOf(message: ReceivedMessage, options: CopyOptions): Promise<EnvelopeRecipient[]> {
  const there = new Set(message.envelope.recipients.map(({ address }) => address.toLowerCase()));
  const copies: EnvelopeRecipient[] = [];
  for (const address of await addressesFor(message, options)) {
    if (there.has(address.toLowerCase())) continue;
    there.add(address.toLowerCase());
    const copy = await copyTo(address, message, options);
    if (copy) copies.push(copy);
  }
  return copies;
}

async function addressesFor({ envelope }: ReceivedMessage, o: CopyOptions): Promise<string[]> {
  const found: string[] = [];
  const ask = async (maps: readonly LookupTable[], address: string): Promise<void> => {
    if (maps.length === 0) return;
    const split = splitAddress(address, o.recipientDelimiter);
    const value = (await lookUp(maps, lookupKeys(split, (await o.classOf(split.domain)) === 'local')))?.value.trim();
    if (value) found.push(value);
  };
  if (envelope.sender !== '') await ask(o.senderBccMaps, envelope.sender);
  for (const { address } of envelope.recipients) await ask(o.recipientBccMaps, address);
  if (o.alwaysBcc !== undefined) found.push(o.alwaysBcc);
  return found;
}

/** Undefined where it has been already, or cannot go. Nobody hears of its failure (RFC 3461 section 4.1: NOTIFY=NEVER). */
async function copyTo(address: string, message: ReceivedMessage, o: CopyOptions): Promise<EnvelopeRecipient | undefined> {
  const route = marked(address, await o.router.route(address));
  const targets = route ? targetsOf(address, route) : [];
  const places = targets.map((target) => (target.kind === 'mailbox' ? target.recipient : (target.via ?? target.address)));
  // It comes back from there: a second copy would come back, too.
  if (places.some((place) => message.deliveredTo.includes(place.toLowerCase()))) return undefined;
  if (route && (await canTake(targets, o))) return { address, route, notify: ['NEVER'] };
  o.logger.error('bcc.undeliverable', { id: message.id, to: address });
  return undefined;
}

async function canTake(targets: readonly Target[], { checkMailbox }: CopyOptions): Promise<boolean> {
  try {
    for (const target of targets) if (target.kind === 'mailbox') await checkMailbox(target.address);
    return true;
  } catch (error) {
    if (error instanceof MailError && error.kind !== 'temporary') return false;
    throw error;
  }
}

/** A copy that leaves the house says where it was sent to, so that it is known again. */
function marked(address: string, route: Route): Route | undefined {
  if (route.kind !== 'deliver' && (route.kind !== 'relay' || route.rejection)) return undefined;
  const via = address.toLowerCase();
  const targets = targetsOf(address, route).map((target) => (target.kind === 'remote' ? { via, ...target } : target));
  return { kind: 'deliver', targets };
}
