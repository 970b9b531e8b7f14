// An account's tree, and the ways in for messages: delivery and APPEND, sizes, line ends, modes, quota.
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { AccountStore, Mailbox, MailboxPath } from '../../src/storage/types.ts';
import { sweepTmp } from '../../src/storage/tmp-sweep.ts';
import { makeStore, sourceOf, uid } from '../support/store.ts';

const INBOX = ['INBOX'];
const TEXT = 'Subject: x\r\n\r\nbody\r\n';

async function listed(account: AccountStore): Promise<string[]> {
  return (await account.list()).map(({ path, exists, hasChildren, subscribed, specialUse }) =>
    [path.join('/'), exists ? '' : 'noselect', hasChildren ? 'children' : '', subscribed ? 'subscribed' : '', ...specialUse]
      .filter(Boolean)
      .join(' '),
  );
}
const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o7777).toString(8);
async function used(account: AccountStore, path: MailboxPath, fn: (box: Mailbox) => Promise<void>): Promise<void> {
  const box = await account.open(path);
  await fn(box).finally(() => box.close());
}

test('home and Maildir are made at the first delivery, mode 0750 whatever the umask, the message 0640', async (t) => {
  const old = process.umask(0o077);
  t.after(() => process.umask(old));
  const store = await makeStore(t);
  const { baseName, size } = await store.account.deliver(INBOX, sourceOf(TEXT));
  for (const folder of [store.maildir, dirname(store.maildir), ...['cur', 'new', 'tmp'].map((sub) => join(store.maildir, sub))])
    assert.equal(await modeOf(folder), '750', folder);
  process.umask(0);
  const second = await store.account.deliver(INBOX, sourceOf(TEXT));
  assert.equal(await modeOf(join(store.maildir, 'new', second.baseName)), '640');
  assert.equal(size, 17);
  assert.deepEqual((await store.names('new')).sort(), [baseName, second.baseName].sort());
  assert.deepEqual(await store.names('tmp'), []);
  assert.match(baseName, /^\d+\.M\d{6}P\d+R[0-9a-f]{8}Q\d+\.mx,S=17,W=20$/);
});

test('S= counts the disk and W= the wire, for LF, CRLF and mixed ends, and with mail_save_crlf', async (t) => {
  for (const saveCrlf of [false, true]) {
    const store = await makeStore(t, { saveCrlf });
    const cases: [sent: string, disk: string, wire: string][] = [
      ['a\r\nb\r\n', 'a\nb\n', 'a\r\nb\r\n'],
      ['a\nb\n', 'a\nb\n', 'a\r\nb\r\n'],
      ['a\r\nb\nc\r\n', 'a\nb\nc\n', 'a\r\nb\r\nc\r\n'],
      ['a\rb\r\r\nc', 'a\rb\r\nc', 'a\rb\r\r\nc'],
      ['no end', 'no end', 'no end'],
      ['\r', '\r', '\r'],
    ];
    for (const [sent, lf, wire] of cases) {
      const disk = saveCrlf ? wire : lf;
      // Also cut into single bytes.
      for (const source of [sourceOf(sent), { ...sourceOf(sent), chunks: () => bytesOf(sent) }]) {
        const { baseName, size } = await store.account.deliver(INBOX, source);
        assert.equal(await store.text('new', baseName), disk, JSON.stringify(sent));
        assert.equal(size, disk.length);
        // A lone CR before CRLF is where LF on disk cannot tell what came: it is sent as it can be read from there.
        const sentWire = saveCrlf ? wire : wire.replace('\r\r\n', '\r\n');
        assert.match(baseName, new RegExp(`,S=${disk.length},W=${sentWire.length}$`), JSON.stringify(sent));
      }
    }
    // What the name says is what is sent, and what is measured where the name says nothing.
    await used(store.account, INBOX, async (box) => {
      for (const row of box.messages) {
        const content = await box.content(row.uid);
        let length = 0;
        for await (const chunk of content.readWire(0, content.size)) length += chunk.length;
        await content.close();
        assert.equal((await box.facts(row.uid)).wireSize, length, row.baseName);
      }
    });
  }
});
async function* bytesOf(text: string): AsyncIterable<Buffer> {
  for (const char of text) yield Buffer.from(char, 'latin1');
}

