// Takes responsibility for a message: every mailbox gets its copy exactly once, what goes outside goes to the queue, and only then is it accepted.
//
//   all copies written and synced under tmp/ → (several: the intent recorded) → the queue has its part → each copy renamed into new/, synced
//   → (several: the intent forgotten) → done
import type { AccountDirectory } from '../auth/types.ts';
import { Semaphore } from '../lib/async.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { prefixedSource } from '../message/source.ts';
import type { AccountStore, MailboxPath, MailLocation, PreparedDelivery } from '../storage/types.ts';
import type { Intents } from './intents.ts';
import { remoteParts, targetsOf, type RemotePart } from './forwarding.ts';
import type { OutboundQueue, ReceivedMessage, Target } from './types.ts';

export interface LocalDeliveryOptions {
  readonly directory: AccountDirectory;
  readonly storeOf: (location: MailLocation) => AccountStore;
  readonly queue: OutboundQueue;
  readonly intents: Intents;
  /** The envelope sender of a copy that an alias sends outside (SRS); without it the message's own. */
  readonly forwardSender?: (sender: string) => Promise<string>;
  /** default_verp_delimiters. */
  readonly verpDelimiters?: string;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Copies written at a time for one message. */
const PARALLEL = 8;
const INBOX = ['INBOX'];
const JUNK = ['Junk'];

interface Destination {
  readonly target: Target & { kind: 'mailbox' };
  /** The envelope recipient that led there first. */
  readonly originalTo: string;
  /** Into the mailbox for junk. */
  readonly junk: boolean;
}
interface Copy extends Destination {
  readonly mailbox: MailboxPath;
  readonly prepared: PreparedDelivery;
}
interface Destinations {
  /** By account. */
  readonly mailboxes: ReadonlyMap<string, Destination>;
  readonly remote: readonly RemotePart[];
}
interface Plan extends Destinations {
  readonly message: ReceivedMessage;
  /** Milliseconds since the epoch. */
  readonly began: number;
}

export class LocalDelivery {
  readonly #o: LocalDeliveryOptions;

  constructor(options: LocalDeliveryOptions) {
    this.#o = options;
  }

