// What a test can wait for, and what it is told when that does not come.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMail } from '../../src/message/decode.ts';
import { checkFilter, describeFilter, describeMessage, matches } from '../../src/testing/filter.ts';
import { Inbox, WaitTimeoutError } from '../../src/testing/inbox.ts';
import type { MessageFilter, TestMessage } from '../../src/testing/types.ts';

async function messageOf(
  text: string,
  from = 'bounce@shop.test',
  to: readonly string[] = ['ana@example.test'],
): Promise<TestMessage> {
  const raw = Buffer.from(text.replaceAll('\n', '\r\n'));
  return {
    id: 'A1',
    receivedAt: new Date('2030-02-03T04:05:06.789Z'),
    envelope: {
      from,
      to,
      recipients: to.map((address) => ({ address, mailboxes: [address], outside: [] })),
      user: undefined,
      smtpUtf8: false,
      bodyType: '8BITMIME',
    },
    raw,
    original: raw,
    parsed: await parseMail(raw),
  };
}

const welcome = await messageOf(
  'From: Shop <news@shop.test>\nTo: Ana <ana@example.test>\nCc: leo@example.test\nSubject: =?utf-8?q?Bienvenida_a=C3=B1o?=\n\nYour code is 1234.\n',
);

const fits = (filter: MessageFilter): boolean => matches(welcome, filter);

test('filters: addresses are compared whole and in any case, in the envelope and in the header', () => {
  assert.ok(fits({ to: 'ANA@example.test' }));
  assert.ok(fits({ to: 'leo@example.test' }));
  assert.ok(!fits({ to: 'na@example.test' }));
  assert.ok(fits({ to: /^leo@/ }));
  assert.ok(fits({ from: 'bounce@shop.test' }));
  assert.ok(fits({ from: 'news@SHOP.test' }));
  assert.ok(!fits({ from: 'shop.test' }));
});

test('filters: a subject is decoded and compared whole, a text is looked for, a pattern is searched for', () => {
  assert.ok(fits({ subject: 'Bienvenida año' }));
  assert.ok(!fits({ subject: 'Bienvenida' }));
  assert.ok(fits({ subject: /venida/ }));
  assert.ok(fits({ text: 'code is' }));
  assert.ok(!fits({ text: 'Code is' }));
  assert.ok(fits({ text: /\b\d{4}\b/ }));
});

test('filters: all fields must fit, one that is undefined does not count, a function decides alone', () => {
  assert.ok(fits({ to: 'ana@example.test', subject: /año$/ }));
  assert.ok(!fits({ to: 'ana@example.test', subject: /^año/ }));
  assert.ok(fits({ to: undefined }));
  assert.ok(fits({}));
  assert.ok(fits((m) => m.envelope.to.length === 1));
  assert.ok(!fits({ user: 'ana@example.test' }));
  assert.ok(matches({ ...welcome, envelope: { ...welcome.envelope, user: 'ana@example.test' } }, { user: /^ana/ }));
});

test('filters: a pattern with the flag g fits each time it is asked', () => {
  const filter = { subject: /año/g };
  assert.deepEqual([fits(filter), fits(filter), fits(filter)], [true, true, true]);
});

test('filters: the text of a message without text is its HTML', async () => {
  const html = await messageOf('Content-Type: text/html\n\n<p>Hola</p>\n');
  assert.ok(matches(html, { text: 'Hola' }));
});

test('filters: a field that does not exist is an error and not a filter that fits everything', () => {
  assert.throws(() => checkFilter({ subjet: 'x' } as MessageFilter), {
    name: 'TypeError',
    message: 'waitForMessage: there is no field subjet to filter by; known are from, to, subject, text, user',
  });
});

test('filters and messages are described in one line', () => {
  assert.equal(describeFilter({ to: 'a@b.test', subject: /hi/i }), 'to "a@b.test", subject /hi/i');
  assert.equal(describeFilter({}), 'any message');
  assert.equal(
    describeFilter((m) => m.id === 'x'),
    "(m) => m.id === 'x'",
  );
  assert.equal(describeMessage(welcome), '04:05:06.789 from <bounce@shop.test> to <ana@example.test>, subject "Bienvenida año"');
});

test('waiting: what is there counts, what comes later counts, and each who waits gets it', async () => {
  const inbox = new Inbox();
  const both = Promise.all([inbox.wait({ subject: /año/ }, 5_000), inbox.wait({}, 5_000)]);
  inbox.add(welcome);
  assert.deepEqual(await both, [welcome, welcome]);
  assert.equal(await inbox.wait({ to: 'ana@example.test' }, 0), welcome);
});

test('waiting in vain tells what arrived and what was refused', async () => {
  const inbox = new Inbox();
  inbox.add(welcome);
  inbox.refused('RCPT from <a@b.test> to <nobody@example.test>: 550 5.1.1 User unknown');
  await assert.rejects(inbox.wait({ to: 'leonor@example.test' }, 20), (error) => {
    assert.ok(error instanceof WaitTimeoutError);
    assert.equal(
      error.message,
      [
        'waited 20 ms in vain for a message: to "leonor@example.test"',
        '1 message arrived:',
        '  1. 04:05:06.789 from <bounce@shop.test> to <ana@example.test>, subject "Bienvenida año"',
        'the server refused:',
        '  1. RCPT from <a@b.test> to <nobody@example.test>: 550 5.1.1 User unknown',
      ].join('\n'),
    );
    assert.deepEqual([error.code, error.messages], ['WAIT_TIMEOUT', [welcome]]);
    // The place in the test, and not the timer.
    assert.match(error.stack ?? '', /testing-filter\.test\.ts/);
    return true;
  });
});

test('waiting in vain lists the last twenty of many', async () => {
  const inbox = new Inbox();
  for (let i = 0; i < 25; i++) inbox.add(welcome);
  await assert.rejects(inbox.wait({ subject: 'no' }, 0), (error: Error) => {
    const lines = error.message.split('\n');
    assert.deepEqual(lines.slice(1, 4).concat(lines.at(-1) ?? ''), [
      '25 messages arrived:',
      '  (5 before these)',
      `  6. ${describeMessage(welcome)}`,
      `  25. ${describeMessage(welcome)}`,
    ]);
    return true;
  });
  await assert.rejects(new Inbox().wait({}, 0), {
    message: 'waited 0 ms in vain for a message: any message\nno message arrived',
  });
});

test('waiting: what a filter throws reaches the one who waits, and nobody else', async () => {
  const inbox = new Inbox();
  const wrong = inbox.wait(() => {
    throw new Error('mine');
  }, 5_000);
  const right = inbox.wait({}, 5_000);
  inbox.add(welcome);
  await assert.rejects(wrong, { message: 'mine' });
  assert.equal(await right, welcome);
});

test('waiting ends when the server stops; a time-out that no timer can have is refused', async () => {
  const inbox = new Inbox();
  const waiting = inbox.wait({}, 60_000);
  inbox.close();
  await assert.rejects(waiting, { message: 'the test server was stopped while a test waited for a message' });
  await assert.rejects(inbox.wait({}, 1_000), { message: 'the test server was stopped' });
  for (const timeout of [-1, 2 ** 31, NaN]) await assert.rejects(inbox.wait({}, timeout), RangeError);
});
