// The proof of the sync order must be able to fail: traces as strace writes them, right and wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrace, Trace } from '../../bench/sync-trace.ts';

const BOX = '/srv/box';
const SENT = { sender: 'm-1@remote.test', id: 'ABC' };
/** What a delivery does, in order. */
const DELIVERY = {
  head: `11 write(20<${BOX}/tmp/1.M2>, "Return-Path: <m-1@remote.test>\\nX-Origi"..., 900) = 900`,
  body: `12 pwrite64(20<${BOX}/tmp/1.M2>, "more"..., 500, 900) = 500`,
  sync: `11 fsync(20<${BOX}/tmp/1.M2>)       = 0`,
  rename: `13 rename("${BOX}/tmp/1.M2", "${BOX}/new/1.M2,S=9") = 0`,
  folder: `11 fsync(21<${BOX}/new>)            = 0`,
  reply: '10 write(30<socket:[77]>, "250 2.0.0 Ok: queued as ABC\\r\\n", 29) = 29',
};
type Step = keyof typeof DELIVERY;
const STEPS = Object.keys(DELIVERY) as Step[];
const trace = (lines: readonly string[]): Trace => new Trace(parseTrace(lines.join('\n') + '\n'));
const ordered = (...steps: Step[]): Trace => trace(steps.map((step) => DELIVERY[step]));

test('a delivery in the right order passes', () => {
  assert.deepEqual(ordered(...STEPS).delivered(SENT), { fileSynced: true, folderSynced: true });
});

test('each step that is missing or too late is found', () => {
  const cases: readonly [string, Step[], boolean, boolean][] = [
    ['no sync of the file', ['head', 'body', 'rename', 'folder', 'reply'], false, true],
    ['written behind the sync', ['head', 'sync', 'body', 'rename', 'folder', 'reply'], false, true],
    ['shown before the sync', ['head', 'body', 'rename', 'sync', 'folder', 'reply'], false, true],
    ['no sync of the folder', ['head', 'body', 'sync', 'rename', 'reply'], true, false],
    ['folder synced before the rename', ['head', 'body', 'sync', 'folder', 'rename', 'reply'], true, false],
    ['folder synced behind the 250', ['head', 'body', 'sync', 'rename', 'reply', 'folder'], true, false],
    ['250 before the rename', ['head', 'body', 'sync', 'reply', 'rename', 'folder'], false, false],
    ['250 before everything', ['reply', 'head', 'body', 'sync', 'rename', 'folder'], false, false],
    ['no 250', ['head', 'body', 'sync', 'rename', 'folder'], false, false],
    ['never renamed', ['head', 'body', 'sync', 'folder', 'reply'], false, false],
    ['nothing but the 250', ['reply'], false, false],
  ];
  for (const [what, steps, fileSynced, folderSynced] of cases)
    assert.deepEqual(ordered(...steps).delivered(SENT), { fileSynced, folderSynced }, what);
});

test('a call counts from its return on: one that another thread overtakes is late', () => {
  const { head, body, sync, rename, folder, reply } = DELIVERY;
  const slow = (line: string): [string, string] => {
    const [call = '', result = ''] = line.split(')');
    return [`${call} <unfinished ...>`, `${line.slice(0, 2)} <... ${/\w+(?=\()/.exec(line)?.[0]} resumed>)${result}`];
  };
  const [syncBegins, syncEnds] = slow(sync);
  assert.equal(trace([head, body, syncBegins, rename, syncEnds, folder, reply]).delivered(SENT).fileSynced, false);
  assert.equal(trace([head, body, syncBegins, syncEnds, rename, folder, reply]).delivered(SENT).fileSynced, true);
  const [folderBegins, folderEnds] = slow(folder);
  assert.equal(trace([head, body, sync, rename, folderBegins, reply, folderEnds]).delivered(SENT).folderSynced, false);
  assert.equal(trace([head, body, sync, folderBegins, rename, folderEnds, reply]).delivered(SENT).folderSynced, false);
});

test('a sync that failed is none', () => {
  const failed = (step: Step): string[] =>
    STEPS.map((s) => (s === step ? DELIVERY[s].replace(/= 0$/, '= -1 EIO (Input/output error)') : DELIVERY[s]));
  assert.deepEqual(trace(failed('sync')).delivered(SENT), { fileSynced: false, folderSynced: true });
  assert.deepEqual(trace(failed('folder')).delivered(SENT), { fileSynced: true, folderSynced: false });
});

test('another message’s calls prove nothing', () => {
  const other = Object.values(DELIVERY).map((line) =>
    line.replaceAll('1.M2', '1.M3').replace('m-1@', 'm-2@').replace('ABC', 'ABD'),
  );
  const { head, body, rename, folder, reply } = DELIVERY;
  assert.equal(trace([head, body, ...other.slice(0, 5), rename, folder, reply]).delivered(SENT).fileSynced, false);
});

/** Postfix: the queue file before the 250, the mailbox behind it, under a name in tmp/ that is used again. */
const QUEUED = [
  '40 write(9</q/incoming/ABC>, "CM-1"..., 4000) = 4000',
  '40 fsync(9</q/incoming/ABC>)        = 0',
  '41 write(8<socket:[5]>, "250 2.0.0 Ok: queued as ABC\\r\\n", 29) = 29',
  '42 rename("incoming/ABC", "active/ABC") = 0',
  `43 write(7<${BOX}/tmp/1.P43.host>, "Return-Path: <m-1@remote.test>\\n"..., 900) = 900`,
  `43 fsync(7<${BOX}/tmp/1.P43.host>)  = 0`,
  `43 rename("${BOX}/tmp/1.P43.host", "${BOX}/new/1.V2") = 0`,
  '44 unlink("active/ABC")             = 0',
  `43 write(7<${BOX}/tmp/1.P43.host>, "Return-Path: <m-9@remote.test>\\n"..., 900) = 900`,
];

test('of a queue: the file before the 250, the mailbox before the queue file goes', () => {
  assert.deepEqual(trace(QUEUED).queued(SENT), {
    fileSynced: true,
    folderSynced: false,
    mailboxFileSynced: true,
    mailboxFolderSynced: false,
    removedAfter: true,
  });
  const moved = (from: number, to: number): string[] => QUEUED.toSpliced(from, 1).toSpliced(to, 0, QUEUED[from] ?? '');
  assert.equal(trace(moved(1, 2)).queued(SENT).fileSynced, false, 'synced behind the 250');
  assert.equal(trace(moved(7, 4)).queued(SENT).removedAfter, false, 'removed before the mailbox has it');
  assert.equal(trace(moved(5, 6)).queued(SENT).mailboxFileSynced, false, 'shown before it was synced');
});