test('names without S= and W= are measured', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(TEXT));
  await writeFile(join(store.maildir, 'new', '1700000000.V801I1M1.other'), 'a\nb\r\nc\n');
  await used(store.account, INBOX, async (box) => {
    const row = box.messages.find(({ baseName }) => baseName.endsWith('.other'));
    assert.equal((await box.facts(row?.uid ?? uid(0))).wireSize, 9);
  });
});

test('APPEND: flags in cur/, none in new/, the date is the file’s, UIDs in order, keywords get letters', async (t) => {
  const store = await makeStore(t);
  await store.account.create(['Obra']);
  const date = Date.UTC(2001, 1, 3, 4, 5, 6);
  const { uids, uidValidity } = await store.account.append(
    ['Obra'],
    [
      { source: sourceOf(TEXT), flags: ['\\Seen', 'work'], internalDate: date },
      { source: sourceOf(TEXT), flags: [], internalDate: date },
      { source: sourceOf(TEXT), flags: ['\\Draft'] },
    ],
  );
  assert.deepEqual(uids, [1, 2, 3]);
  const flags = async (sub: string): Promise<(string | undefined)[]> =>
    (await store.names('.Obra', sub)).map((name) => name.split(':2,')[1]).sort();
  assert.deepEqual([await flags('cur'), await flags('new')], [['D', 'Sa'], [undefined]]);
  await used(store.account, ['Obra'], async (box) => {
    assert.equal(box.uidValidity, uidValidity);
    assert.equal((await box.facts(uid(1))).internalDate, date);
    assert.equal((await box.facts(uid(2))).internalDate, date);
    assert.deepEqual(box.messages[0]?.flags, ['\\Seen', 'work']);
  });
  await assert.rejects(store.account.append(['Nowhere'], [{ source: sourceOf(TEXT), flags: [] }]), { kind: 'no-such-mailbox' });
});

test('APPEND of several is all or none', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(TEXT));
  const broken = {
    size: 5,
    async *chunks(): AsyncIterable<Buffer> {
      yield Buffer.from('begin');
      throw new Error('the spool broke');
    },
    dispose: async () => undefined,
  };
  const messages = [sourceOf(TEXT), broken].map((source) => ({ source, flags: ['\\Seen'] }));
  await assert.rejects(store.account.append(INBOX, messages), { name: 'MailError', kind: 'temporary' });
  assert.deepEqual([await store.names('cur'), await store.names('tmp'), (await store.names('new')).length], [[], [], 1]);
  // A target that cannot be renamed into: what was published before goes back.
  await rm(join(store.maildir, 'cur'), { recursive: true });
  await writeFile(join(store.maildir, 'cur'), 'no folder');
  const flagged = [[], ['\\Seen']].map((flags) => ({ source: sourceOf(TEXT), flags }));
  await assert.rejects(store.account.append(INBOX, flagged), { name: 'MailError' });
  assert.deepEqual([await store.names('tmp'), (await store.names('new')).length], [[], 1]);
});

test('a delivery in two halves: under tmp/ nobody sees it; commit shows it, abort leaves nothing; home may be missing', async (t) => {
  const store = await makeStore(t);
  const waiting = await store.account.prepareDelivery(INBOX, sourceOf(TEXT));
  await used(store.account, INBOX, async (box) => assert.equal(box.messages.length, 0));
  const other = await store.account.prepareDelivery(INBOX, sourceOf(TEXT));
  await waiting.commit();
  await other.abort();
  await other.abort();
  await used(store.account, INBOX, async (box) => {
    assert.equal(box.messages.length, 1);
  });
  assert.deepEqual(await store.names('tmp'), []);
});

