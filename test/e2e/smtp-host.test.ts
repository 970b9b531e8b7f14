// The server as a process of its own under what peers may do to it: rows 7, 11 to 13, 28 and 31 of what must hold.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { ImapClient } from '../support/imap-script.ts';
import { eventually, MailHost, PROJECT, startMailHost } from '../support/mail-host.ts';
import { requireProgram } from '../support/programs.ts';
import { SmtpClient } from '../support/smtp-script.ts';

const FROM = 'eva@remote.test';
const ANA = 'ana@example.test';

/** Ordinary mail goes through while something else happens; milliseconds that it took. */
async function ordinaryMail(host: MailHost, localAddress: string): Promise<number> {
  const began = performance.now();
  await using client = await SmtpClient.hello(host.ports.smtp, { localAddress });
  assert.match(await client.message(FROM, [ANA], 'Subject: ordinary\n\nx'), /^250 /);
  return performance.now() - began;
}

test('row 11: 500 clients that drip bytes get 421 4.4.2 at a deadline; ordinary mail goes through meanwhile', async () => {
  await using host = await startMailHost({
    settings: { smtpd_client_connection_count_limit: 0, smtpd_timeout: '4s' },
  });
  const clients = await Promise.all(Array.from({ length: 500 }, () => SmtpClient.connect(host.ports.smtp)));
  let drip: NodeJS.Timeout | undefined;
  try {
    for (const client of clients) await client.reply(30_000);
    const began = performance.now();
    const replies = Promise.all(clients.map((client) => client.reply(60_000)));
    drip = setInterval(() => clients.forEach((client) => client.closedByServer || client.send('x')), 1_000);
    clients.forEach((client) => client.send('NO'));
    for (let i = 0; i < 3; i++) {
      const took = await ordinaryMail(host, '127.0.0.2');
      assert.ok(took < 10_000, `mail took ${took} ms`);
      await sleep(300);
    }
    for (const reply of await replies) assert.match(reply, /^421 4\.4\.2 /);
    assert.ok(performance.now() - began < 40_000);
  } finally {
    clearInterval(drip);
    clients.forEach((client) => client.destroy());
  }
});

test('row 12: of thousands of connections from one address some are served and the rest told 421 4.7.0; another address is served', async () => {
  await using host = await startMailHost({ settings: { smtpd_client_connection_count_limit: 20 } });
  const kept = await Promise.all(Array.from({ length: 20 }, () => SmtpClient.hello(host.ports.smtp)));
  try {
    for (let wave = 0; wave < 5; wave++) {
      const more = await Promise.all(Array.from({ length: 400 }, () => SmtpClient.connect(host.ports.smtp)));
      const took = ordinaryMail(host, '127.0.0.2');
      for (const client of more)
        assert.equal(await client.reply(30_000), '421 4.7.0 mail.example.test Error: too many connections from your address');
      assert.ok((await took) < 10_000);
      more.forEach((client) => client.destroy());
    }
    for (const client of kept) await client.commands(['NOOP', '250']);
  } finally {
    kept.forEach((client) => client.destroy());
  }
});

