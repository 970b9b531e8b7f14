// The server as a process of its own under what peers may do to it: rows 7, 8, 10 to 14, 28 and 31 of what must hold.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { ImapClient } from '../support/imap-script.ts';
import { parseImapValues } from '../support/imap-value.ts';
import { eventually, MailHost, PROJECT, startMailHost } from '../support/mail-host.ts';
import { requireProgram } from '../support/programs.ts';
import { SmtpClient } from '../support/smtp-script.ts';

const FROM = 'eva@remote.test';
const ANA = 'ana@example.test';
const MB = 1_048_576;

/** Kilobytes of a line of /proc/PID/status, in bytes. */
async function memory(pid: number, line: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${line}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * 1024;
}
/** By how much the server's resident memory grew over its begin while `work` ran, at its highest. */
async function growth(host: MailHost, work: () => Promise<void>): Promise<number> {
  const pid = host.pid ?? 0;
  const before = await memory(pid, 'VmRSS');
  // The peak is counted from now on.
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  await work();
  return (await memory(pid, 'VmHWM')) - before;
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}
/** Writes `bytes` bytes of lines, as fast as they are taken. */
async function pour(client: SmtpClient, bytes: number): Promise<void> {
  const block = Buffer.from(`${'x'.repeat(998)}\r\n`.repeat(1_000));
  for (let left = bytes; left > 0 && !client.closedByServer; left -= block.length)
    if (!client.socket.write(block)) await drained(client.socket);
}
/** Ordinary mail goes through while something else happens; milliseconds that it took. */
async function ordinaryMail(host: MailHost, localAddress: string): Promise<number> {
  const began = performance.now();
  await using client = await SmtpClient.hello(host.ports.smtp, { localAddress });
  assert.match(await client.message(FROM, [ANA], 'Subject: ordinary\n\nx'), /^250 /);
  return performance.now() - began;
}

test('row 8: hundreds of MB, declared or not: at most 64 MB of growth; 552 5.3.4 at MAIL or behind the final dot', async (t) => {
  await using host = await startMailHost({ settings: { message_size_limit: 256 * MB } });
  await using client = await SmtpClient.hello(host.ports.smtp);
  assert.equal(await client.command(`MAIL FROM:<${FROM}> SIZE=${1024 * MB}`), '552 5.3.4 Message size exceeds fixed limit');
  // Something small first: what is loaded once is not growth.
  assert.match(await client.message(FROM, [ANA], `Subject: small\n\n${'x\n'.repeat(500_000)}`), /^250/);
  const refused = await growth(host, async () => {
    await client.envelope(FROM, ANA);
    client.line('Subject: too big\r\n');
    await pour(client, 300 * MB);
    client.line('.');
    assert.equal(await client.reply(60_000), '552 5.3.4 Message size exceeds fixed limit');
  });
  const taken = await growth(host, async () => {
    await client.envelope(FROM, ANA);
    client.line('Subject: big\r\n');
    await pour(client, 200 * MB);
    client.line('.');
    assert.match(await client.reply(60_000), /^250 /);
  });
  t.diagnostic(`grew by ${refused / MB} MB while refusing, ${taken / MB} MB while taking`);
  assert.ok(refused < 64 * MB, `grew by ${refused / MB} MB`);
  assert.ok(taken < 64 * MB, `grew by ${taken / MB} MB`);
  const sizes = await Promise.all(
    (await host.names(ANA, 'new')).map(async (name) => (await stat(join(host.maildir(ANA), 'new', name))).size),
  );
  assert.equal(sizes.filter((size) => size > 100 * MB).length, 1);
  await client.commands(['QUIT', '221']);
});

