import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedCounters } from '../../src/lib/counters.ts';

test('a holder’s names are limited, others are not held up by it, and places freed count again', () => {
  const counters = new SharedCounters(2);
  assert.ok(counters.admit(1, 'smtp', 'a', 5));
  assert.ok(counters.admit(1, 'smtp', 'b', 5));
  assert.ok(!counters.admit(1, 'smtp', 'c', 5), 'one name too many');
  assert.ok(counters.admit(1, 'smtp', 'a', 5), 'no new name');
  assert.ok(counters.admit(2, 'smtp', 'c', 5), 'another holder');
  counters.leave(1, 'smtp', 'b');
  assert.ok(counters.admit(1, 'smtp', 'c', 5));
  counters.forget(1);
  assert.ok(counters.admit(1, 'smtp', 'd', 5));
  assert.equal(counters.size, 2);
});

test('the limit counts all holders together; a dead one gives back what it held', () => {
  const counters = new SharedCounters();
  assert.ok(counters.admit(1, 'imap', 'x', 2));
  assert.ok(counters.admit(2, 'imap', 'x', 2));
  assert.ok(!counters.admit(2, 'imap', 'x', 2));
  counters.forget(1);
  assert.ok(counters.admit(2, 'imap', 'x', 2));
});
