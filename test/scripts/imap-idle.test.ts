// IDLE (RFC 2177): deliveries, flags, EXPUNGE and other programs' changes are pushed; DONE; deadlines; the end.
import assert from 'node:assert/strict';
import { rename, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const MAIL = 'Subject: x\n\nx\n';

async function idling(server: ImapTestServer): Promise<ImapClient> {
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  await client.command('s', 'SELECT INBOX');
  client.line('i IDLE');
  assert.equal(await client.response(), '+ idling');
  return client;
}

test('a delivery, another session and another program are told while it idles', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL);
  const client = await idling(server);
  const before = Date.now();
  await server.deliver(MAIL);
  assert.equal(await client.response(), '* 2 EXISTS');
  // Milliseconds are meant; ten times the most that is bearable is asserted.
  assert.ok(Date.now() - before < 2_000);
  assert.equal(await client.response(), '* 2 RECENT');
  const box = await server.store().open(['INBOX']);
  const [first, last] = box.messages.map((row) => row.uid);
  assert.ok(first && last);
  await box.store([first], { mode: 'add', flags: ['\\Flagged'] });
  assert.equal(await client.response(), '* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))');
  await box.expunge([last]);
  assert.equal(await client.response(), '* 2 EXPUNGE');
  await box.close();
  const cur = join(server.auth.account('ana@example.test').maildir, 'cur');
  const [name = ''] = await readdir(cur);
  await rename(join(cur, name), join(cur, name.replace(/:2,.*/, ':2,FS')));
  assert.match(await client.response(), /^\* 1 FETCH \(UID 1 FLAGS \(\\Flagged \\Seen \\Recent\)\)$/);
  await unlink(join(cur, name.replace(/:2,.*/, ':2,FS')));
  assert.equal(await client.response(), '* 1 EXPUNGE');
  client.line('DONE');
  assert.equal((await client.until('i')).at(-1), 'i OK Idle completed');
  client.destroy();
});

test('anything but DONE is BAD and ends IDLE; without a mailbox it only waits', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: l LOGIN ana@example.test secret
    S~ ^l OK
    C: a IDLE
    S: + idling
    C: done
    S: a OK Idle completed
    C: b IDLE
    S: + idling
    C: c NOOP
    S: b BAD Expected DONE
    C: d NOOP
    S: d OK NOOP completed
    C: e IDLE now
    S~ ^e BAD
    C| f IDLE\r\nDONE\r\ng NOOP\r\n
    S: + idling
    S: f OK Idle completed
    S: g OK NOOP completed
  `,
  );
});

test('a client that idles for too long is told that we are still here, then disconnected', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { idleTimeout: 400, idleNotify: 120 } });
  const client = await idling(server);
  assert.equal(await client.response(), '* OK Still here');
  assert.equal(await client.response(), '* OK Still here');
  let line = await client.response();
  if (line === '* OK Still here') line = await client.response();
  assert.equal(line, '* BYE Disconnected for inactivity');
  await client.closed();
});

test('the mailbox deleted under IDLE: BYE at once', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.store().create(['box']);
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  await client.command('s', 'SELECT box');
  client.line('i IDLE');
  await client.response();
  await server.store().delete(['box']);
  assert.equal(await client.response(), '* BYE The selected mailbox is gone');
  await client.closed();
});

test('a client that vanishes while idling leaves no session, watch or open mailbox', async (t) => {
  const server = await ImapTestServer.start(t);
  const client = await idling(server);
  assert.equal(server.auth.watching, 1);
  client.destroy();
  for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(server.imap.connections, 0);
  assert.equal(server.auth.watching, 0);
});
