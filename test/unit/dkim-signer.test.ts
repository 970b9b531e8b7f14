import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { prefixedSource, memorySource } from '../../src/message/source.ts';
import { BodyHash } from '../../src/policy/dkim-body.ts';
import { relaxedField } from '../../src/policy/dkim-canonical.ts';
import { DkimSigner } from '../../src/policy/dkim-signer.ts';
import { dkimKey, dkimpyVerdicts, keyRing, requireDkimpy, verdicts, type TestKey } from '../support/dkim.ts';
import { captureLog } from '../support/log-capture.ts';
import { readAll } from '../support/message-source.ts';
import { seededRandom } from '../support/random.ts';

const NOW = Date.UTC(2026, 10, 24, 13, 41, 13);
const rsa = dkimKey('example.test', 'default');
const ed = dkimKey('example.test', 'ed', 'ed25519');

const signer = (...keys: readonly TestKey[]): DkimSigner =>
  new DkimSigner({ keys: keyRing(...keys), now: () => NOW, logger: captureLog().logger });

const MESSAGE = Buffer.from(
  'Received: by mail.example.test\r\nFrom: Ana <ana@example.test>\r\nTo: Eva\r\n <eva@otro.test>\r\n' +
    'Subject: caf\u00e9  con\t leche \r\nX-Other: 1\r\nReferences: <a@b>\r\nReferences: <c@d>\r\n\r\none  two\t\r\n\r\n \r\nthree\r\n\r\n\r\n',
);

async function signed(message: Buffer, ...keys: readonly TestKey[]): Promise<Buffer> {
  const source = memorySource(message);
  const fields = await signer(...keys).sign(source, 'ID');
  assert.ok(fields);
  return readAll(prefixedSource(fields, source));
}

test('a signature of each key: RSA and Ed25519 hold for mailauth and for dkimpy', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const message = await signed(MESSAGE, rsa, ed);
  assert.deepEqual(await verdicts(message, [rsa, ed]), { default: 'pass', ed: 'pass' });
  assert.deepEqual(await dkimpyVerdicts(python, [message], [rsa, ed]), [[true, true]]);
  const head = message.toString('latin1', 0, message.indexOf('Received'));
  assert.match(head, /^DKIM-Signature: v=1; a=rsa-sha256; c=relaxed\/relaxed; d=example\.test;\r\n/);
  assert.match(head, /\r\nDKIM-Signature: v=1; a=ed25519-sha256;/);
  assert.match(head, new RegExp(`s=ed; t=${NOW / 1000}; h=From:From:`));
  assert.doesNotMatch(head, /[; ]l=/);
  assert.ok(head.split('\r\n').every((line) => line.length <= 78));
});

const BODIES: readonly (readonly [name: string, body: string])[] = [
  ['none', ''],
  ['empty lines only', '\r\n\r\n\r\n'],
  ['blanks only', ' \t \r\n \r\n'],
  ['no last line end', 'one'],
  ['a blank at the very end', 'one '],
  ['many empty lines in the middle', `one${'\r\n'.repeat(3000)}two\r\n`],
  ['begins with empty lines', '\r\n\r\none\r\n'],
  ['a dot', '.\r\n..\r\n'],
];
test('signatures hold for bodies that canonicalisation is about', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const messages: Buffer[] = [];
  for (const [name, body] of BODIES) {
    const message = await signed(Buffer.from(`From: a@example.test\r\nSubject: x\r\n\r\n${body}`), rsa);
    assert.deepEqual(await verdicts(message, [rsa]), { default: 'pass' }, name);
    // dkimpy keeps a blank that no line end follows; what goes out ends in CRLF.
    messages.push(body.endsWith(' ') ? Buffer.concat([message, Buffer.from('\r\n')]) : message);
  }
  const expected = BODIES.map(([name]) => [name, true]);
  const found = await dkimpyVerdicts(python, messages, [rsa]);
  assert.deepEqual(
    BODIES.map(([name], i) => [name, ...(found[i] ?? [])]),
    expected,
  );
});

test('what makes a message what it is cannot be changed or added; trace fields can', async () => {
  const message = (await signed(MESSAGE, rsa)).toString('latin1');
  const after = async (edit: (text: string) => string): Promise<string | undefined> =>
    (await verdicts(Buffer.from(edit(message), 'latin1'), [rsa]))['default'];
  assert.equal(await after((text) => text), 'pass');
  assert.equal(await after((text) => `Received: elsewhere\r\nX-Spam: no\r\n${text}`), 'pass');
  assert.equal(await after((text) => text.replace('Subject: ', 'Subject:\r\n\t')), 'pass', 'folding');
  for (const name of [
    'From',
    'To',
    'Cc',
    'Reply-To',
    'Subject',
    'Date',
    'Message-ID',
    'Content-Type',
    'MIME-Version',
    'References',
  ])
    assert.notEqual(await after((text) => `${name}: x@evil.test\r\n${text}`), 'pass', `a second ${name}`);
  assert.notEqual(await after((text) => text.replace('three', 'four')), 'pass');
  assert.notEqual(await after((text) => `${text}more\r\n`), 'pass');
  assert.notEqual(await after((text) => text.replace('con', 'sin')), 'pass');
});

