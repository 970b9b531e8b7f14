// Accounts are made, changed and removed under a running server, which is told nothing; Debian's Dovecot reads what was written.
import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { buzon } from '../support/buzon.ts';
import { Dovecot } from '../support/dovecot.ts';
import { ImapClient } from '../support/imap-script.ts';
import { eventually, startMailHost, type MailHost } from '../support/mail-host.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';

const EVA = 'eva@example.test';

/** A connection to the host's IMAP; its LOGIN's answer. */
async function imapLogin(host: MailHost, user: string, password: string): Promise<{ client: ImapClient; answer: string }> {
  const client = await ImapClient.connect(host.ports.imap);
  await client.response();
  const answer = (await client.command('a', `LOGIN ${user} ${password}`)).at(-1) ?? '';
  return { client, answer };
}

async function submissionLogin(host: MailHost, user: string, password: string): Promise<ImapClient> {
  const client = await ImapClient.connect(host.ports.submission);
  await client.response();
  client.line('EHLO client.example.test');
  while (!(await client.response()).startsWith('250 '));
  client.line(`AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString('base64')}`);
  assert.match(await client.response(), /^235 /);
  return client;
}

/** The session is told, within some seconds, and closed. */
async function ends(client: ImapClient, farewell: RegExp): Promise<void> {
  const line = await eventually(() => client.response().catch(() => undefined), 'the session ends', 15_000);
  assert.match(line, farewell);
  await client.closed();
}

const OK = /^a OK /;
const BYE = /^\* BYE /;
const GONE = /^421 4\.7\.0 /;

test('an account lives from buzon user add to del under a running server', { timeout: 120_000 }, async (t) => {
  await using host = await startMailHost();
  const open: ImapClient[] = [];
  t.after(() => open.forEach((client) => client.destroy()));
  const enter = async (user: string, password: string): Promise<ImapClient> => {
    const { client, answer } = await imapLogin(host, user, password);
    open.push(client);
    assert.match(answer, OK);
    return client;
  };
  const other = await enter('info@example.test', 'info-secret');
  assert.doesNotMatch((await imapLogin(host, EVA, 'eva-secret-1')).answer, OK);

  assert.equal((await buzon(host, ['user', 'add', EVA, '--quota', '10M'], 'eva-secret-1\n')).status, 0);
  const imap = await enter(EVA, 'eva-secret-1');
  const submission = await submissionLogin(host, EVA, 'eva-secret-1');
  open.push(submission);
  const mx = await SmtpSender.connect(host.ports.smtp);
  await mx.send({ from: 'x@remote.test', to: [EVA], data: 'Subject: welcome\r\n\r\nhello\r\n' });
  assert.deepEqual((await imap.command('s', 'STATUS INBOX (MESSAGES)')).slice(0, 1), ['* STATUS INBOX (MESSAGES 1)']);

  // Sessions from before a reload are watched as well.
  host.signal('SIGHUP');
  await eventually(async () => host.output.includes('settings.reloaded'), 'the settings are read again');
  assert.equal((await buzon(host, ['user', 'passwd', EVA], 'eva-secret-2\n')).status, 0);
  await ends(imap, BYE);
  await ends(submission, GONE);
  assert.doesNotMatch((await imapLogin(host, EVA, 'eva-secret-1')).answer, OK);
  const again = await enter(EVA, 'eva-secret-2');

  const deleted = await buzon(host, ['user', 'del', EVA]);
  assert.equal(deleted.status, 0, deleted.stderr);
  await ends(again, BYE);
  assert.doesNotMatch((await imapLogin(host, EVA, 'eva-secret-2')).answer, OK);
  await assert.rejects(mx.send({ from: 'x@remote.test', to: [EVA], data: 'Subject: no\r\n\r\nx\r\n' }), /550.*5\.1\.1/);
  assert.equal((await host.inbox(EVA)).length, 1, 'the mail is kept');
  assert.deepEqual(await other.command('n', 'NOOP'), ['n OK NOOP completed']);

  await mx.command('RSET', '250');

  // A domain is added in the settings file; a reload takes it over.
  assert.equal((await buzon(host, ['domain', 'add', 'second.test'])).status, 0);
  assert.equal((await buzon(host, ['user', 'add', 'eva@second.test', '--scheme', 'PLAIN'], 'eva-secret-3\n')).status, 0);
  assert.equal((await buzon(host, ['reload'])).status, 0);
  await eventually(async () => host.output.split('settings.reloaded').length > 2, 'the settings are read again');
  await mx.send({ from: 'x@remote.test', to: ['eva@second.test'], data: 'Subject: second\r\n\r\nx\r\n' });
  await enter('eva@second.test', 'eva-secret-3');
  assert.doesNotMatch(host.output, /-secret/, 'no password is in the log');
});

