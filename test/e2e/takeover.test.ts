// A host set up by the guide is taken over, given back, and taken over again: Debian's Postfix virtual(8) and Dovecot 2.3 make and
// use the tree, then Buzon, then they again, twice, under one mbsync cache that never has anything to move.
import assert from 'node:assert/strict';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapFlow } from 'imapflow';
import { Dovecot } from '../support/dovecot.ts';
import { MailHost } from '../support/mail-host.ts';
import { mbsync, mbsyncConfig, type Mirror } from '../support/mbsync.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';

const USERS = { 'ana@example.test': 'ana-secret', 'info@example.test': 'info-secret', 'ana@otro.test': 'otra-secret' };
const ANA = 'ana@example.test';

async function deliver(port: number, to: string, subjects: readonly string[]): Promise<void> {
  const sender = await SmtpSender.connect(port);
  for (const subject of subjects)
    await sender.send({
      from: 'eva@remote.test',
      to: [to],
      data: `From: eva@remote.test\r\nSubject: ${subject}\r\nMessage-ID: <${subject.replaceAll(' ', '-')}.${to}>\r\n\r\nbody of ${subject}\r\n`,
    });
  await sender.quit();
}

/** What a client sees of every mailbox: UIDVALIDITY, and UID, flags, size and subject of each message. */
async function snapshot(
  port: number,
  user: string,
  password: string,
  counts: (flag: string) => boolean = () => true,
): Promise<Record<string, unknown>> {
  const client = new ImapFlow({
    host: '127.0.0.1',
    port,
    secure: true,
    tls: { rejectUnauthorized: false },
    auth: { user, pass: password },
    logger: false,
  });
  await using _closed = { [Symbol.asyncDispose]: () => Promise.resolve(client.close()) };
  await client.connect();
  const seen: Record<string, unknown> = {};
  for (const entry of await client.list()) {
    if ([...entry.flags].some((flag) => /^\\(Noselect|NonExistent)$/i.test(flag))) continue;
    const lock = await client.getMailboxLock(entry.path, { readOnly: true });
    const mailbox = client.mailbox;
    assert.ok(mailbox);
    const messages =
      mailbox.exists > 0
        ? await client.fetchAll('1:*', { uid: true, flags: true, size: true, internalDate: true, envelope: true })
        : [];
    seen[entry.path] = {
      uidValidity: mailbox.uidValidity,
      uidNext: mailbox.uidNext,
      subscribed: entry.subscribed,
      messages: messages.map((m) => ({
        uid: m.uid,
        flags: [...(m.flags ?? [])].filter((flag) => flag !== '\\Recent' && counts(flag)).sort(),
        size: m.size,
        date: m.internalDate,
        subject: m.envelope?.subject,
      })),
    };
    lock.release();
  }
  await client.logout();
  return seen;
}

/** Every message file's path, flags included, under a Maildir tree. */
async function messageFiles(root: string): Promise<string[]> {
  const names = await readdir(root, { recursive: true });
  return names.filter((name) => /(^|\/)(cur|new)\/[^/]+$/.test(name)).sort();
}

/** A run of mbsync that finds nothing to do: no message added, changed or removed on either side. */
async function nothingMoves(program: string, mirror: Mirror, maildir: string): Promise<void> {
  const state = async (): Promise<string[][]> => [await messageFiles(mirror.maildir), await messageFiles(maildir)];
  const before = await state();
  const said = await mbsync(program, mirror, '-V');
  assert.doesNotMatch(said, /UIDVALIDITY/i, said);
  assert.deepEqual(await state(), before, said);
}

/** Work of an ordinary user: folders, copies, flags, keywords, deletions. */
async function useMailbox(port: number, user: string, password: string, round: string): Promise<void> {
  const client = new ImapFlow({
    host: '127.0.0.1',
    port,
    secure: true,
    tls: { rejectUnauthorized: false },
    auth: { user, pass: password },
    logger: false,
  });
  await using _closed = { [Symbol.asyncDispose]: () => Promise.resolve(client.close()) };
  await client.connect();
  await client.mailboxCreate(`Obra ${round}`);
  await client.mailboxCreate(['Árbol', `rama ${round}`]);
  await client.mailboxSubscribe(`Obra ${round}`);
  const lock = await client.getMailboxLock('INBOX');
  await client.messageFlagsAdd('1', ['\\Flagged', `trabajo-${round}`]);
  await client.messageFlagsAdd('2', ['\\Seen', '$Forwarded']);
  await client.messageCopy('1:2', `Obra ${round}`);
  await client.messageMove('3', `Obra ${round}`);
  await client.messageDelete('4');
  await client.append('INBOX', `Subject: draft ${round}\r\nMessage-ID: <draft-${round}@x>\r\n\r\nappended ${round}\r\n`, [
    '\\Seen',
    '\\Draft',
  ]);
  lock.release();
  await client.logout();
}

