import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { bodyContains, headerBlockContains, headerTexts } from '../../src/message/search-text.ts';
import { parseStructure } from '../../src/message/structure.ts';
import { foldCase, TextFinder } from '../../src/message/text-finder.ts';

async function contains(message: string | Buffer, needle: string, chunk = 7): Promise<boolean> {
  const bytes = typeof message === 'string' ? Buffer.from(message, 'latin1') : message;
  async function* read(start: number, end: number) {
    for (let at = start; at < end; at += chunk) yield bytes.subarray(at, Math.min(end, at + chunk));
  }
  return bodyContains(await parseStructure(read(0, bytes.length)), read, foldCase(needle));
}

test('text is found behind encodings and charsets, without regard to case, across chunk edges', async () => {
  const utf8 = (text: string): string => Buffer.from(text).toString('latin1');
  const cases: readonly (readonly [message: string, needle: string, found: boolean])[] = [
    ['A: b\n\nHello World', 'hello world', true],
    ['A: b\n\nHello World', 'worlds', false],
    ['Subject: secret\n\nbody', 'secret', false],
    ['Content-Transfer-Encoding: base64\n\naGVsbG8gd29y\nbGQ=', 'LO WOR', true],
    ['Content-Transfer-Encoding: quoted-printable\n\nhel=\nlo=20w=6Frld', 'hello world', true],
    ['Content-Type: text/plain; charset=iso-8859-1\n\nA\xf1O', 'año', true],
    ['Content-Type: text/plain; charset=utf-8\n\n' + utf8('AN\u0303O STRASSE'), 'año', true],
    ['Content-Type: text/plain; charset=utf-8\n\n' + utf8('ΟΔΟΣ'), 'οδοσ', true],
    ['A: b\n\n' + utf8('unlabelled año'), 'AÑO', true],
    ['Content-Type: application/pdf\n\nhello', 'hello', false],
    [
      'Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\n<b>two</b>\n--b--',
      'TWO',
      true,
    ],
    ['Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b--', 'preamble', false],
    ['Content-Type: message/rfc822\n\nSubject: =?utf-8?q?in=6Eer?=\n\nx', 'subject: inner', true],
    ['Content-Type: message/rfc822\n\nSubject: inner\n\ndeep', 'deep', true],
    ['A: b\n\nanything', '', true],
  ];
  for (const [message, needle, found] of cases)
    for (const chunk of [1, 7, 10_000])
      assert.equal(await contains(message, needle, chunk), found, `${message} / ${needle} / ${chunk}`);
});

test('TextFinder finds at every cut, long texts too', () => {
  const text = 'x'.repeat(5000) + 'Señor e\u0301l' + 'y'.repeat(5000);
  for (const needle of ['señor', 'SEÑOR ÉL', 'y'.repeat(4000)])
    for (let size = 1; size < 3000; size = size * 2 + 1) {
      const finder = new TextFinder(foldCase(needle));
      let found = false;
      for (let at = 0; at < text.length && !found; at += size) found = finder.push(text.slice(at, at + size));
      assert.ok(found || finder.end(), `${needle.slice(0, 10)} ${size}`);
    }
  const finder = new TextFinder('absent');
  assert.equal(finder.push('absen') || finder.end(), false);
});

test('header values are decoded and folded', () => {
  const block = Buffer.from('Subject: =?utf-8?q?A=C3=91o?=\r\n two\r\nsubject: b\r\n\r\n');
  assert.deepEqual(headerTexts(block, 'subject'), ['año two', 'b']);
});

test('SEARCH TEXT sees names and decoded values of a header', async () => {
  const block = Buffer.from('Subject: =?utf-8?q?A=C3=91o?=\r\n two\r\nX-Other: b\r\n\r\nbody: no\r\n');
  for (const [needle, found] of [
    ['subject: año two', true],
    ['x-other', true],
    ['body', false],
    ['two\r\n', false],
  ] as const)
    assert.equal(await headerBlockContains(block, needle), found, needle);
});

/** The longest stall of the loop while `run` runs, in milliseconds: of the best of three, as the machine has others' work to do. */
async function bestOfThree(run: () => Promise<void>): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < 3; round++) {
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    await run();
    delay.disable();
    best = Math.min(best, delay.max / 1e6);
  }
  return best;
}

test('row 9: searching a header of 1 MB of encoded words does not block the loop', async () => {
  const field = `X: ${'=?utf-8?q?=C3=B1?= '.repeat(3_000)}\r\n`;
  const block = Buffer.from(field.repeat(19));
  const longest = await bestOfThree(async () => assert.equal(await headerBlockContains(block, 'needle'), false));
  assert.ok(longest < 500, `blocked ${longest} ms`);
});

test('row 25: searching text made of combining marks does not block the loop', async () => {
  const marks = 'Content-Type: text/plain; charset=utf-8\n\n' + 'a' + '\u0301\u0323'.repeat(300_000);
  const bytes = Buffer.from(marks);
  const longest = await bestOfThree(async () => assert.equal(await contains(bytes, 'needle', 65_536), false));
  assert.ok(longest < 500, `blocked ${longest} ms`);
});
