// What a server process holds out against, in bytes and counts: rows 8, 10 and 14 of what must hold.
import assert from 'node:assert/strict';
import { appendFile, readdir, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapClient } from '../support/imap-script.ts';
import { parseImapValues } from '../support/imap-value.ts';
import { startMailHost, type MailHost } from '../support/mail-host.ts';
import { growthOf } from '../support/process-memory.ts';
import { SmtpClient } from '../support/smtp-script.ts';

const FROM = 'eva@remote.test';
const ANA = 'ana@example.test';
const MB = 1_048_576;

const growth = (host: MailHost, work: () => Promise<void>): Promise<number> => growthOf(host.pid ?? 0, work);

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
test('row 8: hundreds of MB, declared or not: at most 64 MB of growth; 552 5.3.4 at MAIL or behind the final dot', async (t) => {
  await using host = await startMailHost({ settings: { message_size_limit: 256 * MB } });
  await using client = await SmtpClient.hello(host.ports.smtp);
  assert.equal(await client.command(`MAIL FROM:<${FROM}> SIZE=${1024 * MB}`), '552 5.3.4 Message size exceeds fixed limit');
  // A message of ordinary size first: what is loaded once, and the garbage that any mail leaves (the 64 KB buffers of socket reads), are not growth
  // with the size of this one. Anything that kept the message in memory would show as hundreds of MB.
  assert.match(await client.message(FROM, [ANA], `Subject: ordinary\n\n${`${'x'.repeat(998)}\n`.repeat(24_000)}`), /^250/);
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
  await using other = await SmtpClient.hello(host.ports.smtp);
  assert.match(await other.message(FROM, [ANA], 'Subject: ordinary\n\nx'), /^250 /);
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
