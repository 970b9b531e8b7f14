// A queue in memory for tests of the commands: the commands' half of QueueStore, and messages made of little.
import type { CommandQueue } from '../../src/cli/queue/command-queue.ts';
import type { WithQueue } from '../../src/cli/queue/open.ts';
import { MailError } from '../../src/lib/errors.ts';
import { memorySource } from '../../src/message/source.ts';
import { formatHead } from '../../src/queue/store/queue-file.ts';
import type {
  FileLayout,
  QueuedEnvelope,
  QueuedMessage,
  QueuedRecipient,
  QueueFilter,
  QueueStats,
  RecipientState,
} from '../../src/queue/types.ts';

/** A time that tests can count from. */
export const NOW = Date.UTC(2026, 10, 25, 17, 0, 0);

export interface MadeRecipient extends Partial<Omit<QueuedRecipient, 'number' | 'address' | 'lastFailure'>> {
  readonly reason?: string;
  readonly status?: string;
}

export interface MadeMessage extends Partial<QueuedEnvelope> {
  readonly text?: string;
  readonly recipients?: Readonly<Record<string, MadeRecipient>>;
}

/** Deferred unless said otherwise. */
export function makeMessage(id: string, { text, recipients, ...envelope }: MadeMessage = {}): [QueuedMessage, Buffer] {
  const bytes = Buffer.from(text ?? 'Subject: hola\r\n\r\nhola\r\n', 'latin1');
  const entries = Object.entries(recipients ?? { 'bob@remote.test': {} });
  const message: QueuedMessage = {
    envelope: {
      id,
      sender: 'ana@example.test',
      arrived: NOW - 3_600_000,
      smtpUtf8: false,
      bodyType: '7BIT',
      ...envelope,
    },
    size: bytes.length,
    recipients: entries.map(([address, { reason, status, ...more }], number) => ({
      number,
      address,
      destination: `smtp:${address.slice(address.lastIndexOf('@') + 1)}`,
      state: 'deferred',
      attempts: reason === undefined ? 0 : 1,
      nextAttempt: NOW + 600_000,
      delayReported: false,
      ...(reason === undefined ? {} : { lastFailure: { status: status ?? '4.4.1', reason } }),
      ...more,
    })),
  };
  return [message, bytes];
}

export class MemoryQueue implements CommandQueue {
  readonly #messages = new Map<string, [QueuedMessage, Buffer]>();
  /** Thrown by whatever is asked next. */
  failure: MailError | undefined;
  isRun = false;

