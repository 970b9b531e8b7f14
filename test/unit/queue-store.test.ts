// The queue on the disk: what goes in comes out, and what happens to recipients on the way.
import assert from 'node:assert/strict';
import { pbkdf2 } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { chown, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { pathOf } from '../../src/queue/store/queue-file.ts';
import type { Failure, QueueFilter, Settlement } from '../../src/queue/types.ts';
import { eventually } from '../support/mail-host.ts';
import { all, bodyOf, DESTINATION, idsOf, openQueue, queued } from '../support/queue-store.ts';
import { tempFolder } from '../support/temp-folder.ts';

const FAILURE: Failure = { status: '4.4.1', reason: 'connect to mx.remote.test[192.0.2.1]:25: Connection refused' };
const NONE: ReadonlySet<string> = new Set();

test('a message comes out as it went in', async (t) => {
  const { store, directory } = await openQueue(t);
  const message = queued('A1', {
    to: [
      { address: 'ana@Remote.test', notify: ['SUCCESS', 'FAILURE'], orcpt: 'rfc822;ana@remote.test' },
      { address: 'ü@remote.test', destination: 'smtp:[192.0.2.1]:587' },
      { address: 'held@remote.test', hold: 'by the map' },
    ],
    sender: 'Eva+x@example.test',
    smtpUtf8: true,
    ret: 'HDRS',
    envid: 'QQ314159',
    requireTls: true,
    account: 'eva@example.test',
    messageId: '<1@example.test>',
  });
  await store.add(message);
  const found = await store.find('A1');
  assert.deepEqual(found?.envelope, message.envelope);
  assert.equal(found.size, message.source.size);
  const waiting = { attempts: 0, delayReported: false, state: 'ready' };
  const { recipients } = message;
  assert.deepEqual(
    found.recipients.map(({ nextAttempt: _, ...rest }) => rest),
    [
      { ...recipients[0], ...waiting, number: 0 },
      { ...recipients[1], ...waiting, number: 1 },
      { ...recipients[2], ...waiting, number: 2, state: 'held', lastFailure: { status: '4.7.0', reason: 'by the map' } },
    ],
  );
  assert.equal(await bodyOf(store, 'A1'), 'Subject: A1\r\n\r\nbody of A1\r\n');
  const { mode } = await stat(pathOf(directory, 'A1'));
  assert.equal(mode & 0o777, 0o600);
  assert.equal((await stat(join(directory, 'queue.db'))).mode & 0o777, 0o600);
  assert.equal(await store.find('B2'), undefined);
  assert.equal(await store.find('../A1'), undefined);
});

test('bodies of any size, empty ones too', async (t) => {
  const { store } = await openQueue(t);
  for (const [n, size] of [0, 1, 65_000, 65_536, 262_144, 1_000_000].entries()) {
    const body = 'x'.repeat(size);
    await store.add(queued(`S${n}`, { body }));
    assert.equal((await bodyOf(store, `S${n}`)) === body, true, String(size));
  }
});

test('jobs: settled one by one until the message has left, its file too', async (t) => {
  const { store, directory } = await openQueue(t);
  await store.add(
    queued('A1', { to: ['a@remote.test', 'b@remote.test', { address: 'c@other.test', destination: 'smtp:other.test' }] }),
  );
  assert.deepEqual(await store.readyDestinations('', 10), ['smtp:other.test', DESTINATION]);
  const [job, ...more] = await store.jobs(DESTINATION, 10, 50, NONE);
  assert.equal(more.length, 0);
  assert.deepEqual(
    job?.recipients.map(({ address }) => address),
    ['a@remote.test', 'b@remote.test'],
  );
  assert.deepEqual(await store.jobs(DESTINATION, 10, 50, new Set(['A1/0', 'A1/1'])), []);
  await store.settle('A1', [
    { number: 0, kind: 'done' },
    { number: 1, kind: 'deferred', nextAttempt: 5_000, failure: FAILURE, delayReported: true },
    { number: 7, kind: 'done' },
  ]);
  const [left] = await all(store);
  assert.deepEqual(left?.recipients[0], {
    number: 1,
    address: 'b@remote.test',
    destination: DESTINATION,
    state: 'deferred',
    attempts: 1,
    nextAttempt: 5_000,
    lastFailure: FAILURE,
    delayReported: true,
  });
  assert.deepEqual(await store.readyDestinations('', 10), ['smtp:other.test']);
  const text = await readFile(pathOf(directory, 'A1'), 'latin1');
  assert.deepEqual(text.match(/^[A-Z](?=\{"address")/gm), ['D', 'W', 'W']);
  assert.equal(await store.promote(4_999), 5_000);
  assert.equal(await store.promote(5_000), undefined);
  assert.equal((await store.jobs(DESTINATION, 1, 1, NONE))[0]?.recipients[0]?.attempts, 1);
  await store.settle('A1', [
    { number: 1, kind: 'done' },
    { number: 2, kind: 'done' },
  ]);
  assert.deepEqual(await all(store), []);
  assert.equal(await store.find('A1'), undefined);
  await assert.rejects(stat(pathOf(directory, 'A1')), { code: 'ENOENT' });
  // Settled twice: passed over.
  await store.settle('A1', [{ number: 1, kind: 'done' }]);
});

test('ready destinations are a ring', async (t) => {
  const { store } = await openQueue(t);
  for (const name of ['a', 'b', 'c', 'd']) await store.add(queued(name.toUpperCase(), { to: [{ destination: `smtp:${name}` }] }));
  assert.deepEqual(await store.readyDestinations('', 3), ['smtp:a', 'smtp:b', 'smtp:c']);
  assert.deepEqual(await store.readyDestinations('smtp:c', 10), ['smtp:d', 'smtp:a', 'smtp:b', 'smtp:c']);
  assert.deepEqual(await store.readyDestinations('smtp:c', 2), ['smtp:d', 'smtp:a']);
  // All that is ready at a and d is in jobs.
  const busy = new Map([
    ['smtp:a', 1],
    ['smtp:b', 0],
    ['smtp:d', 5],
  ]);
  assert.deepEqual(await store.readyDestinations('smtp:c', 10, busy), ['smtp:b', 'smtp:c']);
  assert.deepEqual(await store.readyDestinations('smtp:bb', 10), ['smtp:c', 'smtp:d', 'smtp:a', 'smtp:b']);
  assert.deepEqual(await store.readyDestinations('smtp:z', 10), ['smtp:a', 'smtp:b', 'smtp:c', 'smtp:d']);
});

test('redirect sends what waits elsewhere, in its state', async (t) => {
  const { store } = await openQueue(t);
  await store.add(queued('A1', { to: ['a@remote.test', 'b@remote.test'] }));
  await store.settle('A1', [{ number: 1, kind: 'deferred', nextAttempt: 5_000, failure: FAILURE, delayReported: false }]);
  await store.redirect('A1', [0, 1, 9], 'smtp:relay.test');
  assert.deepEqual(await store.readyDestinations('', 10), ['smtp:relay.test']);
  const message = await store.find('A1');
  assert.deepEqual(
    message?.recipients.map(({ destination, state }) => `${destination} ${state}`),
    ['smtp:relay.test ready', 'smtp:relay.test deferred'],
  );
});

test('layout: where things stand in a file, however long its head is', async (t) => {
  const { store, directory } = await openQueue(t);
  const to = Array.from({ length: 2_000 }, (_, n) => `user${n}@remote.test`);
  await store.add(queued('A1', { to }));
  const file = await readFile(pathOf(directory, 'A1'), 'latin1');
  const { envelope, recipients, message } = await store.layout('A1');
  assert.ok(file.startsWith('{"id":"A1"', envelope));
  assert.equal(recipients.length, to.length);
  for (const [n, place] of recipients.entries()) assert.ok(file.startsWith(`W{"address":"${to[n]}"`, place));
  assert.ok(message > 65_536 && file.startsWith('Subject: A1\r\n', message));
  await assert.rejects(store.layout('B2'), { kind: 'corrupt' });
});

test('expire: what is deferred is due at once, what is held stays, and the file says it', async (t) => {
  const { store, directory, reopen } = await openQueue(t);
  await store.add(queued('A1', { to: ['a@remote.test', 'b@remote.test'] }));
  await store.add(queued('B2'));
  await store.settle('A1', [
    { number: 0, kind: 'deferred', nextAttempt: 1e15, failure: { status: '4.4.1', reason: 'no' }, delayReported: false },
  ]);
  await store.hold({ ids: ['A1'], recipient: 'b@remote.test' });
  assert.equal(await store.expire({ ids: ['A1'] }), 1);
  assert.equal(await store.expire({ ids: ['A1'] }), 0, 'it is already');
  const [one, two] = await all(await reopen());
  assert.deepEqual([one?.envelope.expire, two?.envelope.expire], [true, undefined]);
  assert.deepEqual(
    one?.recipients.map(({ state }) => state),
    ['ready', 'held'],
  );
  assert.equal((await stat(pathOf(directory, 'A1'))).mode & 0o777, 0o700);
  assert.equal((await stat(pathOf(directory, 'B2'))).mode & 0o777, 0o600);
  const jobs = await store.jobs(DESTINATION, 5, 10, new Set());
  assert.equal(jobs.find(({ envelope }) => envelope.id === 'A1')?.envelope.expire, true);
});

test('expire: what is being tried meanwhile is due again as soon as it is put off', async (t) => {
  const { store } = await openQueue(t);
  for (const id of ['A1', 'B2']) await store.add(queued(id));
  await store.expire({ ids: ['A1'] });
  const failure = { status: '4.4.1', reason: 'no' };
  for (const id of ['A1', 'B2'])
    await store.settle(id, [{ number: 0, kind: 'deferred', nextAttempt: 1e15, failure, delayReported: false }]);
  assert.equal(await store.promote(2_000), 1e15);
  assert.deepEqual(
    (await all(store)).map(({ recipients }) => recipients[0]?.state),
    ['ready', 'deferred'],
  );
});

test('hold, release, retry, requeue, remove', async (t) => {
  const { store, directory } = await openQueue(t);
  const marks = async (id: string): Promise<string> =>
    ((await readFile(pathOf(directory, id), 'latin1')).match(/^[A-Z](?=\{"address")/gm) ?? []).join('');
  const states = async (): Promise<string[]> =>
    (await all(store)).flatMap(({ recipients }) => recipients.map(({ state }) => state));
  await store.add(queued('A1', { to: ['a@remote.test', 'b@other.test'], arrived: 1 }));
  await store.add(queued('B2', { to: ['c@remote.test'], arrived: 2, sender: 'ANA@example.test' }));
  assert.equal(await store.hold({ domain: 'Remote.TEST' }), 2);
  assert.equal(await store.hold({ domain: 'remote.test' }), 0, 'they are held already');
  assert.deepEqual(await states(), ['held', 'ready', 'held']);
  assert.deepEqual([await marks('A1'), await marks('B2')], ['HW', 'H']);
  // A try that was under way when the administrator held it.
  await store.settle('B2', [{ number: 0, kind: 'deferred', nextAttempt: 9, failure: FAILURE, delayReported: false }]);
  assert.deepEqual(await states(), ['held', 'ready', 'held']);
  assert.equal(await store.retry({}), 0, 'held stays held');
  assert.equal(await store.requeue({ ids: ['B2'] }), 0);
  assert.equal(await store.release({ sender: 'ana@EXAMPLE.test' }), 1);
  assert.deepEqual(await states(), ['held', 'ready', 'ready']);
  assert.equal(await marks('B2'), 'W');
  await store.settle('B2', [{ number: 0, kind: 'deferred', nextAttempt: 1e15, failure: FAILURE, delayReported: true }]);
  assert.equal(await store.retry({ reason: 'connection REFUSED' }), 1);
  const retried = (await store.find('B2'))?.recipients[0];
  assert.equal(retried?.state, 'ready');
  assert.equal(retried.attempts, 2);
  assert.ok(retried.nextAttempt <= Date.now());
  assert.equal(await store.requeue({ ids: ['B2', 'NONE'] }), 1);
  const requeued = (await store.find('B2'))?.recipients[0];
  assert.deepEqual([requeued?.attempts, requeued?.lastFailure], [0, undefined]);
  assert.equal(await store.remove({ recipient: 'B@other.test' }), 1);
  assert.deepEqual(await idsOf(store), ['A1', 'B2']);
  assert.equal(await marks('A1'), 'HD');
  assert.equal(await store.remove({}), 2);
  assert.deepEqual(await all(store), []);
  assert.deepEqual(
    (await readdir(join(directory, 'messages'), { recursive: true })).filter((name) => name.includes('/')),
    [],
  );
});

test('filters', async (t) => {
  const { store } = await openQueue(t);
  await store.add(queued('A1', { arrived: 10, to: ['x@one.test', 'y@two.test'] }));
  await store.add(
    queued('B2', { arrived: 30, sender: '', to: [{ address: 'x@one.test', destination: 'lmtp:unix:/x', hold: 'a' }] }),
  );
  await store.add(queued('C3', { arrived: 20, sender: 'Ñu@example.test', to: ['z@three.test'] }));
  await store.settle('C3', [{ number: 0, kind: 'deferred', nextAttempt: 1, failure: FAILURE, delayReported: false }]);
  assert.deepEqual(await idsOf(store), ['A1', 'C3', 'B2'], 'by arrival');
  const cases: [QueueFilter, string[]][] = [
    [{ ids: ['B2', 'A1', 'A1', 'ZZ'] }, ['A1', 'B2']],
    [{ ids: [] }, []],
    [{ sender: '' }, ['B2']],
    [{ sender: 'ñU@EXAMPLE.test' }, ['C3']],
    [{ recipient: 'X@One.test' }, ['A1', 'B2']],
    [{ recipient: 'x@one' }, []],
    [{ domain: 'two.test' }, ['A1']],
    [{ destination: 'lmtp:unix:/x' }, ['B2']],
    [{ state: 'deferred' }, ['C3']],
    [{ state: 'held' }, ['B2']],
    [{ arrivedBefore: 20 }, ['A1']],
    [{ arrivedAfter: 10, arrivedBefore: 30 }, ['C3']],
    [{ reason: 'CONNECTION' }, ['C3']],
    [{ reason: '%' }, []],
    [{ recipient: 'x@one.test', domain: 'two.test' }, []],
    [{ domain: 'one.test', state: 'held' }, ['B2']],
  ];
  for (const [filter, expected] of cases) assert.deepEqual(await idsOf(store, filter), expected, JSON.stringify(filter));
});

test('stats', async (t) => {
  const { store } = await openQueue(t);
  assert.deepEqual(await store.stats(), {
    messages: 0,
    bytes: 0,
    recipients: { ready: 0, deferred: 0, held: 0 },
    destinations: [],
  });
  await store.add(queued('A1', { arrived: 20, body: 'x'.repeat(100), to: ['a@one.test', 'b@one.test'] }));
  await store.add(queued('B2', { arrived: 10, body: 'x'.repeat(11), to: [{ destination: 'smtp:other.test' }, { hold: 'a' }] }));
  await store.settle('A1', [{ number: 1, kind: 'deferred', nextAttempt: 1, failure: FAILURE, delayReported: false }]);
  assert.deepEqual(await store.stats(), {
    messages: 2,
    bytes: 111,
    oldest: 10,
    recipients: { ready: 2, deferred: 1, held: 1 },
    destinations: [
      { destination: DESTINATION, recipients: 3, failure: FAILURE },
      { destination: 'smtp:other.test', recipients: 1 },
    ],
  });
});

test('pages: every message once, also when there are many pages; promote moves all of them', async (t) => {
  const { store } = await openQueue(t);
  const ids = Array.from({ length: 260 }, (_, n) => `N${String(n).padStart(5, '0')}`);
  // A page ends at 5,000 recipients.
  const to = Array.from({ length: 20 }, (_, n) => `r${n}@remote.test`);
  await Promise.all(ids.map((id, n) => store.add(queued(id, { to, arrived: Math.floor(n / 7) }))));
  assert.deepEqual(await idsOf(store), ids);
  assert.equal((await idsOf(store, { ids })).length, ids.length);
  assert.equal(await store.hold({}), ids.length);
  assert.equal(await store.release({}), ids.length);
  const putOff = (number: number, nextAttempt: number): Settlement => {
    return { number, kind: 'deferred', nextAttempt, failure: FAILURE, delayReported: false };
  };
  await Promise.all(
    ids.map((id, n) =>
      store.settle(
        id,
        to.map((_, number) => putOff(number, n)),
      ),
    ),
  );
  assert.equal(await store.promote(249), 250);
  const jobs = await store.jobs(DESTINATION, 2_000, 50, NONE);
  assert.equal(jobs.length, 250);
  assert.ok(jobs.every(({ recipients }) => recipients.length === 20));
});

test('a listener hears of what this and another process did', async (t) => {
  const { store, reopen } = await openQueue(t);
  const other = await reopen();
  let heard = 0;
  const end = other.onChange(() => heard++);
  await eventually(async () => {
    // Until it is watched.
    await store.redirect('NONE', [0], 'smtp:x');
    return heard > 0;
  }, 'the other process hears');
  heard = 0;
  await other.add(queued('A1'));
  await eventually(async () => heard > 0, 'one hears of oneself');
  end();
  heard = 0;
  await store.add(queued('B2'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(heard, 0);
});

test('a second message of the same id is refused, the first one stays', async (t) => {
  const { store } = await openQueue(t);
  await store.add(queued('A1'));
  await assert.rejects(store.add(queued('A1', { body: 'other' })), { kind: 'temporary' });
  assert.match(await bodyOf(store, 'A1'), /body of A1/);
  await assert.rejects(store.add(queued('../A1')), /no queue id/);
  await assert.rejects(store.add(queued('B2', { to: [] })), /no recipients/);
});

test('a source that fails or lies leaves nothing behind', async (t) => {
  const { store, directory } = await openQueue(t);
  const message = queued('A1');
  const failing = {
    ...message.source,
    size: 300_000,
    async *chunks() {
      yield Buffer.alloc(290_000);
      throw new Error('the spool is gone');
    },
  };
  await assert.rejects(store.add({ ...message, source: failing }), { kind: 'temporary' });
  await assert.rejects(store.add({ ...message, source: { ...message.source, size: 5 } }), { kind: 'temporary' });
  assert.deepEqual(await all(store), []);
  await assert.rejects(stat(pathOf(directory, 'A1')), { code: 'ENOENT' });
  await store.add(message);
});

test('what root makes belongs to the owner of the folder', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('not root');
  const directory = await tempFolder(t);
  await chown(directory, 65_534, 65_534);
  const { store } = await openQueue(t, { directory });
  await store.add(queued('A1'));
  const names = await readdir(directory, { recursive: true });
  for (const name of ['wake', 'queue.db', 'queue.db-wal', 'queue.db-shm', 'recover.lock', 'sweep.lock', 'corrupt'])
    assert.ok(names.includes(name), name);
  for (const name of names) {
    const { uid, gid, mode } = await stat(join(directory, name));
    assert.deepEqual([uid, gid, mode & 0o077], [65_534, 65_534, 0], name);
  }
});

test('a message that is disposed of while it is read is not taken for a damaged one', async (t) => {
  const { store, directory, events } = await openQueue(t);
  await store.add(queued('BIG', { body: `Subject: big\r\n\r\n${'line\r\n'.repeat(50_000)}` }));
  const source = await store.open('BIG');
  const chunks = source.chunks()[Symbol.asyncIterator]();
  await chunks.next();
  // Nothing is read before these are done, and by then another file has the number of the descriptor.
  const busy = Array.from({ length: 4 }, () => promisify(pbkdf2)('x', 'y', 100_000, 32, 'sha256'));
  const reading = Promise.allSettled([chunks.next(), ...busy]);
  const disposed = source.dispose();
  const other = openSync(join(directory, 'wake'), 'r');
  await disposed;
  await reading;
  await chunks.next().catch(() => undefined);
  closeSync(other);
  assert.deepEqual(
    events.filter(({ level }) => level === 'error'),
    [],
  );
  assert.equal((await store.find('BIG'))?.recipients[0]?.state, 'ready');
  assert.match(await bodyOf(store, 'BIG'), /^Subject: big/);
});
