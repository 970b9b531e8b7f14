import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatNextHop, NextHopError, parseNextHop } from '../../src/queue/next-hop.ts';

const inet = (kind: 'smtp' | 'lmtp', host: string, port: number, mx: boolean) => ({ kind, host, port, mx });
const CASES = [
  ['smtp:example.com', inet('smtp', 'example.com', 25, true), 'smtp:example.com'],
  ['smtp:Example.COM.', inet('smtp', 'example.com', 25, true), 'smtp:example.com'],
  ['smtp:', inet('smtp', 'their.example', 25, true), 'smtp:their.example'],
  ['smtp:[mail.example.com]', inet('smtp', 'mail.example.com', 25, false), 'smtp:[mail.example.com]'],
  ['[mail.example.com]:587', inet('smtp', 'mail.example.com', 587, false), 'smtp:[mail.example.com]:587'],
  ['[mail.example.com]:submission', inet('smtp', 'mail.example.com', 587, false), 'smtp:[mail.example.com]:587'],
  ['example.com:2525', inet('smtp', 'example.com', 2525, true), 'smtp:example.com:2525'],
  ['relay:[192.0.2.1]', inet('smtp', '192.0.2.1', 25, false), 'smtp:[192.0.2.1]'],
  ['smtp:192.0.2.1', inet('smtp', '192.0.2.1', 25, false), 'smtp:[192.0.2.1]'],
  ['smtp:[IPv6:2001:db8::1]:26', inet('smtp', '2001:db8::1', 26, false), 'smtp:[2001:db8::1]:26'],
  ['lmtp:unix:/run/dovecot/lmtp', { kind: 'lmtp-unix', path: '/run/dovecot/lmtp' }, 'lmtp:unix:/run/dovecot/lmtp'],
  ['lmtp:localhost', inet('lmtp', 'localhost', 24, false), 'lmtp:localhost'],
  ['lmtp:inet:127.0.0.1:2400', inet('lmtp', '127.0.0.1', 2400, false), 'lmtp:127.0.0.1:2400'],
  [
    '[a.test], [b.test]:587, c.test',
    {
      kind: 'list',
      hops: [inet('smtp', 'a.test', 25, false), inet('smtp', 'b.test', 587, false), inet('smtp', 'c.test', 25, true)],
    },
    'smtp:[a.test], [b.test]:587, c.test',
  ],
  [
    'relay: A.test\t[a.test] ,a.test:25,,',
    { kind: 'list', hops: [inet('smtp', 'a.test', 25, true), inet('smtp', 'a.test', 25, false)] },
    'smtp:a.test, [a.test]',
  ],
  [
    'hub:2525, [b.test]',
    { kind: 'list', hops: [inet('smtp', 'hub', 2525, true), inet('smtp', 'b.test', 25, false)] },
    'smtp:hub:2525, [b.test]',
  ],
  [
    'lmtp:inet:[::1] inet:b.test:2400',
    { kind: 'list', hops: [inet('lmtp', '::1', 24, false), inet('lmtp', 'b.test', 2400, false)] },
    'lmtp:[::1], b.test:2400',
  ],
  ['lmtp:[::1]:2400', inet('lmtp', '::1', 2400, false), 'lmtp:[::1]:2400'],
  ['discard:', { kind: 'discard', reason: '' }, 'discard:'],
  ['hold: for a look', { kind: 'hold', reason: 'for a look' }, 'hold:for a look'],
  ['error:5.1.2 gone', { kind: 'error', status: '5.1.2', reason: 'gone' }, 'error:5.1.2 gone'],
  ['error:mail is not taken', { kind: 'error', status: '5.0.0', reason: 'mail is not taken' }, 'error:5.0.0 mail is not taken'],
  ['retry:4.3.2 later', { kind: 'error', status: '4.3.2', reason: 'later' }, 'error:4.3.2 later'],
] as const;

for (const [text, hop, canonical] of CASES)
  test(`next hop "${text}"`, () => {
    assert.deepEqual(parseNextHop(text, 'their.example'), hop);
    assert.equal(formatNextHop(parseNextHop(text, 'their.example')), canonical);
    assert.deepEqual(parseNextHop(canonical), hop, 'the canonical text reads the same');
  });

for (const text of [
  'uucp:host',
  'smtp:a b!',
  'smtp:,',
  'smtp:[a], unix:/run/x',
  'smtp:[host',
  'smtp:host:0',
  'smtp:host:99999',
  'lmtp:unix:relative',
  '',
])
  test(`next hop "${text}" is refused with what would be right`, () => {
    assert.throws(() => parseNextHop(text), NextHopError);
  });