test('a field that ends in a byte that other readers take for white space: the signature holds', async (t) => {
  const python = await requireDkimpy(t);
  if (python === undefined) return;
  const message = await signed(
    Buffer.from('From: a@example.test\r\nSubject: voil\u00e0\r\nTo: \u00e0\r\n\r\nvoil\u00e0\r\n'),
    rsa,
  );
  assert.deepEqual(await verdicts(message, [rsa]), { default: 'pass' });
  assert.deepEqual(await dkimpyVerdicts(python, [message], [rsa]), [[true]]);
});

test('no signature where it is not clear whose domain it is, or there is no key', async () => {
  const sign = async (header: string): Promise<boolean> =>
    (await signer(rsa).sign(memorySource(Buffer.from(`${header}\r\n\r\nx\r\n`)), 'ID')) !== undefined;
  assert.equal(await sign('From: a@example.test'), true);
  assert.equal(await sign('From: a@EXAMPLE.test'), true);
  assert.equal(await sign('From: a@example.test, b@example.test'), true);
  assert.equal(await sign('From: a@example.test, b@otro.test'), false);
  assert.equal(await sign('From: a@example.test\r\nFrom: b@example.test'), false);
  assert.equal(await sign('From: a@sub.example.test'), false);
  assert.equal(await sign('From: a@otro.test'), false);
  assert.equal(await sign('From: Ana'), false);
  assert.equal(await sign('From: "a@example.test'), false);
  assert.equal(await sign('To: a@example.test'), false);
  assert.equal(await sign(`From: a@example.test\r\nX: ${'x'.repeat(1_048_576)}`), false, 'over the limit');
});

test('a domain in Unicode is signed with the key of its ASCII form, and the other way about', async () => {
  for (const configured of ['xn--exampl-gva.test', 'examplé.test']) {
    const key = dkimKey(configured, 'default');
    const message = await signed(Buffer.from('From: a@examplé.test\r\n\r\nx\r\n'), key);
    assert.match(message.toString(), /d=xn--exampl-gva\.test;/);
    assert.deepEqual(await verdicts(message, [{ ...key, domain: 'xn--exampl-gva.test' }]), { default: 'pass' });
  }
});

test('resign: signatures of ours are made anew, those of others stay, what was not signed is not', async () => {
  const theirs = dkimKey('otro.test', 'default');
  const once = await signed(MESSAGE, rsa, ed);
  const foreign = `DKIM-Signature: v=1; d=otro.test; s=default; b=AAAA\r\n`;
  const changed = Buffer.concat([Buffer.from(foreign), once, Buffer.from('changed\r\n')]);
  const again = await readAll(await signer(rsa, ed).resign(memorySource(changed), 'ID'));
  assert.equal(again.toString('latin1').match(/^DKIM-Signature:/gm)?.length, 3);
  assert.ok(again.includes(foreign));
  const { default: first, ed: second } = await verdicts(Buffer.from(again.toString('latin1').replace(foreign, ''), 'latin1'), [
    rsa,
    ed,
  ]);
  assert.deepEqual([first, second], ['pass', 'pass']);
  const plain = memorySource(Buffer.concat([Buffer.from(foreign), MESSAGE]));
  assert.equal(await signer(rsa, ed).resign(plain, 'ID'), plain);
  assert.equal(
    await signer(theirs)
      .resign(memorySource(once), 'ID')
      .then((source) => source.size),
    once.length,
  );
});

test('the canonical body hash is the same however the body is cut, and what a plain reading of the RFC gives', () => {
  const random = seededRandom(6376);
  for (let round = 0; round < 150; round++) {
    const pieces = Array.from({ length: random.below(60) }, () =>
      random.pick(['\r\n', '\r\n\r\n', ' ', '\t', '  \t', 'a', 'b c', 'ñ']),
    );
    const body = Buffer.from(pieces.join(''));
    const whole = new BodyHash();
    whole.push(body);
    const cut = new BodyHash();
    for (let at = 0; at < body.length;) {
      const size = 1 + random.below(7);
      cut.push(body.subarray(at, at + size));
      at += size;
    }
    const lines = body.toString('latin1').split('\r\n');
    let plain = lines.map((line) => line.replace(/[ \t]+/g, ' ').replace(/ $/, '')).join('\r\n');
    plain = plain.replace(/(\r\n)+$/, '');
    const expected = createHash('sha256')
      .update(plain === '' ? '' : `${plain}\r\n`, 'latin1')
      .digest('base64');
    assert.equal(whole.digest(), expected, `round ${round}`);
    assert.equal(cut.digest(), expected, `round ${round}`);
  }
});

test('the canonical form of a field (RFC 6376 section 3.4.5)', () => {
  assert.equal(relaxedField('A: X\r\n'), 'a:X');
  assert.equal(relaxedField('B : Y\t\r\n\tZ  \r\n'), 'b:Y Z');
  assert.equal(relaxedField('C:\r\n'), 'c:');
  assert.equal(relaxedField('D: \xa0x\xc3\xa0\f \r\n'), 'd:\xa0x\xc3\xa0\f', 'only spaces and tabs are white space');
});
