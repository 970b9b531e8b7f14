// What of a message goes into the queue: as it is, and for each recipient whose alias leads to other addresses a copy of its own, with
// that recipient as Delivered-To (a circle ends there) and, where it leaves the house, a sender that its next host may believe (SRS).
import { shortId } from '../lib/short-id.ts';
import { prefixedSource } from '../message/source.ts';
import { encodeXtext } from '../message/xtext.ts';
import type { DsnRecipient, ReceivedMessage, Route, Target } from './types.ts';
import { verpSender } from './verp.ts';

type RemoteTarget = Target & { readonly kind: 'remote' };
type RemoteRecipient = DsnRecipient & { readonly address: string };

/** Recipients whose mail has the same bytes and the same sender. */
export interface RemotePart {
  /** The recipient whose alias leads there; undefined for those that were written to themselves. */
  readonly via?: string;
  readonly recipients: readonly RemoteRecipient[];
  /** As it goes into the queue: what is forwarded has an id of its own. */
  message(original: ReceivedMessage, forwardSender?: (sender: string) => Promise<string>): Promise<ReceivedMessage>;
}

/** The Sender Rewriting Scheme, as delivery asks it: a next host that checks SPF sees a sender that this host may use. */
export interface SenderRewriting {
  /** The envelope sender of a forwarded copy. */
  forward(sender: string): string;
  /** What RouterOptions.originalSender says. */
  original(address: string): string | null | undefined;
}

/** Where a recipient's mail goes. */
export function targetsOf(address: string, route: Route): readonly Target[] {
  if (route.kind === 'deliver') return route.targets;
  return route.kind === 'relay' ? (route.targets ?? [{ kind: 'remote', address, outside: true }]) : [];
}

/**
 * Addresses for the queue, each once, as the first recipient that led there wants it; those without an alias first. With VERP each is a part of its own, whose
 * sender names it (`verpDelimiters` where the client did not say which): a repeat then brings only what is missing.
 */
export function remoteParts(message: ReceivedMessage, verpDelimiters: string): RemotePart[] {
  const groups = new Map<string, { target: RemoteTarget; recipients: RemoteRecipient[] }>([]);
  const seen = new Set<string>();
  for (const { address, route, notify, orcpt } of message.envelope.recipients)
    for (const target of targetsOf(address, route)) {
      if (target.kind !== 'remote' || seen.has(target.address)) continue;
      seen.add(target.address);
      const key = target.via === undefined ? '' : `${target.via} ${target.outside === true}`;
      const group = groups.get(key) ?? { target, recipients: [] };
      const original = orcpt ?? (target.via === undefined ? undefined : originalRecipient(target.via));
      const dsn = { ...(notify ? { notify } : {}), ...(original === undefined ? {} : { orcpt: original }) };
      group.recipients.push({ address: target.address, ...dsn });
      groups.set(key, group);
    }
  const parts = [...groups.entries()].sort(([a], [b]) => Number(a !== '') - Number(b !== ''));
  const { sender, verp } = message.envelope;
  if (verp === undefined || sender === '') return parts.map(([, { target, recipients }]) => partOf(target, recipients));
  const delimiters = verp === '' ? verpDelimiters : verp;
  return parts.flatMap(([, { target, recipients }]) => recipients.map((recipient) => verpPart(target, recipient, delimiters)));
}

function verpPart(target: RemoteTarget, recipient: RemoteRecipient, delimiters: string): RemotePart {
  const part = partOf(target, [recipient]);
  return {
    ...part,
    message: (original, forwardSender) => {
      const { verp: _done, ...envelope } = original.envelope;
      const sender = verpSender(envelope.sender, recipient.address, delimiters);
      return part.message({ ...original, id: shortId().toUpperCase(), envelope: { ...envelope, sender } }, forwardSender);
    },
  };
}

/** RFC 3461 section 5.2.1: a report names the address that the sender wrote. */
export function originalRecipient(address: string): string | undefined {
  const text = encodeXtext(address);
  return text === undefined || text.length > 490 ? undefined : `rfc822;${text}`;
}

function partOf({ via, outside }: RemoteTarget, recipients: readonly RemoteRecipient[]): RemotePart {
  if (via === undefined) return { recipients, message: async (original) => original };
  return {
    via,
    recipients,
    message: async (original, forwardSender) => {
      const { sender } = original.envelope;
      const rewritten = outside && sender !== '' && forwardSender ? await forwardSender(sender) : sender;
      return {
        ...original,
        id: shortId().toUpperCase(),
        envelope: { ...original.envelope, sender: rewritten },
        source: prefixedSource(Buffer.from(`Delivered-To: ${via}\r\n`, 'utf8'), original.source),
      };
    },
  };
}
