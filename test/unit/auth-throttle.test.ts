// Failed log-ins by address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockOf, DEFAULT_THROTTLE, Throttle } from '../../src/auth/throttle.ts';
import { Decoys } from '../../src/auth/decoys.ts';

function throttle(): { throttle: Throttle; at: { now: number } } {
  const at = { now: 1_700_000_000_000 };
  return { throttle: new Throttle({ ...DEFAULT_THROTTLE, now: () => at.now }), at };
}
const fail = (one: Throttle, address: string, times: number): number[] =>
  Array.from({ length: times }, () => one.failed(address));

test('delays double from 2 s to 15 s; after ten failures the address is blocked for a quarter of an hour', () => {
  const { throttle: one, at } = throttle();
  assert.deepEqual(fail(one, '192.0.2.1', 9), [2_000, 4_000, 8_000, ...Array<number>(6).fill(15_000)]);
  assert.equal(one.isBlocked('192.0.2.1'), false);
  one.failed('192.0.2.1');
  assert.equal(one.isBlocked('192.0.2.1'), true);
  assert.equal(one.isBlocked('::ffff:192.0.2.1'), true);
  assert.equal(one.isBlocked('192.0.2.2'), false);
  at.now += 900_001;
  assert.equal(one.isBlocked('192.0.2.1'), false);
  assert.equal(one.failed('192.0.2.1'), 2_000);
});

test('a success forgives, and keeps the address from being blocked', () => {
  const { throttle: one, at } = throttle();
  fail(one, '192.0.2.1', 9);
  one.succeeded('192.0.2.1');
  assert.equal(fail(one, '192.0.2.1', 30)[0], 2_000);
  assert.equal(one.isBlocked('192.0.2.1'), false);
  at.now += 900_001;
  fail(one, '192.0.2.1', 10);
  assert.equal(one.isBlocked('192.0.2.1'), true, 'the success is long ago');
});

test('a clock that is put back locks nobody out for longer', () => {
  const { throttle: one, at } = throttle();
  fail(one, '192.0.2.1', 10);
  at.now -= 86_400_000;
  assert.equal(one.isBlocked('192.0.2.1'), false);
});

test('IPv6 addresses count by /64', () => {
  assert.equal(blockOf('2001:db8::1'), blockOf('2001:db8:0:0:ffff::2'));
  assert.notEqual(blockOf('2001:db8::1'), blockOf('2001:db8:0:1::1'));
  assert.equal(blockOf('::ffff:192.0.2.1'), '192.0.2.1');
});

test('decoys: an unknown name is always checked against the same kind, of those that accounts have', () => {
  let now = 0;
  const decoys = new Decoys(Buffer.alloc(32), 'CRYPT', () => now);
  assert.match(decoys.for('nobody@example.test'), /^\{ARGON2ID\}\$argon2id\$v=19\$m=65536,t=3,p=1\$/);
  assert.deepEqual(decoys.scramFor('nobody@example.test', 'SCRAM-SHA-256'), { iterations: 15_000, saltLength: 16 });
  const kinds = ['{PLAIN}a', '$6$salt$hash', '{SCRAM-SHA-256}4096,AAAAAAAAAAA=,YQ==,YQ=='];
  for (const stored of [...kinds, '{PLAIN}b', '$6$pepper$other']) decoys.note(stored);
  const names = Array.from({ length: 200 }, (_, i) => `nobody${i}@example.test`);
  const chosen = names.map((name) => decoys.for(name));
  assert.deepEqual(
    names.map((name) => decoys.for(name.toUpperCase())),
    chosen,
  );
  assert.deepEqual(new Set(chosen), new Set(['{PLAIN}b', '$6$pepper$other', kinds[2]]));
  assert.deepEqual(decoys.scramFor('nobody@example.test', 'SCRAM-SHA-256'), { iterations: 4096, saltLength: 8 });
  now = 86_400_001;
  decoys.note('{PLAIN}c');
  assert.deepEqual(
    new Set(names.map((name) => decoys.for(name))),
    new Set(['{PLAIN}c']),
    'what no account has any more is forgotten',
  );
});
