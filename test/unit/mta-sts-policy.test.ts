// MTA-STS records and policies as others write them (RFC 8461 section 3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowsHost, parsePolicy, policyId } from '../../src/policy/mta-sts/policy.ts';
import { isPublicAddress } from '../../src/policy/mta-sts/public-address.ts';

test('records: exactly one, with exactly one id of letters and digits', () => {
  const good = ['v=STSv1; id=20160831085700Z;', 'v=STSv1;id=a', 'v=STSv1; more=x; id=a1 ; other=y;'];
  for (const record of good) assert.ok(policyId([record, 'v=spf1 -all']), record);
  assert.equal(policyId(good.slice(0, 1)), '20160831085700Z');
  for (const records of [
    [],
    ['v=spf1 -all'],
    ['v=STSv1; id=a', 'v=STSv1; id=b'],
    ['v=STSv1; id=;'],
    ['v=STSv1;'],
    ['v=STSv1; id=a; id=b'],
    ['v=STSv1; id=a-b'],
    [`v=STSv1; id=${'a'.repeat(33)}`],
    ['id=a; v=STSv1'],
    ['v=STSv10; id=a'],
  ])
    assert.equal(policyId(records), undefined, JSON.stringify(records));
});

test('policies: CRLF and LF, fields in any order, unknown ones passed over, the first of several counts', () => {
  const expected = { mode: 'enforce', mx: ['mx.example.com', '*.example.net'], maxAge: 86_400 };
  const lines = ['version: STSv1', 'mode: enforce', 'mx: MX.example.com.', 'mx: *.example.net', 'max_age: 86400'];
  for (const text of [
    lines.join('\r\n'),
    `${lines.join('\n')}\n`,
    [...lines].reverse().join('\n'),
    [...lines, 'x-more: üñî : x', 'mode: none', ''].join('\n'),
    lines.map((line) => `${line.replace(': ', ' :\t')} `).join('\r\n'),
  ]) {
    const read = parsePolicy(text);
    assert.deepEqual(typeof read === 'string' ? read : { ...read, mx: [...read.mx].sort().reverse() }, expected, text);
  }
  assert.deepEqual(parsePolicy('version: STSv1\nmode: none\nmax_age: 0'), { mode: 'none', mx: [], maxAge: 0 });
  assert.equal((parsePolicy('version: STSv1\nmode: none\nmax_age: 9999999999') as { maxAge: number }).maxAge, 31_557_600);
});

test('what is no policy says why', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /no version/],
    ['version: STSv1 mode: enforce mx: mx.example.com max_age: 86400', /no version: STSv1/],
    ['version: STSv1\nmode: strict\nmx: a.test\nmax_age: 1', /no mode/],
    ['version: STSv1\nmode: enforce\nmx: a.test', /no max_age/],
    ['version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1', /no max_age/],
    ['version: STSv1\nmode: enforce\nmax_age: 1', /no mx/],
    ['version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1', /"a\.\*\.test" is no mx/],
    ['version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1', /is no mx/],
    ['<html>\nversion: STSv1', /"<html>" is no field/],
  ];
  for (const [text, expected] of cases) {
    const read = parsePolicy(text);
    assert.match(typeof read === 'string' ? read : 'taken', expected, text);
  }
  // A long line with what could be a field in many ways ends soon.
  assert.equal(typeof parsePolicy(`${'a '.repeat(30_000)}:`), 'string');
});

test('hosts: the name itself, `*.` for exactly one label', () => {
  const policy = { mx: ['mx.example.com', '*.example.net'] };
  for (const host of ['mx.example.com', 'MX.Example.com.', 'a.example.net']) assert.ok(allowsHost(policy, host), host);
  for (const host of ['example.com', 'a.mx.example.com', 'example.net', 'a.b.example.net', 'xexample.net', '192.0.2.1'])
    assert.ok(!allowsHost(policy, host), host);
});

test('addresses that are not of the public internet', () => {
  for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '2600::1', '2a00:1450::1'])
    assert.ok(isPublicAddress(address), address);
  for (const address of [
    ...['0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
    ...['192.0.2.1', '198.18.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'fe80::1', 'fc00::1', 'ff02::1'],
    ...['::ffff:8.8.8.8', '64:ff9b::808:808', '2002:7f00:1::', '2001:db8::1', '2001::1', 'host.test'],
  ])
    assert.ok(!isPublicAddress(address), address);
});
