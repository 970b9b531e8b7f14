// Several processes have one queue open; one of them holds it up.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { QueueThread } from '../../src/queue/store/thread.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { openQueueStore } from '../../src/queue/store/store.ts';
import { readdir } from 'node:fs/promises';
import { QueueChild } from '../support/queue-child.ts';
import { all, bodyOf, DESTINATION, openQueue, queued } from '../support/queue-store.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** RELIABILITY's 100 ms, ten times. */
const STALL_NS = 1_000_000_000;

test('two processes add, a third delivers: each message once, nothing is left', async (t) => {
  const directory = await tempFolder(t);
  await using first = await QueueChild.start(directory);
  await using second = await QueueChild.start(directory);
  await using third = await QueueChild.start(directory);
  const add = async (child: QueueChild, name: string): Promise<void> => {
    for (let n = 0; n < 15; n++) assert.equal(await child.ask(`add ${name}${n} 500`), 'done');
  };
  const working = third.ask('work');
  await Promise.all([add(first, 'A'), add(second, 'B')]);
  const taken = (await working).split(' ').sort();
  const added = Array.from({ length: 15 }, (_, n) => [`A${n}`, `B${n}`])
    .flat()
    .sort();
  assert.deepEqual(taken, added);
  const { store } = await openQueue(t, { directory });
  assert.deepEqual(await all(store), []);
  assert.deepEqual(
    (await readdir(join(directory, 'messages'), { recursive: true })).filter((name) => name.includes('/')),
    [],
  );
});

test('row 46: another process holds the queue’s write lock: what is added waits, the loop never does, and it goes on afterwards', async (t) => {
  const { store, directory } = await openQueue(t);
  await store.add(queued('A1'));
  const other = new Database(join(directory, 'queue.db'));
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const adding = Promise.all(Array.from({ length: 20 }, (_, n) => store.add(queued(`B${n}`))));
  // Reading goes on.
  for (let n = 0; n < 20; n++) {
    assert.equal((await store.jobs(DESTINATION, 10, 50, new Set())).length, 1);
    assert.match(await bodyOf(store, 'A1'), /body of A1/);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  other.exec('COMMIT');
  await adding;
  delay.disable();
  assert.ok(delay.max < STALL_NS, `stalled for ${delay.max / 1e6} ms`);
  assert.equal((await store.stats()).messages, 21);
});

test('row 46: held for longer than one waits, a message is refused for now, and nothing of it stays', async (t) => {
  const { store, directory } = await openQueue(t, { lockTimeout: 300 });
  await store.add(queued('A1'));
  const other = new Database(join(directory, 'queue.db'));
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  const late = await Promise.allSettled([
    store.add(queued('B2')),
    store.settle('A1', [{ number: 0, kind: 'done' }]),
    store.hold({}),
  ]);
  for (const outcome of late) {
    assert.equal(outcome.status, 'rejected');
    const { kind, code } = outcome.reason as { kind: string; code: string };
    assert.deepEqual([kind, code], ['temporary', 'QUEUE_BUSY']);
  }
  other.exec('COMMIT');
  const files = await readdir(join(directory, 'messages'), { recursive: true });
  assert.deepEqual(
    files.filter((name) => name.includes('/')).map((name) => name.slice(3)),
    ['A1'],
  );
  await store.add(queued('B2'));
  assert.equal((await store.stats()).messages, 2);
});

test('the thread can be started long before it is used; a store that is closed says so', async (t) => {
  const directory = await tempFolder(t);
  const thread = new QueueThread();
  await thread.warm();
  const store = await openQueueStore({ directory, logger: silentLogger, clock: systemClock, thread });
  await store.add(queued('A1'));
  await store.close();
  await store.close();
  await assert.rejects(store.stats(), { kind: 'temporary', code: 'QUEUE_UNAVAILABLE' });
  const unused = new QueueThread();
  await unused.warm();
  await unused.close();
});

test('so many requests that no more can wait: refused for now, not kept in memory', async (t) => {
  const { store } = await openQueue(t);
  const asked = await Promise.allSettled(Array.from({ length: 3_000 }, () => store.find('A1')));
  const refused = asked.flatMap((outcome) => (outcome.status === 'rejected' ? [(outcome.reason as { code: string }).code] : []));
  assert.ok(refused.length >= 500, String(refused.length));
  assert.deepEqual([...new Set(refused)], ['QUEUE_BUSY']);
  assert.equal(await store.find('A1'), undefined);
});
