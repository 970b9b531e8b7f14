import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { memorySource } from '../../src/message/source.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { BodyHash } from '../../src/policy/dkim-body.ts';
import { DkimSigner } from '../../src/policy/dkim-signer.ts';
import type { AuthenticationResult } from '../../src/policy/verify.ts';
import { dkimKey, keyRing } from '../support/dkim.ts';
import { PLAIN, signed, unverified, type SignatureShape } from '../support/signed-message.ts';
import { keyRecords, testVerifier, verifyMessage } from '../support/verifier.ts';

const rsa = dkimKey('sender.test', 'rsa');
const ed25519 = dkimKey('sender.test', 'ed', 'ed25519');
const POLICY: Record<string, StaticRecords> = { '_dmarc.sender.test': { txt: ['v=DMARC1; p=reject'] } };
const PEER = { ip: '192.0.2.1', helo: 'mx.sender.test', sender: '' };

async function verify(
  message: string | Buffer,
  records: Record<string, StaticRecords> | Resolver = keyRecords(rsa, ed25519),
  timeout = 5_000,
): Promise<AuthenticationResult> {
  const resolver =
    typeof records['txt'] === 'function'
      ? (records as Resolver)
      : staticResolver({ ...POLICY, ...(records as Record<string, StaticRecords>) });
  return verifyMessage(message, resolver, { timeout });
}
/** `result reason | dmarc`. */
async function verdict(message: string, records?: Record<string, StaticRecords>): Promise<string> {
  const { dkim, dmarc } = await verify(message, records);
  return `${dkim.map(({ result, reason }) => (reason === undefined ? result : `${result}: ${reason}`)).join(', ')} | ${dmarc.result}`;
}
const shaped = (shape: SignatureShape, records?: Record<string, StaticRecords>): Promise<string> =>
  verdict(signed(PLAIN, rsa, shape), records);

test('a signature that holds, RSA and Ed25519, and what is known of it', async () => {
  assert.equal(await verdict(PLAIN), ' | fail');
  assert.equal(await verdict(signed(PLAIN, rsa)), 'pass | pass');
  const { dkim } = await verify(signed(PLAIN, ed25519, { tags: { i: 'ana@mail.sender.test' } }));
  const [{ signature = '', ...found } = {}] = dkim;
  assert.match(signature, /^[A-Za-z0-9+/]{8}$/);
  assert.deepEqual(found, {
    domain: 'sender.test',
    selector: 'ed',
    identity: 'ana@mail.sender.test',
    algorithm: 'ed25519-sha256',
    result: 'pass',
  });
});

test('what our signer signs holds, in any cut, and long lines cost no more than others', async () => {
  const long = `From: ana@sender.test\r\n\r\n${'x'.repeat(3_000_000)}\r\n`;
  const signer = new DkimSigner({ keys: keyRing(rsa, ed25519), now: () => Date.now(), logger: silentLogger });
  const field = await signer.sign(memorySource(Buffer.from(long)), 'id');
  assert.equal(await verdict(`${field?.toString('latin1')}${long}`), 'pass, pass | pass');
});

test('a changed body or header reports fail', async () => {
  const message = signed(PLAIN, rsa);
  assert.equal(await verdict(message.replace('Buenos', 'Malos')), 'fail: body hash did not verify | fail');
  assert.equal(await verdict(message.replace('Hola', 'Adios')), 'fail: bad signature | fail');
});

