// Whatever a message, a record or a name is: verification gives a result, in bounded time, and never fails inside.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealMessage } from 'mailauth/lib/arc/index.js';
import { staticResolver, type Resolver } from '../../src/dns/resolver.ts';
import { createLogger } from '../../src/lib/logger.ts';
import { parseFields } from '../../src/message/headers.ts';
import { parseDmarcRecord } from '../../src/policy/dmarc/record.ts';
import { checkSpf } from '../../src/policy/spf/check.ts';
import { authenticationResults, receivedSpf } from '../../src/policy/trace-fields.ts';
import { dkimKey } from '../support/dkim.ts';
import { fuzzTime, seededRandom, type Random } from '../support/random.ts';
import { PLAIN, signed, unverified } from '../support/signed-message.ts';
import { testVerifier } from '../support/verifier.ts';

const key = dkimKey('sender.test', 's1');

/** Up to three places cut out, doubled, or filled with what grammars are made of. */
function damage(text: string, random: Random, pieces: readonly string[]): string {
  let out = text;
  for (let n = random.below(4); n >= 0; n--) {
    const at = random.below(out.length + 1);
    const length = random.below(12);
    const middle = [random.pick(pieces), out.slice(at, at + length).repeat(2), ''][random.below(3)] ?? '';
    out = out.slice(0, at) + middle + out.slice(at + length);
  }
  return out;
}

/** Every record that is asked for, damaged. */
function damagedResolver(records: Readonly<Record<string, string>>, random: Random, pieces: readonly string[]): Resolver {
  const known = Object.entries(records).map(([name, text]) => [
    name,
    { txt: [random.below(3) === 0 ? damage(text, random, pieces) : text] },
  ]);
  return staticResolver(Object.fromEntries(known) as Record<string, { txt: string[] }>);
}

const MESSAGE_PIECES = [
  ';',
  '=',
  ':',
  '\r\n',
  '\r\n ',
  '"',
  '(',
  ')',
  '\\',
  '<',
  '>',
  '@',
  ',',
  '\u0000',
  '\u00ff',
  'b=',
  'h=from',
  'l=9',
  'i=2',
  'a=rsa-sha256',
  'c=',
  'd=',
  'From: x@y.test\r\n',
  'constructor=',
  '__proto__=',
  'x=1',
  'bh=',
];

test('row 25: damaged signatures, seals, From fields and key records never fail a verification', async () => {
  const pem = key.key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const seal = await sealMessage(Buffer.from(PLAIN), {
    i: 1,
    cv: 'none',
    signingDomain: 'sender.test',
    selector: 's1',
    privateKey: pem,
    authResults: 'x.test; dmarc=pass header.from=sender.test',
  });
  const good = `${seal.toString('latin1')}${signed(PLAIN, key)}`;
  const failures: string[] = [];
  const logger = createLogger((_level, event, fields) => void failures.push(`${event} ${JSON.stringify(fields)}`), 'debug');
  const records = {
    's1._domainkey.sender.test': key.record,
    '_dmarc.sender.test': 'v=DMARC1; p=reject; sp=none; np=quarantine; t=n; psd=u',
  };
  const { until, seed: first } = fuzzTime(1_500);
  for (let seed = first; performance.now() < until; seed++) {
    const random = seededRandom(seed);
    const message = damage(good, random, MESSAGE_PIECES);
    const resolver = damagedResolver(records, random, MESSAGE_PIECES);
    const verifier = testVerifier(resolver, { logger });
    const peer = { ip: '192.0.2.1', helo: 'x.test', sender: '' };
    try {
      const result = await verifier.verify(unverified(message), verifier.spf(peer));
      const text = authenticationResults('here.test', result, 'none') + receivedSpf('here.test', result.spf, peer);
      const bytes = Buffer.from(text, 'latin1');
      // Two fields, whatever is in them.
      assert.equal(parseFields(bytes, { headerBytes: bytes.length, headerFields: 10 }).length, 2, text);
      assert.doesNotMatch(text, /[^\x20-\x7e\r\n\t]/);
      assert.deepEqual(failures, []);
    } catch (error) {
      throw new Error(`seed ${seed}: ${JSON.stringify(message)}`, { cause: error });
    }
  }
});

const SPF_PIECES = [
  '%{',
  '%',
  '}',
  '/',
  '//',
  ':',
  ' ',
  '-',
  '~',
  'all',
  'include:',
  'redirect=',
  'exp=',
  '%{ir}',
  '%{S9r+-}',
  'a',
  'mx',
  'ptr',
  'exists:',
  'ip4:',
  'ip6:',
  '0',
  '99999999999',
  '.',
  '..',
  '\u0000',
  '\u00e9',
];

test('row 25: damaged SPF records give a result, and no more look-ups than are allowed', async () => {
  const records = {
    'sender.test':
      'v=spf1 ip4:198.51.100.0/24 a:%{l}.a.test/24//64 mx include:one.test exists:%{ir}.%{v}.list.test ptr:sender.test ?exists:%{p}.x.test redirect=two.test exp=why.test',
    'one.test': 'v=spf1 ip6:2001:db8::/32 include:two.test -all',
    'two.test': 'v=spf1 a mx:one.test ~exists:%{h}.two.test -all exp=%{d}.why.test',
    'why.test': '%{i} %{c} %{r} %{t} %{s} %{o} %% %_ %-',
  };
  const { until, seed: first } = fuzzTime(800);
  for (let seed = first; performance.now() < until; seed++) {
    const random = seededRandom(seed);
    const inner = damagedResolver(records, random, SPF_PIECES);
    let asked = 0;
    // Proxied, so that whatever is asked is counted.
    const resolver = new Proxy(inner, {
      get: (target, name): unknown => {
        asked++;
        return Reflect.get(target, name);
      },
    });
    const sender = damage('ana@sender.test', random, ['@', '"', ' ', '.', 'ñ', '%{s}']);
    const found = await checkSpf(
      {
        ip: random.pick(['192.0.2.1', '2001:db9::1', '::ffff:192.0.2.1']),
        sender,
        helo: damage('mx.sender.test', random, SPF_PIECES),
        receiver: 'here.test',
        now: 0,
      },
      resolver,
    );
    assert.notEqual(found.reason, 'the check failed (internal)', `seed ${seed}`);
    assert.ok(asked <= 130, `seed ${seed}: ${asked}`);
    assert.match(found.explanation ?? 'x', /^[\x20-\x7e]+$/, `seed ${seed}`);
    parseDmarcRecord(damage('v=DMARC1; p=reject; sp=none; rua=mailto:a@b.test', random, MESSAGE_PIECES));
  }
});
