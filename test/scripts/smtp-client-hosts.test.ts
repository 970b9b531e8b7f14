// Several hosts for one delivery, and connections that carry several messages.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { staticResolver } from '../../src/dns/resolver.ts';
import { inetPeer } from '../../src/queue/client/connect.ts';
import { open } from '../../src/queue/client/open.ts';
import type { ClientLimits } from '../../src/queue/client/options.ts';
import { DEFAULT_CLIENT_OPTIONS, testAgent, type TestAgent } from '../support/delivery.ts';
import { captureLog } from '../support/log-capture.ts';
import { eventually } from '../support/mail-host.ts';
import { SmtpSink, type SinkOptions } from '../support/smtp-sink.ts';

/** x.test has MX records mx1, mx2, …, by this order, on 127.0.0.1, 127.0.0.2, …, all on one port; `undefined`: nobody listens. */
async function hostsFor(
  t: TestContext,
  ...each: (SinkOptions | undefined)[]
): Promise<{ sinks: SmtpSink[]; hop: string; agent: TestAgent }> {
  const sinks: SmtpSink[] = [];
  let port = 0;
  for (const [i, options] of each.entries()) {
    const sink = new SmtpSink({ host: `127.0.0.${i + 1}`, port, ...options });
    sinks.push(sink);
    if (!options && i > 0) continue;
    await sink.start();
    port = sink.port;
    if (options) t.after(() => sink.stop());
  }
  if (!each[0]) await sinks[0]?.stop();
  const names = each.map((_, i) => `mx${i + 1}.x.test`);
  const resolver = staticResolver({
    'x.test': { mx: names.map((exchange, i) => ({ exchange, priority: i * 10 })) },
    ...Object.fromEntries(names.map((name, i) => [name, { a: [`127.0.0.${i + 1}`] }])),
  });
  return {
    sinks,
    hop: `smtp:x.test:${port}`,
    agent: testAgent(t, { resolver, limits: { smtp_connection_cache_time_limit: 300 } }),
  };
}
const to = ['ben@x.test'];
const counts = (sinks: readonly SmtpSink[]): number[] => sinks.map(({ messages }) => messages.length);

test('RFC 5321 5.1: the next host is tried where one cannot be reached or will not have us', async (t) => {
  const faults: readonly (SinkOptions | undefined)[] = [
    undefined,
    { connect: () => '421 4.3.2 busy' },
    { connect: () => '554 5.7.1 not you' },
    { connect: () => ({ drop: 'end' }) },
    { ehlo: () => '421 4.3.2 busy' },
    { mail: () => '421 4.3.2 busy' },
    { mail: () => '450 4.7.1 greylisted' },
    { rcpt: () => '451 4.3.0 later' },
    { data: () => '451 4.3.0 later' },
    { rcpt: () => ({ drop: 'end' }) },
  ];
  for (const [i, fault] of faults.entries()) {
    const { sinks, hop, agent } = await hostsFor(t, fault, {});
    const { outcome, site } = await agent.deliver({ hop, to });
    assert.equal(outcome.kind, 'delivered', String(i));
    assert.equal(site, 'up');
    assert.deepEqual(counts(sinks), [0, 1]);
  }
});

test('what is final, and what may have been taken already, is not tried elsewhere', async (t) => {
  for (const [fault, kind] of [
    [{ mail: () => '550 5.7.1 no' }, 'failed'],
    [{ rcpt: () => '550 5.1.1 no' }, 'failed'],
    [{ data: () => '554 5.7.1 no' }, 'failed'],
    [{ dot: () => '554 5.7.1 no' }, 'failed'],
    [{ dot: () => '451 4.3.0 later' }, 'deferred'],
    [{ dot: () => ({ drop: 'end' as const }) }, 'deferred'],
  ] as const) {
    const { sinks, hop, agent } = await hostsFor(t, fault, {});
    const { outcome } = await agent.deliver({ hop, to });
    assert.equal(outcome.kind, kind);
    assert.equal(sinks[1]?.connections, 0);
  }
});

test('recipients that one host puts off go to the next one, the others do not', async (t) => {
  const { sinks, hop, agent } = await hostsFor(
    t,
    { rcpt: (line) => (line.includes('late@') ? '450 4.2.0 later' : line.includes('bad@') ? '550 5.1.1 no' : undefined) },
    {},
  );
  const { outcomes } = await agent.deliver({ hop, to: ['ok@x.test', 'late@x.test', 'bad@x.test'] });
  assert.deepEqual(
    Object.values(outcomes).map(({ kind }) => kind),
    ['delivered', 'delivered', 'failed'],
  );
  assert.deepEqual(
    sinks.map((sink) => sink.messages.map(({ recipients }) => recipients)),
    [[['ok@x.test']], [['late@x.test']]],
  );
});

