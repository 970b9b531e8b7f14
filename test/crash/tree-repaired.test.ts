// Rows 41 and 42 through a whole server: what of the tree may be deleted, and what other programs may do to it meanwhile.
import assert from 'node:assert/strict';
import { chown, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { copiesOf, numberedMessage } from '../support/crash.ts';
import { startMailHost, TREE_OWNER, type MailHost } from '../support/mail-host.ts';
import { ImapClient } from '../support/imap-script.ts';
import { MailboxCheck, messagesIn } from '../support/mailbox-check.ts';
import { seededRandom } from '../support/random.ts';
import { SmtpSender } from '../support/smtp-send.ts';

const ANA = 'ana@example.test';
const USERS = { [ANA]: 'a' };

async function deliver(host: MailHost, ...names: string[]): Promise<void> {
  const sender = await SmtpSender.connect(host.ports.smtp);
  for (const name of names) await sender.send({ from: 'eva@remote.test', to: [ANA], data: numberedMessage(name, 300) });
  await sender.quit();
}

test('row 41: the index deleted, UIDVALIDITY and UIDs stay; the uidlist too, UIDVALIDITY grows and no UID is used again', async () => {
  await using host = await startMailHost({ users: USERS });
  const home = host.maildir(ANA);
  const check = new MailboxCheck(home);
  const look = (): ReturnType<MailboxCheck['check']> => check.check(host.ports.imap, ANA, 'a');
  await deliver(host, 'one', 'two', 'three');
  const first = await look();
  await host.stop();
  const index = (await readdir(home)).filter((name) => name.startsWith('buzon.index.db'));
  assert.ok(index.includes('buzon.index.db'), 'there was an index');
  for (const name of index) await rm(join(home, name));
  await host.start();
  assert.deepEqual(await look(), first);
  // Under the running server, and one that is none.
  for (const name of await readdir(home)) if (name.startsWith('buzon.index.db')) await rm(join(home, name));
  assert.deepEqual(await look(), first);
  await host.stop();
  await writeFile(join(home, 'buzon.index.db'), 'this is no database\n'.repeat(500));
  await host.start();
  assert.deepEqual(await look(), first);

  // The last is gone: its UID must not come back.
  const last = first.messages.get(3) ?? '';
  for (const sub of ['new', 'cur'])
    for (const name of await host.names(ANA, sub)) if (name.startsWith(last)) await rm(join(home, sub, name));
  await deliver(host, 'four');
  const second = await look();
  assert.deepEqual([...second.messages.keys()], [1, 2, 4]);

  // While the server runs, and while it does not, within the same second.
  for (const running of [true, false]) {
    if (!running) await host.stop();
    await rm(join(home, 'dovecot-uidlist'));
    if (!running) await host.start();
    const seen = await look();
    assert.ok(seen.uidValidity > second.uidValidity);
    assert.deepEqual([...seen.messages.values()].sort(), [...second.messages.values()].sort());
  }
});

/** What Dovecot and Postfix do beside us: flags by rename, new mail by rename from tmp/. Gives the names it delivered. */
async function otherProgram(host: MailHost, until: number, seed: number): Promise<string[]> {
  const random = seededRandom(seed);
  const home = host.maildir(ANA);
  const delivered: string[] = [];
  for (let n = 0; Date.now() < until; n++) {
    if (n % 5 === 0) {
      const name = `foreign-${seed}-${n}`;
      const base = `${Math.floor(Date.now() / 1000)}.V801I${seed}M${n}.elsewhere`;
      await writeFile(join(home, 'tmp', base), numberedMessage(name, 200).replaceAll('\r\n', '\n'));
      if (TREE_OWNER) await chown(join(home, 'tmp', base), TREE_OWNER.uid, TREE_OWNER.gid);
      await rename(join(home, 'tmp', base), join(home, 'new', base));
      delivered.push(name);
    }
    const sub = random.pick(['new', 'cur']);
    const names = await host.names(ANA, sub);
    if (names.length === 0) continue;
    const name = random.pick(names);
    const flags = ['', 'F', 'FS', 'RS', 'S'][random.below(5)] ?? '';
    await rename(join(home, sub, name), join(home, 'cur', `${name.split(':')[0]}:2,${flags}`)).catch(() => undefined);
  }
  return delivered;
}

/** Subject of each UID, as a client that connects now sees them. */
async function subjectsByUid(host: MailHost): Promise<Map<number, string>> {
  const client = await ImapClient.connect(host.ports.imap);
  try {
    await client.response();
    await client.command('a', `LOGIN ${ANA} a`);
    await client.command('b', 'EXAMINE INBOX');
    const lines = await client.command('c', 'UID FETCH 1:* (UID ENVELOPE)');
    const found = lines.map((line) => /UID (\d+) ENVELOPE \((?:NIL|"[^"]*") "([^"]*)"/.exec(line));
    return new Map(found.flatMap((m) => (m ? [[Number(m[1]), m[2] ?? '']] : [])));
  } finally {
    client.socket.destroy();
  }
}

test('row 42: another program renames and delivers in the tree under load: none lost, UIDs stable', async () => {
  const seconds = Number(process.env['TREE_SECONDS'] ?? 6);
  await using host = await startMailHost({ users: USERS });
  const check = new MailboxCheck(host.maildir(ANA));
  const first = Array.from({ length: 200 }, (_, n) => `start-${n}`);
  await deliver(host, ...first);
  await check.check(host.ports.imap, ANA, 'a');
  const until = Date.now() + seconds * 1000;
  const ours = async (): Promise<string[]> => {
    const names: string[] = [];
    for (let n = 0; Date.now() < until; n++) {
      names.push(`ours-${n}`);
      await deliver(host, `ours-${n}`);
    }
    return names;
  };
  /** Another pair of eyes that never stops looking: every UID it has seen stays that message's. */
  const reader = async (): Promise<number> => {
    const subjects = new Map<number, string>();
    let looks = 0;
    for (; Date.now() < until; looks++) {
      const now = await subjectsByUid(host);
      for (const uid of subjects.keys()) assert.ok(now.has(uid), `UID ${uid} went away`);
      for (const [uid, subject] of now) {
        assert.equal(subjects.get(uid) ?? subject, subject, `UID ${uid}`);
        subjects.set(uid, subject);
      }
    }
    assert.ok(subjects.size >= first.length, `${subjects.size} seen`);
    return looks;
  };
  const work = [ours(), otherProgram(host, until, 1), otherProgram(host, until, 2), reader()] as const;
  // All end before anything is cleared away, also when one fails.
  await Promise.allSettled(work);
  const [mine, foreign1, foreign2, looks] = await Promise.all(work);
  assert.ok(looks > 0, `${looks} looks`);
  assert.ok(mine.length > 10 && foreign1.length > 10);
  const all = [...first, ...mine, ...foreign1, ...foreign2];
  // Let what is in flight settle, then hold it against the files and the list.
  const seen = await check.check(host.ports.imap, ANA, 'a');
  assert.equal((await messagesIn(host.maildir(ANA))).size, all.length);
  assert.equal(seen.messages.size, all.length);
  const texts = (await host.inbox(ANA)).join('');
  for (const name of all) assert.ok(texts.includes(`Message-ID: <${name}@remote.test>`), name);
  assert.equal(await copiesOf(host, ANA, numberedMessage('ours-0', 300)), 1);
});
