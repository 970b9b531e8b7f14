// SASL mechanisms: the RFCs' own examples, and what is malformed.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { cramMd5Context, hmacMd5From } from '../../src/auth/md5.ts';
import { cramMd5, login, plain, scram, type SaslBackend } from '../../src/auth/sasl.ts';
import { scramKeys } from '../../src/auth/schemes.ts';
import type { SaslExchange, SaslStep } from '../../src/auth/types.ts';

interface Tried {
  user: string;
  password?: string;
  proven?: boolean;
}

/** Everybody's password is `password`; what was tried is kept. */
function backend(password: string, overrides: Partial<SaslBackend> = {}): SaslBackend & { tried: Tried[] } {
  const tried: Tried[] = [];
  const account = { address: 'user@example.test', home: '/h', maildir: '/h', quota: {} };
  const result = (ok: boolean): SaslStep => ({ result: ok ? { ok, account } : { ok, reason: 'failed' } });
  return {
    tried,
    hostname: 'postoffice.reston.mci.net',
    nonce: () => 'nonce',
    password: async (user, given) => {
      tried.push({ user, password: given });
      return result(given === password);
    },
    scram: async (_user, hash) => {
      const salt = Buffer.from(hash === 'sha1' ? 'QSXCR+Q6sek8bf92' : 'W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
      return { iterations: 4096, salt, ...scramKeys(password, salt, 4096, hash) };
    },
    cramMd5: async (_user, challenge) =>
      hmacMd5From(
        cramMd5Context(Buffer.from(password), (bytes) => createHash('md5').update(bytes).digest()),
        challenge,
      ),
    conclude: async (user, proven) => {
      tried.push({ user, proven });
      return result(proven);
    },
    ...overrides,
  };
}

/** The step as text: a challenge, `ok`, `ok:` and the data, the reason of a failure, `malformed`. */
async function step(exchange: SaslExchange, text: string | Buffer | undefined): Promise<string> {
  const given = await exchange.respond(typeof text === 'string' ? Buffer.from(text) : text);
  if ('challenge' in given) return given.challenge.toString();
  if ('malformed' in given) return 'malformed';
  if (!given.result.ok) return given.result.reason;
  return given.data ? `ok:${given.data.toString()}` : 'ok';
}

test('PLAIN (RFC 4616)', async () => {
  const own = backend('tanstaaftanstaaf');
  assert.equal(await step(plain(own), '\0tim\0tanstaaftanstaaf'), 'ok');
  assert.equal(await step(plain(own), 'TIM\0tim\0tanstaaftanstaaf'), 'ok');
  assert.equal(await step(plain(own), '\0tim\0other'), 'failed');
  const asked = plain(own);
  assert.equal(await step(asked, undefined), '');
  assert.equal(await step(asked, '\0tim\0tanstaaftanstaaf'), 'ok');
  // Acting for somebody else: the password is not even looked at.
  own.tried.length = 0;
  assert.equal(await step(plain(own), 'ursel\0kurt\0tanstaaftanstaaf'), 'failed');
  assert.deepEqual(own.tried, [{ user: 'kurt', proven: false }]);
  for (const bad of ['', 'tim', '\0tim', 'a\0\0b', '\0tim\0pass\0word', `\0tim\0${'x'.repeat(513)}`, `\0${'x'.repeat(513)}\0p`])
    assert.equal(await step(plain(own), bad), 'malformed', JSON.stringify(bad));
  assert.equal(await step(plain(own), Buffer.from([0, 0xff, 0, 0x61])), 'malformed');
});

test('LOGIN: two questions, or the user at once', async () => {
  const own = backend('secret');
  const asked = login(own);
  assert.deepEqual(
    [await step(asked, undefined), await step(asked, 'tim'), await step(asked, 'secret')],
    ['Username:', 'Password:', 'ok'],
  );
  const initial = login(own);
  assert.deepEqual([await step(initial, 'tim'), await step(initial, 'wrong')], ['Password:', 'failed']);
  const bad = login(own);
  assert.equal(await step(bad, Buffer.from([0xff])), 'malformed');
  assert.equal(await step(login(own), 'x'.repeat(513)), 'malformed');
});

test('CRAM-MD5 (RFC 2195)', async () => {
  const own = backend('tanstaaftanstaaf', { nonce: () => '1896.697170952' });
  const good = cramMd5(own);
  assert.equal(await step(good, undefined), '<1896.697170952@postoffice.reston.mci.net>');
  assert.equal(await step(good, 'tim b913a602c7eda7a495b4e6e7334d3890'), 'ok');
  const wrong = cramMd5(own);
  await step(wrong, undefined);
  assert.equal(await step(wrong, 'tim b913a602c7eda7a495b4e6e7334d3891'), 'failed');
  const unknown = cramMd5({ ...own, cramMd5: async () => undefined });
  await step(unknown, undefined);
  assert.equal(await step(unknown, 'tim b913a602c7eda7a495b4e6e7334d3890'), 'failed');
  assert.equal(await step(cramMd5(own), 'tim b913a602c7eda7a495b4e6e7334d3890'), 'malformed');
  for (const bad of ['', 'tim', ' b913a602c7eda7a495b4e6e7334d3890', 'tim b913', 'tim zz13a602c7eda7a495b4e6e7334d3890']) {
    const exchange = cramMd5(own);
    await step(exchange, undefined);
    assert.equal(await step(exchange, bad), 'malformed', bad);
  }
});

const SHA1 = {
  nonce: '3rfcNHYJY1ZVvWVs7j',
  first: 'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL',
  serverFirst: 'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
  final: 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
  serverFinal: 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
};
const SHA256 = {
  nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  first: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  final: 'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

for (const [name, hash, example] of [
  ['SCRAM-SHA-1 (RFC 5802)', 'sha1', SHA1],
  ['SCRAM-SHA-256 (RFC 7677)', 'sha256', SHA256],
] as const)
  test(`${name}: the RFC’s example, and what differs from it`, async () => {
    const own = backend('pencil', { nonce: () => example.nonce });
    const begin = async (): Promise<SaslExchange> => {
      const exchange = scram(own, hash);
      assert.equal(await step(exchange, example.first), example.serverFirst);
      return exchange;
    };
    assert.equal(await step(await begin(), example.final), `ok:${example.serverFinal}`);
    assert.deepEqual(own.tried, [{ user: 'user', proven: true }]);
    const asked = scram(own, hash);
    assert.equal(await step(asked, undefined), '');
    for (const [bad, answer] of [
      [example.final.replace(/p=.{4}/, 'p=AAAA'), 'failed'],
      [example.final.replace('c=biws', 'c=eSws'), 'failed'],
      [example.final.replace(example.nonce, 'other-nonce'), 'failed'],
      [example.final.replace(/p=.*/, 'p=AAAA'), 'failed'],
      [example.final.replace(/,p=.*/, ''), 'malformed'],
      ['', 'malformed'],
      ['c=biws', 'malformed'],
      [`${example.final},x=y`, 'malformed'],
      ['x'.repeat(3_000), 'malformed'],
    ] as const)
      assert.equal(await step(await begin(), bad), answer, bad);
    for (const bad of [
      '',
      'n,,n=user',
      'n,,r=abc',
      'p=tls-unique,,n=user,r=abc',
      'q,,n=user,r=abc',
      'n,,n=,r=abc',
      'n,,n=user,r=',
      `n,,n=user,r=${'x'.repeat(257)}`,
      'x'.repeat(3_000),
    ])
      assert.equal(await step(scram(own, hash), bad), 'malformed', bad);
    // For somebody else: refused without a question.
    assert.equal(await step(scram(own, hash), 'n,a=boss,n=user,r=abc'), 'failed');
    assert.equal(
      await step(scram({ ...own, scram: async () => ({ result: { ok: false, reason: 'unavailable' } }) }, hash), example.first),
      'unavailable',
    );
  });

test('SCRAM: user names with comma and equals sign', async () => {
  const users: string[] = [];
  const own = backend('pencil');
  const watching = { ...own, scram: (user: string, hash: 'sha1' | 'sha256') => (users.push(user), own.scram(user, hash)) };
  await step(scram(watching, 'sha1'), 'n,,n=a=2Cb=3Dc,r=abc');
  assert.deepEqual(users, ['a,b=c']);
});

test('a long SCRAM message of a peer is read in no time', async () => {
  const exchange = scram(backend('pencil'), 'sha1');
  await step(exchange, SHA1.first);
  const began = performance.now();
  assert.equal(await step(exchange, `c=biws,r=x${',a'.repeat(1_000)}`), 'malformed');
  assert.equal(await step(scram(backend('pencil'), 'sha1'), `n,,n=u,r=x${',a'.repeat(1_000)}\n`), 'malformed');
  assert.ok(performance.now() - began < 500);
});
