import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyedMutex, Mutex, Semaphore, SharedRun, sleep } from '../../src/lib/async.ts';

test('Mutex runs in order, one at a time, and goes on after a failure', async () => {
  const mutex = new Mutex();
  const seen: string[] = [];
  const a = mutex.run(async () => {
    await sleep(5);
    seen.push('a');
    throw new Error('a failed');
  });
  const b = mutex.run(() => seen.push('b'));
  await assert.rejects(a, /a failed/);
  await b;
  assert.deepEqual(seen, ['a', 'b']);
});

test('KeyedMutex lets different keys run side by side', async () => {
  const locks = new KeyedMutex();
  const seen: string[] = [];
  await Promise.all([
    locks.run('x', async () => {
      await sleep(10);
      seen.push('x1');
    }),
    locks.run('x', () => seen.push('x2')),
    locks.run('y', () => seen.push('y')),
  ]);
  assert.deepEqual(seen, ['y', 'x1', 'x2']);
});

test('Semaphore never runs more than its limit, also after failures', async () => {
  const sem = new Semaphore(2);
  let running = 0;
  let most = 0;
  await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) =>
      sem.run(async () => {
        most = Math.max(most, ++running);
        await sleep(2);
        running--;
        if (i % 3 === 0) throw new Error('x');
      }),
    ),
  );
  assert.equal(most, 2);
  assert.equal(running, 0);
});

test('SharedRun: who comes while it runs shares one more run that begins later, also after a failure', async () => {
  const begun: number[] = [];
  let fail = false;
  const shared = new SharedRun(async () => {
    begun.push(begun.length + 1);
    await sleep(5);
    if (fail) throw new Error('EIO');
  });
  const first = shared.run();
  const late = [shared.run(), shared.run(), shared.run()];
  assert.deepEqual(begun, [1]);
  await first;
  fail = true;
  const outcomes = await Promise.allSettled(late);
  assert.deepEqual(begun, [1, 2]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  fail = false;
  await shared.run();
  assert.deepEqual(begun, [1, 2, 3]);
});
