import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatImapDateTime, formatRfc5322, parseImapDate, parseImapDateTime, parseRfc5322Date } from '../../src/message/date.ts';

const AT = Date.UTC(2026, 10, 4, 13, 41, 9);

test('dates are written as RFC 5322 and RFC 3501 say', () => {
  assert.equal(formatRfc5322(AT, 0), 'Wed, 4 Nov 2026 13:41:09 +0000');
  assert.equal(formatRfc5322(AT, -210), 'Wed, 4 Nov 2026 10:11:09 -0330');
  assert.equal(formatImapDateTime(AT, 0), ' 4-Nov-2026 13:41:09 +0000');
  assert.equal(formatImapDateTime(AT, 765), ' 5-Nov-2026 02:26:09 +1245');
  assert.equal(formatRfc5322(0, 0), 'Thu, 1 Jan 1970 00:00:00 +0000');
});

test('IMAP date-time: read back, and refused where it is none (RFC 3501 section 9)', () => {
  for (const offset of [0, 60, -210, 765]) assert.equal(parseImapDateTime(formatImapDateTime(AT, offset)), AT);
  assert.equal(parseImapDateTime('04-nov-2026 13:41:09 +0000'), AT);
  for (const bad of [
    '',
    '4-Nov-2026 13:41:09 +0000',
    '31-Feb-2026 13:41:09 +0000',
    '00-Jan-2026 00:00:00 +0000',
    ' 4-Foo-2026 13:41:09 +0000',
    ' 4-Nov-2026 24:00:00 +0000',
    ' 4-Nov-2026 13:60:09 +0000',
    ' 4-Nov-2026 13:41:61 +0000',
    ' 4-Nov-2026 13:41:09 +0060',
    ' 4-Nov-2026 13:41:09',
    ' 4-Nov-2026 13:41:09 +0000x',
    '  -Nov-2026 13:41:09 +0000',
  ])
    assert.equal(parseImapDateTime(bad), undefined, bad);
});

test('IMAP date: a day number', () => {
  const day = Date.UTC(2026, 10, 4) / 86_400_000;
  assert.equal(parseImapDate('4-Nov-2026'), day);
  assert.equal(parseImapDate('04-NOV-2026'), day);
  for (const bad of ['', '31-Feb-2026', '4-Nov-26', '4-Nov-2026 ', '0-Jan-2026', '4-Xyz-2026'])
    assert.equal(parseImapDate(bad), undefined, bad);
});

test('Date fields are read tolerantly (RFC 5322 3.3, 4.3)', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['Wed, 4 Nov 2026 13:41:09 +0000', AT],
    ['4 Nov 2026 13:41:09 +0000', AT],
    ['Wed,  4  Nov  2026 14:41:09 +0100 (CET)', AT],
    ['Wed (day), 4 Nov 2026 13:41:09 GMT', AT],
    ['4 Nov 26 08:41:09 EST', AT],
    ['4 Nov 2026 13:41 +0000', AT - 9_000],
    ['4-Nov-2026 13:41:09 +0000', AT],
    ['4 November 2026 13:41:09 Z', AT],
    ['4 Nov 99 00:00:00 UT', Date.UTC(1999, 10, 4)],
    ['4 Nov 2026', Date.UTC(2026, 10, 4)],
  ];
  for (const [text, at] of cases) assert.equal(parseRfc5322Date(text)?.at, at, text);
  assert.equal(parseRfc5322Date('4 Nov 2026 23:00:00 -1100')?.day, Date.UTC(2026, 10, 4) / 86_400_000);
  for (const bad of ['', 'yesterday', '31 Feb 2026 00:00:00 +0000', '4 Foo 2026', '('.repeat(1000)])
    assert.equal(parseRfc5322Date(bad), undefined, bad);
});
