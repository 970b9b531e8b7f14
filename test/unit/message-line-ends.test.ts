import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrlfEncoder, LfEncoder, LineEndCounter } from '../../src/message/line-ends.ts';

/** Every way to cut `bytes` into two chunks, byte by byte, and whole. */
function* cuts(bytes: Buffer): Generator<Buffer[]> {
  yield [bytes];
  yield Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
  for (let i = 0; i <= bytes.length; i++) yield [bytes.subarray(0, i), bytes.subarray(i)];
}

const TABLE: readonly (readonly [given: string, wire: string, disk: string])[] = [
  ['', '', ''],
  ['a', 'a', 'a'],
  ['a\n', 'a\r\n', 'a\n'],
  ['a\r\n', 'a\r\n', 'a\n'],
  ['\n\n', '\r\n\r\n', '\n\n'],
  ['\r\n\r\n', '\r\n\r\n', '\n\n'],
  ['\r', '\r', '\r'],
  ['\r\r\n', '\r\r\n', '\r\n'],
  ['a\rb\nc\r\nd\r', 'a\rb\r\nc\r\nd\r', 'a\rb\nc\nd\r'],
  ['\n\r', '\r\n\r', '\n\r'],
];

test('line ends: LF to CRLF and CRLF to LF, exact at every chunk edge', () => {
  for (const [given, wire, disk] of TABLE)
    for (const chunks of cuts(Buffer.from(given))) {
      const crlf = new CrlfEncoder();
      assert.equal(Buffer.concat(chunks.map((c) => crlf.push(c))).toString(), wire, JSON.stringify(given));
      const lf = new LfEncoder();
      assert.equal(Buffer.concat([...chunks.map((c) => lf.push(c)), lf.end()]).toString(), disk, JSON.stringify(given));
    }
});

test('line ends: the counter agrees with both transforms at every chunk edge', () => {
  for (const [given, wire, disk] of TABLE)
    for (const chunks of cuts(Buffer.from(given))) {
      const counter = new LineEndCounter();
      for (const chunk of chunks) counter.push(chunk);
      assert.equal(counter.bytes, given.length);
      assert.equal(counter.wireSize, wire.length, JSON.stringify(given));
      assert.equal(counter.lfSize, disk.length, JSON.stringify(given));
      assert.equal(counter.lines, given.split('\n').length - 1);
    }
});

test('line ends: a chunk that needs no change is passed on, not copied', () => {
  const chunk = Buffer.from('a\r\nb');
  assert.equal(new CrlfEncoder().push(chunk), chunk);
});