test('a commit that fails leaves the message where it waited', async (t) => {
  const store = await makeStore(t);
  const waiting = await store.account.prepareDelivery(INBOX, sourceOf(TEXT));
  await rm(join(store.maildir, 'new'), { recursive: true });
  await writeFile(join(store.maildir, 'new'), 'in the way');
  await assert.rejects(waiting.commit(), { name: 'MailError', kind: 'temporary' });
  assert.equal((await store.names('tmp')).length, 1);
  await rm(join(store.maildir, 'new'));
  await mkdir(join(store.maildir, 'new'));
  await waiting.commit();
  assert.deepEqual([(await store.names('new')).length, await store.names('tmp')], [1, []]);
});

test('a commit while the Maildir is still being made by another process makes what is missing', async (t) => {
  const store = await makeStore(t);
  const waiting = await store.account.prepareDelivery(INBOX, sourceOf(TEXT));
  await rm(join(store.maildir, 'new'), { recursive: true });
  await waiting.commit();
  assert.deepEqual([(await store.names('new')).length, await store.names('tmp')], [1, []]);
});

test('several processes that open a new account at the same moment all get its INBOX', async (t) => {
  for (let round = 0; round < 20; round++) {
    const first = await makeStore(t);
    const accounts = [first.account, ...Array.from({ length: 5 }, () => first.again())];
    const opened = await Promise.all(accounts.map((account) => account.open(INBOX)));
    assert.equal(opened.length, 6);
    for (const mailbox of opened) await mailbox.close();
  }
});

test('the tree: levels above are made too, maildirfolder lies in each, INBOX stays, twins are one mailbox', async (t) => {
  const store = await makeStore(t);
  await store.account.create(['Archivo', '2026', 'Enero']);
  await store.account.create(['Sent']);
  await store.account.subscribe(['Sent']);
  await store.account.subscribe(['Gone']);
  assert.deepEqual(await listed(store.account), [
    'INBOX',
    'Archivo children',
    'Archivo/2026 children',
    'Archivo/2026/Enero',
    'Gone noselect subscribed',
    'Sent subscribed \\Sent',
  ]);
  for (const folder of ['.Archivo', '.Archivo.2026', '.Archivo.2026.Enero']) {
    assert.deepEqual(await store.names(folder), ['cur', 'maildirfolder', 'new', 'tmp']);
    assert.equal(await modeOf(join(store.maildir, folder)), '750');
  }
  assert.deepEqual(await store.names('tmp'), []);
  await assert.rejects(
    store.account.create(['sent'.toUpperCase()]).then(() => store.account.create(['SENT'])),
    { kind: 'already-exists' },
  );
  await store.account.create(['Café']);
  await assert.rejects(store.account.create(['Cafe\u0301']), { kind: 'already-exists' });
  await assert.rejects(store.account.create(['inbox']), { kind: 'already-exists' });
  await assert.rejects(store.account.delete(INBOX), { kind: 'cannot' });
  await assert.rejects(store.account.delete(['Nowhere']), { kind: 'no-such-mailbox' });
});

test('DELETE keeps what lies below; RENAME moves a tree with its UIDs and makes the levels above', async (t) => {
  const store = await makeStore(t);
  await store.account.create(['a', 'b']);
  await store.account.append(['a', 'b'], [{ source: sourceOf(TEXT), flags: ['kw'] }]);
  const before = await store.account.status(['a', 'b']);
  await store.account.delete(['a']);
  assert.deepEqual(await listed(store.account), ['INBOX', 'a noselect children', 'a/b']);
  await assert.rejects(store.account.delete(['a']), { kind: 'cannot' });
  await store.account.rename(['a'], ['x', 'y']);
  assert.deepEqual(await listed(store.account), ['INBOX', 'x children', 'x/y noselect children', 'x/y/b']);
  const after = await store.account.status(['x', 'y', 'b']);
  assert.deepEqual([after.uidValidity, after.uidNext, after.mailboxId], [before.uidValidity, before.uidNext, before.mailboxId]);
  await assert.rejects(store.account.rename(['x'], ['x', 'z']), { kind: 'cannot' });
  await assert.rejects(store.account.rename(['x'], INBOX), { kind: 'already-exists' });
  await assert.rejects(store.account.rename(['no'], ['yes']), { kind: 'no-such-mailbox' });
});