test('a tree of Postfix and Dovecot is served with the same UIDs, given back, and alternated twice under one mbsync cache', async (t) => {
  const program = await requireProgram(t, 'mbsync');
  for (const name of ['postfix', 'dovecot', 'doveadm']) if ((await requireProgram(t, name)) === undefined) return;
  if (program === undefined || !requireRoot(t)) return;

  const vmailbox = (host: MailHost): string => join(host.directory, 'vmailbox');
  await using host = await MailHost.create({ users: USERS, settings: { virtual_mailbox_maps: undefined } });
  // The settings name what Postfix's main.cf names: hash:, of which only Berkeley's .db is compiled.
  const yaml = await readFile(host.settingsFile, 'utf8');
  await writeFile(host.settingsFile, `${yaml}\nvirtual_mailbox_maps: hash:${vmailbox(host)}\n`);
  await using postfix = await Postfix.create({
    directory: host.directory,
    base: host.base,
    domains: ['example.test', 'otro.test'],
    vmailbox: vmailbox(host),
  });
  await using dovecot = await Dovecot.create({
    directory: host.directory,
    base: host.base,
    cert: host.ca,
    key: join(host.directory, 'key.pem'),
  });

  // What the old host leaves behind.
  await postfix.start();
  await deliver(postfix.port, ANA, ['one', 'two', 'three', 'four', 'five', 'six', 'seven']);
  await deliver(postfix.port, 'ana@otro.test', ['uno', 'dos']);
  await postfix.drained();
  await dovecot.start();
  await useMailbox(dovecot.ports.imaps, ANA, USERS[ANA], 'dovecot');
  for (let n = 0; n < 30; n++)
    await dovecot
      .doveadm('flags', 'add', '-u', ANA, n < 26 ? `kw${n}` : `late${n}`, 'mailbox', 'Obra dovecot', 'uid', '1')
      .catch(() => '');
  // A Maildir name has letters for 26 keywords; what Dovecot takes beyond lives in its own index, where nobody else can see it.
  const letters = (await readFile(join(host.maildir(ANA), '.Obra dovecot', 'dovecot-keywords'), 'utf8'))
    .split('\n')
    .filter((line) => /^([0-9]|1[0-9]|2[0-5]) /.test(line))
    .map((line) => line.slice(line.indexOf(' ') + 1));
  assert.equal(letters.length, 26);
  const seen = async (port: number): Promise<Record<string, unknown>> =>
    snapshot(port, ANA, USERS[ANA], (flag) => !/^(kw|late)/.test(flag) || letters.includes(flag));
  // Flags on a file that still lies in new/: other programs put such there, and Dovecot reads them.
  const inCur = (await host.names(ANA, 'cur')).find((name) => name.endsWith(':2,DS'));
  assert.ok(inCur !== undefined, (await host.names(ANA, 'cur')).join(' '));
  await rename(join(host.maildir(ANA), 'cur', inCur), join(host.maildir(ANA), 'new', inCur.replace(/DS$/, 'DFS')));
  const fromDovecot = {
    ana: await seen(dovecot.ports.imaps),
    otra: await snapshot(dovecot.ports.imaps, 'ana@otro.test', USERS['ana@otro.test']),
  };
  const mirror = await mbsyncConfig({ directory: host.directory, ca: host.ca, ports: dovecot.ports }, ANA, USERS[ANA]);
  await mbsync(program, mirror);
  const port = (imaps: number): Promise<void> =>
    readFile(mirror.config, 'utf8').then((text) => writeFile(mirror.config, text.replace(/^Port .*$/m, `Port ${imaps}`)));
  await postfix.stop();
  await dovecot.stop();
  const db = await readFile(`${vmailbox(host)}.db`);
  // A stale next-UID in the uidlist's header, as Dovecot leaves it.
  const uidlist = join(host.maildir(ANA), 'dovecot-uidlist');
  await writeFile(uidlist, (await readFile(uidlist, 'utf8')).replace(/^(3 V\d+ N)\d+/, '$11'));

  await host.start();
  assert.deepEqual(await seen(host.ports.imaps), fromDovecot.ana);
  assert.deepEqual(await snapshot(host.ports.imaps, 'ana@otro.test', USERS['ana@otro.test']), fromDovecot.otra);
  await port(host.ports.imaps);
  await nothingMoves(program, mirror, host.maildir(ANA));

  for (const round of ['1', '2']) {
    // Buzon's turn.
    await deliver(host.ports.smtp, ANA, [`b${round} one`, `b${round} two`, `b${round} three`]);
    await useMailbox(host.ports.imaps, ANA, USERS[ANA], `buzon ${round}`);
    const fromBuzon = await seen(host.ports.imaps);
    await mbsync(program, mirror);
    assert.equal(await host.stop(), 0);
    assert.deepEqual(await readFile(`${vmailbox(host)}.db`), db, 'the Berkeley map is untouched');

    // Untouched Postfix and Dovecot start on it.
    await postfix.start();
    await dovecot.start();
    assert.deepEqual(await seen(dovecot.ports.imaps), fromBuzon, await dovecot.log());
    await port(dovecot.ports.imaps);
    await nothingMoves(program, mirror, host.maildir(ANA));
    await deliver(postfix.port, ANA, [`d${round} one`, `d${round} two`, `d${round} three`]);
    await postfix.drained();
    await useMailbox(dovecot.ports.imaps, ANA, USERS[ANA], `dovecot ${round}`);
    const again = await seen(dovecot.ports.imaps);
    await mbsync(program, mirror);
    await postfix.stop();
    await dovecot.stop();
    assert.doesNotMatch(await dovecot.log(), /(Corrupted|Broken|Error: .*(uidlist|maildir|UIDs?))/i);
    await host.start();
    assert.deepEqual(await seen(host.ports.imaps), again);
    await port(host.ports.imaps);
    await nothingMoves(program, mirror, host.maildir(ANA));
  }
});
