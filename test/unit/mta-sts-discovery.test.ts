// Finding other domains' MTA-STS policies: fetched strictly, kept while they count, renewed when the record says so.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { PolicyCache } from '../../src/policy/mta-sts/cache.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { pairFor, PolicyHost, policyText } from '../support/policy-host.ts';
import { tempFolder } from '../support/temp-folder.ts';

const { signal } = new AbortController();
const MINUTES_6 = 360_000;
const DAY = 86_400_000;

test('a policy is fetched once, kept over a restart, and renewed when the id changes', async (t) => {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  host.answer = policyText('enforce', ['mx.x.test']);
  const first = host.discovery();
  const both = await Promise.all([first.find('x.test', signal), first.find('x.test', signal)]);
  for (const policy of both) assert.deepEqual([policy?.mode, policy?.mx], ['enforce', ['mx.x.test']]);
  assert.deepEqual(host.asked, ['mta-sts.x.test /.well-known/mta-sts.txt']);
  assert.equal(host.questions, 1, 'and no question again for five minutes');
  assert.equal(await first.find('other.test', signal), undefined, 'a domain without a record');

  const second = host.discovery();
  assert.equal((await second.find('x.test', signal))?.mode, 'enforce');
  assert.equal(host.asked.length, 1, 'the record says the same: what is on the disk counts');
  host.answer = policyText('testing', ['mx2.x.test']);
  host.say('two');
  assert.equal((await second.find('x.test', signal))?.mode, 'enforce', 'asked a moment ago');
  host.later(MINUTES_6);
  assert.deepEqual((await second.find('x.test', signal))?.mx, ['mx2.x.test']);
  assert.equal(host.asked.length, 2);
});

test('row 39: MTA-STS with redirect, over 64 KB, wrong type, private address, bad certificate, silence: ignored, and the old policy stays', async (t) => {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  const good = policyText('enforce', ['mx.x.test']);
  const other = await pairFor('other.test');
  const wrong = await PolicyHost.start(t, join(folder, 'wrong'), 'x.test');
  wrong.answer = good;
  const at = (port: number | undefined) => ({ ...(port === undefined ? {} : { port }) });
  const cases: readonly (readonly [Parameters<PolicyHost['discovery']>[0], PolicyHost['answer'], RegExp])[] = [
    [{}, (_, r) => void r.writeHead(301, { location: 'https://mta-sts.x.test/elsewhere' }).end(good), /is 301, not 200/],
    [{}, (_, r) => void r.writeHead(404, { 'content-type': 'text/plain' }).end(good), /is 404, not 200/],
    [{}, (_, r) => void r.writeHead(200, { 'content-type': 'text/html' }).end(good), /not text\/plain/],
    [{}, `${good}x: ${'y'.repeat(70_000)}`, /over 65536 bytes/],
    [
      {},
      (_, r) => {
        r.writeHead(200, { 'content-type': 'text/plain', 'transfer-encoding': 'chunked' });
        const more = (): void => void (r.destroyed || (r.write('z'.repeat(10_000)), setTimeout(more, 1)));
        more();
      },
      /over 65536 bytes/,
    ],
    [{}, (_, r) => void r.writeHead(200, { 'x-big': 'h'.repeat(20_000) }).end(good), /Header overflow|overflow/i],
    [{ timeout: 200 }, () => undefined, /takes too long/],
    [{ timeout: 200 }, (_, r) => void r.writeHead(200, { 'content-type': 'text/plain' }).write(good), /takes too long/],
    [{ allowPrivate: false }, good, /no public address \(127\.0\.0\.1\)/],
    [{ roots: async () => other.cert }, good, /self-signed/],
    [{ ...at(wrong.options.port), roots: async () => (await pairFor('x.test')).cert }, good, /altnames|not in the cert/i],
    [{}, 'version: STSv1 mode: enforce mx: mx.x.test max_age: 86400', /no version: STSv1/],
    [{ port: 1 }, good, /ECONNREFUSED/],
  ];
  for (const [options, answer, expected] of cases) {
    host.answer = answer;
    host.events.length = 0;
    assert.equal(await host.discovery(options).find('x.test', signal), undefined, String(expected));
    assert.match(host.reasons().join('|'), expected);
  }
  // With one that is known already, none of it does harm.
  host.answer = good;
  const kept = host.discovery();
  assert.equal((await kept.find('x.test', signal))?.mode, 'enforce');
  for (const [i, [options, answer]] of cases.entries()) {
    host.answer = answer;
    host.say(`new${i}`);
    const again = host.discovery(options);
    assert.equal((await again.find('x.test', signal))?.mode, 'enforce', String(i));
  }
});