test(
  'Debian’s Dovecot lets in whom buzon user has added, in every scheme, and no one with another password',
  { timeout: 120_000 },
  async (t) => {
    if (!requireRoot(t)) return;
    if ((await requireProgram(t, 'dovecot')) === undefined || (await requireProgram(t, 'doveadm')) === undefined) return;
    await using host = await startMailHost();
    const key = join(host.directory, 'key.pem');
    await using dovecot = await Dovecot.create({ directory: host.directory, base: host.base, cert: host.ca, key });
    await dovecot.start();
    for (const scheme of ['ARGON2ID', 'SCRAM-SHA-256', 'SHA512-CRYPT', 'SSHA512', 'CRAM-MD5', 'PLAIN']) {
      const address = `u-${scheme.toLowerCase()}@example.test`;
      const added = await buzon(host, ['user', 'add', address, '--scheme', scheme], 'pass: wörd\n');
      assert.equal(added.status, 0, added.stderr);
      assert.match(await dovecot.doveadm('auth', 'test', address, 'pass: wörd'), /auth succeeded/, scheme);
    }
    // Once: Dovecot makes guessing slow too.
    await assert.rejects(dovecot.doveadm('auth', 'test', 'u-argon2id@example.test', 'other'), /auth failed/);
  },
);

test('no password, right or wrong, is in the log, whatever a client does with it', { timeout: 60_000 }, async (t) => {
  await using host = await startMailHost({ settings: { log: { level: 'debug' } } });
  const secrets = ['ana-secret', 'typed-wrong', 'in-the-wrong-place'];
  const clients: ImapClient[] = [];
  t.after(() => clients.forEach((client) => client.destroy()));
  const b64 = (text: string): string => Buffer.from(text).toString('base64');
  for (const [port, lines] of [
    [
      host.ports.imap,
      [
        'a LOGIN ana@example.test typed-wrong',
        'b LOGIN ana@example.test',
        'c LOGIN ana@example.test "in-the-wrong-place',
        'd AUTHENTICATE PLAIN in-the-wrong-place',
        `e AUTHENTICATE PLAIN ${b64('ana@example.test\0in-the-wrong-place')}`,
        `f AUTHENTICATE PLAIN ${b64('\0ana@example.test\0ana-secret')}`,
        'g LOGOUT',
      ],
    ],
    [
      host.ports.submission,
      [
        'EHLO client',
        `AUTH PLAIN ${b64('\0ana@example.test\0typed-wrong')}`,
        'AUTH PLAIN in-the-wrong-place',
        `AUTH LOGIN ${b64('ana@example.test')}`,
        b64('typed-wrong'),
        'AUTH LOGIN',
        b64('ana@example.test'),
        b64('ana-secret'),
        'QUIT',
      ],
    ],
  ] as const) {
    const client = await ImapClient.connect(port);
    clients.push(client);
    await client.response();
    for (const line of lines) {
      client.line(line);
      for (let answer = ''; !/^[a-g] |^\+|^\d{3} |^\* BYE/.test(answer);) answer = await client.response();
    }
  }
  await eventually(
    async () => /imap\.disconnect/.test(host.output) && /smtp\.disconnect/.test(host.output),
    'both sessions are logged',
  );
  assert.match(host.output, /imap\.auth\.failed/);
  assert.match(host.output, /smtp\.auth\.failed/);
  for (const secret of secrets)
    for (const form of [secret, b64(secret), b64(`\0ana@example.test\0${secret}`)])
      assert.ok(!host.output.includes(form), `${form} is not in the log`);
});

test('as root, nothing is written in a folder that everybody may write in', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await startMailHost();
  await chmod(host.directory, 0o777);
  const before = await readFile(host.settingsFile, 'utf8');
  const result = await buzon(host, ['domain', 'add', 'second.test']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /^buzon domain: everybody may write in .*: run: chmod o-w /);
  assert.equal(await readFile(host.settingsFile, 'utf8'), before);
  await chmod(host.directory, 0o755);
  await writeFile(host.settingsFile, before);
});
