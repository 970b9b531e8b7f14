// The session's own view: what it is told, in which order, with which numbers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mailbox, MessageRow, ModSeq, Uid } from '../../src/storage/types.ts';
import { MailboxView, type ViewUpdate } from '../../src/imap/view.ts';

const row = (uid: number, ...flags: string[]): MessageRow => ({
  uid: uid as Uid,
  baseName: `m${uid}`,
  flags,
  modSeq: 1 as ModSeq,
});

/** As much of a mailbox as a view looks at; `set` is what other sessions do to it. */
class FakeMailbox {
  messages: readonly MessageRow[] = [];
  keywords: string[] = [];
  acceptsNewKeywords = true;
  fresh = new Set<Uid>();
  refreshed = 0;
  closed = 0;
  listener: (() => void) | undefined;
  set(...rows: MessageRow[]): void {
    this.messages = rows;
  }
  async recent(): Promise<ReadonlySet<Uid>> {
    const given = this.fresh;
    this.fresh = new Set();
    return given;
  }
  async refresh(): Promise<void> {
    this.refreshed++;
  }
  watch(listener: () => void): () => void {
    this.listener = listener;
    return () => (this.listener = undefined);
  }
  async close(): Promise<void> {
    this.closed++;
  }
}

async function viewOf(...rows: MessageRow[]): Promise<{ box: FakeMailbox; view: MailboxView }> {
  const box = new FakeMailbox();
  box.set(...rows);
  return { box, view: await MailboxView.open(box as unknown as Mailbox, false) };
}
const told = (updates: readonly ViewUpdate[]): string[] =>
  updates.map((u) =>
    u.kind === 'expunge'
      ? `-${u.seq}`
      : u.kind === 'flags'
        ? `f${u.seq}:${u.row.uid}`
        : u.kind === 'keywords'
          ? 'k'
          : `${u.kind}${u.count}`,
  );
const all = { refresh: false, expunge: true };
const held = { refresh: false, expunge: false };

test('expunges from the highest down, then flags with the new numbers, then EXISTS', async () => {
  const { box, view } = await viewOf(row(1), row(2), row(3), row(4), row(5));
  box.set(row(1, '\\Seen'), row(3, '\\Seen'), row(5, '\\Seen'), row(8));
  assert.deepEqual(told(await view.update(all)), ['-4', '-2', 'f1:1', 'f2:3', 'f3:5', 'exists4', 'recent0']);
  assert.deepEqual(told(await view.update(all)), []);
  assert.deepEqual(
    view.all().map(({ seq, uid }) => `${seq}:${uid}`),
    ['1:1', '2:3', '3:5', '4:8'],
  );
});

test('EXPUNGE is held back and owed: numbers stay, the message is gone when addressed, told later once', async () => {
  const { box, view } = await viewOf(row(1), row(2), row(3));
  box.set(row(1), row(3, '\\Seen'), row(4));
  assert.deepEqual(told(await view.update(held)), ['f3:3', 'exists4', 'recent0']);
  assert.deepEqual(told(await view.update(held)), []);
  assert.equal(view.exists, 4);
  const [gone] = view.resolve([{ from: 2, to: 2 }], false) ?? [];
  assert.equal(gone?.uid, 2);
  assert.equal(gone?.row, undefined);
  assert.deepEqual(
    view.resolve([{ from: 3, to: 3 }], true)?.map(({ seq }) => seq),
    [3],
  );
  assert.deepEqual(told(await view.update(all)), ['-2']);
  assert.deepEqual(told(await view.update(all)), []);
  assert.deepEqual(
    view.resolve([{ from: 3, to: 3 }], true)?.map(({ seq }) => seq),
    [2],
  );
});

test('a UID below what the client knows is never put in the middle of its numbers', async () => {
  const { box, view } = await viewOf(row(1), row(5));
  box.set(row(1), row(3), row(5), row(6));
  assert.deepEqual(told(await view.update(all)), ['exists3', 'recent0']);
  assert.deepEqual(
    view.all().map(({ uid }) => uid),
    [1, 5, 6],
  );
});

test('\\Recent: kept for the session, counted, gone with the message', async () => {
  const { box, view } = await viewOf(row(1));
  box.fresh.add(2 as Uid);
  box.set(row(1), row(2));
  assert.deepEqual(told(await view.update(all)), ['exists2', 'recent1']);
  assert.ok(view.isRecent(2 as Uid));
  box.set(row(1));
  assert.deepEqual(told(await view.update(all)), ['-2']);
  assert.equal(view.recentCount, 0);
});

test('what was told with FETCH is not told again; a row with the same flags is no news', async () => {
  const { box, view } = await viewOf(row(1), row(2));
  const seen = row(1, '\\Seen');
  box.set(seen, row(2));
  view.told(1, seen);
  assert.deepEqual(told(await view.update(all)), []);
});

test('keywords are told once, before the flags that use them', async () => {
  const { box, view } = await viewOf(row(1));
  box.keywords.push('work');
  box.set(row(1, 'work'));
  assert.deepEqual(told(await view.update(all)), ['k', 'f1:1']);
  box.acceptsNewKeywords = false;
  assert.deepEqual(told(await view.update(all)), ['k']);
});

test('looks at the files when told to or when woken; wakes IDLE; closes once', async () => {
  const { box, view } = await viewOf(row(1));
  await view.update(held);
  assert.equal(box.refreshed, 0);
  let woken = 0;
  view.onChange = () => woken++;
  box.listener?.();
  assert.equal(woken, 1);
  await view.update(held);
  assert.equal(box.refreshed, 1);
  await view.update({ refresh: true, expunge: true });
  assert.equal(box.refreshed, 2);
  await view.close();
  assert.equal(box.closed, 1);
  assert.equal(box.listener, undefined);
});

test('sets on an empty mailbox: * names nothing, a number is wrong', async () => {
  const { view } = await viewOf();
  assert.deepEqual(view.resolve([{ from: 1, to: Infinity }], false), []);
  assert.equal(view.resolve([{ from: 1, to: 1 }], false), undefined);
  assert.deepEqual(view.resolve([{ from: 1, to: 9 }], true), []);
});
