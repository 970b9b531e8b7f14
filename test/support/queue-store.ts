// An outbound queue in a temporary folder, and messages for it.
import type { TestContext } from 'node:test';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { memorySource } from '../../src/message/source.ts';
import { openQueueStore } from '../../src/queue/store/store.ts';
import type { NewMessage, NewRecipient, QueuedEnvelope, QueuedMessage, QueueFilter, QueueStore } from '../../src/queue/types.ts';
import { captureLog, type LogEvent } from './log-capture.ts';
import { tempFolder } from './temp-folder.ts';

export interface TestQueue {
  readonly directory: string;
  readonly store: QueueStore;
  readonly events: LogEvent[];
  /** Another process would open it so. */
  readonly reopen: () => Promise<QueueStore>;
}

export async function openQueue(
  t: TestContext,
  { clock = systemClock, directory, lockTimeout }: { clock?: Clock; directory?: string; lockTimeout?: number } = {},
): Promise<TestQueue> {
  const open: QueueStore[] = [];
  // Before the folder goes.
  t.after(() => Promise.all(open.map((store) => store.close())));
  const folder = directory ?? (await tempFolder(t));
  const { logger, events } = captureLog();
  const reopen = async (): Promise<QueueStore> => {
    const store = await openQueueStore({
      directory: folder,
      logger,
      clock,
      ...(lockTimeout === undefined ? {} : { lockTimeout }),
    });
    open.push(store);
    return store;
  };
  return { directory: folder, store: await reopen(), events, reopen };
}

export const DESTINATION = 'smtp:remote.test';

/** `id` upper case; body CRLF. */
export function queued(
  id: string,
  {
    to = ['ana@remote.test'],
    body = `Subject: ${id}\r\n\r\nbody of ${id}\r\n`,
    ...rest
  }: { to?: readonly (string | Partial<NewRecipient>)[]; body?: string } & Partial<QueuedEnvelope> = {},
): NewMessage {
  return {
    envelope: { id, sender: 'eva@example.test', arrived: 1_000, smtpUtf8: false, bodyType: '8BITMIME', ...rest },
    source: memorySource(Buffer.from(body)),
    recipients: to.map((recipient) =>
      typeof recipient === 'string'
        ? { address: recipient, destination: DESTINATION }
        : { address: 'ana@remote.test', destination: DESTINATION, ...recipient },
    ),
  };
}

export async function all(store: QueueStore, filter: QueueFilter = {}): Promise<QueuedMessage[]> {
  const messages: QueuedMessage[] = [];
  for await (const message of store.list(filter)) messages.push(message);
  return messages;
}
export const idsOf = async (store: QueueStore, filter?: QueueFilter): Promise<string[]> =>
  (await all(store, filter)).map(({ envelope }) => envelope.id);

/** The message's bytes as the store gives them. */
export async function bodyOf(store: QueueStore, id: string): Promise<string> {
  const source = await store.open(id);
  try {
    const parts: Buffer[] = [];
    for await (const chunk of source.chunks()) parts.push(chunk);
    return Buffer.concat(parts).toString('latin1');
  } finally {
    await source.dispose();
  }
}