test('smtp_mx_session_limit: no more than two hosts have a say; their word counts for more than a third nobody reaches', async (t) => {
  const late: SinkOptions = { rcpt: () => '450 4.7.1 greylisted' };
  const { sinks, hop, agent } = await hostsFor(t, late, late, {});
  const { outcome } = await agent.deliver({ hop, to });
  assert.equal(outcome.kind, 'deferred');
  assert.deepEqual(
    sinks.map(({ connections }) => connections),
    [1, 1, 0],
  );
  const half = await hostsFor(t, late, undefined);
  const put = await half.agent.deliver({ hop: half.hop, to });
  assert.equal(put.outcome.status, '4.7.1');
  assert.equal(put.site, 'up');
});

test('we ourselves at the other end: a loop', async (t) => {
  const resolver = staticResolver({ 'x.test': { mx: ['client.test'] }, 'client.test': { a: ['192.0.2.1'] } });
  const { outcome } = await testAgent(t, { resolver }).deliver({ hop: 'smtp:x.test', to });
  assert.deepEqual(
    [outcome.kind, outcome.status, 'reason' in outcome && outcome.reason],
    ['failed', '5.4.6', 'mail for x.test loops back to myself'],
  );
  // Behind another name: it says who it is in its answer to EHLO.
  const sink = await new SmtpSink({ ehlo: () => '250 Client.TEST hello' }).start();
  t.after(() => sink.stop());
  const { logger } = captureLog();
  const options = { ...DEFAULT_CLIENT_OPTIONS, logger };
  const plan = { lmtp: false, policy: { level: 'may' }, destination: 'x.test', requireTls: false } as const;
  const peer = inetPeer('mx.x.test', '127.0.0.1', sink.port);
  const found = await open(peer, { ...plan, detectLoop: true }, options, new AbortController().signal);
  assert.deepEqual(found.kind === 'closed' && [found.trouble.kind, found.trouble.status], ['failed', '5.4.6']);
  const relay = await open(peer, { ...plan, detectLoop: false }, options, new AbortController().signal);
  assert.equal(relay.kind, 'open', 'a relay that is named may be a second server of this host');
});

test('a relay that an administrator named and that does not exist: mail waits', async (t) => {
  const agent = testAgent(t);
  const relay = await agent.deliver({ hop: 'smtp:relay.test', to });
  assert.deepEqual([relay.outcome.kind, relay.outcome.status], ['deferred', '4.3.5']);
  assert.ok(agent.events.some(({ event }) => event === 'queue.next-hop-unknown'));
  const domain = await agent.deliver({ hop: 'smtp:x.test', to });
  assert.deepEqual([domain.outcome.kind, domain.outcome.status], ['failed', '5.1.2']);
});

test('a connection carries several messages, one after another, and is left when nothing comes', async (t) => {
  const { sinks, hop, agent } = await hostsFor(t, {});
  const [sink] = sinks;
  assert.ok(sink);
  for (let i = 0; i < 5; i++) assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
  assert.equal(sink.connections, 1);
  assert.equal(sink.verbs.filter((verb) => verb === 'RSET').length, 0);
  await eventually(async () => sink.open === 0, 'the connection is closed');
  assert.equal(sink.verbs.at(-1), 'QUIT');
  await Promise.all([agent.deliver({ hop, to }), agent.deliver({ hop, to })]);
  assert.equal(sink.connections, 3, 'two at once need two');
});

test('a connection is clean for the next message, whatever became of the last', async (t) => {
  for (const extensions of [['PIPELINING'], []]) {
    const { sinks, hop, agent } = await hostsFor(t, {
      extensions,
      rcpt: (line) => (line.includes('bad@') ? '550 5.1.1 no' : undefined),
    });
    assert.equal((await agent.deliver({ hop, to: ['bad@x.test'] })).outcome.kind, 'failed');
    assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
    assert.equal(sinks[0]?.connections, 1);
  }
});

test("DATA that is taken for nobody ends with a dot, and no empty message is anybody's", async (t) => {
  const { sinks, hop, agent } = await hostsFor(t, {
    rcpt: (line) => (line.includes('bad@') ? '550 5.1.1 no' : undefined),
    data: () => undefined,
  });
  assert.equal((await agent.deliver({ hop, to: ['bad@x.test'] })).outcome.kind, 'failed');
  assert.deepEqual(sinks[0]?.messages[0]?.recipients, []);
  assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
  assert.equal(sinks[0]?.connections, 1);
});