test('RENAME INBOX moves its messages and leaves it empty; a name used again has a higher UIDVALIDITY', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(TEXT));
  await store.account.rename(INBOX, ['Viejo']);
  assert.equal((await store.account.status(INBOX)).messages, 0);
  const first = await store.account.status(['Viejo']);
  assert.equal(first.messages, 1);
  await store.account.delete(['Viejo']);
  await store.account.create(['Viejo']);
  assert.ok((await store.account.status(['Viejo'])).uidValidity > first.uidValidity);
});

test('row 31: no name leads out of the account', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(TEXT));
  const outside = await readdir(dirname(dirname(store.maildir)));
  for (const path of [['..'], ['..', 'x'], ['../../x'], ['a/../../b'], ['a\0b'], ['.'], ['a', '', 'b']]) {
    await assert.rejects(store.account.create(path), { kind: 'cannot' }, JSON.stringify(path));
    await assert.rejects(store.account.rename(INBOX, path), { kind: 'cannot' });
    await assert.rejects(store.account.append(path, [{ source: sourceOf(TEXT), flags: [] }]), { name: 'MailError' });
    await assert.rejects(store.account.deliver(path, sourceOf(TEXT)), { kind: 'cannot' });
    await assert.rejects(store.account.open(path), { name: 'MailError' });
    assert.throws(() => void store.account.subscribe(path), { kind: 'cannot' });
  }
  assert.deepEqual(await readdir(dirname(dirname(store.maildir))), outside);
});

test('quota: maildirsize is kept as Maildir++ says, by bytes on disk and messages', async (t) => {
  const store = await makeStore(t, {}, { bytes: 1000, messages: 10 });
  await store.account.deliver(INBOX, sourceOf(TEXT));
  await store.account.create(['Obra']);
  await used(store.account, INBOX, async (box) => {
    await box.copy([uid(1)], ['Obra']);
    await box.move([uid(1)], ['Obra']);
  });
  assert.deepEqual(await store.account.quota(), { bytes: 34, messages: 2, limits: { bytes: 1000, messages: 10 } });
  assert.equal((await store.text('maildirsize')).split('\n')[0], '1000S,10C');
  await used(store.account, ['Obra'], async (box) => void (await box.expunge([uid(1)])));
  assert.deepEqual(await store.account.quota().then(({ bytes, messages }) => [bytes, messages]), [17, 1]);
  await store.account.delete(['Obra']);
  assert.deepEqual(await store.account.quota().then(({ bytes, messages }) => [bytes, messages]), [0, 0]);
});

test('quota: what does not fit is refused before and after its size is known, what never fits for good', async (t) => {
  const store = await makeStore(t, {}, { bytes: 100, messages: 3 });
  const of = (bytes: number): ReturnType<typeof sourceOf> => sourceOf('x'.repeat(bytes));
  await store.account.deliver(INBOX, of(60));
  await assert.rejects(store.account.deliver(INBOX, of(50)), { kind: 'over-quota', code: 'OVER_QUOTA' });
  await assert.rejects(store.account.deliver(INBOX, of(101)), { kind: 'over-quota', code: 'NEVER_FITS' });
  await assert.rejects(store.account.append(INBOX, [{ source: of(50), flags: [] }]), { kind: 'over-quota' });
  await used(store.account, INBOX, async (box) => {
    await assert.rejects(box.copy([uid(1)], INBOX), { kind: 'over-quota' });
  });
  await store.account.deliver(INBOX, of(10));
  await store.account.deliver(INBOX, of(10));
  await assert.rejects(store.account.deliver(INBOX, of(1)), { kind: 'over-quota' });
  assert.deepEqual([(await store.names('new')).length + (await store.names('cur')).length, await store.names('tmp')], [3, []]);
});