test('signatures that can never hold are permerror', async () => {
  assert.equal(await shaped({ tags: { a: 'rsa-sha1' } }), 'permerror: rsa-sha1 | fail');
  assert.equal(await shaped({ tags: { v: '2' } }), 'permerror: incompatible version | fail');
  assert.equal(await shaped({ tags: { v: undefined } }), 'permerror: signature missing required tag | fail');
  assert.equal(await shaped({ tags: { i: 'ana@other.test' } }), 'permerror: domain mismatch | fail');
  assert.equal(await shaped({ tags: { i: 'ana@notsender.test' } }), 'permerror: domain mismatch | fail');
  assert.equal(await shaped({ tags: { q: 'dns/other' } }), 'permerror: unsupported query method | fail');
  assert.equal(await shaped({ tags: { q: 'dns/other:dns/txt' } }), 'pass | pass');
  assert.equal(await shaped({ tags: { x: '1000000000' } }), 'permerror: expired | fail');
  assert.equal(await shaped({ tags: { t: '1700000000', x: '1600000000' } }), 'permerror: invalid expiration | fail');
  assert.equal(await shaped({ names: ['to', 'subject'] }), 'permerror: From field not signed | fail');
  assert.equal(
    await shaped({ names: ['from', ...Array.from({ length: 250 }, () => 'to')] }),
    'permerror: too many names in h= | fail',
  );
  assert.match(await shaped({ tags: { 's s': 'x' } }), /^permerror: .*\| fail$/);
});

test('unknown algorithms are reported', async () => {
  assert.equal(await shaped({ tags: { a: 'dsa-sha512' } }), 'neutral: unknown algorithm | fail');
  assert.equal(await shaped({ tags: { c: 'nofws/relaxed' } }), 'neutral: unknown canonicalization | fail');
});

test('key records: version first, flags, services, hashes, revoked, weak, missing', async () => {
  const withKey = (edit: (record: string) => string): Promise<string> =>
    shaped({}, { 'rsa._domainkey.sender.test': { txt: [edit(rsa.record)] } });
  assert.equal(await withKey((record) => record), 'pass | pass');
  assert.equal(await withKey((record) => record.replace('v=DKIM1; ', '')), 'pass | pass');
  assert.equal(await withKey((record) => `${record.replace('v=DKIM1; ', '')}; v=DKIM1`), 'permerror: unknown key version | fail');
  assert.equal(await withKey((record) => record.replace('DKIM1', 'DKIM2')), 'permerror: unknown key version | fail');
  assert.equal(await withKey((record) => `${record}; s=tlsrpt`), 'permerror: key not for email | fail');
  assert.equal(await withKey((record) => `${record}; h=sha1`), 'permerror: inappropriate hash algorithm | fail');
  assert.equal(await withKey((record) => record.replace(/p=.*/, 'p=')), 'permerror: invalid public key | fail');
  assert.equal(await withKey((record) => `${record}; k=rsa`), 'permerror: invalid public key | fail');
  assert.equal(await shaped({}, {}), 'permerror: no key | fail');
  assert.equal(
    await withKey(
      () => 'v=DKIM1; p=MEgCQQDAa5AqHZuW6H3rPZvoeY8S2lsPlOlmpFxQo5bJQW9pJdbnfq5dsMjwZXZvVxqUQsdfPBM5yyISyH6ll/CvJhhTAgMBAAE=',
    ),
    'policy: weak key | fail',
  );
});

test('keys of over 4096 bits or so are not used: their arithmetic would hold everybody up', async () => {
  const huge = `v=DKIM1; k=rsa; p=${'A'.repeat(1_400)}`;
  assert.equal(await shaped({}, { 'rsa._domainkey.sender.test': { txt: [huge] } }), 'permerror: invalid public key | fail');
});

test('t=s: the identity must be of the signing domain itself', async () => {
  const strict = { 'rsa._domainkey.sender.test': { txt: [`${rsa.record}; t=s`] } };
  assert.equal(await shaped({ tags: { i: 'ana@sub.sender.test' } }, strict), 'permerror: domain mismatch | fail');
  assert.equal(await shaped({ tags: { i: 'ana@sender.test' } }, strict), 'pass | pass');
});

test('l=: longer than the body is permerror; what it leaves open vouches for nobody', async () => {
  const whole = Buffer.from('Buenos dias\r\n\r\nAna\r\n').length;
  assert.equal(await shaped({ limit: whole }), 'pass | pass');
  assert.equal(await shaped({ limit: whole + 1 }), 'permerror: l= is longer than the body | fail');
  assert.equal(await shaped({ limit: 6 }), `pass: ${whole - 6} octets of the body are not signed | fail`);
  assert.equal(await shaped({ limit: 0 }), `pass: ${whole} octets of the body are not signed | fail`);
  const added = signed(PLAIN, rsa, { limit: whole }) + 'and this\r\n';
  assert.match(await verdict(added), /^pass: \d+ octets of the body are not signed \| fail$/);
});

