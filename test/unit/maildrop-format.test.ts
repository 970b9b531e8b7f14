// The maildrop's file format: what sendmail writes is read back, and nothing else is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadDrop, formatHead, parseHead, type DropEnvelope } from '../../src/maildrop/format.ts';
import { parseWorkName } from '../../src/maildrop/hand-in.ts';
import { fuzzTime, seededRandom } from '../support/random.ts';

const GOOD: readonly DropEnvelope[] = [
  { sender: '', recipients: ['ana@example.test'] },
  { sender: 'ana@example.test', recipients: ['"a b"@example.test', 'ñandú@example.test'], bodyType: '8BITMIME' },
  { sender: 'x@y.test', recipients: ['a@b.test'], notify: ['SUCCESS', 'DELAY'], ret: 'HDRS', envid: 'id 1+=' },
];

test('an envelope is read as it was written', () => {
  for (const envelope of GOOD) assert.deepEqual(parseHead(formatHead(envelope).subarray(0, -1)), envelope);
});

test('what is no envelope of the maildrop is refused', () => {
  const head = (value: unknown): string => `buzon-maildrop-1 ${JSON.stringify(value)}`;
  const ok = { sender: 'a@b.test', recipients: ['c@d.test'] };
  const bad = [
    '',
    'From: x',
    'buzon-maildrop-1 ',
    'buzon-maildrop-1 {',
    `buzon-maildrop-2 ${JSON.stringify(ok)}`,
    head([]),
    head(null),
    head({ ...ok, sender: 7 }),
    head({ ...ok, sender: 'nodomain' }),
    head({ ...ok, sender: 'a@b.test\r\nX: y' }),
    head({ ...ok, recipients: [] }),
    head({ ...ok, recipients: 'c@d.test' }),
    head({ ...ok, recipients: [''] }),
    head({ ...ok, recipients: ['root'] }),
    head({ ...ok, recipients: ['c@d.test', 'a\0@b.test'] }),
    head({ ...ok, recipients: ['c@d.test>\nRCPT TO:<x@y.test'] }),
    head({ ...ok, recipients: Array.from({ length: 10_001 }, (_, i) => `u${i}@d.test`) }),
    head({ ...ok, notify: ['NEVER', 'DELAY'] }),
    head({ ...ok, notify: [] }),
    head({ ...ok, ret: 'ALL' }),
    head({ ...ok, envid: 'x\ny' }),
    head({ ...ok, envid: 'x'.repeat(101) }),
    head({ ...ok, bodyType: 'BINARYMIME' }),
  ];
  for (const text of bad) assert.throws(() => parseHead(Buffer.from(text)), BadDrop, text.slice(0, 80));
});

test('row 25: seeded fuzz of the maildrop envelope gives an envelope or BadDrop', () => {
  const { until, seed } = fuzzTime(300);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    const bytes = formatHead(random.pick(GOOD)).subarray(0, -1);
    for (let i = random.below(4); i >= 0; i--) bytes[random.below(bytes.length)] = random.below(256);
    try {
      const { sender, recipients } = parseHead(bytes);
      for (const address of [sender, ...recipients]) assert.doesNotMatch(address, /[\x00-\x1f\x7f]/, `seed ${n}`);
    } catch (error) {
      assert.ok(error instanceof BadDrop, `seed ${n}: ${String(error)}`);
    }
  }
});

test('names in pickup/ say how far a file is', () => {
  assert.deepEqual(parseWorkName('0123456789AB'), { id: '0123456789AB', accepted: false, splitting: false });
  assert.deepEqual(parseWorkName('0123456789AB.b'), { id: '0123456789AB', accepted: true, splitting: false });
  assert.deepEqual(parseWorkName('0123456789AB.s'), { id: '0123456789AB', accepted: false, splitting: true });
  assert.deepEqual(parseWorkName('0123456789AB.r12.b'), { id: '0123456789AB', part: 12, accepted: true, splitting: false });
  for (const name of ['', 'x', '0123456789ab', '0123456789AB.', '0123456789AB.s.b', '0123456789AB.r', '0123456789AB.tmp'])
    assert.equal(parseWorkName(name), undefined, name);
});
