import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { limitedResolver } from '../../src/policy/limited-resolver.ts';
import { checkSpf, type SpfResult } from '../../src/policy/spf/check.ts';

const QUESTION = {
  ip: '192.0.2.1',
  sender: 'ana@example.test',
  helo: 'mx.sender.test',
  receiver: 'mail.here.test',
  now: 1_700_000_000_000,
};

const check = (records: Readonly<Record<string, StaticRecords>>, over: Partial<typeof QUESTION> = {}): Promise<SpfResult> =>
  checkSpf({ ...QUESTION, ...over }, staticResolver(records));
const spf = (text: string): StaticRecords => ({ txt: [`v=spf1 ${text}`] });

test('an error behind the term that matches makes all of the record a permerror', async () => {
  for (const broken of [
    'ip4:1.2.3',
    'ip4:192.0.2.300',
    'ip4:192.0.2.1/33',
    'ip4:192.0.2.01',
    'ip6:::1/129',
    'a/08',
    'moo',
    'redirect=x',
    'exp=',
    'all:x',
    'include',
    'a:%{x}.test',
    'a:%(d).test',
  ]) {
    const found = await check({ 'example.test': spf(`ip4:192.0.2.1 ${broken} -all`) });
    assert.equal(found.result, 'permerror', broken);
  }
  assert.equal((await check({ 'example.test': spf('ip4:192.0.2.1 unknown=%{d} -all') })).result, 'pass');
});

test('domains with an underscore are domains', async () => {
  const found = await check(
    { 'mail_out.example.test': spf('include:_spf.example.test -all'), '_spf.example.test': spf('ip4:192.0.2.0/24') },
    { sender: 'ana@mail_out.example.test' },
  );
  assert.deepEqual(found, {
    result: 'pass',
    identity: 'mailfrom',
    domain: 'mail_out.example.test',
    mechanism: 'include:_spf.example.test',
  });
});

test('the null path is checked by the HELO name; a literal, or a name of one label, has no record', async () => {
  const records = {
    'mx.sender.test': spf('exists:%{h}.%{l}.%{i}.known.test -all'),
    'mx.sender.test.postmaster.192.0.2.1.known.test': { a: ['127.0.0.2'] },
  };
  assert.equal((await check(records, { sender: '' })).result, 'pass');
  assert.equal((await check(records, { sender: '' })).identity, 'helo');
  for (const helo of ['[192.0.2.1]', '[IPv6:::1]', '192.0.2.1', 'localhost', '', '-', 'a..b.test', `${'x'.repeat(64)}.test`])
    assert.equal((await check(records, { sender: '', helo })).result, 'none', helo);
});

test('a fail comes with what its domain has to say of it, and with nothing where that is broken', async () => {
  const told = async (txt: readonly string[]): Promise<string | undefined> =>
    (await check({ 'example.test': spf('-all exp=why.%{d}'), 'why.example.test': { txt } })).explanation;
  assert.equal(
    await told(['%{i} is not one of %{d}%_servers%, see %{r} at %{t}'.replace('%,', '%%,')]),
    '192.0.2.1 is not one of example.test servers%, see mail.here.test at 1700000000',
  );
  assert.equal(await told(['one', 'two']), undefined);
  assert.equal(await told(['%{x}']), undefined);
  assert.equal(await told(['bell \u0007']), undefined);
  assert.equal(await told([]), undefined);
  // That of whoever is redirected to counts, that of whoever is included does not.
  const redirected = await check({
    'example.test': spf('redirect=other.test exp=a.test'),
    'other.test': spf('-all exp=b.test'),
    'a.test': { txt: ['A'] },
    'b.test': { txt: ['B'] },
  });
  assert.equal(redirected.explanation, 'B');
  const included = await check({
    'example.test': spf('include:other.test -all'),
    'other.test': spf('-all exp=b.test'),
    'b.test': { txt: ['B'] },
  });
  assert.equal(included.explanation, undefined);
});

test('row 44: DNS that fails, at the record, inside include and redirect, at a term, is a temperror', async () => {
  const gone = { fails: true } as const;
  for (const records of [
    { 'example.test': gone },
    { 'example.test': spf('include:other.test -all'), 'other.test': gone },
    { 'example.test': spf('redirect=other.test'), 'other.test': gone },
    { 'example.test': spf('include:other.test -all'), 'other.test': spf('include:third.test -all'), 'third.test': gone },
    { 'example.test': spf('a:host.test -all'), 'host.test': gone },
    { 'example.test': { txt: ['v=spf1 mx -all'], mx: ['host.test'] }, 'host.test': gone },
  ] as Record<string, StaticRecords>[])
    assert.equal((await check(records)).result, 'temperror', JSON.stringify(records));
  // Only names of an address may fail without harm (RFC 7208 section 5.5).
  assert.equal((await check({ 'example.test': spf('ptr ip4:192.0.2.1 -all'), '192.0.2.1': gone })).result, 'pass');
});