test('selectors with an underscore are in use', async () => {
  const key = dkimKey('sender.test', 'key_1');
  assert.equal(await verdict(signed(PLAIN, key), keyRecords(key)), 'pass | pass');
});

test('row 44: a key that DNS does not give in time is a temperror, of others none', async () => {
  const late = { ...keyRecords(rsa), 'ed._domainkey.sender.test': { fails: true } };
  assert.equal(await verdict(signed(PLAIN, ed25519), late), 'temperror: DNS failure: DNS_FAILED | temperror');
  assert.equal(await verdict(signed(signed(PLAIN, rsa), ed25519), late), 'temperror: DNS failure: DNS_FAILED, pass | pass');
  // A forger's DNS that hangs does not keep the bank's policy from being known, nor a name that no DNS can have.
  const forged = dkimKey('evil.test', 's');
  const base = staticResolver(POLICY);
  const hanging: Resolver = {
    ...base,
    txt: (name) => (name.endsWith('evil.test') ? new Promise(() => undefined) : base.txt(name)),
  };
  const { dkim, dmarc } = await verify(signed(PLAIN, forged), hanging, 250);
  assert.deepEqual([dkim[0]?.result, dmarc.result, dmarc.policy], ['temperror', 'fail', 'reject']);
  const nowhere = { ...rsa, selector: Array.from({ length: 10 }, () => 'x'.repeat(30)).join('.') };
  const failing: Resolver = {
    ...base,
    txt: (name) => (name.length > 253 ? Promise.reject(new Error('no name')) : base.txt(name)),
  };
  const impossible = await verify(signed(PLAIN, nowhere), failing);
  assert.deepEqual([impossible.dkim[0]?.reason, impossible.dmarc.result], ['no key', 'fail']);
});

test('row 44: a signature whose DNS hangs does not hold up the others', async () => {
  const forged = dkimKey('evil.test', 's');
  const base = staticResolver({ ...POLICY, ...keyRecords(rsa) });
  const hanging: Resolver = {
    ...base,
    txt: (name) => (name.endsWith('evil.test') ? new Promise(() => undefined) : base.txt(name)),
  };
  const { dkim, dmarc } = await verify(signed(signed(PLAIN, rsa), forged), hanging, 250);
  assert.deepEqual(
    dkim.map(({ result }) => result),
    ['temperror', 'pass'],
  );
  assert.equal(dmarc.result, 'pass');
});

test('row 44: there is time left to find out whether a signature is of the author’s organization', async () => {
  const forged = dkimKey('evil.test', 's');
  const below = dkimKey('mail.sender.test', 's');
  const base = staticResolver({ ...POLICY, ...keyRecords(below) });
  const hanging: Resolver = {
    ...base,
    txt: (name) => (name.endsWith('evil.test') ? new Promise(() => undefined) : base.txt(name)),
  };
  const { dmarc } = await verify(signed(signed(PLAIN, below), forged), hanging, 1_000);
  assert.equal(dmarc.result, 'pass');
});

test('row 9: at most ten signatures are checked, with ten questions; the rest is only counted', async () => {
  const asked: string[] = [];
  const base = staticResolver({ ...POLICY, ...keyRecords(rsa) });
  const counting: Resolver = { ...base, txt: async (name) => (asked.push(name), base.txt(name)) };
  const many = Array.from(
    { length: 2_000 },
    (_, i) => `DKIM-Signature: v=1; a=rsa-sha256; d=d${i}.test; s=s; h=from; bh=AA==; b=AA==\r\n`,
  );
  // Within the header's limits all of it would be looked at.
  for (const count of [11, 900]) {
    asked.length = 0;
    const { dkim } = await verify(`${many.slice(0, count).join('')}${PLAIN}`, counting);
    assert.equal(dkim.length, 11);
    assert.deepEqual(dkim.at(-1), { result: 'policy', reason: `${count - 10} more signatures were not checked` });
    assert.equal(asked.filter((name) => name.includes('_domainkey')).length, 10);
  }
  const { dkim, dmarc } = await verify(`${many.join('')}${signed(PLAIN, rsa)}`, counting);
  assert.deepEqual(dkim, [{ result: 'policy', reason: 'the header is too long to be checked' }]);
  assert.equal(dmarc.result, 'fail');
});

