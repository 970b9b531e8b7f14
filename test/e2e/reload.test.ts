// New maps, settings and certificates are taken by `buzon reload` and by SIGHUP while sessions are open: none of them is dropped, and what is
// broken changes nothing but the log.
import assert from 'node:assert/strict';
import { appendFile, chown, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { parse, stringify } from 'yaml';
import { makeSelfSigned } from '../support/certificate.ts';
import { ImapClient } from '../support/imap-script.ts';
import { eventually, PROJECT, startMailHost, TREE_OWNER, type MailHost } from '../support/mail-host.ts';
import { run, type RunResult } from '../support/programs.ts';
import { deliverBySmtp, SmtpSender } from '../support/smtp-send.ts';

const ANA = 'ana@example.test';
const mail = (to: string, subject: string) => ({
  from: 'eva@remote.test',
  to: [to],
  data: `Subject: ${subject}\r\n\r\nhello\r\n`,
});

/** A host whose key the serving user may read, as the guide has it, with a log file. */
function startHost(): Promise<MailHost> {
  return startMailHost({
    prepare: async (host) => {
      if (TREE_OWNER) await chown(join(host.directory, 'key.pem'), TREE_OWNER.uid, TREE_OWNER.gid);
    },
  });
}
async function change(host: MailHost, settings: Readonly<Record<string, unknown>>): Promise<void> {
  const now = parse(await readFile(host.settingsFile, 'utf8')) as Record<string, unknown>;
  await writeFile(host.settingsFile, stringify({ ...now, ...settings }));
}
const reload = (host: MailHost): Promise<RunResult> =>
  run(process.execPath, [join(PROJECT, 'dist/bin/buzon.js'), 'reload', '--config', host.settingsFile]);
/** Waits until the log has `event` once more than `before` times. */
async function said(host: MailHost, event: string, before: number): Promise<void> {
  await eventually(async () => times(host, event) > before, `${event} in ${host.output}`);
}
const times = (host: MailHost, event: string): number => host.output.split(`"event":"${event}"`).length - 1;
/** SIGHUP, and what it ends in. */
async function hangUp(host: MailHost, event: 'settings.reloaded' | 'settings.reload-failed'): Promise<void> {
  const before = times(host, event);
  host.signal('SIGHUP');
  await said(host, event, before);
}

/** A session over TLS that has been greeted, and the certificate that it was shown. */
async function imaps(host: MailHost): Promise<{ client: ImapClient; fingerprint: string }> {
  const socket = await new Promise<TLSSocket>((resolve, reject) => {
    const tls = connect(
      { port: host.ports.imaps, host: '127.0.0.1', servername: 'example.test', rejectUnauthorized: false },
      () => resolve(tls),
    ).once('error', reject);
  });
  const client = new ImapClient(socket);
  assert.match(await client.response(), /^\* OK/);
  return { client, fingerprint: socket.getPeerCertificate().fingerprint256 };
}
async function loggedIn(host: MailHost): Promise<{ client: ImapClient; fingerprint: string }> {
  const session = await imaps(host);
  await ok(session.client, `LOGIN ${ANA} ana-secret`);
  await ok(session.client, 'SELECT INBOX');
  return session;
}
async function ok(client: ImapClient, command: string): Promise<string[]> {
  const lines = await client.command('t', command);
  assert.match(lines.at(-1) ?? '', /^t OK/, lines.join('\n'));
  return lines;
}
async function replaceCertificate(host: MailHost, names: readonly string[]): Promise<void> {
  const { cert, key } = await makeSelfSigned(names);
  const [certFile, keyFile] = [host.ca, join(host.directory, 'key.pem')];
  await writeFile(`${keyFile}.new`, key, { mode: 0o600 });
  if (TREE_OWNER) await chown(`${keyFile}.new`, TREE_OWNER.uid, TREE_OWNER.gid);
  await writeFile(`${certFile}.new`, cert);
  await rename(`${keyFile}.new`, keyFile);
  await rename(`${certFile}.new`, certFile);
}

test('reload takes a new mailbox and a new size limit, while IMAP and SMTP sessions go on in the middle of what they do', async () => {
  await using host = await startHost();
  const { client } = await loggedIn(host);
  const smtp = await SmtpSender.connect(host.ports.smtp);
  await smtp.command('MAIL FROM:<eva@remote.test>', '250');
  await smtp.command(`RCPT TO:<${ANA}>`, '250');
  await assert.rejects(deliverBySmtp(host.ports.smtp, mail('nueva@example.test', 'early')), /550 5\.1\.1/);
  client.line('i IDLE');
  assert.match(await client.response(), /^\+ /);

  await host.writeAccount('nueva@example.test', 'nueva-secret');
  await appendFile(join(host.directory, 'vmailbox'), 'nueva@example.test  example.test/nueva/\n');
  await change(host, { message_size_limit: 100_000 });
  const before = times(host, 'settings.reloaded');
  const { status, stdout } = await reload(host);
  assert.deepEqual([status, stdout], [0, 'reloaded: the log tells what was taken over\n']);
  await said(host, 'settings.reloaded', before);
  assert.match(host.output, /"event":"settings\.reloaded","changed":\["message_size_limit"\]/);
  // What sendmail goes by where it may not read the settings.
  const tools = JSON.parse(await readFile(join(host.directory, 'queue', 'tools.json'), 'utf8')) as Record<string, unknown>;
  assert.equal(tools['messageSizeLimit'], 100_000);

  // The transaction that was begun before ends after.
  await smtp.command('DATA', '354');
  await smtp.command('Subject: across the reload\r\n\r\nhello\r\n.', '250');
  assert.match(await client.response(), /^\* 1 EXISTS/);
  client.line('DONE');
  await client.until('i');
  assert.match((await ok(client, 'FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]')).join('\n'), /across the reload/);
  // A later one of the same session, and a new session, have the new settings.
  await smtp.command('MAIL FROM:<eva@remote.test> SIZE=100001', '552 5.3.4');
  await smtp.quit();
  const fresh = await SmtpSender.connect(host.ports.smtp);
  assert.match(await fresh.command('EHLO again.example.test', '250'), /SIZE 100000\r\n/);
  await fresh.quit();
  await deliverBySmtp(host.ports.smtp, mail('nueva@example.test', 'welcome'));
  assert.equal((await host.inbox('nueva@example.test')).length, 1);
  client.destroy();
});

test('row 37: a certificate is replaced, then broken, under 100 open sessions: none is dropped, the good one stays, the log says so', async () => {
  await using host = await startHost();
  const sessions = [await loggedIn(host)];
  for (let i = 1; i < 100; i += 11)
    sessions.push(...(await Promise.all(Array.from({ length: 11 }, () => imaps(host)))).slice(0, 100 - i));
  try {
    const old = sessions[0]?.fingerprint;
    assert.ok(sessions.length >= 100 && sessions.every(({ fingerprint }) => fingerprint === old));

    await replaceCertificate(host, ['mail.example.test', 'example.test', 'new.example.test']);
    await hangUp(host, 'settings.reloaded');
    const second = await imaps(host);
    sessions.push(second);
    assert.notEqual(second.fingerprint, old);

    const broken = times(host, 'tls.certificate-broken');
    await writeFile(host.ca, '-----BEGIN CERTIFICATE-----\nbroken\n');
    await hangUp(host, 'settings.reloaded');
    assert.ok(times(host, 'tls.certificate-broken') > broken, host.output);
    assert.match(host.output, /"level":"error","event":"tls\.certificate-broken",.*"kept":true/);
    const third = await imaps(host);
    sessions.push(third);
    assert.equal(third.fingerprint, second.fingerprint);

    for (const { client } of sessions) await ok(client, 'NOOP');
    assert.match((await ok(sessions[0]?.client ?? assert.fail(), 'STATUS INBOX (MESSAGES)'))[0] ?? '', /MESSAGES 0/);
  } finally {
    for (const { client } of sessions) client.destroy();
  }
});

test('settings that are wrong, or that only a start takes over, change nothing at a reload; sessions go on', async () => {
  await using host = await startHost();
  const { client } = await loggedIn(host);
  const good = await readFile(host.settingsFile, 'utf8');

  await writeFile(host.settingsFile, good.replace('hostname:', 'message_size_limitt: 1\nhostname:'));
  const refused = await reload(host);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^buzon reload: .*buzon\.yaml:1:1: message_size_limitt: .*message_size_limit/);
  await hangUp(host, 'settings.reload-failed');
  await deliverBySmtp(host.ports.smtp, mail(ANA, 'under the old settings'));

  await writeFile(host.settingsFile, good);
  await change(host, { data_directory: join(host.directory, 'elsewhere'), hostname: 'mx.example.test' });
  await hangUp(host, 'settings.reloaded');
  assert.match(host.output, /"event":"settings\.need-restart","names":\["data_directory"\]/);
  assert.match(host.output, /"event":"settings\.reloaded","changed":\[[^\]]*"hostname"[^\]]*\]/);
  assert.doesNotMatch(host.output, /"event":"settings\.reloaded","changed":\[[^\]]*"data_directory"/);
  // Delivery still has its folder, and the server takes its process id along when it ends.
  await deliverBySmtp(host.ports.smtp, mail(ANA, 'under the new settings'));
  assert.equal((await host.inbox(ANA)).length, 2);
  await ok(client, 'NOOP');
  client.destroy();
  assert.equal(await host.stop(), 0);
  await assert.rejects(readFile(join(host.directory, 'data/buzon.pid')), { code: 'ENOENT' });
});

