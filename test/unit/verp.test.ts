import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readVerpDelimiters, verpSender } from '../../src/delivery/verp.ts';

test('a sender for each recipient, as VERP_README has it', () => {
  assert.equal(verpSender('owner-list@origin.test', 'user@domain.test', '+='), 'owner-list+user=domain.test@origin.test');
  assert.equal(verpSender('owner@Origin.test', 'user+ext@domain.test', '=='), 'owner=user+ext=domain.test@Origin.test');
  assert.equal(verpSender('owner@origin.test', '"a b"@domain.test', '+='), '"owner+a b=domain.test"@origin.test');
  assert.equal(verpSender('', 'user@domain.test', '+='), '');
  assert.equal(verpSender('owner@origin.test', 'postmaster', '+='), 'owner@origin.test');
  const long = `${'x'.repeat(200)}@${'y'.repeat(60)}.test`;
  assert.equal(verpSender('owner@origin.test', long, '+='), 'owner@origin.test', 'what would be no address is not used');
});

test('delimiters: two of - = +', () => {
  assert.equal(readVerpDelimiters('=='), '==');
  assert.equal(readVerpDelimiters('-='), '-=');
  for (const bad of ['', '+', '+=-', 'ab', '+\n', '@=']) assert.equal(readVerpDelimiters(bad), undefined, bad);
});