test('DNS that fails, a record that is gone, a host that is down: the policy counts until its max_age is over, not longer', async (t) => {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  host.answer = policyText('enforce', ['mx.x.test'], 3 * 86_400);
  const discovery = host.discovery();
  await discovery.find('x.test', signal);
  host.answer = (_, response) => void response.writeHead(500).end();
  for (const record of [{ fails: true }, {}, { txt: ['v=STSv1; id=a', 'v=STSv1; id=b'] }, { txt: ['v=STSv1; id=new'] }]) {
    host.records['_mta-sts.x.test'] = record;
    host.later(MINUTES_6);
    assert.equal((await discovery.find('x.test', signal))?.mode, 'enforce', JSON.stringify(record));
    assert.equal((await host.discovery().find('x.test', signal))?.mode, 'enforce', 'after a restart too');
  }
  host.later(3 * DAY);
  assert.equal(await discovery.find('x.test', signal), undefined);
  assert.equal(await host.discovery().find('x.test', signal), undefined);
  host.answer = policyText('enforce', ['mx.x.test']);
  host.later(MINUTES_6);
  assert.equal((await discovery.find('x.test', signal))?.mode, 'enforce', 'and there is a new one as soon as there is one');
});

test('a policy that goes on is fetched again before it runs out, without holding mail up', async (t) => {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  host.answer = policyText('enforce', ['mx.x.test'], 7 * 86_400);
  const discovery = host.discovery();
  await discovery.find('x.test', signal);
  host.later(DAY / 2);
  await discovery.find('x.test', signal);
  assert.equal(host.asked.length, 1);
  let release: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => (release = resolve));
  host.answer = (_, response) =>
    void answered.then(() =>
      response.writeHead(200, { 'content-type': 'text/plain' }).end(policyText('enforce', ['mx.x.test'], 604_800)),
    );
  host.later(DAY);
  assert.equal((await discovery.find('x.test', signal))?.mode, 'enforce', 'nobody waits');
  release();
  const policies = () => host.events.filter(({ event }) => event === 'mta-sts.policy').length;
  for (let i = 0; i < 200 && policies() < 2; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(policies(), 2);
});

test('the server’s stop does not wait for a policy', async (t) => {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  host.answer = () => undefined;
  const stop = new AbortController();
  const waiting = host.discovery().find('x.test', stop.signal);
  setTimeout(() => stop.abort(), 20);
  await assert.rejects(waiting, { code: 'STOPPED', kind: 'temporary' });
  await assert.rejects(host.discovery().find('x.test', stop.signal), { code: 'STOPPED' });
});

test('the cache: bounded, never confused by what is in its folder', async (t) => {
  const folder = join(await tempFolder(t), 'mta-sts');
  const policy = { id: 'a', fetched: 1, mode: 'enforce' as const, mx: ['mx.test'], maxAge: 1 };
  const cache = new PolicyCache({ directory: folder, logger: silentLogger, maxFiles: 3 });
  for (const domain of ['a.test', 'b.test', 'c.test']) await cache.put(domain, policy);
  assert.deepEqual(await cache.get('a.test'), policy);
  await cache.put('d.test', policy);
  assert.deepEqual((await readdir(folder)).sort(), ['a.test.json', 'c.test.json', 'd.test.json'], 'what was used last stays');
  await writeFile(join(folder, 'a.test.json'), '{"id":"a"');
  await writeFile(join(folder, 'c.test.json'), JSON.stringify({ ...policy, mode: 'whatever' }));
  const { events, logger } = (await import('../support/log-capture.ts')).captureLog();
  const again = new PolicyCache({ directory: folder, logger });
  assert.equal(await again.get('a.test'), undefined);
  assert.equal(await again.get('c.test'), undefined);
  assert.deepEqual(await again.get('d.test'), policy);
  assert.equal(events.filter(({ event }) => event === 'mta-sts.cache-failed').length, 2);
  await again.put('a.test', policy);
  assert.deepEqual(JSON.parse(await readFile(join(folder, 'a.test.json'), 'utf8')), policy);
});