  add(id: string, message: MadeMessage = {}): this {
    this.#messages.set(id, makeMessage(id, message));
    return this;
  }
  get ids(): string[] {
    return [...this.#messages.keys()];
  }
  states(id: string): RecipientState[] {
    return this.#messages.get(id)?.[0].recipients.map(({ state }) => state) ?? [];
  }

  async *list(filter: QueueFilter): AsyncIterable<QueuedMessage> {
    this.#check();
    for (const message of this.#matching(filter)) yield Promise.resolve(message);
  }
  find(id: string): Promise<QueuedMessage | undefined> {
    this.#check();
    return Promise.resolve(this.#messages.get(id)?.[0]);
  }
  layout(id: string): Promise<FileLayout> {
    const found = this.#messages.get(id)?.[0];
    if (!found) return Promise.reject(new MailError('corrupt', 'QUEUE_FILE_MISSING', 'The message is missing'));
    const { head, places } = formatHead(found.envelope, found.size, found.recipients);
    return Promise.resolve({ envelope: head.indexOf('\n') + 1, recipients: places, message: head.length });
  }
  stats(): Promise<QueueStats> {
    this.#check();
    const all = this.#matching({});
    const recipients = all.flatMap((message) => message.recipients);
    const of = (state: RecipientState): number => recipients.filter((one) => one.state === state).length;
    const sites = [...new Set(recipients.map(({ destination }) => destination))];
    const at = (site: string): QueuedRecipient[] => recipients.filter(({ destination }) => destination === site);
    return Promise.resolve({
      messages: all.length,
      recipients: { ready: of('ready'), deferred: of('deferred'), held: of('held') },
      bytes: all.reduce((sum, { size }) => sum + size, 0),
      oldest: all[0]?.envelope.arrived,
      destinations: sites
        .map((site) => ({ destination: site, recipients: at(site).length, failure: at(site).at(-1)?.lastFailure }))
        .sort((a, b) => b.recipients - a.recipients),
    });
  }
  hold(filter: QueueFilter): Promise<number> {
    return this.#change(filter, (one) => (one.state === 'held' ? one : { ...one, state: 'held' }));
  }
  release(filter: QueueFilter): Promise<number> {
    return this.#change(filter, (one) => (one.state === 'held' ? { ...one, state: 'ready' } : one));
  }
  retry(filter: QueueFilter): Promise<number> {
    return this.#change(filter, (one) => (one.state === 'deferred' ? { ...one, state: 'ready' } : one));
  }
  requeue(filter: QueueFilter): Promise<number> {
    return this.#change(filter, (one) => ({ ...one, state: 'ready', attempts: 0, lastFailure: undefined }));
  }
  async expire(filter: QueueFilter): Promise<number> {
    const fresh = this.#matching(filter).filter(({ envelope }) => envelope.expire === undefined);
    for (const message of fresh) {
      const { id } = message.envelope;
      const [, bytes = Buffer.alloc(0)] = this.#messages.get(id) ?? [];
      this.#messages.set(id, [{ ...message, envelope: { ...message.envelope, expire: true } }, bytes]);
      await this.retry({ ids: [id] });
    }
    return fresh.length;
  }
  remove(filter: QueueFilter): Promise<number> {
    return this.#change(filter, () => undefined);
  }
  open(id: string): Promise<ReturnType<typeof memorySource>> {
    const found = this.#messages.get(id);
    if (!found) return Promise.reject(new MailError('corrupt', 'QUEUE_FILE_MISSING', 'The message is missing'));
    // A byte at a time: whoever reads must not count on chunks.
    return Promise.resolve(memorySource(...[...found[1]].map((byte) => Buffer.of(byte))));
  }

  #check(): void {
    if (this.failure) throw this.failure;
  }
  /** Of a message that is meant, the recipients that are meant; without recipients it goes. */
  #change(filter: QueueFilter, change: (recipient: QueuedRecipient) => QueuedRecipient | undefined): Promise<number> {
    this.#check();
    let changed = 0;
    for (const message of this.#matching(filter)) {
      const { id } = message.envelope;
      const recipients = message.recipients.map((one) => (isMeant(one, filter) ? change(one) : one));
      if (recipients.every((one, i) => one === message.recipients[i])) continue;
      const left = recipients.filter((one) => one !== undefined);
      const [, bytes = Buffer.alloc(0)] = this.#messages.get(id) ?? [];
      if (left.length > 0) this.#messages.set(id, [{ ...message, recipients: left }, bytes]);
      else this.#messages.delete(id);
      changed++;
    }
    return Promise.resolve(changed);
  }
  #matching(filter: QueueFilter): QueuedMessage[] {
    const { ids, sender, arrivedBefore = Infinity, arrivedAfter = -Infinity } = filter;
    return [...this.#messages.values()]
      .map(([message]) => message)
      .filter(
        ({ envelope, recipients }) =>
          (ids?.includes(envelope.id) ?? true) &&
          same(envelope.sender, sender) &&
          envelope.arrived < arrivedBefore &&
          envelope.arrived > arrivedAfter &&
          recipients.some((recipient) => isMeant(recipient, filter)),
      )
      .sort((a, b) => a.envelope.arrived - b.envelope.arrived);
  }
}

const same = (a: string, b: string | undefined): boolean => b === undefined || a.toLowerCase() === b.toLowerCase();

const isMeant = ({ address, destination, state, lastFailure }: QueuedRecipient, filter: QueueFilter): boolean =>
  same(address, filter.recipient) &&
  same(address.slice(address.lastIndexOf('@') + 1), filter.domain) &&
  same(destination, filter.destination) &&
  same(state, filter.state) &&
  (filter.reason === undefined || (lastFailure?.reason ?? '').toLowerCase().includes(filter.reason.toLowerCase()));

/** A way to the queue for a command under test. */
export const opens =
  (queue: CommandQueue): WithQueue =>
  (_file, _io, fn) =>
    fn(queue);

/** A way that is refused. */
export const refuses: WithQueue = () =>
  Promise.reject(new MailError('not-permitted', 'QUEUE_NOT_PERMITTED', 'the queue is its owner’s'));