test('row 39: the eleventh term that asks DNS, and the third empty answer, are a permerror; ten and two are not', async () => {
  const included = (count: number): Record<string, StaticRecords> => ({
    'example.test': spf(`${Array.from({ length: count }, (_, i) => `include:i${i}.test`).join(' ')} ip4:192.0.2.1 -all`),
    ...Object.fromEntries(Array.from({ length: count }, (_, i) => [`i${i}.test`, spf('-all')])),
  });
  assert.equal((await check(included(10))).result, 'pass');
  assert.equal((await check(included(11))).result, 'permerror');
  assert.equal((await check({ 'example.test': spf('a:n1.test a:n2.test ip4:192.0.2.1 -all') })).result, 'pass');
  assert.equal(
    (await check({ 'example.test': spf('a:n1.test mx:n2.test exists:n3.test ip4:192.0.2.1 -all') })).result,
    'permerror',
  );
  const loop = await check({ 'example.test': spf('redirect=example.test') });
  assert.equal(loop.result, 'permerror');
  assert.match(loop.reason ?? '', /more than 10 DNS look-ups/);
});

test('of more than ten MX hosts the first ten are asked for; nobody among them is a permerror', async () => {
  const mx = Array.from({ length: 11 }, (_, i) => ({ exchange: `h${i}.test`, priority: i }));
  const host = (i: number): Record<string, StaticRecords> => ({ [`h${i}.test`]: { a: ['192.0.2.1'] } });
  const records = { 'example.test': { txt: ['v=spf1 mx -all'], mx } };
  assert.equal((await check({ ...records, ...host(9) })).result, 'pass');
  assert.equal((await check({ ...records, ...host(10) })).result, 'permerror');
});

test('IPv6 clients, and IPv4 ones in IPv6 clothes', async () => {
  const records = {
    'example.test': spf('ip4:192.0.2.0/24 ip6:2001:db8::/32 a:six.test//64 -all'),
    'six.test': { aaaa: ['2001:db9::1'] },
  };
  for (const ip of ['::ffff:192.0.2.9', '2001:DB8::7', '2001:db9::ffff'])
    assert.equal((await check(records, { ip })).result, 'pass', ip);
  for (const ip of ['::ffff:192.0.3.9', '2001:db9:0:1::1', '::192.0.2.9'])
    assert.equal((await check(records, { ip })).result, 'fail', ip);
});

test('a domain and a local part outside ASCII (RFC 8616)', async () => {
  const records = {
    'xn--and-6ma2c.test': spf('exists:%{l}.test exists:%{d}.seen.test -all'),
    'xn--and-6ma2c.seen.test': { a: ['127.0.0.1'] },
  };
  const found = await check(
    { ...records, 'xn--and-6ma2c.test.seen.test': { a: ['127.0.0.1'] } },
    { sender: 'pingüino@ñandú.test' },
  );
  assert.equal(found.domain, 'xn--and-6ma2c.test');
  assert.equal(found.result, 'pass');
});

test('one budget of questions and of time for everything: what is over it is a temporary failure', async (t) => {
  let asked = 0;
  const inner: Resolver = { ...staticResolver({ 'a.test': { a: ['192.0.2.1'] } }), txt: () => new Promise(() => undefined) };
  const counting: Resolver = { ...inner, a: async (name) => (asked++, inner.a(name)) };
  const limited = limitedResolver(counting, { queries: 2, timeout: 200 }, systemClock);
  t.after(() => limited.close());
  const code = (wanted: string) => (error: unknown) =>
    error instanceof MailError && error.kind === 'temporary' && error.code === wanted;
  assert.deepEqual(await limited.resolver.a('a.test'), ['192.0.2.1']);
  assert.deepEqual(await limited.resolver.a('A.test'), ['192.0.2.1']);
  assert.equal(asked, 1);
  await assert.rejects(limited.resolver.txt('never.test'), code('DNS_TIMEOUT'));
  await assert.rejects(limited.resolver.mx('one-too-many.test'), code('DNS_LIMIT'));
});
