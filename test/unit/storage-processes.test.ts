// The store under other processes and under a clock that jumps.
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { systemClock } from '../../src/lib/clock.ts';
import { eventually } from '../support/mail-host.ts';
import { makeStore, sourceOf, uid } from '../support/store.ts';

const INBOX = ['INBOX'];
const mail = (n: number): string => `Subject: ${n}\r\n\r\nbody ${n}\r\n`;
/** RELIABILITY's 100 ms, ten times. */
const STALL_NS = 1_000_000_000;

test('row 46: another process holds the index’s write lock: mail and IMAP go on, no stall, and what waited is written afterwards', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(mail(1)));
  const box = await store.account.open(INBOX);
  await box.structure(uid(1));
  const file = join(store.maildir, 'buzon.index.db');
  const rows = (): number => {
    const reader = new Database(file, { readonly: true });
    try {
      return (reader.prepare('SELECT count(*) AS n FROM message').get() as { n: number }).n;
    } finally {
      reader.close();
    }
  };
  await eventually(async () => rows() === 1, 'the first entry');
  const other = new Database(file);
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  for (let n = 2; n <= 30; n++) await store.account.deliver(INBOX, sourceOf(mail(n)));
  await box.refresh();
  assert.equal(box.messages.length, 30);
  for (let n = 1; n <= 30; n++) assert.ok((await box.facts(uid(n))).wireSize > 0 && (await box.structure(uid(n))));
  await box.store([uid(2)], { mode: 'add', flags: ['\\Seen'] });
  assert.deepEqual(await box.expunge([uid(1)]), [1]);
  // Longer than entries wait before they are first tried.
  await new Promise((resolve) => setTimeout(resolve, 600));
  delay.disable();
  assert.ok(delay.max < STALL_NS, `stalled for ${delay.max / 1e6} ms`);
  assert.equal(rows(), 1, 'nothing could be written');
  other.exec('COMMIT');
  await eventually(async () => rows() === 29, 'what waited is written, the message that is gone is not in it');
});

test('row 46: a new index that another process is about to make costs only the cache', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(mail(1)));
  const other = new Database(join(store.maildir, 'buzon.index.db'));
  t.after(() => other.close());
  other.pragma('journal_mode = WAL');
  other.exec('BEGIN IMMEDIATE');
  const box = await store.account.open(INBOX);
  await box.structure(uid(1));
  await new Promise((resolve) => setTimeout(resolve, 300));
  other.exec('COMMIT');
  await eventually(async () => {
    const made = other.prepare("SELECT 1 FROM sqlite_master WHERE name = 'message'").get() !== undefined;
    return made && (other.prepare('SELECT count(*) AS n FROM message').get() as { n: number }).n === 1;
  }, 'the index serves once the other is done');
});

test('row 47: a zeroed page in the index: noticed and rebuilt, every message as before', async (t) => {
  const store = await makeStore(t);
  for (let n = 1; n <= 40; n++) await store.account.deliver(INBOX, sourceOf(mail(n)));
  const box = await store.account.open(INBOX);
  const all = (mailbox: typeof box): Promise<unknown[]> =>
    Promise.all(mailbox.messages.map(async (row) => [row, await mailbox.facts(row.uid), await mailbox.structure(row.uid)]));
  const expected = await all(box);
  const files = [await store.names('new'), await store.text('dovecot-uidlist')];
  await box.close();
  store.mail.close();
  const handle = await open(join(store.maildir, 'buzon.index.db'), 'r+');
  const { size } = await handle.stat();
  assert.ok(size > 3 * 4096);
  for (let at = 4096; at < size; at += 4096) await handle.write(Buffer.alloc(4096), 0, 4096, at);
  await handle.close();
  const again = await store.again().open(INBOX);
  const strip = (rows: unknown[]): string => JSON.stringify(rows).replace(/"modSeq":\d+/g, '');
  assert.equal(strip(await all(again)), strip(expected));
  assert.deepEqual([await store.names('new'), await store.text('dovecot-uidlist')], files);
});

test('row 48: the clock a day forward or back, also with another process of the same number: no name collides', async (t) => {
  let now = Date.now();
  const store = await makeStore(t, { clock: { ...systemClock, now: () => now } });
  let account = store.account;
  const start = now;
  for (const shift of [0, 86_400_000, 0, -86_400_000, 0]) {
    now = start + shift;
    for (let n = 1; n <= 20; n++) await account.deliver(INBOX, sourceOf(mail(n)));
    // As after a new start in a container, where process ids begin anew.
    account = store.again();
    for (let n = 1; n <= 20; n++) await account.deliver(INBOX, sourceOf(mail(n)));
  }
  assert.equal((await store.names('new')).length, 200);
  const box = await account.open(INBOX);
  assert.equal(new Set(box.messages.map((row) => row.uid)).size, 200);
});
