// What goes into the queue of a message: as it is, forwarded by aliases, and copies that the settings want.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { withCopies, type CopyOptions } from '../../src/delivery/copies.ts';
import { Intents } from '../../src/delivery/intents.ts';
import { LocalDelivery } from '../../src/delivery/local-delivery.ts';
import type { DsnRecipient, EnvelopeRecipient, ReceivedMessage, Route } from '../../src/delivery/types.ts';
import { MailError } from '../../src/lib/errors.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import { captureLog } from '../support/log-capture.ts';
import { makeRouter, table } from '../support/routing.ts';
import { sourceOf } from '../support/store.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface Queued {
  readonly message: ReceivedMessage;
  readonly text: string;
  readonly recipients: readonly (DsnRecipient & { readonly address: string })[];
}

async function house(t: TestContext) {
  const folder = await tempFolder(t);
  const { logger, events } = captureLog();
  const store = new MailStore({ logger, hostname: 'mx' });
  t.after(() => store.close());
  const queued: Queued[] = [];
  const faults: { enqueue?: (to: string[]) => void } = {};
  const delivery = new LocalDelivery({
    directory: { find: async (address) => ({ address, home: folder, maildir: join(folder, address), quota: {} }) },
    storeOf: (location) => store.account(location),
    queue: {
      available: true,
      enqueue: async (message, recipients) => {
        faults.enqueue?.(recipients.map(({ address }) => address));
        const chunks = [];
        for await (const chunk of message.source.chunks()) chunks.push(chunk);
        queued.push({ message, recipients, text: Buffer.concat(chunks).toString() });
      },
    },
    intents: new Intents(join(folder, 'data'), Date.now, logger),
    forwardSender: async (sender) => `srs+${sender.replace('@', '=')}@us.test`,
    logger,
    now: Date.now,
  });
  return { delivery, queued, faults, events, logger };
}
const to = (address: string, ...targets: (Route & { kind: 'deliver' })['targets']): EnvelopeRecipient => ({
  address,
  route: { kind: 'deliver', targets },
});
const forward = (via: string, address: string): EnvelopeRecipient =>
  to(via, { kind: 'remote', address, via: via.toLowerCase(), outside: true });

function message(
  recipients: readonly EnvelopeRecipient[],
  change: Partial<ReceivedMessage> & { sender?: string } = {},
): ReceivedMessage {
  const { sender = 'eva@far.test', ...rest } = change;
  return {
    id: 'ABC',
    envelope: { sender, recipients, smtpUtf8: false, bodyType: '7BIT' },
    source: sourceOf('Received: by mx\r\nSubject: x\r\n\r\nbody\r\n'),
    original: sourceOf('Subject: x\r\n\r\nbody\r\n'),
    deliveredTo: [],
    ...rest,
  };
}

test('what is written to an address outside goes as it is; what an alias sends there has its Delivered-To, id and sender', async (t) => {
  const { delivery, queued, events } = await house(t);
  await delivery.accept(
    message([
      forward('List@us.test', 'a@out.test'),
      { address: 'B@out.test', route: { kind: 'relay' }, notify: ['FAILURE'], orcpt: 'rfc822;b@x' },
      forward('List@us.test', 'c@out.test'),
      to('in@us.test', { kind: 'remote', address: 'in@inner.test', via: 'in@us.test' }),
    ]),
  );
  assert.deepEqual(
    queued.map(({ message: { id, envelope }, recipients }) => [id === 'ABC', envelope.sender, recipients]),
    [
      [true, 'eva@far.test', [{ address: 'B@out.test', notify: ['FAILURE'], orcpt: 'rfc822;b@x' }]],
      [
        false,
        'srs+eva=far.test@us.test',
        [
          { address: 'a@out.test', orcpt: 'rfc822;list@us.test' },
          { address: 'c@out.test', orcpt: 'rfc822;list@us.test' },
        ],
      ],
      [false, 'eva@far.test', [{ address: 'in@inner.test', orcpt: 'rfc822;in@us.test' }]],
    ],
  );
  assert.match(queued[0]?.text ?? '', /^Received: by mx\r\n/);
  assert.match(queued[1]?.text ?? '', /^Delivered-To: list@us\.test\r\nReceived: by mx\r\n/);
  assert.equal(events.filter(({ event }) => event === 'delivery.forwarded').length, 2);
});

test('XVERP: a message of its own for each recipient outside, whose sender names it; a repeat brings the missing ones only', async (t) => {
  const { delivery, queued, faults, events } = await house(t);
  const recipients = [
    { address: 'b@out.test', route: { kind: 'relay' } } as const,
    { address: 'c@out.test', route: { kind: 'relay' } } as const,
    forward('list@us.test', 'a@out.test'),
  ];
  const sent = (verp: string, sender = 'owner@us.test') => {
    const one = message(recipients, { sender });
    return { ...one, envelope: { ...one.envelope, verp } };
  };
  let broken = true;
  faults.enqueue = ([address]) => {
    if (address === 'c@out.test' && broken) throw new MailError('temporary', 'X', 'no');
  };
  await assert.rejects(delivery.accept(sent('')));
  broken = false;
  await delivery.accept(sent(''));
  assert.deepEqual(
    queued.map((one) => [one.recipients.map(({ address }) => address).join(), one.message.envelope.sender]),
    [
      ['b@out.test', 'owner+b=out.test@us.test'],
      ['c@out.test', 'owner+c=out.test@us.test'],
      ['a@out.test', 'srs+owner+a=out.test=us.test@us.test'],
    ],
  );
  assert.equal(new Set(queued.map((one) => one.message.id)).size, 3);
  assert.ok(queued.every((one) => one.message.envelope.verp === undefined));
  assert.equal(events.filter(({ event }) => event === 'delivery.verp').length, 2);
  queued.length = 0;
  await delivery.accept(sent('-=', ''));
  assert.equal(queued[0]?.recipients.length, 2, 'nothing to make of the null sender');
});

