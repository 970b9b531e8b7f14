import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeIsNewEnough } from '../../src/launcher.ts';

test('the launcher tells an old Node from one that every package loads on', () => {
  for (const [version, enough] of [
    ['16.20.2', false],
    ['20.20.2', false],
    ['22.18.9', false],
    ['22.19.0', true],
    ['22.20.1', true],
    ['23.0.0', true],
    ['24.18.0', true],
    ['26.10.0', true],
  ] as const)
    assert.equal(nodeIsNewEnough(version), enough, version);
});
