// Debian's Dovecot and our store on one mailbox, held against each other: keywords, UIDs, subscriptions.
import assert from 'node:assert/strict';
import { chown, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLogger } from '../../src/lib/logger.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import type { AccountStore } from '../../src/storage/types.ts';
import { Dovecot } from '../support/dovecot.ts';
import { MailHost, TREE_OWNER } from '../support/mail-host.ts';
import { requireProgram, requireRoot, run } from '../support/programs.ts';
import { sourceOf, uid } from '../support/store.ts';

const ANA = 'ana@example.test';

interface Both {
  readonly host: MailHost;
  readonly dovecot: Dovecot;
  readonly maildir: string;
  readonly account: AccountStore;
  /** Gives what we wrote as root to the tree's owner. */
  readonly own: () => Promise<void>;
}

async function withBoth(t: TestContext, use: (both: Both) => Promise<void>): Promise<void> {
  for (const name of ['dovecot', 'doveadm']) if ((await requireProgram(t, name)) === undefined) return;
  if (!requireRoot(t)) return;
  await using host = await MailHost.create();
  await using dovecot = await Dovecot.create({
    directory: host.directory,
    base: host.base,
    cert: host.ca,
    key: join(host.directory, 'key.pem'),
  });
  await dovecot.start();
  const maildir = host.maildir(ANA);
  const mail = new MailStore({ logger: silentLogger });
  try {
    await use({
      host,
      dovecot,
      maildir,
      account: mail.account({ address: ANA, maildir }),
      own: async () => void (await run('/usr/bin/chown', ['-R', `${TREE_OWNER?.uid}:${TREE_OWNER?.gid}`, maildir])),
    });
  } finally {
    mail.close();
  }
}

/** Keywords of a message as Dovecot sees them. */
async function dovecotKeywords({ dovecot }: Both, mailbox: string, n: number): Promise<string[]> {
  const text = await dovecot.doveadm('fetch', '-u', ANA, 'flags', 'mailbox', mailbox, 'uid', String(n));
  return text
    .replace('flags:', '')
    .trim()
    .split(/\s+/)
    .filter((flag) => flag !== '' && !flag.startsWith('\\'));
}

test('of 30 keywords set with doveadm each of the 26 that have a letter is ours too, and none of the others is mistaken', async (t) => {
  await withBoth(t, async (both) => {
    const { account, dovecot, maildir, own } = both;
    await account.append(['INBOX'], [{ source: sourceOf('Subject: x\r\n\r\n'), flags: ['\\Seen'] }]);
    await own();
    const names = Array.from({ length: 30 }, (_, i) => `kw${i}`);
    for (const name of names) await dovecot.doveadm('flags', 'add', '-u', ANA, name, 'mailbox', 'INBOX', 'uid', '1');
    assert.deepEqual((await dovecotKeywords(both, 'INBOX', 1)).sort(), [...names].sort());
    const text = await readFile(join(maildir, 'dovecot-keywords'), 'utf8');
    const lettered = text.split('\n').flatMap((line) => {
      const [index, name = ''] = line.split(' ');
      return line !== '' && Number(index) < 26 ? [name] : [];
    });
    const box = await account.open(['INBOX']);
    await box.refresh();
    const [file = ''] = await readdir(join(maildir, 'cur'));
    assert.deepEqual([...(box.messages[0]?.flags.filter((flag) => !flag.startsWith('\\')) ?? [])].sort(), [...lettered].sort());
    assert.equal(lettered.length, 26, `${text} ${file}`);
    assert.equal(box.acceptsNewKeywords, false);
    // Taking one away and giving it back leaves Dovecot's other keywords and its file alone.
    await box.store([uid(1)], { mode: 'remove', flags: ['kw3'] });
    await box.store([uid(1)], { mode: 'add', flags: ['kw3'] });
    await own();
    assert.equal(await readFile(join(maildir, 'dovecot-keywords'), 'utf8'), text);
    const after = await dovecotKeywords(both, 'INBOX', 1);
    for (const name of lettered) assert.ok(after.includes(name), name);
    await box.close();
  });
});

test('keywords that we add are Dovecot’s, in its own file, and those of Dovecot stay ours', async (t) => {
  await withBoth(t, async (both) => {
    const { account, dovecot, own } = both;
    await account.append(
      ['INBOX'],
      [1, 2].map((n) => ({ source: sourceOf(`Subject: ${n}\r\n\r\n`), flags: ['\\Seen', `ours${n}`] })),
    );
    await own();
    await dovecot.doveadm('flags', 'add', '-u', ANA, 'theirs', 'mailbox', 'INBOX', 'uid', '1:2');
    assert.deepEqual((await dovecotKeywords(both, 'INBOX', 1)).sort(), ['ours1', 'theirs']);
    const box = await account.open(['INBOX']);
    await box.store([uid(2)], { mode: 'add', flags: ['$Forwarded'] });
    await own();
    assert.deepEqual((await dovecotKeywords(both, 'INBOX', 2)).sort(), ['$Forwarded', 'ours2', 'theirs']);
    assert.deepEqual([...(box.messages[1]?.flags ?? [])].sort(), ['$Forwarded', '\\Seen', 'ours2', 'theirs']);
    await box.close();
  });
});

