import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMailbox, normalizeDomain, parseMailbox, parsePath } from '../../src/message/address-spec.ts';

const GOOD: readonly (readonly [path: string, local: string, domain: string, address?: string, end?: number])[] = [
  ['<info@example.com>', 'info', 'example.com'],
  ['<Info@EXAMPLE.Com>', 'Info', 'example.com', 'Info@example.com'],
  ['  <a@b.c> SIZE=100', 'a', 'b.c', 'a@b.c', 9],
  ['info@example.com', 'info', 'example.com'],
  ['info@example.com BODY=7BIT', 'info', 'example.com', undefined, 16],
  ['<postmaster>', 'postmaster', '', 'postmaster'],
  ['<PostMaster> X', 'PostMaster', '', 'PostMaster', 12],
  ['<"a b"@x.test>', 'a b', 'x.test', '"a b"@x.test'],
  ['<"a\\"b\\\\c"@x.test>', 'a"b\\c', 'x.test', '"a\\"b\\\\c"@x.test'],
  ['<"info"@x.test>', 'info', 'x.test', 'info@x.test'],
  ['<"a>b"@x.test> SIZE=1', 'a>b', 'x.test', '"a>b"@x.test', 14],
  ['<"u@remote"@us.test>', 'u@remote', 'us.test', '"u@remote"@us.test'],
  ['<u%remote.test@us.test>', 'u%remote.test', 'us.test'],
  ['<remote!u@us.test>', 'remote!u', 'us.test'],
  ['<@us.test:u@remote.test>', 'u', 'remote.test', 'u@remote.test'],
  ['<@a.test,@[192.0.2.7],@[IPv6:2001:db8::1]:u@c.test>', 'u', 'c.test', 'u@c.test'],
  ['<u@[192.0.2.1]>', 'u', '[192.0.2.1]'],
  ['<u@[ipv6:2001:DB8::1]>', 'u', '[IPv6:2001:db8::1]', 'u@[IPv6:2001:db8::1]'],
  ['<../x@us.test>', '../x', 'us.test'],
  ['<a..b.@us.test>', 'a..b.', 'us.test'],
  ['<a_b@under_score.test>', 'a_b', 'under_score.test'],
  ['<ñandú@españa.test>', 'ñandú', 'españa.test'],
  ['<u+ext@x>', 'u+ext', 'x'],
];

test('row 26: SMTP paths are taken apart as RFC 5321 4.1.2 says', () => {
  for (const [path, local, domain, address, end] of GOOD) {
    const parsed = parsePath(path);
    assert.ok(parsed?.mailbox, path);
    assert.equal(parsed.mailbox.local, local, path);
    assert.equal(parsed.mailbox.domain, domain, path);
    assert.equal(parsed.mailbox.address, address ?? path.replace(/[<>]/g, '').split(' ')[0], path);
    assert.equal(parsed.end, end ?? path.length, path);
    assert.equal(parsed.mailbox.utf8, /[^\0-\x7f]/.test(path));
  }
});

test('the null path has no mailbox', () => {
  assert.deepEqual(parsePath('<>'), { mailbox: null, end: 2 });
  assert.deepEqual(parsePath('<> SIZE=1'), { mailbox: null, end: 2 });
});

test('row 24: what is no path is refused, control characters and broken UTF-8 always', () => {
  const bad = [
    '',
    ' ',
    '<',
    '<u@x.test',
    '<@>',
    '<u@>',
    '<@x.test>',
    '<u@remote.test@us.test>',
    '<u@x..test>',
    '<u@.test>',
    '<u@x.test.>',
    '<u@-x.test>',
    '<u@x-.test>',
    '<u@x test>',
    '<u v@x.test>',
    '<u@[1.2.3]>',
    '<u@[300.1.1.1]>',
    '<u@[IPv6:zz]>',
    '<u@[IPv6:fe80::1%eth0]>',
    '<u@[x-tag:1]>',
    '<u@x.test\r\nRCPT TO:<v@x.test>>',
    '<u\n@x.test>',
    '<u\0@x.test>',
    '<"u\n"@x.test>',
    '<"u\\\n"@x.test>',
    '<"u"v@x.test>',
    '<"u@x.test>',
    '<""@x.test>',
    '<(c)u@x.test>',
    '<u,v@x.test>',
    '<u;v@x.test>',
    '<u:v@x.test>',
    '<u<v@x.test>',
    '<\u0085@x.test>',
    '<\ufffd@x.test>',
    '<\ud800@x.test>',
    '<u@\u2028.test>',
    '<@a.test,b.test:u@x.test>',
    '<@a.test u@x.test>',
    `<${'a'.repeat(257)}@x.test>`,
    `<u@${'a'.repeat(64)}.test>`,
    `<u@${'a.'.repeat(128)}test>`,
    `<@${'a,@'.repeat(600)}b:u@x.test>`,
  ];
  for (const path of bad) assert.equal(parsePath(path), undefined, JSON.stringify(path));
});

test('formatMailbox gives back what parseMailbox reads', () => {
  for (const local of ['a', 'a b', '"', '\\', 'a@b', 'ñ', 'a..b', '()<>[]:;,', ' ']) {
    const written = formatMailbox(local, 'x.test');
    assert.equal(parseMailbox(written)?.local, local, written);
  }
});

test('normalizeDomain', () => {
  assert.equal(normalizeDomain('Example.COM'), 'example.com');
  assert.equal(normalizeDomain('a/b'), undefined);
  assert.equal(normalizeDomain(''), undefined);
});