test('reload takes another log file, level and format; a log that root made is opened again by who serves', async () => {
  await using host = await startHost();
  await chown(host.directory, TREE_OWNER?.uid ?? process.getuid?.() ?? 0, TREE_OWNER?.gid ?? process.getgid?.() ?? 0);
  await host.stop();
  const log = join(host.directory, 'buzon.log');
  await change(host, { log: { file: log, format: 'postfix', level: 'warn' } });
  const ready = host.start().catch(() => undefined);
  await eventually(() => readFile(join(host.directory, 'data/buzon.pid'), 'utf8').catch(() => undefined), 'the start');
  await eventually(
    async () =>
      SmtpSender.connect(host.ports.smtp).then(
        (sender) => sender.quit().then(() => true),
        () => false,
      ),
    'a greeting',
  );
  assert.equal(await readFile(log, 'utf8'), '');
  assert.equal((await stat(log)).uid, TREE_OWNER?.uid ?? process.getuid?.());
  await change(host, { log: { file: log, format: 'postfix', level: 'info' } });
  await rename(log, `${log}.1`);
  host.signal('SIGHUP');
  await eventually(
    async () => (await readFile(log, 'utf8').catch(() => '')).includes('settings.reloaded changed=log'),
    'a new log file',
  );
  assert.equal(await readFile(`${log}.1`, 'utf8'), '');
  await change(host, { log: { file: join(host.directory, 'other.log'), format: 'json' } });
  host.signal('SIGHUP');
  await eventually(
    async () =>
      (await readFile(join(host.directory, 'other.log'), 'utf8').catch(() => '')).includes(
        '"event":"settings.reloaded","changed":["log"]',
      ),
    'the other log file',
  );
  await host.stop();
  await ready;
});