test('quota: the file is counted anew when the limits changed, when it is long, when it is rubbish, when it is old and over', async (t) => {
  const store = await makeStore(t, {}, { bytes: 1000 });
  await store.account.deliver(INBOX, sourceOf(TEXT));
  const file = join(store.maildir, 'maildirsize');
  const usage = async (): Promise<number[]> => store.account.quota().then(({ bytes, messages }) => [bytes, messages]);
  for (const text of ['500S\n900 9\n', `1000S\n${'1 1\n'.repeat(2000)}`, 'rubbish', '', '1000S\n-5 1\n']) {
    await writeFile(file, text);
    assert.deepEqual(await usage(), [17, 1], JSON.stringify(text.slice(0, 20)));
    assert.equal(await store.text('maildirsize'), '1000S\n17 1\n');
  }
  await writeFile(file, '1000S\n5000 7\n  -10 1 \nrubbish\n');
  assert.deepEqual(await usage(), [4990, 8], 'a young one is believed');
  const old = new Date(Date.now() - 16 * 60_000);
  await utimes(file, old, old);
  assert.deepEqual(await usage(), [17, 1]);
});

test('quota: a maildirsize that cannot be written costs a count, not the message', async (t) => {
  const store = await makeStore(t, {}, { bytes: 1000 });
  await store.account.deliver(INBOX, sourceOf(TEXT));
  const file = join(store.maildir, 'maildirsize');
  await unlink(file).catch(() => undefined);
  await mkdir(file);
  const waiting = await store.account.prepareDelivery(INBOX, sourceOf(TEXT)).catch(() => undefined);
  await rm(file, { recursive: true });
  const prepared = waiting ?? (await store.account.prepareDelivery(INBOX, sourceOf(TEXT)));
  await rm(file, { force: true });
  await mkdir(file);
  await prepared.commit();
  assert.equal((await store.names('new')).length, 2);
  await rm(file, { recursive: true });
  assert.equal((await store.account.quota()).messages, 2);
});

test('sub-mailboxes that another program made without maildirfolder, or with odd names, are listed and open', async (t) => {
  const store = await makeStore(t);
  await store.account.deliver(INBOX, sourceOf(TEXT));
  for (const name of ['.Plain', '.caf\u00e9', '.With space', '.a*b'])
    for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(store.maildir, name, sub), { recursive: true });
  await writeFile(join(store.maildir, '.file'), 'no folder');
  await chmod(join(store.maildir, '.Plain'), 0o750);
  const paths = (await store.account.list()).map(({ path }) => path);
  assert.deepEqual(
    paths.map((path) => path.join('/')),
    ['INBOX', 'Plain', 'With space', 'a*b', 'café'],
  );
  for (const path of paths) await used(store.account, path, async (box) => assert.equal(box.gone, false));
});

test('what a crash left under tmp/ goes after 36 hours, by when it came, not by its date; younger things stay', async (t) => {
  const store = await makeStore(t);
  await store.account.create(['Obra']);
  const tmp = join(store.maildir, '.Obra', 'tmp');
  await mkdir(join(tmp, '1.x.deleted', 'cur'), { recursive: true });
  await writeFile(join(tmp, '1.x'), 'x');
  const past = new Date(0);
  await utimes(join(tmp, '1.x'), past, past);
  await sweepTmp(join(store.maildir, '.Obra'), Date.now() + 35 * 3_600_000);
  assert.equal((await readdir(tmp)).length, 2);
  await used(store.account, ['Obra'], async () => undefined);
  assert.equal((await readdir(tmp)).length, 2);
  await sweepTmp(join(store.maildir, '.Obra'), Date.now() + 37 * 3_600_000);
  assert.deepEqual(await readdir(tmp), []);
  await sweepTmp(join(store.maildir, 'nowhere'));
});
