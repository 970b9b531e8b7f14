import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeText, textStream } from '../../src/message/charset.ts';
import { parseMail } from '../../src/message/decode.ts';
import { decodeWords, parameterValue } from '../../src/message/encoded-words.ts';
import { transferDecoder } from '../../src/message/transfer-encoding.ts';

/** Whole, byte by byte, and every cut in two. */
function decodeAll(encoding: string, text: string): string[] {
  const bytes = Buffer.from(text, 'latin1');
  const cuts = [[bytes], Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))];
  for (let i = 1; i < bytes.length; i++) cuts.push([bytes.subarray(0, i), bytes.subarray(i)]);
  return cuts.map((chunks) => {
    const decoder = transferDecoder(encoding);
    return Buffer.concat([...chunks.map((chunk) => decoder.push(chunk)), decoder.end()]).toString('latin1');
  });
}

test('base64: at every cut, with line ends, rubbish and several padded pieces', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['aGVsbG8=', 'hello'],
    ['aGVs\r\nbG8=\r\n', 'hello'],
    ['aGVsbG8', 'hello'],
    ['aGVs*bG8=', 'hello'],
    ['aGk=aGk=', 'hihi'],
    ['aA==aA==', 'hh'],
    ['', ''],
    ['=', ''],
    ['////', '\xff\xff\xff'],
  ];
  for (const [given, wanted] of cases) for (const got of decodeAll('base64', given)) assert.equal(got, wanted, given);
});

test('quoted-printable: at every cut (RFC 2045 6.7)', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['a=C3=B1o', 'a\xc3\xb1o'],
    ['a=c3', 'a\xc3'],
    ['one=\r\ntwo', 'onetwo'],
    ['one=\ntwo', 'onetwo'],
    ['one= \t\r\ntwo', 'onetwo'],
    ['blanks  \t\r\nnext', 'blanks\r\nnext'],
    ['a b\tc', 'a b\tc'],
    ['trailing  ', 'trailing'],
    ['a=XYb', 'a=XYb'],
    ['a=4', 'a=4'],
    ['a==41', 'a=A'],
    ['a=', 'a'],
    ['=4=41', '=4A'],
  ];
  for (const [given, wanted] of cases) for (const got of decodeAll('Quoted-Printable', given)) assert.equal(got, wanted, given);
  assert.equal(decodeAll('x-unknown', 'a=41')[0], 'a=41');
});

test('charsets: named, unnamed, unknown, broken; at every cut', () => {
  assert.equal(decodeText(Buffer.from('año'), 'UTF-8'), 'año');
  assert.equal(decodeText(Buffer.from('a\xf1o', 'latin1'), 'iso-8859-1'), 'año');
  assert.equal(decodeText(Buffer.from('a\xf1o', 'latin1'), undefined), 'año');
  assert.equal(decodeText(Buffer.from('a\xf1o', 'latin1'), 'us-ascii'), 'año');
  assert.equal(decodeText(Buffer.from('a\xf1o', 'latin1'), 'x-no-such'), 'año');
  assert.equal(decodeText(Buffer.from('a\xf1', 'latin1'), 'utf-8'), 'a\ufffd');
  assert.equal(decodeText(Buffer.from('\x93\xfa', 'latin1'), 'shift_jis'), '日');
  for (const [bytes, wanted] of [
    [Buffer.from('añ€😀o'), 'añ€😀o'],
    [Buffer.from('a\xf1o\xe2', 'latin1'), 'añoâ'],
    [Buffer.from('ab\xe2\x82', 'latin1'), 'abâ\x82'],
  ] as const)
    for (let i = 0; i <= bytes.length; i++) {
      const stream = textStream(undefined);
      assert.equal(stream.push(bytes.subarray(0, i)) + stream.push(bytes.subarray(i)) + stream.end(), wanted);
    }
});

