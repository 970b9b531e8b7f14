// Who comes next at a destination: no sender waits for another's thousands.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partyOf } from '../../src/queue/store/turns.ts';
import type { Failure, Job, QueueStore } from '../../src/queue/types.ts';
import { DESTINATION, openQueue, queued } from '../support/queue-store.ts';

const FAILURE: Failure = { status: '4.4.1', reason: 'no' };
const NONE: ReadonlySet<string> = new Set();
const BULK = 'news@example.test';

/** Takes the next job, as one that is delivered at once. */
async function next(store: QueueStore): Promise<Job | undefined> {
  const [job] = await store.jobs(DESTINATION, 1, 50, NONE);
  if (job)
    await store.settle(
      job.envelope.id,
      job.recipients.map(({ number }) => ({ number, kind: 'done' })),
    );
  return job;
}
async function order(store: QueueStore, count: number): Promise<string> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++) ids.push((await next(store))?.envelope.id ?? '-');
  return ids.join(' ');
}
const addBulk = async (store: QueueStore, count: number): Promise<void> => {
  for (let n = 1; n <= count; n++) await store.add(queued(`BULK${n}`, { sender: BULK }));
};

test('a letter of another sender comes next, however many wait', async (t) => {
  const { store } = await openQueue(t);
  await addBulk(store, 30);
  assert.equal(await order(store, 3), 'BULK1 BULK2 BULK3');
  await store.add(queued('LETTER'));
  const coming = (await store.jobs(DESTINATION, 2, 50, NONE)).map(({ envelope }) => envelope.id);
  assert.deepEqual(coming.sort(), ['BULK4', 'LETTER']);
  // Several senders take turns, each by age.
  await store.add(queued('OTHER1', { sender: 'x@example.test' }));
  await store.add(queued('OTHER2', { sender: 'x@example.test' }));
  const served = await order(store, 6);
  assert.deepEqual(served.split(' ').slice(0, 3).sort(), ['BULK4', 'LETTER', 'OTHER1']);
  assert.deepEqual(served.split(' ').slice(3, 5).sort(), ['BULK5', 'OTHER2']);
  assert.equal(served.split(' ')[5], 'BULK6');
});

test('those under way do not hold up who comes next', async (t) => {
  const { store } = await openQueue(t);
  await addBulk(store, 30);
  const busy = new Set(Array.from({ length: 20 }, (_, n) => `BULK${n + 1}/0`));
  await store.add(queued('LETTER'));
  const [job] = await store.jobs(DESTINATION, 1, 50, busy);
  assert.equal(job?.envelope.id, 'LETTER');
});

test('one message of many recipients takes turns in chunks', async (t) => {
  const { store } = await openQueue(t);
  const to = Array.from({ length: 120 }, (_, n) => `r${n}@remote.test`);
  await store.add(queued('LIST', { sender: BULK, to }));
  await store.add(queued('LETTER'));
  const jobs = await store.jobs(DESTINATION, 10, 50, NONE);
  assert.deepEqual(jobs.map(({ envelope, recipients }) => `${envelope.id} ${recipients.length}`).sort(), [
    'LETTER 1',
    'LIST 20',
    'LIST 50',
    'LIST 50',
  ]);
  const at = jobs.findIndex(({ envelope }) => envelope.id === 'LETTER');
  assert.ok(at <= 1, `it came as number ${at}`);
  const small = await store.jobs(DESTINATION, 3, 7, NONE);
  assert.ok(small.every(({ recipients }) => recipients.length <= 7));
  assert.equal(small.length, 3);
  const numbers = jobs
    .filter(({ envelope }) => envelope.id === 'LIST')
    .flatMap(({ recipients }) => recipients.map(({ number }) => number));
  assert.deepEqual(
    numbers,
    to.map((_, n) => n),
  );
});

test('a thousand that were put off and come due again do not hold up a letter either', async (t) => {
  const { store } = await openQueue(t);
  await addBulk(store, 20);
  for (let n = 1; n <= 20; n++)
    await store.settle(`BULK${n}`, [{ number: 0, kind: 'deferred', nextAttempt: n, failure: FAILURE, delayReported: false }]);
  await store.add(queued('EARLIER', { sender: 'x@example.test' }));
  await store.promote(100);
  await store.add(queued('LETTER'));
  const served = (await order(store, 3)).split(' ');
  assert.deepEqual(served.sort(), ['BULK1', 'EARLIER', 'LETTER']);
  assert.equal(await order(store, 2), 'BULK2 BULK3');
});

test('those released, redirected and requeued get a turn of then', async (t) => {
  const { store } = await openQueue(t);
  for (let n = 1; n <= 5; n++) await store.add(queued(`HELD${n}`, { to: [{ hold: 'a' }], sender: 'h@example.test' }));
  for (let n = 1; n <= 5; n++)
    await store.add(queued(`MOVED${n}`, { to: [{ destination: 'smtp:old.test' }], sender: 'm@example.test' }));
  await addBulk(store, 10);
  assert.equal(await order(store, 5), 'BULK1 BULK2 BULK3 BULK4 BULK5');
  await store.release({});
  for (let n = 1; n <= 5; n++) await store.redirect(`MOVED${n}`, [0], DESTINATION);
  const served = (await order(store, 6)).split(' ');
  assert.deepEqual(served.slice(0, 3).sort(), ['BULK6', 'HELD1', 'MOVED1']);
  assert.deepEqual(served.slice(3).sort(), ['BULK7', 'HELD2', 'MOVED2']);
});

test('who counts as one party', () => {
  const cases: [string, string | undefined, string][] = [
    ['Eva@Example.test', undefined, 'eva@example.test'],
    ['eva+list@example.test', undefined, 'eva@example.test'],
    ['anything@example.test', 'Eva@example.test', 'eva@example.test'],
    ['', undefined, ''],
    ['list-bounces+ana=remote.test@lists.test', undefined, '@lists.test'],
    ['SRS0=HHH=TT=other.test=ana@example.test', undefined, '@example.test'],
    ['Root', undefined, 'root'],
  ];
  for (const [sender, account, party] of cases) assert.equal(partyOf(sender, account), party, sender);
});
