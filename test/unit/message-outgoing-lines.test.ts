import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normaliseLines, OutgoingLines } from '../../src/message/outgoing-lines.ts';
import { memorySource } from '../../src/message/source.ts';
import { seededRandom } from '../support/random.ts';
import { readAll } from '../support/message-source.ts';
import { tempFolder } from '../support/temp-folder.ts';

function normalised(message: Buffer, size = message.length || 1): { text: string; changed: boolean } {
  const lines = new OutgoingLines();
  const out: Buffer[] = [];
  for (let at = 0; at < message.length; at += size)
    for (const piece of lines.push(message.subarray(at, at + size))) out.push(Buffer.from(piece));
  for (const piece of lines.end()) out.push(Buffer.from(piece));
  return { text: Buffer.concat(out).toString('latin1'), changed: lines.changed };
}
const x = (count: number, char = 'x'): string => char.repeat(count);

const CASES: readonly (readonly [name: string, input: string, output: string])[] = [
  ['nothing to do', 'A: b\r\n\r\nx\r\n', 'A: b\r\n\r\nx\r\n'],
  ['empty', '', ''],
  ['bare LF', 'A: b\n\nx\n', 'A: b\r\n\r\nx\r\n'],
  ['bare CR', 'A: b\r\r\nx\ry\r\n', 'A: b\r\n\r\nx\r\ny\r\n'],
  ['CR at the very end', 'A: b\r\n\r\nx\r', 'A: b\r\n\r\nx\r\n'],
  ['no end of the last line', 'A: b\r\n\r\nx', 'A: b\r\n\r\nx\r\n'],
  ['NUL', 'A: b\r\n\r\nx\0y\r\0\n', 'A: b\r\n\r\nxy\r\n'],
  ['998 octets stay', `\r\n${x(998)}\r\n`, `\r\n${x(998)}\r\n`],
  ['999 octets do not', `\r\n${x(999)}\r\n`, `\r\n${x(998)}\r\n x\r\n`],
  ['the space of a break counts', `\r\n${x(998 + 998)}\r\n`, `\r\n${x(998)}\r\n ${x(997)}\r\n x\r\n`],
  ['not inside a character', `\r\n${x(997)}\u00c3\u00b1y\r\n`, `\r\n${x(997)}\r\n \u00c3\u00b1y\r\n`],
  ['bytes that are no UTF-8 are cut where the limit is', `\r\n${x(999, '\u00b1')}\r\n`, `\r\n${x(998, '\u00b1')}\r\n \u00b1\r\n`],
  ['a blank of the body does not matter', `\r\n${x(500)} ${x(600)}\r\n`, `\r\n${x(500)} ${x(497)}\r\n ${x(103)}\r\n`],
  ['a field at its last blank', `A: ${x(500)} ${x(600)}\r\n\r\n`, `A: ${x(500)}\r\n ${x(600)}\r\n\r\n`],
  ['a field without one', `A:${x(1000)}\r\n\r\n`, `A:${x(996)}\r\n xxxx\r\n\r\n`],
  ['a broken field of blanks', `A: b${x(1200, ' ')}\r\n\r\n`, `A: b\r\n${x(998, ' ')}\r\n ${x(202, ' ')}\r\n\r\n`],
  ['a long bare line end', `\r\n${x(999)}\ny\n`, `\r\n${x(998)}\r\n x\r\ny\r\n`],
];

for (const [name, input, output] of CASES)
  test(`outgoing lines: ${name}`, () => {
    const message = Buffer.from(input, 'latin1');
    for (const size of [1, 2, 3, 997, message.length || 1]) {
      const { text, changed } = normalised(message, size);
      assert.equal(text, output, `pieces of ${size}`);
      assert.equal(changed, input !== output, `pieces of ${size}`);
    }
  });

test('outgoing lines: whatever comes in, CRLF and 998 octets come out, however it is cut', () => {
  const random = seededRandom(17);
  const pieces = ['\r', '\n', '\r\n', '\0', ' ', '\t', 'ñ', '€', '😀', x(300), x(996), 'A: b', '\u0080'];
  for (let round = 0; round < 100; round++) {
    const message = Buffer.from(Array.from({ length: random.below(40) }, () => random.pick(pieces)).join(''));
    const whole = normalised(message);
    assert.equal(normalised(message, 1 + random.below(50)).text, whole.text, `round ${round}`);
    const lines = whole.text.split('\r\n');
    assert.ok(
      lines.every((line) => line.length <= 998 && !/[\r\n\0]/.test(line)),
      `round ${round}`,
    );
    const again = normalised(Buffer.from(whole.text, 'latin1'));
    assert.deepEqual([again.text, again.changed], [whole.text, false], `round ${round}`);
    // Nothing but line ends, NUL and the spaces of breaks is lost or added, and no character is cut.
    const bare = (text: string): string => text.replace(/[\r\n\0 ]/g, '');
    assert.equal(bare(whole.text), bare(message.toString('latin1')), `round ${round}`);
    assert.ok(!Buffer.from(whole.text, 'latin1').toString('utf8').includes('\ufffd'), `round ${round}`);
  }
});

test('normaliseLines gives the same source back when there is nothing to do', async (t) => {
  const folder = await tempFolder(t);
  const good = memorySource(Buffer.from('A: b\r\n\r\nx\r\n'));
  assert.equal(await normaliseLines(good, folder), good);
  const bad = await normaliseLines(memorySource(Buffer.from('A: b\r\n\r'), Buffer.from('\nx\n'), Buffer.from(x(2000))), folder);
  const bytes = await readAll(bad);
  assert.equal(bytes.length, bad.size);
  assert.equal(bytes.toString(), `A: b\r\n\r\nx\r\n${x(998)}\r\n ${x(997)}\r\n ${x(5)}\r\n`);
  await bad.dispose();
});