test('row 9: ten signatures over a header of 256 KB, or over a line of 8 MB with different l=, block nobody', async () => {
  const filler = Array.from({ length: 750 }, (_, i) => `X-Filler-${i}: ${'word '.repeat(50)}\r\n`).join('');
  const wide = `${filler}${PLAIN}`;
  const over = Array.from({ length: 10 }, () => rsa).reduce(
    (message, key) => signed(message, key, { names: ['from', ...Array.from({ length: 240 }, (_, i) => `x-filler-${i}`)] }),
    wide,
  );
  const tall = `From: ana@sender.test\r\n\r\n${'y'.repeat(8_000_000)}\r\n`;
  const limits = Array.from({ length: 10 }, (_, i) => i).reduce((message, i) => signed(message, rsa, { limit: 1_000 + i }), tall);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  try {
    const first = await verify(over);
    assert.equal(first.dkim.filter(({ result }) => result === 'pass').length, 10);
    const between = turns;
    const second = await verify(limits);
    assert.equal(second.dkim.filter(({ reason }) => reason === 'too many different l=').length, 6);
    // 8 MB in pieces of 256 KB for four hashes.
    assert.ok(turns - between > 20, `${turns - between} turns`);
  } finally {
    clearInterval(timer);
  }
});

test('a From field of 240 KB beside a signature: no author, and nobody waits', async () => {
  const { dkim, dmarc } = await verify(signed(PLAIN.replace('Ana <', `${'Ana, '.repeat(48_000)}<`), rsa));
  assert.deepEqual([dkim[0]?.result, dmarc.result], ['pass', 'permerror']);
});

test('a source that fails is a failure of the message, not of the signature', async () => {
  const verifier = testVerifier(staticResolver(keyRecords(rsa)), { timeout: 1_000 });
  const message = unverified(signed(PLAIN, rsa));
  const broken = {
    ...message,
    source: {
      ...message.source,
      async *chunks(): AsyncIterable<Buffer> {
        yield Buffer.from('From: ');
        throw new Error('EIO');
      },
    },
  };
  await assert.rejects(verifier.verify(broken, verifier.spf(PEER)), /EIO/);
});

test('the body in both forms, cut anywhere, against the examples of RFC 6376 section 3.4.5', () => {
  const hash = (form: 'simple' | 'relaxed', text: string, step: number, limit?: number): [string, number] => {
    const body = new BodyHash(form, limit);
    const bytes = Buffer.from(text, 'latin1');
    for (let at = 0; at < bytes.length; at += step) body.push(bytes.subarray(at, at + step));
    return [body.digest(), body.length];
  };
  const same = (form: 'simple' | 'relaxed', text: string, canonical: string): void => {
    for (const step of [1, 2, 3, 1_000])
      assert.deepEqual(hash(form, text, step), hash('simple', canonical, 1_000), JSON.stringify([form, text, step]));
  };
  same('relaxed', ' C \r\nD \t E\r\n\r\n\r\n', ' C\r\nD E\r\n');
  same('simple', ' C \r\nD \t E\r\n\r\n\r\n', ' C \r\nD \t E\r\n');
  same('simple', '', '\r\n');
  same('simple', '\r\n\r\n', '\r\n');
  same('relaxed', 'a', 'a\r\n');
  same('relaxed', 'a\r b\r\n', 'a\r b\r\n');
  same('relaxed', 'a\nb\r', 'a\r\nb\r\r\n');
  same('simple', 'a\r\n\r\n\r\nb \r\n', 'a\r\n\r\n\r\nb \r\n');
  assert.equal(hash('relaxed', '\r\n \r\n', 1)[1], 0);
  assert.deepEqual(hash('relaxed', 'abc\r\ndef\r\n', 2, 4)[0], hash('relaxed', 'abc\r', 9, 4)[0]);
});
