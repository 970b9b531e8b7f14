import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { inheritedSockets } from '../../src/worker/systemd.ts';

const env = (count: string, names: string, pid = '7'): NodeJS.ProcessEnv => ({
  LISTEN_PID: pid,
  LISTEN_FDS: count,
  LISTEN_FDNAMES: names,
});

test('sockets that systemd passes go by their names', () => {
  assert.deepEqual(inheritedSockets({}, 7), []);
  assert.deepEqual(inheritedSockets(env('3', 'smtp:imaps:smtp'), 7), [
    { protocol: 'smtp', fd: 3 },
    { protocol: 'imaps', fd: 4 },
    { protocol: 'smtp', fd: 5 },
  ]);
  // Those of the process that started ours are not ours.
  assert.deepEqual(inheritedSockets(env('1', 'smtp', '8'), 7), []);
  assert.deepEqual(inheritedSockets(env('x', 'smtp'), 7), []);
  assert.deepEqual(inheritedSockets(env('0', ''), 7), []);
});

test('a socket whose name is no protocol is told, with what to set', () => {
  assert.throws(
    () => inheritedSockets(env('1', 'unknown'), 7),
    (error: unknown) => error instanceof MailError && /FileDescriptorName=.*submissions/.test(error.message),
  );
});