test('a server that closes after N messages costs no failure', async (t) => {
  const kinds: readonly SinkOptions[] = [
    { closeAfter: 2 },
    { mail: (_, { taken }) => (taken >= 2 ? { drop: 'end' } : undefined) },
    { mail: (_, { taken }) => (taken >= 2 ? { drop: 'reset' } : undefined) },
  ];
  for (const options of kinds) {
    const { sinks, hop, agent } = await hostsFor(t, options);
    for (let i = 0; i < 7; i++) assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
    assert.equal(sinks[0]?.messages.length, 7);
    assert.equal(sinks[0]?.connections, 4);
  }
  const idle = await hostsFor(t, { dot: () => ({ reply: '250 2.0.0 Ok', drop: 'end' }) });
  for (let i = 0; i < 3; i++) assert.equal((await idle.agent.deliver({ hop: idle.hop, to })).outcome.kind, 'delivered');
});

test('smtp_connection_reuse_count_limit; close() says QUIT; what a server says unasked ends a kept connection', async (t) => {
  const { sinks, hop } = await hostsFor(t, {});
  const [sink] = sinks;
  assert.ok(sink);
  const agent = testAgent(t, {
    resolver: staticResolver({ 'x.test': { a: ['127.0.0.1'] } }),
    limits: { smtp_connection_reuse_count_limit: 2 },
  });
  for (let i = 0; i < 4; i++) await agent.deliver({ hop, to });
  assert.equal(sink.connections, 2);
  await agent.deliver({ hop, to });
  await agent.agent.close();
  await eventually(async () => sink.open === 0, 'all are closed');
  assert.equal(sink.verbs.filter((verb) => verb === 'QUIT').length, 3);
  const chatty = await hostsFor(t, { dot: () => ({ raw: '250 2.0.0 Ok\r\n250 2.0.0 and more\r\n' }) });
  await chatty.agent.deliver({ hop: chatty.hop, to });
  await sleep(50);
  assert.equal((await chatty.agent.deliver({ hop: chatty.hop, to })).outcome.kind, 'delivered');
  assert.equal(chatty.sinks[0]?.connections, 2);
});

test('connections are not shared by log-ins, bound addresses or kinds of next hop', async (t) => {
  const { sinks, hop } = await hostsFor(t, { extensions: ['AUTH PLAIN', 'PIPELINING'] });
  const agent = testAgent(t, {
    resolver: staticResolver({ 'x.test': { a: ['127.0.0.1'] } }),
    authInClear: true,
    credentials: (_, sender) => (sender === '' ? undefined : { user: sender, password: 'x' }),
    bindAddress: (domain) => (domain === 'two.test' ? '127.0.0.9' : undefined),
  });
  for (const sender of ['a@one.test', 'b@one.test', '', 'a@one.test', 'b@one.test', ''])
    assert.equal((await agent.deliver({ hop, to, envelope: { sender } })).outcome.kind, 'delivered');
  assert.equal(sinks[0]?.connections, 3);
  await agent.deliver({ hop, to, envelope: { sender: 'c@two.test' } });
  assert.equal(sinks[0]?.connections, 4);
});

test('a connection to a host is shared by the domains that it takes mail for', async (t) => {
  const { sinks, hop } = await hostsFor(t, {});
  const port = hop.split(':').at(-1);
  const resolver = staticResolver({
    'x.test': { mx: ['mx.test'] },
    'y.test': { mx: ['mx.test'] },
    'mx.test': { a: ['127.0.0.1'] },
  });
  const agent = testAgent(t, { resolver });
  await agent.deliver({ hop: `smtp:x.test:${port}`, to });
  await agent.deliver({ hop: `smtp:y.test:${port}`, to: ['c@y.test'] });
  assert.equal(sinks[0]?.connections, 1);
  assert.equal(sinks[0]?.messages.length, 2);
});

