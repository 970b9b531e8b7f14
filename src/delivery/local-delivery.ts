// Takes responsibility for a message: every mailbox gets its copy exactly once, what goes outside goes to the queue, and only then is it accepted.
//
//   all copies written and synced under tmp/ → (several: the intent recorded) → the queue has its part → each copy renamed into new/, synced → done
import type { AccountDirectory } from '../auth/types.ts';
import { Semaphore } from '../lib/async.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { prefixedSource } from '../message/source.ts';
import type { AccountStore, MailLocation, PreparedDelivery } from '../storage/types.ts';
import type { Intents } from './intents.ts';
import type { DsnRecipient, OutboundQueue, ReceivedMessage, Target } from './types.ts';

export interface LocalDeliveryOptions {
  readonly directory: AccountDirectory;
  readonly storeOf: (location: MailLocation) => AccountStore;
  readonly queue: OutboundQueue;
  readonly intents: Intents;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Copies written at a time for one message. */
const PARALLEL = 8;
const INBOX = ['INBOX'];

interface Copy {
  readonly target: Target & { kind: 'mailbox' };
  readonly originalTo: string;
  readonly prepared: PreparedDelivery;
}

export class LocalDelivery {
  readonly #o: LocalDeliveryOptions;

  constructor(options: LocalDeliveryOptions) {
    this.#o = options;
  }

  /** Whether a mailbox can take anything now: said at RCPT. @throws MailError over-quota, no-such-user, temporary */
  async checkMailbox(address: string): Promise<void> {
    const { bytes, messages, limits } = await (await this.#store(address)).quota();
    if (bytes >= (limits.bytes ?? Infinity) || messages >= (limits.messages ?? Infinity))
      throw new MailError('over-quota', 'OVER_QUOTA', 'Quota exceeded (mailbox for user is full)');
  }

  async #store(address: string): Promise<AccountStore> {
    const account = await this.#o.directory.find(address);
    // The map changed between RCPT and DATA.
    if (!account) throw new MailError('temporary', 'ACCOUNT_GONE', 'The mailbox cannot be found now');
    return this.#o.storeOf({ address: account.address, maildir: account.maildir, quota: account.quota });
  }

  /** AcceptMessage. */
  readonly accept = async (message: ReceivedMessage): Promise<void> => {
    const began = this.#o.now();
    const { mailboxes, remote } = destinations(message);
    for (const { target } of mailboxes.values())
      if (message.deliveredTo.includes(target.recipient.toLowerCase()))
        throw new MailError('mail-loop', 'MAIL_LOOP', `mail forwarding loop for ${target.recipient}`);
    const several = mailboxes.size + (remote.length > 0 ? 1 : 0) > 1;
    const key = several ? await this.#o.intents.key(message.envelope.sender, message.original) : undefined;
    const done = key === undefined ? new Set<string>() : await this.#o.intents.alreadyDelivered(key);
    const copies = await this.#prepareAll(
      message,
      [...mailboxes.values()].filter(({ target }) => !done.has(target.address)),
    );
    try {
      if (key !== undefined && copies.length > 0)
        await this.#o.intents.record(key, {
          ...Object.fromEntries([...done].map((address) => [address, `/nonexistent/${key}`])),
          ...Object.fromEntries(copies.map(({ target, prepared }) => [target.address, prepared.temporaryPath])),
        });
      if (remote.length > 0) await this.#o.queue.enqueue(message, remote);
    } catch (error) {
      await Promise.all(copies.map(({ prepared }) => prepared.abort()));
      throw toMailError(error, 'accepting a message');
    }
    await this.#commitAll(message, copies, began);
    if (key !== undefined) await this.#o.intents.forget(key);
  };

  async #prepareAll(
    message: ReceivedMessage,
    wanted: readonly { target: Target & { kind: 'mailbox' }; originalTo: string }[],
  ): Promise<Copy[]> {
    const slots = new Semaphore(PARALLEL);
    const outcomes = await Promise.allSettled(
      wanted.map(({ target, originalTo }) =>
        slots.run(async (): Promise<Copy> => {
          const store = await this.#store(target.address);
          const head = traceHead(message.envelope.sender, originalTo, target.recipient);
          return { target, originalTo, prepared: await store.prepareDelivery(INBOX, prefixedSource(head, message.source)) };
        }),
      ),
    );
    const copies = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!failure) return copies;
    await Promise.all(copies.map(({ prepared }) => prepared.abort()));
    throw toMailError(failure.reason, 'writing a copy');
  }

  /** Those that fail are not forgotten: the intent stays, and the client's repeat reaches only them. */
  async #commitAll(message: ReceivedMessage, copies: readonly Copy[], began: number): Promise<void> {
    let failure: unknown;
    for (const { target, originalTo, prepared } of copies) {
      try {
        const { baseName, size } = await prepared.commit();
        this.#o.logger.info('delivery.stored', {
          id: message.id,
          to: target.recipient,
          originalTo,
          account: target.address,
          file: baseName,
          size,
          delay: (this.#o.now() - began) / 1000,
        });
      } catch (error) {
        failure ??= error;
        this.#o.logger.error('delivery.failed', {
          id: message.id,
          to: target.recipient,
          error: toMailError(error, 'commit').detail,
        });
      }
    }
    if (failure !== undefined) throw toMailError(failure, 'delivering');
  }
}

/** Mailboxes, each once, and addresses outside, each once, with the recipient that led there first. */
function destinations(message: ReceivedMessage): {
  mailboxes: Map<string, { target: Target & { kind: 'mailbox' }; originalTo: string }>;
  remote: (DsnRecipient & { address: string })[];
} {
  const mailboxes = new Map<string, { target: Target & { kind: 'mailbox' }; originalTo: string }>();
  const remote = new Map<string, DsnRecipient & { address: string }>();
  for (const { address, route, notify, orcpt } of message.envelope.recipients) {
    const dsn = { ...(notify ? { notify } : {}), ...(orcpt === undefined ? {} : { orcpt }) };
    if (route.kind === 'relay') remote.set(address, { address, ...dsn });
    if (route.kind !== 'deliver') continue;
    for (const target of route.targets) {
      if (target.kind === 'remote') remote.set(target.address, { address: target.address, ...dsn });
      else if (!mailboxes.has(target.address)) mailboxes.set(target.address, { target, originalTo: address });
    }
  }
  return { mailboxes, remote: [...remote.values()] };
}

/** What virtual(8) writes at the head: Return-Path, X-Original-To, Delivered-To. */
function traceHead(sender: string, originalTo: string, recipient: string): Buffer {
  return Buffer.from(`Return-Path: <${sender}>\r\nX-Original-To: ${originalTo}\r\nDelivered-To: ${recipient}\r\n`, 'utf8');
}
