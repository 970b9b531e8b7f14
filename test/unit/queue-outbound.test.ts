import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReceivedMessage } from '../../src/delivery/types.ts';
import { MailError } from '../../src/lib/errors.ts';
import { memorySource, type MessageSource } from '../../src/message/source.ts';
import { parseNextHop } from '../../src/queue/next-hop.ts';
import { readMessageId, StoreQueue, type StoreQueueOptions } from '../../src/queue/outbound.ts';
import type { NewMessage } from '../../src/queue/types.ts';
import { captureLog } from '../support/log-capture.ts';
import { TwoClocks } from '../support/queue-world.ts';

const TEXT = 'Subject: x\r\nMessage-ID:\r\n <1@example.test>\r\n\r\nMessage-ID: <no@example.test>\r\n';

function messageOf(text = TEXT, more: Partial<ReceivedMessage['envelope']> = {}): ReceivedMessage {
  const source = memorySource(Buffer.from(text));
  const envelope = { sender: 'ana@example.test', recipients: [], smtpUtf8: false, bodyType: '8BITMIME' as const, ...more };
  return { id: 'A1', envelope, source, original: source, deliveredTo: [], account: 'ana@example.test' };
}

function queueOf(more: Partial<StoreQueueOptions> = {}): {
  queue: StoreQueue;
  added: NewMessage[];
  log: ReturnType<typeof captureLog>;
} {
  const added: NewMessage[] = [];
  const log = captureLog();
  const queue = new StoreQueue({
    store: { add: async (message) => void added.push(message) },
    transports: {
      resolve: async (address) => parseNextHop(address.startsWith('held@') ? 'hold:look first' : `smtp:${address.split('@')[1]}`),
    },
    clock: new TwoClocks(),
    logger: log.logger,
    ...more,
  });
  return { queue, added, log };
}

test('a message goes into the store with its envelope, its options and where each recipient goes', async () => {
  const { queue, added, log } = queueOf();
  await queue.enqueue(messageOf(TEXT, { ret: 'HDRS', envid: 'E1', requireTls: true }), [
    { address: 'x@one.test', notify: ['NEVER'] },
    { address: 'y@two.test', orcpt: 'rfc822;y@two.test' },
    { address: 'held@three.test' },
  ]);
  const [{ envelope, recipients, source } = assert.fail()] = added;
  assert.deepEqual(envelope, {
    id: 'A1',
    sender: 'ana@example.test',
    arrived: new TwoClocks().now(),
    smtpUtf8: false,
    bodyType: '8BITMIME',
    ret: 'HDRS',
    envid: 'E1',
    requireTls: true,
    account: 'ana@example.test',
    messageId: '<1@example.test>',
  });
  assert.deepEqual(recipients, [
    { address: 'x@one.test', destination: 'smtp:one.test', notify: ['NEVER'] },
    { address: 'y@two.test', destination: 'smtp:two.test', orcpt: 'rfc822;y@two.test' },
    { address: 'held@three.test', destination: 'hold:look first', hold: 'look first' },
  ]);
  await queue.enqueue(messageOf(TEXT, { trace: 'verify' }), [{ address: 'held@three.test' }]);
  const asked = added.pop();
  assert.equal(asked?.envelope.trace, 'verify');
  assert.deepEqual(
    asked.recipients,
    [{ address: 'held@three.test', destination: 'hold:look first' }],
    'a question does not wait',
  );
  log.events.pop();
  assert.equal(source.size, TEXT.length);
  assert.deepEqual(
    log.events.map(({ event, fields }) => [event, fields['id'], fields['recipients']]),
    [['queue.queued', 'A1', 3]],
  );
});

test('what is sent is what prepare gives; it is disposed whatever happens, the message itself is not', async () => {
  const disposed: string[] = [];
  const named = (name: string): MessageSource => ({
    ...memorySource(Buffer.from(`Subject: ${name}\r\n\r\n`)),
    dispose: async () => void disposed.push(name),
  });
  const message = { ...messageOf(), source: named('own') };
  const signed = queueOf({ prepare: async () => named('signed') });
  await signed.queue.enqueue(message, [{ address: 'x@one.test' }]);
  assert.equal(signed.added[0]?.source.size, 'Subject: signed\r\n\r\n'.length);
  assert.deepEqual(disposed, ['signed']);

  const full = { add: () => Promise.reject(new MailError('disk-full', 'DISK_FULL', 'Insufficient system storage')) };
  const failing = queueOf({ prepare: async () => named('second'), store: full });
  await assert.rejects(failing.queue.enqueue(message, [{ address: 'x@one.test' }]), { kind: 'disk-full' });
  assert.deepEqual(disposed, ['signed', 'second']);
  await queueOf({ prepare: async ({ source }) => source }).queue.enqueue(message, [{ address: 'x@one.test' }]);
  assert.deepEqual(disposed, ['signed', 'second']);
});

test('a table that cannot be read refuses the message before anything is stored', async () => {
  const { queue, added } = queueOf({
    transports: { resolve: () => Promise.reject(new MailError('temporary', 'MAP_UNREADABLE', 'Temporary lookup failure')) },
  });
  await assert.rejects(queue.enqueue(messageOf(), [{ address: 'x@one.test' }]), { kind: 'temporary' });
  assert.deepEqual(added, []);
});

test('row 24: a Message-ID is taken from the header only, in printable characters, also a byte at a time', async () => {
  const bytes = (text: string): MessageSource => ({
    ...memorySource(),
    async *chunks() {
      for (const byte of Buffer.from(text, 'latin1')) yield Buffer.from([byte]);
    },
  });
  for (const [text, id] of [
    [TEXT, '<1@example.test>'],
    ['Message-Id: <a@b>\r\n\r\n', '<a@b>'],
    ['X: y\r\n\r\nMessage-ID: <a@b>\r\n', undefined],
    ['Message-ID: \u0000<a@b>\r\n\r\n', undefined],
    ['Message-ID: <a\u0001b>\r\n\r\n', '<a'],
    ['Message-ID:\r\n\r\n', undefined],
    ['', undefined],
    [`Message-ID: <${'a'.repeat(1000)}>\r\n\r\n`, `<${'a'.repeat(299)}`],
  ] as const) {
    assert.equal(await readMessageId(bytes(text)), id, JSON.stringify(text.slice(0, 40)));
    assert.equal(await readMessageId(memorySource(Buffer.from(text, 'latin1'))), id);
  }
});
