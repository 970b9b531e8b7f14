import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeIsNewEnough, requireNode } from '../../src/launcher.ts';

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

test('a program that embeds the server on an old Node is told so', () => {
  assert.throws(() => requireNode('20.20.2'), { message: 'buzon needs Node.js 22.19 or newer, this is 20.20.2' });
  requireNode('22.19.0');
  requireNode();
});
