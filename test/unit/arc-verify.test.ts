import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealMessage } from 'mailauth/lib/arc/index.js';
import { staticResolver } from '../../src/dns/resolver.ts';
import type { ArcResult } from '../../src/policy/dkim-result.ts';
import { dkimKey, requireDkimpy, type TestKey } from '../support/dkim.ts';
import { run } from '../support/programs.ts';
import { PLAIN } from '../support/signed-message.ts';
import { keyRecords, verifyMessage } from '../support/verifier.ts';

const list = dkimKey('list.test', 's');
const relay = dkimKey('relay.test', 's');

const verify = async (message: string, known = keyRecords(list, relay)): Promise<ArcResult> =>
  (await verifyMessage(message, staticResolver(known))).arc;

async function sealed(
  message: string,
  key: TestKey,
  instance = 1,
  results = 'dmarc=pass header.from=sender.test',
): Promise<string> {
  const set = await sealMessage(Buffer.from(message, 'latin1'), {
    i: instance,
    cv: instance === 1 ? 'none' : 'pass',
    signingDomain: key.domain,
    selector: key.selector,
    privateKey: key.key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    authResults: `${key.domain}; ${results}`,
  });
  assert.notEqual(set.length, 0);
  return `${set.toString('latin1')}${message}`;
}

const one = await sealed(PLAIN, list);
const two = await sealed(`Received: by relay.test\r\n${one}`, relay, 2, 'arc=pass');

test('no sets, one, two: who sealed, and what the first saw', async () => {
  assert.deepEqual(await verify(PLAIN), { result: 'none' });
  assert.deepEqual(await verify(one), {
    result: 'pass',
    instance: 1,
    sealers: ['list.test'],
    dmarc: { result: 'pass', domain: 'sender.test' },
  });
  assert.deepEqual(await verify(two), {
    result: 'pass',
    instance: 2,
    sealers: ['list.test', 'relay.test'],
    dmarc: { result: 'pass', domain: 'sender.test' },
  });
});

test('what is changed after sealing fails', async () => {
  const changes: [string, (text: string) => string][] = [
    ['body', (text) => text.replace('Buenos', 'Malos')],
    ['signed field', (text) => text.replace('Hola', 'Adios')],
    ['results of the first', (text) => text.replace('dmarc=pass', 'dmarc=fail')],
    ['results of the second', (text) => text.replace('arc=pass', 'arc=fail')],
    ['a seal gone', (text) => text.replace(/^ARC-Seal: i=1;(?:.*\r\n[ \t])*.*\r\n/m, '')],
    ['a message signature gone', (text) => text.replace(/^ARC-Message-Signature: i=2;(?:.*\r\n[ \t])*.*\r\n/m, '')],
    ['the first set gone', (text) => text.replace(/^ARC-[A-Za-z-]+: i=1;(?:.*\r\n[ \t])*.*\r\n/gm, '')],
    ['a set twice', (text) => text.replace(/^ARC-Authentication-Results: i=2;(?:.*\r\n[ \t])*.*\r\n/m, '$&$&')],
  ];
  for (const [what, change] of changes) {
    assert.notEqual(change(two), two, what);
    assert.equal((await verify(change(two))).result, 'fail', what);
  }
  assert.equal((await verify(two.replace('by relay.test', 'by other.test'))).result, 'pass');
});

test('malformed tags of a seal or message signature fail, and never throw', async () => {
  const seal = /(?<=^ARC-Seal: i=1;)[^]*?(?=\r\n[^ \t])/m;
  const signature = /(?<=^ARC-Message-Signature: i=1;)[^]*?(?=\r\n[^ \t])/m;
  const broken: [RegExp, string, (text: string) => string][] = [];
  for (const [where, tags] of [
    [seal, ['a', 'b', 'cv', 'd', 's']],
    [signature, ['a', 'b', 'bh', 'd', 'h', 's']],
  ] as const)
    for (const tag of tags) {
      const found = new RegExp(`(^|;)\\s*${tag}\\s*=[^;]*;?`);
      broken.push([where, `no ${tag}`, (text) => text.replace(found, '$1')]);
      broken.push([where, `empty ${tag}`, (text) => text.replace(found, `$1 ${tag}=;`)]);
      broken.push([where, `${tag} twice`, (text) => `${text}; ${tag}=x`]);
      broken.push([where, `bad ${tag}`, (text) => text.replace(found, `$1 ${tag}=\u00ff"(;`)]);
    }
  broken.push([seal, 'h', (text) => `${text}; h=from`]);
  broken.push([seal, 't', (text) => `${text}; t=-5`]);
  broken.push([seal, 'no tag list', () => ' =;;=;']);
  broken.push([seal, 'nothing', () => '']);
  broken.push([signature, 'seal in h', (text) => text.replace(/h=/, 'h=arc-seal:')]);
  for (const [where, what, edit] of broken) {
    const message = one.replace(where, (text) => edit(text));
    assert.notEqual(message, one, what);
    assert.equal((await verify(message)).result, 'fail', what);
  }
  for (const instance of ['0', '51', '-1', '1.5', 'x', '', '007'])
    assert.equal((await verify(one.replace(/^(ARC-[A-Za-z-]+): i=1;/gm, `$1: i=${instance};`))).result, 'fail', instance);
});

test('keys that are missing or of another algorithm fail', async () => {
  assert.match((await verify(one, {})).reason ?? '', /no key/);
  assert.equal(
    (await verify(one, { 's._domainkey.list.test': { txt: [dkimKey('list.test', 's', 'ed25519').record] } })).result,
    'fail',
  );
  const ed25519 = dkimKey('list.test', 'ed', 'ed25519');
  assert.equal((await verify(await sealed(PLAIN, ed25519), keyRecords(ed25519))).result, 'pass');
});

test('fifty sets are a chain; fields of over 64 KB are not looked at', async () => {
  let message = PLAIN;
  for (let i = 1; i <= 50; i++) message = await sealed(message, list, i);
  let turns = 0;
  let counting = true;
  const count = (): void => {
    turns++;
    if (counting) setImmediate(count);
  };
  count();
  const found = await verify(message);
  counting = false;
  assert.deepEqual([found.result, found.instance], ['pass', 50]);
  // Others had one before each seal.
  assert.ok(turns > 50, String(turns));
  const long = one.replace('ARC-Authentication-Results: i=1;', `ARC-Authentication-Results: i=1; x=${'y'.repeat(70_000)};`);
  assert.deepEqual(await verify(long), { result: 'fail', reason: 'the arc fields are too long' });
});

test('what dkimpy seals holds', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const script = `
import sys, json, dkim
given = json.load(sys.stdin)
message = given['message'].encode('latin1')
for line in dkim.arc_sign(message, b's', b'list.test', given['key'].encode(), b'list.test'): sys.stdout.buffer.write(line)
`;
  const message = `Authentication-Results: list.test; dmarc=pass header.from=sender.test\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\n${PLAIN}`;
  const key = list.key.export({ type: 'pkcs1', format: 'pem' }).toString();
  const { status, stdout, stderr } = await run(python, ['-c', script], { input: JSON.stringify({ message, key }) });
  assert.equal(status, 0, stderr);
  assert.deepEqual(await verify(`${stdout.replace(/\r?\n/g, '\r\n')}${message}`), {
    result: 'pass',
    instance: 1,
    sealers: ['list.test'],
    dmarc: { result: 'pass', domain: 'sender.test' },
  });
});
