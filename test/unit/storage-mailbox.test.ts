// A mailbox while it is open: UIDs, flags, keywords, copies and moves, what other programs do meanwhile.
import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, rename, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Mailbox, MessageContent } from '../../src/storage/types.ts';
import { makeStore, sourceOf, uid, type TestStore } from '../support/store.ts';

const INBOX = ['INBOX'];
const mail = (n: number): string => `Subject: ${n}\r\n\r\nbody ${n}\r\n`;

async function delivered(store: TestStore, count: number): Promise<Mailbox> {
  for (let n = 1; n <= count; n++) await store.account.deliver(INBOX, sourceOf(mail(n)));
  return store.account.open(INBOX);
}
const uidsOf = (mailbox: Mailbox): number[] => mailbox.messages.map((row) => row.uid);
const flagsOf = (mailbox: Mailbox, n: number): string =>
  (mailbox.messages.find((row) => row.uid === n)?.flags ?? ['?']).join(' ');
async function all(content: MessageContent, wire = false): Promise<string> {
  let text = '';
  for await (const chunk of wire ? content.readWire(0, content.size) : content.read(0, content.size))
    text += chunk.toString('latin1');
  await content.close();
  return text;
}

test('flags become letters in the name and come back; a message with flags leaves new/; other capitals are kept', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  await box.store([uid(1)], { mode: 'add', flags: ['\\Seen', '\\FLAGGED', 'Work'] });
  assert.equal(flagsOf(box, 1), '\\Flagged \\Seen Work');
  const [name = ''] = await store.names('cur');
  assert.match(name, /,S=\d+,W=\d+:2,FSa$/);
  assert.equal(await store.text('dovecot-keywords'), '0 Work\n');
  await rename(join(store.maildir, 'cur', name), join(store.maildir, 'cur', name.replace(':2,FSa', ':2,FPSa')));
  await box.refresh();
  await box.store([uid(1)], { mode: 'replace', flags: ['\\Answered'] });
  assert.match((await store.names('cur'))[0] ?? '', /:2,PR$/);
  await box.store([uid(1)], { mode: 'remove', flags: ['\\Answered', 'unknown'] });
  assert.equal(flagsOf(box, 1), '');
  assert.deepEqual(await store.names('cur').then((names) => names.length), 1);
});

test('flags on a file in new/ are seen and kept when it is taken to cur/', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  await box.close();
  const [name = ''] = await store.names('new');
  await rename(join(store.maildir, 'new', name), join(store.maildir, 'new', `${name}:2,FS`));
  const again = await store.again().open(INBOX);
  assert.equal(flagsOf(again, 1), '\\Flagged \\Seen');
  assert.deepEqual([...(await again.recent(true))], [1]);
  assert.deepEqual(await store.names('new'), []);
  assert.deepEqual(await store.names('cur'), [`${name}:2,FS`]);
  assert.deepEqual([...(await again.recent(true))], []);
});

test('another program’s rename between our look and our STORE: both changes stay', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  const [name = ''] = await store.names('new');
  await rename(join(store.maildir, 'new', name), join(store.maildir, 'cur', `${name}:2,RS`));
  await box.store([uid(1)], { mode: 'add', flags: ['\\Flagged'] });
  assert.deepEqual(await store.names('cur'), [`${name}:2,FRS`]);
  assert.equal(flagsOf(box, 1), '\\Flagged \\Answered \\Seen');
});

test('26 keywords a folder: the next is rejected, known ones still work', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  const names = Array.from({ length: 26 }, (_, i) => `kw${i}`);
  assert.deepEqual(await box.store([uid(1)], { mode: 'add', flags: names }), { modified: [], rejected: [] });
  assert.equal(box.acceptsNewKeywords, false);
  assert.deepEqual((await box.store([uid(1)], { mode: 'add', flags: ['late'] })).rejected, ['late']);
  assert.equal(flagsOf(box, 1), names.join(' '));
  await box.store([uid(1)], { mode: 'remove', flags: names.slice(1) });
  assert.equal(flagsOf(box, 1), 'kw0');
});

test('COPY and MOVE translate keyword letters to the target’s own; what finds none is dropped', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  await store.account.create(['Obra']);
  await writeFile(
    join(store.maildir, '.Obra', 'dovecot-keywords'),
    Array.from({ length: 25 }, (_, i) => `${i} x${i}\n`).join(''),
  );
  await box.store([uid(1), uid(2)], { mode: 'add', flags: ['\\Seen', 'x7', 'one', 'two'] });
  await box.copy([uid(1)], ['Obra']);
  await box.move([uid(2)], ['Obra']);
  const names = (await readdir(join(store.maildir, '.Obra', 'cur'))).sort();
  assert.deepEqual(
    names.map((name) => name.split(':2,')[1]),
    ['Shz', 'Shz'],
  );
  const target = await store.account.open(['Obra']);
  assert.equal(flagsOf(target, 1), '\\Seen x7 one');
  assert.equal(flagsOf(target, 2), '\\Seen x7 one');
});

