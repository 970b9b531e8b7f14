// `buzon verify`: what it finds wrong between the tree, its uidlists and indexes, what it says, and what --fix does.
import assert from 'node:assert/strict';
import { open, readdir, readFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../src/lib/logger.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import type { AccountStore, Mailbox } from '../../src/storage/types.ts';
import { actAs } from '../../src/worker/privileges.ts';
import { buzon } from '../support/buzon.ts';
import { MailHost, TREE_OWNER } from '../support/mail-host.ts';
import { sourceOf, uid } from '../support/store.ts';

const ANA = 'ana@example.test';
const INBOX = ['INBOX'];

/** Works in ana's mailbox as the tree's owner. */
function inMail<T>(host: MailHost, fn: (account: AccountStore) => Promise<T>): Promise<T> {
  return actAs(TREE_OWNER, async () => {
    const mail = new MailStore({ logger: silentLogger, hostname: 'mx' });
    try {
      return await fn(mail.account({ address: ANA, maildir: host.maildir(ANA) }));
    } finally {
      mail.close();
    }
  });
}
const withInbox = <T>(host: MailHost, fn: (inbox: Mailbox) => Promise<T>): Promise<T> =>
  inMail(host, async (account) => {
    const inbox = await account.open(INBOX);
    return fn(inbox).finally(() => inbox.close());
  });

/** Three messages that somebody has looked at, and a folder. */
async function aHost(): Promise<MailHost> {
  const host = await MailHost.create();
  await inMail(host, async (account) => {
    for (const n of [1, 2, 3]) await account.deliver(INBOX, sourceOf(`Subject: ${n}\r\n\r\nbody\r\n`));
    await account.create(['Archivo']);
    const inbox = await account.open(INBOX);
    for (const n of [1, 2, 3]) await inbox.facts(uid(n));
    await inbox.close();
  });
  return host;
}
const uids = (host: MailHost): Promise<readonly number[]> =>
  withInbox(host, async (inbox) => inbox.messages.map((row) => row.uid));

test('verify: a sound tree agrees, new mail and homes without mail included; an unknown address is refused', async () => {
  await using host = await aHost();
  await inMail(host, (account) => account.deliver(INBOX, sourceOf('Subject: 4\r\n\r\nnew\r\n')));
  assert.deepEqual(await buzon(host, ['verify']), {
    status: 0,
    stdout: '2 accounts, 3 mailboxes, 4 messages (1 not seen by anybody yet): all agree\n',
    stderr: '',
  });
  const unknown = await buzon(host, ['verify', 'nobody@example.test']);
  assert.deepEqual([unknown.status, unknown.stderr], [1, 'buzon verify: there is no mailbox nobody@example.test\n']);
});

test('verify: a uidlist out of order or damaged is told, and changed only by --fix; UIDs are never used again', async () => {
  await using host = await aHost();
  const list = join(host.maildir(ANA), 'dovecot-uidlist');
  const text = await readFile(list, 'utf8');
  const [head = '', one = '', two = '', three = ''] = text.split('\n');
  const validity = await withInbox(host, async (inbox) => inbox.uidValidity);
  for (const [bad, says, after] of [
    [
      [head, one, 'rubbish', three],
      '8 bytes are no lines of a uidlist; --fix would give the messages in question new UIDs',
      [1, 3],
    ],
    [[head, three, two, one], 'UIDs are not in order; --fix would write it anew under a new UIDVALIDITY', [1, 2, 3]],
    [['no head', one], 'this is no uidlist; --fix would write it anew under a new UIDVALIDITY', [1, 2, 3]],
  ] as const) {
    await host.ownedFile(list, `${bad.join('\n')}\n`);
    const told = await buzon(host, ['verify', ANA]);
    assert.deepEqual([told.status, told.stdout.split('\n')[0]], [1, `${ANA}: ${list}: ${says}`]);
    assert.equal(await readFile(list, 'utf8'), `${bad.join('\n')}\n`, 'nothing was changed');
    const fixed = await buzon(host, ['verify', '--fix', ANA]);
    assert.equal(fixed.status, 0, fixed.stdout);
    assert.match(fixed.stdout, /: repairing \(.*\n1 accounts, .*: all agree\n$/);
    const now = await uids(host);
    assert.equal(now.length, 3);
    if (after.length === 2) assert.ok(now[0] === 1 && now[1] === 3 && (now[2] ?? 0) > 3, now.join());
    else assert.ok((await withInbox(host, async (inbox) => inbox.uidValidity)) > validity);
    if (TREE_OWNER) assert.equal((await stat(list)).uid, TREE_OWNER.uid);
  }
});

test('row 47: a zeroed page in the index is noticed by verify, and made anew by --fix with the tree untouched', async () => {
  await using host = await aHost();
  const index = join(host.maildir(ANA), 'buzon.index.db');
  const handle = await open(index, 'r+');
  await handle.write(Buffer.alloc(4096), 0, 4096, 4096);
  await handle.close();
  const before = [await uids(host), await readdir(join(host.maildir(ANA), 'new'))];
  const told = await buzon(host, ['verify']);
  assert.equal(told.status, 1);
  assert.match(
    told.stdout,
    /^ana@example\.test: \S+buzon\.index\.db: it (is damaged|cannot be read): .*; --fix would make it anew\n/,
  );
  assert.equal((await buzon(host, ['verify', '--fix'])).status, 0);
  assert.equal((await buzon(host, ['verify'])).status, 0);
  assert.deepEqual([await uids(host), await readdir(join(host.maildir(ANA), 'new'))], before);
});

test('verify: an index that knows messages that are gone, or other sizes, is told and emptied', async () => {
  await using host = await aHost();
  const folder = join(host.maildir(ANA), 'new');
  const [gone = ''] = await readdir(folder);
  await rm(join(folder, gone));
  const told = await buzon(host, ['verify']);
  assert.deepEqual(
    [told.status, /: 1 entries are about messages that are gone; --fix would make it anew/.test(told.stdout)],
    [1, true],
  );
  assert.equal((await buzon(host, ['verify', '--fix'])).status, 0);
});

test('verify: what only a person can judge stays: a file shorter than its name says, two of one name, a mailbox without its folders', async () => {
  await using host = await aHost();
  const folder = join(host.maildir(ANA), 'new');
  const [short = '', twice = '', moved = ''] = await readdir(folder);
  await truncate(join(folder, short), 3);
  await host.ownedFile(join(host.maildir(ANA), 'cur', `${twice}:2,S`), await readFile(join(folder, twice), 'utf8'));
  await rename(join(folder, moved), join(host.maildir(ANA), 'cur', `${moved}:2,S`));
  await rm(join(host.maildir(ANA), '.Archivo', 'cur'), { recursive: true });
  for (const args of [['verify'], ['verify', '--fix']]) {
    const { status, stdout } = await buzon(host, args);
    assert.equal(status, 1);
    assert.match(stdout, /: the file has 3 bytes, its name says \d+; only you can tell what is right\n/);
    assert.match(stdout, /:2,S: another file has the same name but for its flags; only you/);
    assert.match(stdout, /\.Archivo\/cur: the folder is missing; only you/);
    assert.match(stdout, / 3 problems( left)?\n$/);
  }
});
