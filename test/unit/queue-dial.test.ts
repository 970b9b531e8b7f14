// A connection that does not come about: in which words, and whether that says something of the address. Which addresses are remembered for it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { dial, DialError, inetPeer, unixPeer } from '../../src/queue/client/connect.ts';
import { DeadAddresses } from '../../src/queue/client/dead-addresses.ts';
import { freePorts } from '../support/mail-host.ts';

type Options = Partial<Parameters<typeof dial>[1]>;

async function failure(port: number, options: Options = {}): Promise<readonly [message: string, dead: boolean]> {
  const usual = { timeout: 10_000, clock: systemClock, signal: new AbortController().signal };
  const error: unknown = await dial(inetPeer('x.test', '127.0.0.1', port), { ...usual, ...options }).catch((why: unknown) => why);
  assert.ok(error instanceof DialError);
  return [error.message, error.dead];
}

test('nobody there, or nobody in time: dead; what is our own doing is not', async () => {
  const [port = 0] = await freePorts(1);
  assert.deepEqual(await failure(port), ['Connection refused', true]);
  const atOnce = (_: number, fn: () => void): (() => void) => {
    queueMicrotask(fn);
    return () => undefined;
  };
  assert.deepEqual(await failure(port, { clock: { ...systemClock, after: atOnce } }), ['Connection timed out', true]);
  assert.deepEqual(await failure(port, { localAddress: '192.0.2.1' }), ['Cannot assign requested address', false]);
  assert.deepEqual(await failure(port, { signal: AbortSignal.abort('deadline') }), ['Delivery took too long', false]);
  assert.deepEqual(await failure(port, { signal: AbortSignal.abort('aborted') }), ['Delivery stopped', false]);
});

test('dead addresses: by address and port, for a time that may change; 5,000 at most, those noted least lately go', () => {
  let now = 0;
  let forgetAfter = 1000;
  const dead = new DeadAddresses({ ...systemClock, now: () => now }, () => forgetAfter);
  const at = (n: number, port = 25) => inetPeer('x.test', `10.0.${n >> 8}.${n & 255}`, port);
  dead.note(at(1));
  dead.note(unixPeer('x.test', '/run/x'));
  assert.deepEqual([dead.has('10.0.0.1', 25), dead.has('10.0.0.1', 26), dead.has('10.0.0.2', 25)], [true, false, false]);
  now = 999;
  assert.equal(dead.has('10.0.0.1', 25), true);
  now = 1000;
  assert.equal(dead.has('10.0.0.1', 25), false);
  forgetAfter = 2000;
  assert.equal(dead.has('10.0.0.1', 25), true, 'a reload made it longer');
  for (let n = 2; n <= 5_000; n++) dead.note(at(n));
  dead.note(at(1));
  dead.note(at(5_001));
  assert.deepEqual([dead.has('10.0.0.1', 25), dead.has('10.0.0.2', 25), dead.has('10.0.0.3', 25)], [true, false, true]);
  dead.forget(at(1));
  assert.equal(dead.has('10.0.0.1', 25), false);
});
