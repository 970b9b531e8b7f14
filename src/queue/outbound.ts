// The way into the queue: where each recipient goes, the message as it is to be sent, both safe in the store.
import type { DsnRecipient, MailEnvelope, OutboundQueue, ReceivedMessage } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { MessageSource } from '../message/source.ts';
import { formatNextHop } from './next-hop.ts';
import type { NewRecipient, QueuedEnvelope, QueueStore, Transports } from './types.ts';

export interface StoreQueueOptions {
  readonly store: Pick<QueueStore, 'add'>;
  readonly transports: Transports;
  /** The message as it is to be sent: normalised, signed. What it gives is disposed when it is in the store, unless it is the message's own source. */
  readonly prepare?: (message: ReceivedMessage) => Promise<MessageSource>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Where a Message-ID is looked for. */
const HEAD_BYTES = 65_536;

export class StoreQueue implements OutboundQueue {
  readonly available = true;
  readonly #o: StoreQueueOptions;

  constructor(options: StoreQueueOptions) {
    this.#o = options;
  }

  /** @throws MailError of the maps, of `prepare`, of the store; then nothing is queued */
  async enqueue(message: ReceivedMessage, recipients: readonly (DsnRecipient & { readonly address: string })[]): Promise<void> {
    const { store, prepare, clock, logger } = this.#o;
    const { id, envelope } = message;
    const placed = await Promise.all(recipients.map((recipient) => this.#place(recipient, envelope)));
    const source = prepare ? await prepare(message) : message.source;
    try {
      const messageId = await readMessageId(source);
      await store.add({ envelope: envelopeOf(message, clock.now(), messageId), source, recipients: placed });
      logger.info('queue.queued', { id, from: envelope.sender, size: source.size, recipients: placed.length, messageId });
    } finally {
      if (source !== message.source) await source.dispose();
    }
  }

  async #place(
    { address, notify, orcpt }: DsnRecipient & { readonly address: string },
    { sender, trace }: Pick<MailEnvelope, 'sender' | 'trace'>,
  ): Promise<NewRecipient> {
    const hop = await this.#o.transports.resolve(address, sender);
    return {
      address,
      destination: formatNextHop(hop),
      ...(notify ? { notify } : {}),
      ...(orcpt === undefined ? {} : { orcpt }),
      // Who only asks is told that it would be held.
      ...(hop.kind === 'hold' && trace !== 'verify'
        ? { hold: hop.reason === '' ? 'held by the transport table' : hop.reason }
        : {}),
    };
  }
}

function envelopeOf(message: ReceivedMessage, arrived: number, messageId: string | undefined): QueuedEnvelope {
  const { sender, smtpUtf8, bodyType, ret, envid, requireTls, trace } = message.envelope;
  return {
    id: message.id,
    sender,
    arrived,
    smtpUtf8,
    bodyType,
    ...(ret === undefined ? {} : { ret }),
    ...(envid === undefined ? {} : { envid }),
    ...(requireTls === undefined ? {} : { requireTls }),
    ...(message.account === undefined ? {} : { account: message.account }),
    ...(messageId === undefined ? {} : { messageId }),
    ...(trace === undefined ? {} : { trace }),
  };
}

/** The Message-ID field, printable ASCII, at most 300 characters; undefined when there is none in the header's first 64 KB. */
export async function readMessageId(source: MessageSource): Promise<string | undefined> {
  let head = '';
  for await (const chunk of source.chunks()) {
    head += chunk.toString('latin1');
    if (head.length >= HEAD_BYTES || head.includes('\r\n\r\n')) break;
  }
  const end = head.indexOf('\r\n\r\n');
  const header = head.slice(0, end < 0 ? HEAD_BYTES : end).replace(/\r\n(?=[ \t])/g, '');
  return /^message-id:[ \t]*([!-~]{1,300})/im.exec(header)?.[1];
}