test('UIDs, UIDVALIDITY and mailbox id are the same for both, also after a message went away and came back', async (t) => {
  await withBoth(t, async (both) => {
    const { account, dovecot, own, maildir } = both;
    const theirs = async (mailbox: string): Promise<string[]> => {
      const text = await dovecot.doveadm('-f', 'flow', 'fetch', '-u', ANA, 'uid guid', 'mailbox', mailbox);
      return text.split('\n').flatMap((line) => /uid=(\d+)/.exec(line)?.[1] ?? []);
    };
    const ours = async (...path: string[]): Promise<string[]> => {
      const box = await account.open(path);
      await box.refresh();
      const uids = box.messages.map((row) => String(row.uid));
      await box.close();
      return uids;
    };
    await account.append(
      ['INBOX'],
      [1, 2, 3].map((n) => ({ source: sourceOf(`Subject: ${n}\r\n\r\n`), flags: ['\\Seen'] })),
    );
    await account.create(['Obra']);
    await own();
    assert.deepEqual(await theirs('INBOX'), ['1', '2', '3']);
    const box = await account.open(['INBOX']);
    await box.move([uid(2)], ['Obra']);
    await own();
    assert.deepEqual(await theirs('INBOX'), ['1', '3']);
    assert.deepEqual(await theirs('Obra'), await ours('Obra'));
    const other = await account.open(['Obra']);
    await other.move([uid(1)], ['INBOX']);
    await own();
    assert.deepEqual(await ours('INBOX'), ['1', '3', '4']);
    assert.deepEqual(await theirs('INBOX'), ['1', '3', '4']);
    const status = await dovecot.doveadm('mailbox', 'status', '-u', ANA, 'uidvalidity guid', 'INBOX');
    assert.ok(status.includes(`uidvalidity=${box.uidValidity}`) && status.includes(`guid=${box.mailboxId}`), status);
    // A mailbox of Dovecot's, and one that it made anew under a name of ours.
    await dovecot.doveadm('mailbox', 'create', '-u', ANA, 'Suyo');
    const before = (await account.status(['Obra'])).uidValidity;
    await dovecot.doveadm('mailbox', 'delete', '-u', ANA, 'Obra');
    await dovecot.doveadm('mailbox', 'create', '-u', ANA, 'Obra');
    await own();
    assert.ok((await account.status(['Obra'])).uidValidity > before);
    assert.equal((await account.status(['Suyo'])).messages, 0);
    assert.doesNotMatch(await dovecot.log(), /(Corrupted|Broken|Error: .*(uidlist|maildir))/i);
    assert.ok((await readdir(maildir)).includes('dovecot-uidvalidity'));
    await box.close();
    await other.close();
  });
});

test('subscriptions: what one writes the other reads, in version 1 and 2', async (t) => {
  await withBoth(t, async (both) => {
    const { account, dovecot, own, maildir } = both;
    await account.create(['Árbol', 'rama']);
    await own();
    const theirs = async (): Promise<string[]> =>
      (await dovecot.doveadm('mailbox', 'list', '-u', ANA, '-s')).split('\n').filter(Boolean).sort();
    const ours = async (): Promise<string[]> =>
      (await account.list())
        .filter((entry) => entry.subscribed)
        .map((entry) => entry.path.join('.'))
        .sort();
    await dovecot.doveadm('mailbox', 'subscribe', '-u', ANA, 'INBOX');
    await dovecot.doveadm('mailbox', 'subscribe', '-u', ANA, 'Árbol.rama');
    assert.deepEqual(await ours(), ['INBOX', 'Árbol.rama']);
    await account.subscribe(['Árbol']);
    await own();
    assert.deepEqual(await theirs(), ['INBOX', 'Árbol', 'Árbol.rama']);
    const file = join(maildir, 'subscriptions');
    assert.match(await readFile(file, 'utf8'), /^V\t2\n\n/);
    await writeFile(file, 'INBOX\n&AME-rbol.rama\n');
    if (TREE_OWNER) await chown(file, TREE_OWNER.uid, TREE_OWNER.gid);
    assert.deepEqual(await ours(), ['INBOX', 'Árbol.rama']);
    assert.deepEqual(await theirs(), ['INBOX', 'Árbol.rama']);
    await account.unsubscribe(['INBOX']);
    await own();
    assert.deepEqual(await theirs(), ['Árbol.rama']);
  });
});
