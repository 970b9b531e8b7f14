// dovecot-uidlist and the dot-lock on it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, readFile, rename, unlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { withDotlock } from '../../src/storage/dotlock.ts';
import { parseUidlist, Uidlist } from '../../src/storage/uidlist.ts';
import { nextUidValidity } from '../../src/storage/uid-validity.ts';
import type { Uid } from '../../src/storage/types.ts';
import { tempFolder } from '../support/temp-folder.ts';

async function listIn(t: TestContext, text?: string): Promise<{ list: Uidlist; folder: string; file: string; given: number[] }> {
  const folder = await tempFolder(t);
  const file = join(folder, 'dovecot-uidlist');
  if (text !== undefined) await writeFile(file, text);
  const given: number[] = [];
  const list = new Uidlist(folder, async (above) => (given.push(above), Math.max(above + 1, 1000)));
  return { list, folder, file, given };
}
const uids = (parsed: { entries: ReadonlyMap<string, { uid: number }> } | undefined): Record<string, number> =>
  Object.fromEntries([...(parsed?.entries ?? [])].map(([base, { uid }]) => [base, uid]));

test('version 3 as Dovecot writes it: fields, flags in names, a stale N', () => {
  const parsed = parseUidlist('3 V1700000000 N3 Gabc\n1 W120 :100.a,S=3\n2 :101.b:2,S\n7 Pu:id W9 :102.c with space\n');
  assert.ok(parsed);
  assert.deepEqual(parsed.header, { uidValidity: 1700000000, nextUid: 8, guid: 'abc' });
  assert.deepEqual(uids(parsed), { '100.a,S=3': 1, '101.b': 2, '102.c with space': 7 });
  assert.equal(parsed.entries.get('102.c with space')?.extra, 'Pu:id W9');
  assert.equal(parseUidlist('3 V5 N90\n1 :a\n')?.header.nextUid, 90);
});

test('what is no list: another version, no UIDVALIDITY, a header that is cut off', () => {
  for (const text of ['', '1 5 6\n1 a\n', '3 N4\n', '3 V0 N1\n', '3 V99999999999 N1\n', '3 V5 N1', 'x', '3V5\n'])
    assert.equal(parseUidlist(text), undefined, text);
});

test('damaged lines: the others keep their UIDs, and no UID is given that a damaged line may have held', () => {
  const parsed = parseUidlist('3 V5 N3\n1 :a\nrubbish\n3 :c\n\0\0\0\0\0\0\0\0\0\0\n');
  assert.ok(parsed);
  assert.deepEqual(uids(parsed), { a: 1, c: 3 });
  assert.equal(parsed.damaged, 19);
  assert.equal(parsed.broken, false);
  assert.ok(parsed.header.nextUid >= 6, 'two more lines fit into eleven bytes');
});

test('UIDs that do not ascend make the whole list unusable; a name twice counts with its last UID', () => {
  assert.equal(parseUidlist('3 V5 N3\n2 :a\n1 :b\n')?.broken, true);
  assert.equal(parseUidlist('3 V5 N3\n2 :a\n2 :b\n')?.broken, true);
  const twice = parseUidlist('3 V5 N3\n1 :a\n2 :b\n3 :a\n');
  assert.deepEqual([uids(twice), twice?.dead, twice?.broken], [{ a: 3, b: 2 }, 1, false]);
});

test('appends behind the last whole line: what a crash has cut off is written over', async (t) => {
  const { list, file } = await listIn(t, '3 V5 N2 Gg\n1 :a\n2 :b-cut');
  assert.deepEqual(uids(await list.read()), { a: 1 });
  const assigned = await list.assign(['c', 'b-cut'], new Set(['a', 'b-cut', 'c']));
  assert.deepEqual(uids(assigned), { a: 1, c: 2, 'b-cut': 3 });
  assert.equal(await readFile(file, 'utf8'), '3 V5 N2 Gg\n1 :a\n2 :c\n3 :b-cut\n');
});

test('what another program has appended is taken over before anything is given out', async (t) => {
  const { list, file } = await listIn(t, '3 V5 N2\n1 :a\n');
  await list.read();
  await writeFile(file, '3 V5 N2\n1 :a\n2 :theirs\n');
  assert.deepEqual(uids(await list.assign(['ours'], new Set(['a', 'theirs', 'ours']))), { a: 1, theirs: 2, ours: 3 });
});

test('a list that is gone or broken is made anew, with a UIDVALIDITY above the old one', async (t) => {
  const { list, file, given } = await listIn(t, '3 V7000 N3\n2 :a\n1 :b\n');
  assert.equal(await list.read(), undefined);
  const made = await list.assign(['a', 'b'], new Set(['a', 'b']));
  assert.deepEqual([made.header.uidValidity, uids(made)], [7001, { a: 1, b: 2 }]);
  assert.deepEqual(given, [7000]);
  assert.match(await readFile(file, 'utf8'), /^3 V7001 N3 G[0-9a-f]{32}\n1 :a\n2 :b\n$/);
});