test('COPY keeps dates and content under a new name; MOVE keeps the name; both say the UIDs in order', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 3);
  await store.account.create(['Obra']);
  const past = new Date('2020-01-02T03:04:05Z');
  const [name = ''] = await store.names('new');
  await utimes(join(store.maildir, 'new', name), past, past);
  const copied = await box.copy([uid(1), uid(3)], ['Obra']);
  const moved = await box.move([uid(1), uid(2)], ['Obra']);
  assert.deepEqual(copied.pairs, [
    [1, 1],
    [3, 2],
  ]);
  assert.deepEqual(moved.pairs, [
    [1, 3],
    [2, 4],
  ]);
  const target = await store.account.open(['Obra']);
  assert.equal(copied.uidValidity, target.uidValidity);
  assert.equal((await target.facts(uid(1))).internalDate, past.getTime());
  assert.equal((await target.facts(uid(3))).internalDate, past.getTime());
  assert.equal(await all(await target.content(uid(1)), true), mail(1));
  assert.equal(target.messages[2]?.baseName, name);
  assert.notEqual(target.messages[0]?.baseName, name);
  assert.deepEqual(uidsOf(box), [3]);
});

test('a message moved away and back has a new UID each time: UIDs only grow', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  await store.account.create(['Obra']);
  const target = await store.account.open(['Obra']);
  await box.move([uid(1)], ['Obra']);
  assert.deepEqual((await target.move([uid(1)], INBOX)).pairs, [[1, 3]]);
  assert.deepEqual((await box.move([uid(3)], ['Obra'])).pairs, [[3, 2]]);
  assert.deepEqual((await target.move([uid(2)], INBOX)).pairs, [[2, 4]]);
  assert.deepEqual(uidsOf(box), [2, 4]);
  assert.deepEqual(uidsOf(await store.again().open(INBOX)), [2, 4]);
});

test('MOVE and COPY into the same mailbox, and to one that is not there', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  assert.deepEqual((await box.move([uid(1)], INBOX)).pairs, [[1, 2]]);
  assert.deepEqual((await box.copy([uid(2)], INBOX)).pairs, [[2, 3]]);
  assert.deepEqual(uidsOf(box), [2, 3]);
  for (const how of ['copy', 'move'] as const) await assert.rejects(box[how]([uid(2)], ['Nowhere']), { kind: 'no-such-mailbox' });
  assert.deepEqual(uidsOf(box), [2, 3]);
});

test('what other programs deliver, rename and remove is seen; UIDs stay, sequence of deliveries too', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  await writeFile(join(store.maildir, 'new', '2000000002.V801I9M2.other'), 'Subject: late\n\nx\n');
  await writeFile(join(store.maildir, 'new', '2000000001.V801I9M1.other'), 'Subject: early\n\nx\n');
  const [first = '', second = ''] = (await store.names('new')).filter((name) => name.includes('.mx'));
  await rename(join(store.maildir, 'new', first), join(store.maildir, 'cur', `${first}:2,S`));
  await unlink(join(store.maildir, 'new', second));
  await box.refresh();
  assert.deepEqual(
    box.messages.map((row) => [row.uid, row.baseName]),
    [
      [1, first],
      [3, '2000000001.V801I9M1.other'],
      [4, '2000000002.V801I9M2.other'],
    ],
  );
  assert.equal(flagsOf(box, 1), '\\Seen');
  assert.deepEqual(uidsOf(await store.again().open(INBOX)), [1, 3, 4]);
});

test('a message that was removed and restored from a copy comes as a new one', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  const [first = ''] = await store.names('new');
  await rename(join(store.maildir, 'new', first), join(store.maildir, 'kept'));
  await box.refresh();
  assert.deepEqual(uidsOf(box), [2]);
  await rename(join(store.maildir, 'kept'), join(store.maildir, 'cur', `${first}:2,`));
  await box.refresh();
  assert.deepEqual(uidsOf(box), [2, 3]);
});

test('names that are no messages are passed over and stay: hidden ones, folders’ leavings, odd characters', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  for (const name of ['.nfs0001', ':2,S', 'a\nb', 'with space:2,F']) await writeFile(join(store.maildir, 'cur', name), 'x\n\n');
  await box.refresh();
  assert.deepEqual(uidsOf(box), [1, 2]);
  assert.equal(flagsOf(box, 2), '\\Flagged');
  assert.equal((await store.names('cur')).length, 4);
  assert.equal(((await store.text('dovecot-uidlist')).match(/\n/g) ?? []).length, 3, 'header and two lines');
});

test('EXPUNGE removes the files, also those renamed meanwhile; what is gone already is told as removed', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 3);
  const [first = '', second = ''] = await store.names('new');
  await rename(join(store.maildir, 'new', first), join(store.maildir, 'cur', `${first}:2,T`));
  await unlink(join(store.maildir, 'new', second));
  assert.deepEqual(await box.expunge([uid(1), uid(2), uid(9)]), [1, 2]);
  assert.deepEqual([await store.names('cur'), (await store.names('new')).length], [[], 1]);
  await assert.rejects(box.content(uid(1)), { kind: 'no-such-mailbox' });
  await assert.rejects(box.facts(uid(1)), { kind: 'no-such-mailbox' });
});