  /** Whether a mailbox can take anything now: said at RCPT. @throws MailError over-quota, no-such-user, temporary */
  async checkMailbox(address: string): Promise<void> {
    const store = await this.#store(address);
    const { bytes: most, messages: count } = store.location.quota ?? {};
    // Without a limit nothing is counted: it would be a look at every folder.
    if (most === undefined && count === undefined) return;
    const { bytes, messages, limits } = await store.quota();
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
    const remote = remoteParts(message, this.#o.verpDelimiters ?? '+=');
    const plan: Plan = { message, began: this.#o.now(), mailboxes: mailboxesOf(message), remote };
    checkLoop(plan);
    const { intents } = this.#o;
    try {
      const several = plan.mailboxes.size + plan.remote.length > 1;
      // A message that comes again may come in parts: then a single recipient may have his copy already.
      if (!several && !(await intents.any())) return await this.#acceptOne(plan);
      const key = await intents.key(message.envelope.sender, message.original);
      await intents.exclusively(key, () => this.#acceptSeveral(plan, key));
    } catch (error) {
      throw toMailError(error, 'accepting a message');
    }
  };

  async #acceptOne({ message, mailboxes, remote, began }: Plan): Promise<void> {
    for (const part of remote) await this.#enqueue(message, part);
    for (const copy of await this.#prepareAll(message, [...mailboxes.values()])) {
      try {
        await this.#commit(message, copy, began);
      } catch (error) {
        await copy.prepared.abort();
        throw error;
      }
    }
  }

  async #acceptSeveral({ message, mailboxes, remote, began }: Plan, key: string): Promise<void> {
    const { intents } = this.#o;
    const earlier = await intents.settle(key);
    const copies = await this.#prepareAll(
      message,
      [...mailboxes.values()].filter(({ target }) => !earlier.has(target.address)),
    );
    const queued = new Set<string>();
    try {
      const waiting = copies.map(({ target, prepared }) => [target.address, prepared.temporaryPath] as const);
      if (copies.length > 0) await intents.record(key, earlier, Object.fromEntries(waiting));
      for (const part of remote) await this.#enqueueRest(message, part, earlier, queued);
    } catch (error) {
      // While a file may say that they wait they have to: one that is missing there counts as delivered.
      await intents.withdraw(key, new Set([...earlier, ...queued]));
      await Promise.all(copies.map(({ prepared }) => prepared.abort()));
      throw error;
    }
    await this.#commitAll(message, copies, began).catch(async (error: unknown) => {
      const known = await intents.settle(key);
      if (queued.size > 0) await intents.withdraw(key, new Set([...known, ...queued]));
      throw error;
    });
    await intents.done(key, earlier, [...mailboxes.keys(), ...remote.flatMap(placesOf)]);
  }

  async #enqueue(message: ReceivedMessage, part: RemotePart): Promise<void> {
    const { queue, forwardSender, logger } = this.#o;
    const own = await part.message(message, forwardSender);
    await queue.enqueue(own, part.recipients);
    const fields = { id: message.id, as: own.id, from: own.envelope.sender };
    if (part.via !== undefined) logger.info('delivery.forwarded', { ...fields, via: part.via });
    else if (own.id !== message.id) logger.info('delivery.verp', fields);
  }
  /** Those of a part that an earlier try has not put into the queue. */
  async #enqueueRest(
    message: ReceivedMessage,
    part: RemotePart,
    earlier: ReadonlySet<string>,
    queued: Set<string>,
  ): Promise<void> {
    const recipients = part.recipients.filter(({ address }) => !earlier.has(placeOf(address)));
    if (recipients.length === 0) return;
    await this.#enqueue(message, { ...part, recipients });
    for (const { address } of recipients) queued.add(placeOf(address));
  }

  async #prepareAll(message: ReceivedMessage, wanted: readonly Destination[]): Promise<Copy[]> {
    const slots = new Semaphore(PARALLEL);
    const outcomes = await Promise.allSettled(
      wanted.map(({ target, originalTo, junk }) =>
        slots.run(async (): Promise<Copy> => {
          const store = await this.#store(target.address);
          const head = traceHead(message.envelope.sender, originalTo, target.recipient);
          const mailbox = junk ? await junkMailbox(store) : INBOX;
          const prepared = await store.prepareDelivery(mailbox, prefixedSource(head, message.source));
          // So that clients show what was just made.
          if (mailbox === JUNK) await store.subscribe(JUNK).catch(() => undefined);
          return { target, originalTo, junk, mailbox, prepared };
        }),
      ),
    );
    const copies = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!failure) return copies;
    await Promise.all(copies.map(({ prepared }) => prepared.abort()));
    throw toMailError(failure.reason, 'writing a copy');
  }

  /** Tries every copy; those that fail wait on. @throws the first failure */
  async #commitAll(message: ReceivedMessage, copies: readonly Copy[], began: number): Promise<void> {
    const failures: unknown[] = [];
    for (const copy of copies) await this.#commit(message, copy, began).catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  async #commit(message: ReceivedMessage, { target, originalTo, junk, mailbox, prepared }: Copy, began: number): Promise<void> {
    const { logger, now } = this.#o;
    const common = { id: message.id, to: target.recipient, ...(junk ? { mailbox: mailbox.join('/') } : {}) };
    try {
      const { baseName, size } = await prepared.commit();
      const delay = (now() - began) / 1000;
      logger.info('delivery.stored', { ...common, originalTo, account: target.address, file: baseName, size, delay });
    } catch (error) {
      logger.error('delivery.failed', { ...common, error: toMailError(error, 'commit').detail });
      throw error;
    }
  }
}

/** RFC 5321 section 6.3: what has been here, in a mailbox or through an alias, goes in a circle. */
function checkLoop({ message, mailboxes, remote }: Plan): void {
  const here = [...[...mailboxes.values()].map(({ target }) => target.recipient), ...remote.flatMap(({ via }) => via ?? [])];
  for (const address of here)
    if (message.deliveredTo.includes(address.toLowerCase()))
      throw new MailError('mail-loop', 'MAIL_LOOP', `mail forwarding loop for ${address}`);
}

/** How an intent names an address outside: no account is called so. */
const placeOf = (address: string): string => `queue:${address}`;
const placesOf = ({ recipients }: RemotePart): string[] => recipients.map(({ address }) => placeOf(address));

/** Mailboxes, each once, with the recipient that led there first. */
function mailboxesOf(message: ReceivedMessage): Map<string, Destination> {
  const mailboxes = new Map<string, Destination>();
  for (const { address, route, junk = false } of message.envelope.recipients)
    for (const target of targetsOf(address, route))
      if (target.kind === 'mailbox' && !mailboxes.has(target.address))
        mailboxes.set(target.address, { target, originalTo: address, junk });
  return mailboxes;
}

/** What clients take for it (RFC 6154); where there is none, the one that the delivery makes. */
async function junkMailbox(store: AccountStore): Promise<MailboxPath> {
  const known = (await store.list()).find(({ exists, specialUse }) => exists && specialUse.includes('\\Junk'));
  return known?.path ?? JUNK;
}

/** What virtual(8) writes at the head: Return-Path, X-Original-To, Delivered-To. */
function traceHead(sender: string, originalTo: string, recipient: string): Buffer {
  return Buffer.from(`Return-Path: <${sender}>\r\nX-Original-To: ${originalTo}\r\nDelivered-To: ${recipient}\r\n`, 'utf8');
}