test('encoded words (RFC 2047) and parameters (RFC 2231)', () => {
  assert.equal(decodeWords('=?utf-8?q?Mar=C3=ADa_Jos=C3=A9?= <m>'), 'María José <m>');
  assert.equal(decodeWords('=?UTF-8?B?YcOx?= =?utf-8?b?bw==?='), 'año');
  assert.equal(decodeWords('a =?utf-8?q?b?= c'), 'a b c');
  assert.equal(decodeWords('=?iso-8859-1*es?Q?a=F1o?='), 'año');
  assert.equal(decodeWords('=?utf-8?x?abc?='), '=?utf-8?x?abc?=');
  assert.equal(decodeWords('=?x-none?q?a=F1?='), 'añ');
  assert.equal(decodeWords('a\xf1o'), 'año');
  assert.equal(parameterValue([['filename*', "utf-8'es'a%C3%B1o%20b.txt"]], 'filename'), 'año b.txt');
  assert.equal(parameterValue([['FileName', '=?utf-8?q?a=C3=B1o?=']], 'filename'), 'año');
  assert.equal(
    parameterValue(
      [
        ['name', 'plain'],
        ['name*', "utf-8''better"],
      ],
      'name',
    ),
    'better',
  );
  assert.equal(parameterValue([], 'name'), undefined);
});

test('row 25: encoded words take linear time', () => {
  const start = performance.now();
  for (const text of [
    '=?a?q?'.repeat(10_000),
    '=?'.repeat(32_000),
    `=?utf-8?q?${'x'.repeat(60_000)}`,
    '=?a?b?'.repeat(8_000) + '?=',
  ])
    decodeWords(text);
  assert.ok(performance.now() - start < 1000);
});

test('parseMail: names, text, html and attachments decoded', async () => {
  const mail = await parseMail(
    Buffer.from(
      [
        'From: =?utf-8?q?Mar=C3=ADa?= <m@x.test>',
        'To: a@x.test, "B, C" <b@x.test>',
        'Subject: =?utf-8?b?YcOxbw==?=',
        'Date: Tue, 24 Nov 2026 10:00:00 +0100',
        'Message-ID: <1@x.test>',
        'X-A: one',
        'X-A: two',
        'Content-Type: multipart/mixed; boundary=b',
        '',
        '--b',
        'Content-Type: text/plain; charset=iso-8859-1',
        'Content-Transfer-Encoding: quoted-printable',
        '',
        'a=F1o',
        'two',
        '--b',
        'Content-Type: text/html; charset=utf-8',
        '',
        '<p>hi</p>',
        '--b',
        "Content-Type: application/pdf; name*=utf-8''a%C3%B1o.pdf",
        'Content-Transfer-Encoding: base64',
        '',
        'AAEC',
        '--b',
        'Content-Disposition: attachment; filename="n.txt"',
        '',
        'note',
        '--b',
        'Content-Type: message/rfc822',
        '',
        'Subject: inner',
        '',
        'x',
        '--b--',
        '',
      ].join('\r\n'),
    ),
  );
  assert.deepEqual(mail.from, [{ name: 'María', address: 'm@x.test' }]);
  assert.deepEqual(mail.to, [
    { name: '', address: 'a@x.test' },
    { name: 'B, C', address: 'b@x.test' },
  ]);
  assert.equal(mail.subject, 'año');
  assert.equal(mail.date?.toISOString(), '2026-11-24T09:00:00.000Z');
  assert.equal(mail.messageId, '<1@x.test>');
  assert.equal(mail.text, 'año\ntwo');
  assert.equal(mail.html, '<p>hi</p>');
  assert.deepEqual(
    mail.attachments.map((a) => [a.filename, a.contentType, a.content.toString('latin1')]),
    [
      ['año.pdf', 'application/pdf', '\x00\x01\x02'],
      ['n.txt', 'text/plain', 'note'],
      [undefined, 'message/rfc822', 'Subject: inner\r\n\r\nx'],
    ],
  );
  assert.deepEqual(mail.headers.get('x-a'), ['one', 'two']);
});

test('parseMail: nothing at all, a multipart without parts, group addresses', async () => {
  const nothing = await parseMail(Buffer.alloc(0));
  assert.equal(nothing.subject, '');
  assert.equal(nothing.text, '');
  assert.equal(nothing.date, undefined);
  const empty = await parseMail(Buffer.from('To: friends: a@x.test;\nContent-Type: multipart/mixed; boundary=b\n\nx'));
  assert.deepEqual(empty.attachments, []);
  assert.equal(empty.text, undefined);
  assert.deepEqual(empty.to, [{ name: '', address: 'a@x.test' }]);
});