test('content stays readable when the message is renamed or expunged meanwhile', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  const open = await box.content(uid(1));
  await box.store([uid(1)], { mode: 'add', flags: ['\\Seen'] });
  const renamed = await box.content(uid(1));
  await box.expunge([uid(1)]);
  assert.equal(await all(open, true), mail(1));
  assert.equal(await all(renamed, true), mail(1));
});

test('sessions of one account share a mailbox: modseq grows with each change, UNCHANGEDSINCE holds back', async (t) => {
  const store = await makeStore(t);
  const one = await delivered(store, 2);
  const two = await store.account.open(INBOX);
  const before = one.highestModSeq;
  await one.store([uid(1)], { mode: 'add', flags: ['\\Seen'] });
  assert.ok(two.highestModSeq > before);
  const result = await two.store([uid(1), uid(2)], { mode: 'add', flags: ['\\Flagged'], unchangedSince: before });
  assert.deepEqual(result.modified, [1]);
  assert.equal(flagsOf(one, 2), '\\Flagged');
  assert.equal(flagsOf(one, 1), '\\Seen');
});

test('a keyword’s name that changes in the file changes only the messages that carry its letter', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  await box.store([uid(1)], { mode: 'add', flags: ['old'] });
  const untouched = box.messages[1];
  await new Promise((resolve) => setTimeout(resolve, 10));
  await writeFile(join(store.maildir, 'dovecot-keywords'), '0 renamed\n');
  await box.refresh();
  assert.equal(flagsOf(box, 1), 'renamed');
  assert.equal(box.messages[1], untouched);
});

test('a mailbox whose folder goes, or whose UIDVALIDITY changes, is gone for those who have it open', async (t) => {
  const store = await makeStore(t);
  await store.account.create(['Obra']);
  const open = await store.account.open(['Obra']);
  await rm(join(store.maildir, '.Obra'), { recursive: true });
  await open.refresh();
  assert.equal(open.gone, true);
  await assert.rejects(store.account.open(['Obra']), { kind: 'no-such-mailbox' });
  const inbox = await delivered(store, 1);
  await writeFile(join(store.maildir, 'dovecot-uidlist'), '3 V42 N1\n');
  await utimes(join(store.maildir, 'new'), new Date(), new Date());
  await inbox.refresh();
  assert.equal(inbox.gone, true);
  assert.equal((await store.account.open(INBOX)).uidValidity, 42);
});

test('the index: missing, damaged, of another version, of another program: rebuilt, nothing changes', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 2);
  const expected = [await box.facts(uid(1)), await box.structure(uid(1))];
  store.mail.close();
  const file = join(store.maildir, 'buzon.index.db');
  assert.equal((await stat(file)).mode & 0o027, 0, 'nobody else may read it');
  for (const spoil of [
    () => rm(file, { force: true }),
    () => writeFile(file, 'rubbish '.repeat(4000)),
    () => writeFile(file, ''),
    async () => {
      await rm(file, { force: true });
      await mkdir(file);
    },
  ]) {
    await spoil();
    const again = await store.again().open(INBOX);
    assert.deepEqual([await again.facts(uid(1)), await again.structure(uid(1))], expected);
    assert.deepEqual(uidsOf(again), [1, 2]);
    await rm(file, { recursive: true, force: true });
  }
});

test('a message that another process lists while we look keeps the UID it was given', async (t) => {
  const store = await makeStore(t);
  const box = await delivered(store, 1);
  const list = join(store.maildir, 'dovecot-uidlist');
  await writeFile(join(store.maildir, 'new', '1.ours'), 'Subject: ours\n\n');
  // Our look at the folders is over, and waits for the lock of the list.
  await writeFile(`${list}.lock`, '');
  const looking = box.refresh();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await writeFile(join(store.maildir, 'new', '2.theirs'), 'Subject: theirs\n\n');
  await appendFile(list, '2 :2.theirs\n');
  await rm(`${list}.lock`);
  await looking;
  const uids = async (): Promise<unknown> => {
    await box.refresh();
    return box.messages.map(({ uid: number, baseName }) => [number, baseName]).slice(1);
  };
  const expected = [
    [2, '2.theirs'],
    [3, '1.ours'],
  ];
  assert.deepEqual(await uids(), expected);
  assert.deepEqual(await uids(), expected);
  // Gone and back it is another's message, so to speak: UIDs only grow.
  await rename(join(store.maildir, 'new', '2.theirs'), join(store.maildir, 'away'));
  assert.deepEqual(await uids(), [[3, '1.ours']]);
  await rename(join(store.maildir, 'away'), join(store.maildir, 'new', '2.theirs'));
  assert.deepEqual(await uids(), [
    [3, '1.ours'],
    [4, '2.theirs'],
  ]);
});