test('smtp_sasl_password_maps are asked for the host that is spoken to; a kept connection is for who is logged in there as he would be', async (t) => {
  const extensions = ['AUTH PLAIN', 'PIPELINING'];
  const { sinks, hop } = await hostsFor(t, { extensions, connect: () => '421 4.3.2 busy' }, { extensions });
  const resolver = staticResolver({
    'x.test': { mx: ['mx1.x.test', 'mx2.x.test'].map((exchange) => ({ exchange, priority: 1 })) },
    'mx1.x.test': { a: ['127.0.0.1'] },
    'mx2.x.test': { a: ['127.0.0.2'] },
  });
  const asked: string[] = [];
  let user = 'one';
  const agent = testAgent(t, {
    resolver,
    random: () => 0.5,
    authInClear: true,
    credentials: async (next, sender, host) => {
      asked.push(`${next.kind} ${sender} ${host}`);
      return host === 'mx2.x.test' ? { user, password: 'x' } : undefined;
    },
  });
  await agent.deliver({ hop, to });
  assert.deepEqual(asked, ['smtp ana@example.com mx1.x.test', 'smtp ana@example.com mx2.x.test']);
  const logIns = (): number => sinks[1]?.verbs.filter((verb) => verb === 'AUTH').length ?? 0;
  await agent.deliver({ hop, to });
  assert.deepEqual([logIns(), sinks[1]?.connections, sinks[1]?.messages.length], [1, 1, 2]);
  user = 'two';
  await agent.deliver({ hop, to });
  assert.deepEqual([logIns(), sinks[1]?.connections, sinks[1]?.messages.length], [2, 2, 3]);
});

test('limits that a reload changes count for what comes, and for connections that are kept', async (t) => {
  const { sinks, hop } = await hostsFor(t, {});
  let limits: Partial<ClientLimits> = { smtp_connection_cache_time_limit: 60_000 };
  const resolver = staticResolver({ 'x.test': { a: ['127.0.0.1'] } });
  const agent = testAgent(t, { resolver, limits: () => limits });
  const connections = async (): Promise<number> => {
    assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
    return sinks[0]?.connections ?? 0;
  };
  assert.deepEqual([await connections(), await connections(), await connections()], [1, 1, 1]);
  limits = { smtp_connection_reuse_count_limit: 1 };
  assert.deepEqual([await connections(), await connections()], [2, 3]);
  limits = { smtp_connection_cache_time_limit: 60_000 };
  assert.deepEqual([await connections(), await connections()], [4, 4]);
  limits = { smtp_connection_cache_time_limit: 0 };
  assert.deepEqual([await connections(), await connections()], [5, 6]);
  limits = { connection_cache_size: 0 };
  assert.deepEqual([await connections(), await connections()], [7, 8]);
});

test('an address at which nobody answered stands behind the others until minimal_backoff_time is over; it is tried all the same', async (t) => {
  const { sinks, hop } = await hostsFor(t, undefined, {});
  const resolver = staticResolver({ 'x.test': { a: ['127.0.0.1', '127.0.0.2'] } });
  let skew = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + skew };
  const limits = { smtp_connection_cache_time_limit: 0 };
  const agent = testAgent(t, { resolver, clock, limits, random: () => 0.5 });
  const dials = (): number => agent.events.filter(({ event }) => event === 'queue.host-failed').length;
  const go = async (): Promise<[number, string]> => {
    const { outcome } = await agent.deliver({ hop, to });
    return [dials(), outcome.kind];
  };
  assert.deepEqual(await go(), [1, 'delivered']);
  assert.deepEqual(await go(), [1, 'delivered'], 'the dead one is behind the other');
  skew = -60_000;
  assert.deepEqual(await go(), [2, 'delivered'], 'the clock was set back: nothing is known of its age');
  skew = 0;
  assert.deepEqual(await go(), [2, 'delivered']);
  skew = 240_001;
  assert.deepEqual(await go(), [3, 'delivered'], 'its time is over');
  assert.deepEqual(await go(), [3, 'delivered']);
  await sinks[1]?.stop();
  assert.deepEqual(await go(), [5, 'deferred'], 'both are tried');
  const second = await new SmtpSink({ host: '127.0.0.2', port: Number(hop.split(':').at(-1)) }).start();
  t.after(() => second.stop());
  assert.deepEqual(await go(), [6, 'delivered'], 'of two dead ones the order is the usual one');
  assert.deepEqual(await go(), [6, 'delivered'], 'the one that answered is dead no more');
});

test('a host that takes the connection and says nothing counts as dead too, one that answers does not', async (t) => {
  for (const [connect, dead] of [
    [() => ({ hang: true }), true],
    [() => ({ drop: 'end' as const }), true],
    [() => '421 4.3.2 busy', false],
  ] as const) {
    const { sinks, hop } = await hostsFor(t, { connect }, {});
    const resolver = staticResolver({ 'x.test': { a: ['127.0.0.1', '127.0.0.2'] } });
    const limits = { smtp_connection_cache_time_limit: 0, smtp_helo_timeout: 100 };
    const agent = testAgent(t, { resolver, limits, random: () => 0.5 });
    for (let i = 0; i < 3; i++) assert.equal((await agent.deliver({ hop, to })).outcome.kind, 'delivered');
    assert.equal(sinks[0]?.connections, dead ? 1 : 3);
  }
});

