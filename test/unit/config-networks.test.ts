import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkMatcher } from '../../src/config/networks.ts';

const CASES: readonly (readonly [patterns: string, inside: readonly string[], outside: readonly string[]])[] = [
  ['127.0.0.0/8', ['127.0.0.1', '::ffff:127.0.0.1', '127.255.255.255'], ['128.0.0.1', '::1', '', 'x', '127.0.0']],
  ['[::1]/128', ['::1', '0:0:0:0:0:0:0:1'], ['::2', '127.0.0.1']],
  ['2001:db8::/32', ['2001:db8::1', '2001:DB8:ffff::'], ['2001:db9::1']],
  ['fe80::/10', ['fe80::1%eth0'], ['fec0::1']],
  ['192.0.2.7', ['192.0.2.7'], ['192.0.2.8']],
  ['!10.1.0.0/16 10.0.0.0/8', ['10.2.0.1'], ['10.1.0.1']],
  ['10.0.0.0/8 !10.1.0.0/16', ['10.1.0.1'], []],
  ['::/0', ['::1', '2001:db8::1'], ['192.0.2.1', '::ffff:192.0.2.1']],
  ['[::ffff:127.0.0.0]/104', ['127.0.0.1', '::ffff:127.0.0.1'], ['128.0.0.1']],
  ['0.0.0.0/0', ['192.0.2.1'], ['::1']],
  ['', [], ['127.0.0.1']],
];
for (const [patterns, inside, outside] of CASES)
  test(`networks: ${patterns || '(none)'}`, () => {
    const matches = networkMatcher(patterns.split(' ').filter((pattern) => pattern !== ''));
    for (const address of inside) assert.equal(matches(address), true, address);
    for (const address of outside) assert.equal(matches(address), false, address);
  });

test('networks that are none are refused', () => {
  for (const pattern of [
    '10.0.0.0/33',
    '10.0.0.1/8',
    '::1/64',
    'example.com',
    '10.0.0',
    '10.0.0.0/8/8',
    '10.0.0.0/-1',
    '[::1',
    'fe80::1%eth0',
    '::ffff:1.2.3.4/100',
  ])
    assert.throws(() => networkMatcher([pattern]), { name: 'Error' }, pattern);
});