test('the null sender stays the null sender', async (t) => {
  const { delivery, queued } = await house(t);
  await delivery.accept(message([forward('list@us.test', 'a@out.test')], { sender: '' }));
  assert.equal(queued[0]?.message.envelope.sender, '');
});

test('row 28: our own Delivered-To ends a forward in a circle: 554 5.4.6, nothing queued', async (t) => {
  const { delivery, queued } = await house(t);
  const round = message([forward('List@us.test', 'a@out.test')], { deliveredTo: ['list@us.test'] });
  await assert.rejects(delivery.accept(round), { kind: 'mail-loop', code: 'MAIL_LOOP' });
  await delivery.accept(message([forward('other@us.test', 'a@out.test')], { deliveredTo: ['list@us.test'] }));
  assert.equal(queued.length, 1);
});

test('a part that the queue does not take: the repeat brings that one only', async (t) => {
  const { delivery, queued, faults } = await house(t);
  const recipients = [
    { address: 'b@out.test', route: { kind: 'relay' } } as const,
    forward('list@us.test', 'a@out.test'),
    to('ana@us.test', { kind: 'mailbox', address: 'ana@us.test', recipient: 'ana@us.test' }),
  ];
  faults.enqueue = (addresses) => {
    if (addresses.includes('a@out.test')) throw new MailError('temporary', 'QUEUE_BUSY', 'later');
  };
  await assert.rejects(delivery.accept(message(recipients)), { code: 'QUEUE_BUSY' });
  delete faults.enqueue;
  await delivery.accept(message(recipients));
  assert.deepEqual(
    queued.flatMap((one) => one.recipients.map(({ address }) => address)),
    ['b@out.test', 'a@out.test'],
  );
  // Once all is accepted nothing of it is remembered.
  await delivery.accept(message(recipients));
  assert.equal(queued.length, 4);
});

function copying(options: Partial<CopyOptions>, full: readonly string[] = []) {
  const { logger, events } = captureLog();
  const { router } = makeRouter({
    mailboxes: { 'archive@example.test': 'a/', 'ana@example.test': 'b/' },
    virtual: { 'watch@alias.test': 'ana@example.test, spy@far.test' },
  });
  const accepted: ReceivedMessage[] = [];
  const accept = withCopies(async (one) => void accepted.push(one), {
    router,
    classOf: async (domain) => (domain === 'mail.example.test' ? 'local' : 'mailbox'),
    checkMailbox: async (address) => {
      if (full.includes(address)) throw new MailError('over-quota', 'OVER_QUOTA', 'full');
    },
    senderBccMaps: [],
    recipientBccMaps: [],
    recipientDelimiter: '+',
    logger,
    ...options,
  });
  /** Addresses of the envelope that `accept` got. */
  const send = async (one: ReceivedMessage): Promise<EnvelopeRecipient[]> => {
    await accept(one);
    return [...(accepted.pop()?.envelope.recipients ?? [])];
  };
  return { send, events };
}
const ANA = to('ana@example.test', { kind: 'mailbox', address: 'ana@example.test', recipient: 'ana@example.test' });
const names = (recipients: readonly EnvelopeRecipient[]): string[] => recipients.map(({ address }) => address);

test('always_bcc, sender_bcc_maps, recipient_bcc_maps: each copy once, and nobody hears of its failure', async () => {
  const { send } = copying({
    alwaysBcc: 'archive@example.test',
    senderBccMaps: [table({ '@far.test': 'out@remote.test' })],
    recipientBccMaps: [table({ 'ana@example.test': 'Archive@example.test', root: 'ana@example.test' })],
  });
  const copies = await send(message([ANA]));
  assert.deepEqual(names(copies), ['ana@example.test', 'out@remote.test', 'Archive@example.test']);
  assert.deepEqual(copies[0], ANA);
  assert.deepEqual(copies[1], {
    address: 'out@remote.test',
    notify: ['NEVER'],
    route: { kind: 'deliver', targets: [{ via: 'out@remote.test', kind: 'remote', address: 'out@remote.test', outside: true }] },
  });
  assert.deepEqual(names(await send(message([ANA], { sender: '' }))), ['ana@example.test', 'Archive@example.test']);
  assert.deepEqual(names(await send(message([to('root@mail.example.test')], { sender: 'x@y.test' }))), [
    'root@mail.example.test',
    'ana@example.test',
    'archive@example.test',
  ]);
});

test('a copy that has been where it goes is not sent again; one that cannot be delivered holds nothing up', async () => {
  const out = copying({ alwaysBcc: 'out@remote.test' });
  assert.deepEqual(names(await out.send(message([ANA], { deliveredTo: ['out@remote.test'] }))), ['ana@example.test']);
  const watch = copying({ alwaysBcc: 'watch@alias.test' });
  assert.deepEqual(names(await watch.send(message([ANA], { deliveredTo: ['ana@example.test'] }))), ['ana@example.test']);
  const unknown = copying({ alwaysBcc: 'nobody@example.test' });
  assert.deepEqual(names(await unknown.send(message([ANA]))), ['ana@example.test']);
  assert.deepEqual(
    unknown.events.map(({ level, event }) => [level, event]),
    [['error', 'bcc.undeliverable']],
  );
  const full = copying({ alwaysBcc: 'archive@example.test' }, ['archive@example.test']);
  assert.deepEqual(names(await full.send(message([ANA]))), ['ana@example.test']);
  assert.equal(full.events.length, 1);
});
