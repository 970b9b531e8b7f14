import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extractAddresses, parseAddressList, plainAddresses } from '../../src/message/addresses.ts';
import { DEFAULT_MIME_LIMITS } from '../../src/message/types.ts';

const list = (text: string): (string | null)[][] =>
  parseAddressList(text, DEFAULT_MIME_LIMITS).map((a) => [a.name, a.route, a.mailbox, a.host]);

test('address lists as people and programs write them (RFC 5322 3.4, 4.4)', () => {
  const cases: readonly (readonly [string, (string | null)[][]])[] = [
    ['a@x.test', [[null, null, 'a', 'x.test']]],
    ['Ana B. C <a@x.test>', [['Ana B. C', null, 'a', 'x.test']]],
    ['"B, \\"C\\"" <a@x.test>', [['B, "C"', null, 'a', 'x.test']]],
    ['a@x.test (Ana (the first))', [['Ana (the first)', null, 'a', 'x.test']]],
    ['=?utf-8?q?a=2C_b?= <a@x.test>', [['=?utf-8?q?a=2C_b?=', null, 'a', 'x.test']]],
    ['<@r.test,@s.test:a@x.test>', [[null, '@r.test,@s.test', 'a', 'x.test']]],
    ['"a b"@x.test', [[null, null, 'a b', 'x.test']]],
    ['a . b @ x . test', [[null, null, 'a.b', 'x.test']]],
    ['a@[IPv6:2001:db8::1]', [[null, null, 'a', '[IPv6:2001:db8::1]']]],
    ['(c) A <(c) a (c) @ (c) x.test (c)> (c)', [['A', null, 'a', 'x.test']]],
    ['root', [[null, null, 'root', 'MISSING_DOMAIN']]],
    [
      'a@x.test, , b@x.test,',
      [
        [null, null, 'a', 'x.test'],
        [null, null, 'b', 'x.test'],
      ],
    ],
    [
      'g: a@x.test, B <b@x.test>; , c@x.test',
      [
        [null, null, 'g', null],
        [null, null, 'a', 'x.test'],
        ['B', null, 'b', 'x.test'],
        [null, null, null, null],
        [null, null, 'c', 'x.test'],
      ],
    ],
    [
      'g: a@x.test',
      [
        [null, null, 'g', null],
        [null, null, 'a', 'x.test'],
        [null, null, null, null],
      ],
    ],
    [
      'g:;',
      [
        [null, null, 'g', null],
        [null, null, null, null],
      ],
    ],
    ['', []],
    [' , ', []],
    ['a@x.test <b@y.test>', [['a@x.test', null, 'b', 'y.test']]],
  ];
  for (const [text, wanted] of cases) assert.deepEqual(list(text), wanted, text);
});

test('plainAddresses opens groups', () => {
  assert.deepEqual(plainAddresses(parseAddressList('g: a@x, b@x;, c@x', DEFAULT_MIME_LIMITS)), ['a@x', 'b@x', 'c@x']);
});

test('row 9: a list stops at its limits', () => {
  const text = 'a@x.test,'.repeat(100);
  assert.equal(parseAddressList(text, { addressBytes: 1e6, addresses: 7 }).length, 7);
  assert.equal(parseAddressList(text, { addressBytes: 18, addresses: 1e6 }).length, 2);
});

test('row 30: every mailbox that a From field names', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['ana@x.test', ['ana@x.test']],
    ['Ana <ana@X.test> (work)', ['ana@x.test']],
    ['ana@x.test, Eve <eve@y.test>', ['ana@x.test', 'eve@y.test']],
    ['team: ana@x.test, eve@y.test;', ['ana@x.test', 'eve@y.test']],
    ['"a b"@x.test', ['"a b"@x.test']],
    ['"eve@y.test" <ana@x.test>', ['ana@x.test']],
    ['<@r.test:ana@x.test>', ['ana@x.test']],
    ['', []],
    ['none:;', []],
  ];
  for (const [text, wanted] of cases)
    assert.deepEqual(
      extractAddresses(text)?.map((a) => a.address),
      wanted,
      text,
    );
});

test('row 30: a From that two readers may read differently is not decided', () => {
  const bad = [
    'ana',
    'Ana <ana>',
    '<>',
    'ana@x.test <eve@y.test> <ana@x.test>',
    '<ana@x.test> eve@y.test',
    '<ana@x.test> eve',
    'ana@x.test eve@y.test',
    'ana@x.test@y.test',
    '<ana@x.test',
    '<ana@x.test, eve@y.test',
    '"ana <ana@x.test>',
    '(ana <eve@y.test>',
    'ana@x.test)',
    'ana@x..test',
    'ana@[x]',
    'a\u0000na@x.test',
    'ana@x.test, ] eve@y.test',
    `ana@x.test${' '.repeat(70_000)}`,
    'ana@x.test,'.repeat(2_001),
  ];
  for (const text of bad) assert.equal(extractAddresses(text), undefined, text.slice(0, 60));
});
