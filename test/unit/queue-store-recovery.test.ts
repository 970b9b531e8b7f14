// The queue's database lost or damaged in every way, files damaged or left over: what the files tell is in the queue again, and nothing twice.
import assert from 'node:assert/strict';
import {
  copyFile,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import type { Clock } from '../../src/lib/clock.ts';
import { lockFile } from '../../src/lib/sqlite.ts';
import { HASH_AT, pathOf } from '../../src/queue/store/queue-file.ts';
import type { Failure, QueuedMessage, QueueStore } from '../../src/queue/types.ts';
import { eventually } from '../support/mail-host.ts';
import { all, bodyOf, DESTINATION, idsOf, openQueue, queued, type TestQueue } from '../support/queue-store.ts';
import { tempFolder } from '../support/temp-folder.ts';

const FAILURE: Failure = { status: '4.4.1', reason: 'no' };
const PAGE = 4096;
const DATABASE = ['queue.db', 'queue.db-wal', 'queue.db-shm'];

/** Zeroes pages of a file, from the first to before the second. */
async function zeroPages(file: string, from: number, to = Infinity): Promise<void> {
  const handle = await open(file, 'r+');
  const last = Math.min(to, Math.ceil((await handle.stat()).size / PAGE));
  for (let page = from; page < last; page++) await handle.write(Buffer.alloc(PAGE), 0, PAGE, page * PAGE);
  await handle.close();
}

/** Some messages, of which one recipient is delivered, one put off, one held; one is expired, one is a question only. */
async function fill(store: QueueStore): Promise<void> {
  const numbers = Array.from({ length: 12 }, (_, n) => n + 1);
  await Promise.all(
    numbers.map((n) =>
      store.add(queued(`M${n}`, { arrived: n, to: ['a@remote.test', 'b@remote.test'], ...(n === 6 ? { trace: 'verify' } : {}) })),
    ),
  );
  await store.settle('M1', [{ number: 0, kind: 'done' }]);
  await store.settle('M2', [{ number: 0, kind: 'deferred', nextAttempt: 1e15, failure: FAILURE, delayReported: false }]);
  await store.hold({ ids: ['M3'], recipient: 'b@remote.test' });
  await store.expire({ ids: ['M5'] });
  await store.settle('M4', [
    { number: 0, kind: 'done' },
    { number: 1, kind: 'done' },
  ]);
}
/** What the files tell: who waits, who is held, what is to be returned, or only asked. */
const told = (messages: readonly QueuedMessage[]): string[] =>
  messages.map(
    ({ envelope, size, recipients }) =>
      `${envelope.id} ${envelope.sender} ${size}${envelope.expire ? ' expire' : ''}${envelope.trace ?? ''} ${recipients.map(({ number, state }) => `${number}${state === 'held' ? 'H' : ''}`).join()}`,
  );

async function checkRecovered(store: QueueStore, expected: readonly string[]): Promise<void> {
  await eventually(async () => (await idsOf(store)).length >= expected.length, 'all are known again');
  assert.deepEqual(told(await all(store)), expected);
  assert.match(await bodyOf(store, 'M12'), /body of M12/);
  await store.settle('M12', [
    { number: 0, kind: 'done' },
    { number: 1, kind: 'done' },
  ]);
  await store.add(queued('NEW', { arrived: 100 }));
  assert.deepEqual((await idsOf(store)).slice(-2), ['M11', 'NEW']);
}

const damages: Record<string, { readonly isLogged: boolean; readonly damage: (directory: string) => Promise<void> }> = {
  'a zeroed page in the queue': { isLogged: true, damage: (directory) => zeroPages(join(directory, 'queue.db'), 2, 3) },
  'the first page of the queue zeroed': { isLogged: true, damage: (directory) => zeroPages(join(directory, 'queue.db'), 0, 1) },
  'every page but the first zeroed': { isLogged: true, damage: (directory) => zeroPages(join(directory, 'queue.db'), 1) },
  'a database that is none': {
    isLogged: true,
    damage: (directory) => writeFile(join(directory, 'queue.db'), 'this is no database, however one looks at it. '.repeat(200)),
  },
  'a database cut in half': {
    isLogged: true,
    damage: async (directory) =>
      truncate(join(directory, 'queue.db'), Math.floor((await stat(join(directory, 'queue.db'))).size / 2)),
  },
  'an empty database': { isLogged: false, damage: (directory) => truncate(join(directory, 'queue.db'), 0) },
  'no database': { isLogged: false, damage: (directory) => unlink(join(directory, 'queue.db')) },
};
for (const [name, { isLogged, damage }] of Object.entries(damages))
  test(`row 47: ${name}: noticed, and recovered from the queue files as far as they tell`, async (t) => {
    const queue = await openQueue(t);
    await fill(queue.store);
    const expected = told(await all(queue.store));
    assert.equal(expected.length, 11);
    await queue.store.close();
    await damage(queue.directory);
    const store = await queue.reopen();
    await checkRecovered(store, expected);
    const errors = queue.events.filter(({ level }) => level === 'error').map(({ event }) => event);
    assert.deepEqual(errors, isLogged ? ['queue.database.damaged'] : []);
    const kept = (await readdir(queue.directory)).filter((file) => /^queue\.db\.damaged-\d{8}T\d{6}$/.test(file));
    assert.equal(kept.length, isLogged ? 1 : 0);
  });

test('row 47: damaged while two processes have it open: both go on with the one that is made of the files', async (t) => {
  const queue = await openQueue(t);
  const other = await queue.reopen();
  await fill(queue.store);
  const expected = told(await all(other));
  const outside = new Database(join(queue.directory, 'queue.db'));
  // What the processes have in their caches is read anew.
  outside.exec(`INSERT INTO meta VALUES ('x', 1)`);
  outside.pragma('wal_checkpoint(TRUNCATE)');
  outside.close();
  await zeroPages(join(queue.directory, 'queue.db'), 1);
  await queue.store.add(queued('DURING', { arrived: 50 }));
  await other.settle('M11', [{ number: 0, kind: 'done' }]);
  await eventually(async () => (await idsOf(other)).length === 12, 'all are known again');
  const now = told(await all(queue.store));
  assert.deepEqual(told(await all(other)), now);
  assert.deepEqual(
    now,
    [...expected, 'DURING eva@example.test 35 0'].map((line) => (line.startsWith('M11 ') ? line.replace('0,1', '1') : line)),
  );
});

test('row 47: a database that is taken away while it is open is made anew', async (t) => {
  const queue = await openQueue(t);
  await fill(queue.store);
  const expected = told(await all(queue.store));
  for (const file of DATABASE) await rm(join(queue.directory, file), { force: true });
  await checkRecovered(queue.store, expected);
});

test('row 47: while it is being made anew, a message that is settled is looked for first: nobody gets it again', async (t) => {
  const queue = await openQueue(t);
  await fill(queue.store);
  await queue.store.close();
  for (const file of DATABASE) await rm(join(queue.directory, file), { force: true });
  // As if it took long.
  const lock = lockFile(join(queue.directory, 'sweep.lock'));
  const store = await queue.reopen();
  assert.deepEqual(await all(store), []);
  await store.settle('M5', [{ number: 1, kind: 'done' }]);
  assert.equal(await store.remove({ ids: ['M6'] }), 1);
  await store.close();
  lock.release();
  const messages = await all(await queue.reopen());
  assert.equal(messages.length, 10);
  assert.deepEqual(
    messages.find(({ envelope }) => envelope.id === 'M5')?.recipients.map(({ number }) => number),
    [0],
  );
});

/** Time that stands until it is moved. */
function standingClock(): Clock & { move(ms: number): void } {
  let now = Date.now();
  const timers = new Set<{ at: number; fn: () => void }>();
  return {
    now: () => now,
    after: (ms, fn) => {
      const timer = { at: now + ms, fn };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    move: (ms) => {
      now += ms;
      for (const timer of [...timers])
        if (timer.at <= now) {
          timers.delete(timer);
          timer.fn();
        }
    },
  };
}

/** A queue and a way to have it look through its files. */
async function swept(t: TestContext): Promise<TestQueue & { sweep(done: () => Promise<boolean>): Promise<void> }> {
  const clock = standingClock();
  const queue = await openQueue(t, { clock });
  return {
    ...queue,
    sweep: async (done) => {
      await eventually(async () => {
        clock.move(300_000);
        await new Promise((resolve) => setTimeout(resolve, 20));
        return done();
      }, 'the files are looked through');
    },
  };
}

test('an older database: what came later is taken up again, what has left meanwhile is set aside when it is tried', async (t) => {
  const queue = await swept(t);
  const copy = join(await tempFolder(t), 'queue.db');
  await queue.store.add(queued('BEFORE'));
  await queue.store.add(queued('LEAVES'));
  await queue.store.close();
  await copyFile(join(queue.directory, 'queue.db'), copy);
  const between = await queue.reopen();
  await between.add(queued('AFTER'));
  await between.settle('LEAVES', [{ number: 0, kind: 'done' }]);
  await between.close();
  await copyFile(copy, join(queue.directory, 'queue.db'));
  const store = await queue.reopen();
  await queue.sweep(async () => (await store.find('AFTER')) !== undefined);
  assert.deepEqual((await idsOf(store)).sort(), ['AFTER', 'BEFORE', 'LEAVES']);
  assert.deepEqual(
    queue.events.filter(({ event }) => event === 'queue.adopted').map(({ fields }) => fields['id']),
    ['AFTER'],
  );
  await assert.rejects(store.open('LEAVES'), { kind: 'corrupt' });
  const [leaves] = (await store.find('LEAVES'))?.recipients ?? [];
  assert.deepEqual([leaves?.state, leaves?.lastFailure?.status], ['held', '4.3.0']);
});

test('files of processes that were killed: whole ones are taken up, unfinished ones removed in time, what has left does not come back', async (t) => {
  const queue = await swept(t);
  const { store, directory } = queue;
  const path = (id: string): string => pathOf(directory, id);
  const put = async (id: string, bytes: Buffer, age = 0): Promise<void> => {
    await mkdir(dirname(path(id)), { recursive: true });
    await writeFile(path(id), bytes);
    const at = new Date(Date.now() - age);
    await utimes(path(id), at, at);
  };
  await store.add(queued('DONE'));
  const done = await readFile(path('DONE'));
  const renamed = (id: string): Buffer =>
    Buffer.from(done.toString('latin1').replaceAll('"id":"DONE"', `"id":"${id}"`), 'latin1');
  const unfinished = Buffer.from(done);
  unfinished.fill('0', HASH_AT, HASH_AT + 64);
  await store.settle('DONE', [{ number: 0, kind: 'done' }]);
  // Killed between the commit and the file's removal.
  await put('DONE', done);
  // Killed before the commit; another's commit may be about to come.
  await put('LOST', renamed('LOST'), 3_600_000);
  // All have it, the database does not know of it.
  const delivered = renamed('ALLD');
  delivered.write('D', delivered.indexOf('W{'), 'latin1');
  await put('ALLD', delivered, 3_600_000);
  await put('YOUNG', unfinished);
  await put('EMPTY', Buffer.alloc(0), 37 * 3_600_000);
  await put('OLD', unfinished, 37 * 3_600_000);
  await put('CUT', renamed('CUT').subarray(0, -3), 3_600_000);
  await put('WRONG', renamed('RIGHT'), 3_600_000);
  await put('ZERO', Buffer.alloc(5_000), 3_600_000);
  const isThere = async (id: string): Promise<boolean> => (await readdir(dirname(path(id)))).includes(id);
  await queue.sweep(async () => (await store.find('LOST')) !== undefined);
  await queue.sweep(async () => !(await isThere('OLD')));
  assert.deepEqual(await idsOf(store), ['LOST']);
  assert.match(await bodyOf(store, 'LOST'), /body of DONE/);
  const left: string[] = [];
  for (const id of ['DONE', 'LOST', 'ALLD', 'YOUNG', 'EMPTY', 'OLD', 'CUT', 'WRONG', 'ZERO'])
    if (await isThere(id)) left.push(id);
  assert.deepEqual(left, ['LOST', 'YOUNG']);
  assert.deepEqual((await readdir(join(directory, 'corrupt'))).sort(), ['CUT', 'WRONG', 'ZERO']);
  assert.equal(queue.events.filter(({ event }) => event === 'queue.corrupt').length, 3);
});

const wounds: Record<string, (path: string) => Promise<void>> = {
  'is missing': (path) => unlink(path),
  'is cut off': (path) => truncate(path, 150),
  'has lost its last byte': async (path) => truncate(path, (await stat(path)).size - 1),
  'has bytes too many': (path) => writeFile(path, 'x', { flag: 'a' }),
  'is empty': (path) => truncate(path, 0),
  'has another byte in its message': async (path) =>
    writeFile(path, (await readFile(path, 'latin1')).replace('body of', 'body oF'), 'latin1'),
  'is of zeros': async (path) => writeFile(path, Buffer.alloc((await stat(path)).size)),
};
test('a queue file that is damaged is never sent: set aside, logged, its recipients held', async (t) => {
  const { store, directory, events } = await openQueue(t);
  const expected: string[] = [];
  for (const [n, [name, wound]] of Object.entries(wounds).entries()) {
    const id = `A${n}`;
    if (name !== 'is missing') expected.push(id);
    await store.add(queued(id, { body: `body of ${id}\r\n${'x'.repeat(200_000)}` }));
    await wound(pathOf(directory, id));
    let bytes = 0;
    const read = async (): Promise<void> => {
      const source = await store.open(id);
      try {
        for await (const chunk of source.chunks()) bytes += chunk.length;
      } finally {
        await source.dispose();
      }
    };
    await assert.rejects(read, { kind: 'corrupt', code: 'QUEUE_FILE_DAMAGED' }, name);
    assert.ok(bytes < 200_000, `${name}: its end is never given`);
    const last = events.filter(({ level }) => level === 'error').at(-1);
    assert.deepEqual([last?.event, last?.fields['id']], ['queue.corrupt', id]);
    assert.deepEqual(await readdir(join(directory, 'corrupt')), expected);
    assert.deepEqual(await store.readyDestinations('', 1), [], name);
    const [recipient] = (await store.find(id))?.recipients ?? [];
    assert.equal(recipient?.state, 'held');
    assert.match(recipient.lastFailure?.reason ?? '', /^queue file damaged: /);
    // Also when the runner puts it off.
    await store.settle(id, [{ number: 0, kind: 'deferred', nextAttempt: 1, failure: FAILURE, delayReported: false }]);
    assert.equal((await store.find(id))?.recipients[0]?.state, 'held');
  }
});

test('a message that left while it was about to be opened is no damage', async (t) => {
  const { store, events } = await openQueue(t);
  await store.add(queued('A1'));
  await store.remove({});
  await assert.rejects(store.open('A1'), { kind: 'corrupt' });
  assert.deepEqual(
    events.filter(({ level }) => level === 'error'),
    [],
  );
});

test('a database of another version, or of another program, is left alone and named', async (t) => {
  const queue = await openQueue(t);
  await queue.store.close();
  const file = join(queue.directory, 'queue.db');
  const set = (pragma: string): void => {
    const db = new Database(file);
    db.pragma(pragma);
    db.close();
  };
  set('user_version = 7');
  await assert.rejects(queue.reopen(), { kind: 'config', code: 'QUEUE_VERSION', message: /version 7/ });
  set('user_version = 1');
  set('application_id = 1');
  await assert.rejects(queue.reopen(), { kind: 'config', code: 'QUEUE_FOREIGN' });
  await rename(file, `${file}.mine`);
  assert.deepEqual(await all(await queue.reopen()), []);
});

test('who listens goes on when the wake file is taken away', async (t) => {
  const queue = await swept(t);
  const other = await queue.reopen();
  let heard = 0;
  other.onChange(() => heard++);
  await rm(join(queue.directory, 'wake'), { force: true });
  await queue.store.add(queued('A1', { to: [{ destination: DESTINATION }] }));
  await queue.sweep(async () => heard > 0);
  assert.ok(heard > 0);
});