test('a damaged list is written anew with the UIDs that could be read', async (t) => {
  const { list, file } = await listIn(t, '3 V5 N3\n1 W3 :a:2,S\n!!!\n4 :c\n');
  const assigned = await list.assign(['b'], new Set(['a', 'b', 'c']));
  assert.deepEqual(uids(assigned), { a: 1, c: 4, b: 5 });
  assert.equal(await readFile(file, 'utf8'), '3 V5 N6\n1 W3 :a:2,S\n4 :c\n5 :b\n');
});

test('compaction: entries of messages that are gone leave the list, the others and the next UID stay', async (t) => {
  const lines = Array.from({ length: 1200 }, (_, i) => `${i + 1} W${i} :m${i}\n`).join('');
  const { list, file } = await listIn(t, `3 V5 N1 Gg\n${lines}`);
  const present = new Set(['m3', 'm800', 'new']);
  const assigned = await list.assign(['new'], present);
  assert.deepEqual(uids(assigned), { m3: 4, m800: 801, new: 1201 });
  assert.equal(await readFile(file, 'utf8'), '3 V5 N1202 Gg\n4 W3 :m3\n801 W800 :m800\n1201 :new\n');
});

test('a message that comes back gets a new UID, its old line goes', async (t) => {
  const { list, file } = await listIn(t, '3 V5 N3\n1 :a\n2 :b\n');
  assert.deepEqual(uids(await list.assign(['a'], new Set(['a', 'b']), new Map([['a', 1 as Uid]]))), { b: 2, a: 3 });
  // Another process has seen to it already.
  assert.deepEqual(uids(await list.assign(['a'], new Set(['a', 'b']), new Map([['a', 1 as Uid]]))), { b: 2, a: 3 });
  assert.equal(await readFile(file, 'utf8'), '3 V5 N4\n2 :b\n3 :a\n');
});

test('past the last UID the mailbox begins anew', async (t) => {
  const { list } = await listIn(t, '3 V5 N4294967295\n4294967294 :a\n');
  const assigned = await list.assign(['a', 'b'], new Set(['a', 'b']));
  assert.deepEqual([assigned.header.uidValidity > 5, uids(assigned)], [true, { a: 1, b: 2 }]);
});

test('UIDVALIDITY: above the clock, above dovecot-uidvalidity and its file’s name, written to both', async (t) => {
  const folder = await tempFolder(t);
  assert.equal(await nextUidValidity(folder, () => 1_000_000), 1000);
  assert.equal(await nextUidValidity(folder, () => 500_000), 1001);
  assert.equal(await nextUidValidity(folder, () => 500_000, 4000), 4001);
  await writeFile(join(folder, 'dovecot-uidvalidity'), 'rubbish');
  assert.equal(await nextUidValidity(folder, () => 500_000), 4002);
  assert.deepEqual((await readdir(folder)).sort(), ['dovecot-uidvalidity', 'dovecot-uidvalidity.00000fa2']);
  assert.equal(await readFile(join(folder, 'dovecot-uidvalidity'), 'latin1'), '00000fa2');
});

test('the lock holds pid and host as Dovecot’s does, one holder at a time, and is gone afterwards', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'x');
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 5 }, () =>
      withDotlock(file, 0o640, async () => {
        most = Math.max(most, ++inside);
        assert.equal(await readFile(`${file}.lock`, 'utf8'), `${process.pid}:${hostname()}`);
        await new Promise((resolve) => setTimeout(resolve, 3));
        inside--;
      }),
    ),
  );
  assert.equal(most, 1);
  assert.deepEqual(await readdir(folder), []);
});

test('a lock of a process that is dead, or of a predecessor with our number, is taken away at once; an old one too', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'x');
  const child = spawn(process.execPath, ['-e', '0']);
  await new Promise((resolve) => child.once('exit', resolve));
  const long = new Date(Date.now() - 86_400_000 * 400);
  const holders: [string, Date][] = [
    [`${child.pid}:${hostname()}`, new Date()],
    [`${process.pid}:${hostname()}`, new Date(Date.now() - process.uptime() * 1000 - 5_000)],
    ['1:elsewhere', new Date(Date.now() - 121_000)],
    ['', long],
  ];
  for (const [text, touched] of holders) {
    await writeFile(`${file}.lock`, text);
    await utimes(`${file}.lock`, touched, touched);
    const began = Date.now();
    assert.equal(await withDotlock(file, 0o640, async () => 'mine'), 'mine');
    assert.ok(Date.now() - began < 5_000, text);
  }
});

test('a lock of a living process is waited for', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'x');
  await writeFile(`${file}.lock`, `${process.ppid}:${hostname()}`);
  const order: string[] = [];
  const waiting = withDotlock(file, 0o640, async () => void order.push('ours'));
  await new Promise((resolve) => setTimeout(resolve, 120));
  order.push('theirs');
  await unlink(`${file}.lock`);
  await waiting;
  assert.deepEqual(order, ['theirs', 'ours']);
});

test('a lock that another program has taken over meanwhile is left to it', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'x');
  await withDotlock(file, 0o640, async () => {
    await writeFile(join(folder, 'other'), '1:theirs');
    await rename(join(folder, 'other'), `${file}.lock`);
  });
  assert.equal(await readFile(`${file}.lock`, 'utf8'), '1:theirs');
});
