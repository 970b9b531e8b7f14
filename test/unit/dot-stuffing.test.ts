// A message as DATA wants it, whichever way it is cut into chunks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DotStuffer } from '../../src/queue/client/dot-stuffing.ts';
import { seededRandom } from '../support/random.ts';

function stuffed(text: string, cuts: readonly number[] = []): string {
  const stuffer = new DotStuffer();
  const parts: Buffer[] = [];
  let from = 0;
  for (const to of [...cuts, text.length]) {
    parts.push(...stuffer.push(Buffer.from(text.slice(from, to), 'latin1')));
    from = to;
  }
  return Buffer.concat([...parts, stuffer.end()]).toString('latin1');
}
/** The same said slowly. */
const expected = (text: string): string => {
  const lines = text.replaceAll(/\r\n|\r|\n/g, '\r\n').replaceAll(/^\./gm, '..');
  return `${lines}${lines === '' || lines.endsWith('\r\n') ? '' : '\r\n'}.\r\n`;
};

const TABLE: Readonly<Record<string, string>> = {
  '': '.\r\n',
  a: 'a\r\n.\r\n',
  'a\r\n': 'a\r\n.\r\n',
  '.': '..\r\n.\r\n',
  '.\r\n': '..\r\n.\r\n',
  '..\r\n': '...\r\n.\r\n',
  'a\r\n.\r\nb\r\n': 'a\r\n..\r\nb\r\n.\r\n',
  'a\n.\nb': 'a\r\n..\r\nb\r\n.\r\n',
  'a\r.\rb\r': 'a\r\n..\r\nb\r\n.\r\n',
  '\r\r\n\n\r': '\r\n\r\n\r\n\r\n.\r\n',
  'a.b\r\n.c\r\n': 'a.b\r\n..c\r\n.\r\n',
  '\r\n.\r\n': '\r\n..\r\n.\r\n',
};

for (const [text, wanted] of Object.entries(TABLE))
  test(`dots and line ends: ${JSON.stringify(text)} is sent as ${JSON.stringify(wanted)}, also a byte at a time`, () => {
    assert.equal(stuffed(text), wanted);
    assert.equal(
      stuffed(
        text,
        Array.from(text, (_, i) => i),
      ),
      wanted,
    );
    assert.equal(expected(text), wanted);
  });

test('row 17: any bytes in any chunks: CRLF only, and no line that is a dot but the last', () => {
  const random = seededRandom(4);
  for (let run = 0; run < 20_000; run++) {
    const text = Array.from({ length: random.below(12) }, () => '\r\n.ab'[random.below(5)]).join('');
    const cuts = Array.from({ length: random.below(4) }, () => random.below(text.length + 1)).sort((a, b) => a - b);
    assert.equal(stuffed(text, cuts), expected(text), JSON.stringify([text, cuts]));
  }
});

test('what needs nothing is not copied, and a megabyte of one kind of line end takes no time', () => {
  const chunk = Buffer.from('line\r\n'.repeat(1_000));
  const [part, ...rest] = new DotStuffer().push(chunk);
  assert.deepEqual([part?.buffer === chunk.buffer, part?.length, rest.length], [true, chunk.length, 0]);
  const began = performance.now();
  for (const lineEnd of ['\n', '\r', '\r\n']) new DotStuffer().push(Buffer.from(`x${lineEnd}`.repeat(500_000)));
  assert.ok(performance.now() - began < 10_000);
});
