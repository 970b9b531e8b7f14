// The bytes of DATA and BDAT, cut in every way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkScanner, DataScanner } from '../../src/smtp/data-scanner.ts';
import { seededRandom } from '../support/random.ts';

interface Outcome {
  readonly content: string;
  /** What lies behind the end; undefined while there was no end. */
  readonly rest: string | undefined;
  readonly irregular: boolean;
}

function scan(pieces: readonly string[]): Outcome {
  const scanner = new DataScanner();
  let content = '';
  for (const [i, piece] of pieces.entries()) {
    const chunk = Buffer.from(piece, 'latin1');
    const scanned = scanner.push(chunk);
    content += scanned.content.toString('latin1');
    if (!scanned.ended) continue;
    const rest = piece.slice(scanned.used) + pieces.slice(i + 1).join('');
    return { content, rest, irregular: scanner.irregular };
  }
  return { content, rest: undefined, irregular: scanner.irregular };
}
function scanChunks(pieces: readonly string[]): Outcome {
  const scanner = new ChunkScanner();
  let content = pieces.map((piece) => scanner.push(Buffer.from(piece, 'latin1')).toString('latin1')).join('');
  content += scanner.end().toString('latin1');
  return { content, rest: undefined, irregular: scanner.irregular };
}
/** The text whole, byte by byte, and cut once and twice at every place. */
function* cuts(text: string): Generator<string[]> {
  yield [text];
  yield [...text];
  for (let i = 0; i <= text.length; i++) yield [text.slice(0, i), text.slice(i)];
  for (let i = 0; i <= text.length; i++)
    for (let j = i; j <= text.length; j++) yield [text.slice(0, i), text.slice(i, j), text.slice(j)];
}

const TABLE: readonly (readonly [name: string, input: string, expected: Outcome])[] = [
  ['an empty message', '.\r\nQUIT', { content: '', rest: 'QUIT', irregular: false }],
  ['a line', 'a\r\n.\r\nQUIT', { content: 'a\r\n', rest: 'QUIT', irregular: false }],
  ['only an empty line', '\r\n.\r\n', { content: '\r\n', rest: '', irregular: false }],
  ['stuffed dots', '..\r\n..a\r\n...\r\n.\r\n', { content: '.\r\n.a\r\n..\r\n', rest: '', irregular: false }],
  ['a dot that was not stuffed', '.a\r\n.\r\n', { content: 'a\r\n', rest: '', irregular: false }],
  ['dots inside a line', 'a.\r\na.b\r\n.\r\n', { content: 'a.\r\na.b\r\n', rest: '', irregular: false }],
  ['an end that is not there yet', 'a\r\n.\r', { content: 'a\r\n', rest: undefined, irregular: false }],
  ['8 bits', '\xff\xfe\x80\r\n.\r\n', { content: '\xff\xfe\x80\r\n', rest: '', irregular: false }],
];
for (const [name, input, expected] of TABLE)
  test(`the scanner reads ${name}, however it is cut`, () => {
    for (const pieces of cuts(input)) assert.deepEqual(scan(pieces), expected, JSON.stringify(pieces));
  });

/** Row 16's list: none of them ends the data. What is kept has CRLF line ends only. */
const NO_END: readonly (readonly [sequence: string, kept: string])[] = [
  ['\n.\n', '\r\n.\r\n'],
  ['\n.\r', '\r\n.\r\n'],
  ['\r.\n', '\r\n.\r\n'],
  ['\r.\r', '\r\n.\r\n'],
  ['\n.\r\n', '\r\n.\r\n'],
  ['\r.\r\n', '\r\n.\r\n'],
  ['\r\n.\n', '\r\n\r\n'],
  ['\r\n.\r', '\r\n\r\n'],
  ['\r\n\0.\r\n', '\r\n.\r\n'],
  ['\r\n.\0\r\n', '\r\n\r\n'],
  ['\r\n.\r\r\n', '\r\n\r\n\r\n'],
  ['\n..\r\n', '\r\n..\r\n'],
];
for (const [sequence, kept] of NO_END)
  test(`the end of data is not ${JSON.stringify(sequence)}, however it is cut`, () => {
    for (const pieces of cuts(`a${sequence}MAIL\r\n.\r\n!`)) {
      const outcome = scan(pieces);
      const told = JSON.stringify({ pieces, outcome });
      assert.deepEqual(outcome, { content: `a${kept}MAIL\r\n`, rest: '!', irregular: true }, told);
    }
  });

test('the content of nonsense has CRLF only, and does not depend on the cuts', () => {
  const random = seededRandom(7);
  const alphabet = ['\r', '\n', '.', 'a', '\0', '\r\n', '\r\n.', '\r\n.\r\n'];
  for (let i = 0; i < 3_000; i++) {
    const text = Array.from({ length: 1 + random.below(14) }, () => random.pick(alphabet)).join('');
    const whole = scan([text]);
    assert.deepEqual(scan([...text]), whole, JSON.stringify(text));
    assert.doesNotMatch(whole.content, /(?<!\r)\n|\r(?!\n)|\0/, JSON.stringify(text));
    // The end is CRLF.CRLF (or .CRLF at the very beginning), the first one.
    const end = /(^|\r\n)\.\r\n/.exec(text);
    const expected = end ? text.slice(end.index + end[0].length) : undefined;
    assert.equal(whole.rest, expected, JSON.stringify(text));
  }
});

test('chunks of BDAT: dots are text, bare line ends and NUL are noticed, cuts do not matter', () => {
  for (const [input, content, irregular] of [
    ['', '', false],
    ['.\r\na\r\n.\r\n', '.\r\na\r\n.\r\n', false],
    ['..\r\n', '..\r\n', false],
    ['a\nb', 'a\r\nb', true],
    ['a\rb', 'a\r\nb', true],
    ['a\0b\r\n', 'ab\r\n', true],
    ['a\r', 'a\r\n', true],
    ['\r\r\n\n', '\r\n\r\n\r\n', true],
  ] as const)
    for (const pieces of cuts(input))
      assert.deepEqual(scanChunks(pieces), { content, rest: undefined, irregular }, JSON.stringify(pieces));
});