test('a list of next hops: each in its order, where the one before cannot be reached, puts off, or does not exist', async (t) => {
  const late: SinkOptions = { rcpt: (line) => (line.includes('late@') ? '450 4.2.0 later' : undefined) };
  const { sinks, hop } = await hostsFor(t, late, undefined, {});
  const port = hop.split(':').at(-1);
  const at = (n: number): string => `[127.0.0.${n}]:${port}`;
  const agent = testAgent(t, { limits: { smtp_mx_session_limit: 1, smtp_connection_cache_time_limit: 0 } });
  const list = `smtp:${at(2)}, [nowhere.test], ${at(1)}, ${at(3)}`;
  const { outcomes, site } = await agent.deliver({ hop: list, to: ['ok@x.test', 'late@x.test'] });
  assert.deepEqual(
    Object.values(outcomes).map((outcome) => outcome.kind === 'delivered' && outcome.relay),
    [1, 3].map((n) => `127.0.0.${n}[127.0.0.${n}]:${port}`),
    'smtp_mx_session_limit counts for each next hop',
  );
  assert.equal(site, 'up');
  await agent.deliver({ hop: `smtp:${at(3)}, ${at(1)}`, to });
  assert.deepEqual(counts(sinks), [1, 0, 2], 'the second is not asked when the first takes it');
  const none = await agent.deliver({ hop: `smtp:${at(2)}, [nowhere.test]`, to });
  assert.deepEqual([none.outcome.kind, none.outcome.status, none.site], ['deferred', '4.3.5', 'down']);
  // What is final at one is final.
  const no = await hostsFor(t, { rcpt: () => '550 5.1.1 no' }, {});
  const two = `smtp:${no.hop.slice(5).replace('x.test', '[127.0.0.1]')}, ${no.hop.slice(5).replace('x.test', '[127.0.0.2]')}`;
  assert.equal((await agent.deliver({ hop: two, to })).outcome.kind, 'failed');
  assert.equal(no.sinks[1]?.connections, 0);
});

test('a list ends where mail would come back to ourselves, as with smtp(8)', async (t) => {
  const sink = await new SmtpSink({ host: '127.0.0.3' }).start();
  t.after(() => sink.stop());
  const resolver = staticResolver({
    'loop.test': { mx: ['client.test'] },
    'second.test': {
      mx: [
        { exchange: 'first.test', priority: 1 },
        { exchange: 'client.test', priority: 2 },
      ],
    },
    'first.test': { a: ['127.0.0.4'] },
    'client.test': { a: ['192.0.2.1'] },
  });
  const agent = testAgent(t, { resolver });
  const looping = await agent.deliver({ hop: `smtp:loop.test, [127.0.0.3]:${sink.port}`, to });
  assert.deepEqual([looping.outcome.kind, looping.outcome.status], ['failed', '5.4.6']);
  const backup = await agent.deliver({ hop: `smtp:second.test, [127.0.0.3]:${sink.port}`, to });
  assert.equal(backup.outcome.kind, 'deferred');
  assert.equal(sink.connections, 0);
});

test('a connection is kept for a list by its first next hop only', async (t) => {
  const { sinks, hop } = await hostsFor(t, {}, {});
  const port = hop.split(':').at(-1);
  const agent = testAgent(t);
  const list = `smtp:[127.0.0.1]:${port}, [127.0.0.2]:${port}`;
  for (let i = 0; i < 3; i++) await agent.deliver({ hop: list, to });
  assert.deepEqual(
    sinks.map(({ connections }) => connections),
    [1, 0],
  );
  await sinks[0]?.stop();
  await eventually(async () => sinks[0]?.open === 0, 'the first is gone');
  for (let i = 0; i < 3; i++) assert.equal((await agent.deliver({ hop: list, to })).outcome.kind, 'delivered');
  assert.deepEqual(
    sinks.map(({ connections, messages }) => [connections, messages.length]),
    [
      [1, 3],
      [1, 3],
    ],
  );
  const back = await new SmtpSink({ port: Number(port) }).start();
  t.after(() => back.stop());
  await agent.deliver({ hop: list, to });
  assert.equal(back.messages.length, 1, 'the first is there again');
});
