// What a message needs of a server: SIZE, 8BITMIME, SMTPUTF8, DSN.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { memorySource } from '../../src/message/source.ts';
import type { Outcome } from '../../src/queue/types.ts';
import { MESSAGE, testAgent } from '../support/delivery.ts';
import { SmtpSink } from '../support/smtp-sink.ts';

async function sinkFor(t: TestContext, extensions?: readonly string[]): Promise<{ sink: SmtpSink; hop: string }> {
  const sink = await new SmtpSink(extensions ? { extensions } : {}).start();
  t.after(() => sink.stop());
  return { sink, hop: `smtp:[127.0.0.1]:${sink.port}` };
}
const statusOf = (outcome: Outcome | undefined): string => `${outcome?.kind} ${outcome?.status}`;
const EIGHT_BIT = `${MESSAGE}Grüße\r\n`;

test('RFC 1870: a message over the limit is not begun; a limit of 0, or none, is none', async (t) => {
  const small = await sinkFor(t, ['SIZE 20']);
  const { outcome, site } = await testAgent(t).deliver({ hop: small.hop });
  assert.deepEqual(outcome, {
    kind: 'failed',
    status: '5.3.4',
    reason: `message size ${MESSAGE.length} exceeds size limit 20 of server 127.0.0.1[127.0.0.1]`,
    relay: `127.0.0.1[127.0.0.1]:${small.sink.port}`,
    remote: '127.0.0.1',
  });
  assert.equal(site, 'up');
  assert.ok(!small.sink.verbs.includes('MAIL'));
  for (const size of ['SIZE', 'SIZE 0', 'SIZE 99999999999999999999', 'SIZE x']) {
    const { sink, hop } = await sinkFor(t, [size]);
    assert.equal(statusOf((await testAgent(t).deliver({ hop })).outcome), 'delivered 2.0.0', size);
    assert.match(sink.messages[0]?.mail ?? '', / SIZE=\d+$/);
  }
});

test('RFC 6152: announced where it is offered; else made 7-bit, or returned; 7-bit mail goes as it is', async (t) => {
  const envelope = { bodyType: '8BITMIME' } as const;
  const offered = await sinkFor(t, ['8BITMIME']);
  await testAgent(t).deliver({ hop: offered.hop, envelope, message: EIGHT_BIT });
  assert.equal(offered.sink.messages[0]?.mail, 'MAIL FROM:<ana@example.com> BODY=8BITMIME');
  assert.equal(offered.sink.messages[0]?.data, EIGHT_BIT);
  const lacking = await sinkFor(t, []);
  assert.equal(
    statusOf((await testAgent(t).deliver({ hop: lacking.hop, envelope, message: EIGHT_BIT })).outcome),
    'failed 5.6.3',
  );
  assert.equal(lacking.sink.messages.length, 0);
  let disposed = 0;
  const downgrade = async () => ({
    ...memorySource(Buffer.from('Subject: seven\r\n\r\nGr=C3=BC=C3=9Fe\r\n')),
    dispose: async () => void disposed++,
  });
  assert.equal(
    statusOf((await testAgent(t, { downgrade }).deliver({ hop: lacking.hop, envelope, message: EIGHT_BIT })).outcome),
    'delivered 2.0.0',
  );
  assert.equal(lacking.sink.messages[0]?.data, 'Subject: seven\r\n\r\nGr=C3=BC=C3=9Fe\r\n');
  assert.equal(lacking.sink.messages[0]?.mail, 'MAIL FROM:<ana@example.com>');
  assert.equal(disposed, 1);
  assert.equal(
    statusOf((await testAgent(t).deliver({ hop: lacking.hop, envelope })).outcome),
    'delivered 2.0.0',
    'only said to be 8-bit',
  );
});

test('RFC 6531: UTF-8 only to who takes it; a domain alone is said in ASCII', async (t) => {
  const envelope = { smtpUtf8: true, bodyType: '8BITMIME' } as const;
  const offered = await sinkFor(t);
  await testAgent(t).deliver({ hop: offered.hop, envelope, to: ['jürgen@bücher.test'], message: EIGHT_BIT });
  assert.match(offered.sink.messages[0]?.mail ?? '', / BODY=8BITMIME SMTPUTF8$/);
  assert.equal(Buffer.from(offered.sink.messages[0]?.recipients[0] ?? '', 'latin1').toString(), 'jürgen@bücher.test');
  const lacking = await sinkFor(t, ['8BITMIME']);
  const agent = testAgent(t);
  const { outcomes } = await agent.deliver({
    hop: lacking.hop,
    envelope,
    to: ['jürgen@x.test', 'ben@bücher.test', 'ben@x.test'],
  });
  assert.deepEqual(Object.values(outcomes).map(statusOf), ['failed 5.6.7', 'delivered 2.0.0', 'delivered 2.0.0']);
  assert.deepEqual(lacking.sink.messages[0]?.recipients, ['ben@xn--bcher-kva.test', 'ben@x.test']);
  assert.doesNotMatch(lacking.sink.messages[0]?.mail ?? '', /SMTPUTF8/);
  const header = { hop: lacking.hop, envelope, message: 'Subject: Grüße\r\n\r\nx\r\n' };
  assert.equal(statusOf((await agent.deliver(header)).outcome), 'failed 5.6.7');
  const sender = { hop: lacking.hop, envelope: { ...envelope, sender: 'jürgen@x.test' } };
  assert.equal(statusOf((await agent.deliver(sender)).outcome), 'failed 5.6.7');
  assert.equal(
    statusOf((await agent.deliver({ hop: lacking.hop, envelope, message: EIGHT_BIT })).outcome),
    'delivered 2.0.0',
    'UTF-8 in the body only',
  );
});

test('RFC 3461: options are passed on, each recipient its own, where DSN is offered', async (t) => {
  const envelope = { ret: 'HDRS', envid: 'QQ+2B1' } as const;
  const to = [
    { address: 'a@x.test', notify: ['SUCCESS', 'FAILURE'] as const, orcpt: 'rfc822;a+2Bb@y.test' },
    { address: 'b@x.test', notify: ['NEVER'] as const },
    { address: 'c@x.test', orcpt: 'rfc822;evil\r\nRSET' },
  ];
  const offered = await sinkFor(t, ['DSN', 'PIPELINING']);
  const { outcomes } = await testAgent(t).deliver({ hop: offered.hop, envelope, to });
  assert.deepEqual(offered.sink.commands.slice(1, 5), [
    '1: MAIL FROM:<ana@example.com> RET=HDRS ENVID=QQ+2B1',
    '1: RCPT TO:<a@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@y.test',
    '1: RCPT TO:<b@x.test> NOTIFY=NEVER',
    '1: RCPT TO:<c@x.test>',
  ]);
  assert.ok(Object.values(outcomes).every((outcome) => outcome.kind === 'delivered' && outcome.dsnPassedOn));
  const lacking = await sinkFor(t, []);
  const { outcome } = await testAgent(t).deliver({ hop: lacking.hop, envelope, to: to.slice(0, 1) });
  assert.equal(outcome.kind === 'delivered' && outcome.dsnPassedOn, false);
  assert.deepEqual(lacking.sink.commands.slice(1, 3), ['1: MAIL FROM:<ana@example.com>', '1: RCPT TO:<a@x.test>']);
});

test('the empty sender', async (t) => {
  const { sink, hop } = await sinkFor(t, []);
  await testAgent(t).deliver({ hop, envelope: { sender: '' } });
  assert.equal(sink.messages[0]?.mail, 'MAIL FROM:<>');
});