test('row 8: undeclared and endless: cut off at twice the limit', async () => {
  await using host = await startMailHost({ settings: { message_size_limit: 10 * MB } });
  await using client = await SmtpClient.hello(host.ports.smtp);
  await client.envelope(FROM, ANA);
  const grown = await growth(host, async () => {
    await pour(client, 400 * MB);
    await client.closed();
  });
  assert.ok(client.socket.bytesWritten < 200 * MB, `${client.socket.bytesWritten} bytes were taken`);
  assert.ok(grown < 64 * MB, `grew by ${grown / MB} MB`);
  assert.deepEqual(await host.names(ANA, 'new'), []);
  assert.ok((await ordinaryMail(host, '127.0.0.1')) < 10_000);
});

/** Row 10's messages. */
function manyParts(count: number): string {
  return `Subject: parts\nContent-Type: multipart/mixed; boundary=b\n\n${'--b\n\nx\n'.repeat(count)}--b--\n`;
}
function deep(depth: number): string {
  let text = 'Subject: deep\n';
  for (let i = 0; i < depth; i++) text += `Content-Type: multipart/mixed; boundary=b${i}\n\n--b${i}\n`;
  return `${text}\ninside\n`;
}
function manyParameters(count: number): string {
  const params = Array.from({ length: count }, (_, i) => ` name*${i}*=UTF-8''a${i}`).join(';\n');
  return `Subject: parameters\nContent-Type: text/plain;\n${params}\n\nx\n`;
}

test('row 10: 10⁵ MIME parts, depth 200, 10⁴ RFC 2231 parameters: stored, and BODYSTRUCTURE is valid', async () => {
  await using host = await startMailHost();
  await using client = await SmtpClient.hello(host.ports.smtp);
  const messages = [manyParts(100_000), deep(200), manyParameters(10_000)];
  for (const message of messages) assert.match(await client.message(FROM, [ANA], message), /^250 /);
  const imap = await ImapClient.connect(host.ports.imap);
  try {
    await imap.response();
    assert.match((await imap.command('a', `LOGIN ${ANA} ana-secret`)).join(), /a OK/);
    assert.match((await imap.command('b', 'SELECT INBOX')).join(), /\* 3 EXISTS/);
    for (const [i, message] of messages.entries()) {
      imap.line(`c${i} FETCH ${i + 1} (BODYSTRUCTURE RFC822.SIZE)`);
      const told = (await imap.until(`c${i}`)).find((line) => line.includes('BODYSTRUCTURE')) ?? '';
      const value = /^\* \d+ FETCH \(BODYSTRUCTURE (\(.*\)) RFC822\.SIZE \d+\)$/s.exec(told)?.[1] ?? '';
      assert.ok(Array.isArray(parseImapValues(value)[0]), told.slice(0, 200));
      assert.ok(told.length < 3 * message.length + 10_000);
    }
  } finally {
    imap.destroy();
  }
});

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

test('row 14: of 1,001 recipients the first 1,000 have the message, once each, the last has not', async () => {
  await using host = await startMailHost({
    prepare: async (made) => {
      const lines = Array.from({ length: 1_001 }, (_, i) => `u${i}@example.test  example.test/many/u${i}/\n`);
      await made.ownedFolder(join(made.base, 'example.test', 'many'));
      await appendFile(join(made.directory, 'vmailbox'), lines.join(''));
    },
  });
  await using client = await SmtpClient.hello(host.ports.smtp);
  await client.commands([`MAIL FROM:<${FROM}>`, '250']);
  client.send(Array.from({ length: 1_001 }, (_, i) => `RCPT TO:<u${i}@example.test>\r\n`).join(''));
  for (let i = 0; i < 1_000; i++) assert.equal(await client.reply(60_000), '250 2.1.5 Ok');
  assert.equal(await client.reply(60_000), '452 4.5.3 Error: too many recipients');
  await client.commands(['DATA', '354']);
  client.send('Subject: many\r\n\r\nx\r\n.\r\n');
  assert.match(await client.reply(120_000), /^250 /);
  const many = join(host.base, 'example.test', 'many');
  for (let i = 0; i < 1_000; i++) assert.equal((await readdir(join(many, `u${i}`, 'new'))).length, 1, `u${i}`);
  assert.ok(!(await readdir(many)).includes('u1000'));
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