test('row 13: with RLIMIT_NOFILE at 256 our own cap answers 421 and BYE first', async (t) => {
  const prlimit = await requireProgram(t, 'prlimit');
  if (prlimit === undefined) return;
  await using host = await MailHost.create({
    settings: { smtpd_client_connection_count_limit: 0, imap_client_connection_count_limit: 0 },
  });
  const child = spawn(
    prlimit,
    ['--nofile=256:256', process.execPath, join(PROJECT, 'dist', 'server.js'), '--config', host.settingsFile],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(child, 'exit');
  const clients: (SmtpClient | ImapClient)[] = [];
  try {
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    await eventually(async () => output.includes('server.ready') || child.exitCode !== null, 'the server is ready', 20_000);
    const greetings: string[] = [];
    for (let i = 0; i < 200; i++) {
      const client = await SmtpClient.connect(host.ports.smtp);
      clients.push(client);
      greetings.push((await client.reply()).slice(0, 9));
    }
    const served = greetings.findIndex((greeting) => greeting === '421 4.7.0');
    assert.ok(served >= 50 && served < 200, `${served} were served`);
    assert.ok(greetings.slice(served).every((greeting) => greeting === '421 4.7.0'));
    const imap = await ImapClient.connect(host.ports.imap);
    clients.push(imap);
    assert.match(await imap.response(), /^\* BYE /);
    // Those that are served have what they need: files, too.
    const [first] = clients;
    assert.ok(first instanceof SmtpClient);
    await first.commands(['EHLO client.test', '250']);
    assert.match(await first.message(FROM, [ANA], `Subject: room\n\n${'x\n'.repeat(300_000)}`), /^250 /);
    for (const client of clients) client.destroy();
    const again = await eventually(async () => {
      const client = await SmtpClient.connect(host.ports.smtp);
      clients.push(client);
      return (await client.reply()).startsWith('220 ');
    }, 'there is room again');
    assert.ok(again);
    assert.doesNotMatch(output, /EMFILE/);
  } finally {
    clients.forEach((client) => client.destroy());
    child.kill('SIGTERM');
    await ended;
  }
});

test('row 28: a message that this host has delivered to that address already: 554 5.4.6', async () => {
  await using host = await startMailHost();
  await using client = await SmtpClient.hello(host.ports.smtp);
  assert.match(await client.message(FROM, [ANA], 'Delivered-To: Ana@EXAMPLE.test\n\nx'), /^554 5\.4\.6 /);
  assert.match(await client.message(FROM, ['ana+a@example.test'], 'Delivered-To: ana@example.test\n\nx'), /^250 /);
  assert.match(await client.message(FROM, ['info@example.test'], 'Delivered-To: ana@example.test\n\nx'), /^250 /);
  assert.equal((await host.names(ANA, 'new')).length, 1);
});

test('row 31: RCPT to ../x and its like makes no file anywhere', async () => {
  await using host = await startMailHost({ settings: { smtpd_hard_error_limit: 1_000 } });
  const tree = async (): Promise<string[]> => (await readdir(host.directory, { recursive: true })).sort();
  await using client = await SmtpClient.hello(host.ports.smtp);
  assert.match(await client.message(FROM, [ANA, 'info@example.test'], 'Subject: first\n\nx'), /^250 /);
  const before = await tree();
  for (const address of [
    '../x',
    '../../x',
    '"../x"',
    '"../../../etc/x"',
    'ana/../x',
    'x/',
    '.',
    '..',
    '"/tmp/x"',
    'ana/new/x',
    '"x\\/../y"',
  ]) {
    await client.commands(['RSET', '250'], [`MAIL FROM:<${FROM}>`, '250']);
    assert.match(await client.command(`RCPT TO:<${address}@example.test>`), /^550 5\.1\.1 /, address);
  }
  assert.deepEqual(await tree(), before);
});

test('row 7: SIGTERM: a message in flight is finished and stored, others are told 421 4.3.2, the exit status is 0', async () => {
  await using host = await startMailHost();
  await using idle = await SmtpClient.hello(host.ports.smtp);
  await using busy = await SmtpClient.hello(host.ports.smtp);
  await busy.envelope(FROM, ANA);
  busy.send('Subject: in flight\r\n\r\n');
  await sleep(100);
  const stopped = host.stop('SIGTERM');
  assert.match(await idle.reply(), /^421 4\.3\.2 /);
  await idle.ends();
  await sleep(500);
  busy.send('the rest\r\n.\r\n');
  assert.match(await busy.reply(), /^250 /);
  assert.match(await busy.reply(), /^421 4\.3\.2 /);
  assert.equal(await stopped, 0);
  assert.match((await host.inbox(ANA)).join(''), /\n\nthe rest\n$/);
});
