// What a peer may not do: long lines, slowness, many connections; and what happens when the server or the peer goes.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { eventually } from '../support/mail-host.ts';
import { SmtpClient } from '../support/smtp-script.ts';
import { certificatesFor, SmtpTestServer } from '../support/smtp-server.ts';

/** Sends a byte of `text` again and again, every `ms`, until `until` has ended. */
async function drip(client: SmtpClient, text: string, ms: number, until: Promise<unknown>): Promise<void> {
  let at = 0;
  const timer = setInterval(() => client.send(text.charAt(at++ % text.length)), ms);
  try {
    await until;
  } finally {
    clearInterval(timer);
  }
}

test('row 20: a line without LF over the limit: 500 5.5.2, and the end', async (t) => {
  const server = await SmtpTestServer.start(t);
  for (const text of [
    'x'.repeat(2_049),
    `NOOP ${'x'.repeat(100_000)}`,
    `MAIL FROM:<${'x'.repeat(2_100)}@remote.test>\r\nNOOP\r\n`,
  ]) {
    const client = await SmtpClient.hello(server.port);
    client.send(text);
    assert.equal(await client.reply(), '500 5.5.2 Error: line too long');
    await client.ends();
  }
  // The limit itself, with its line end, is a line; so are the sizes that RFC 5321 4.5.3.1.4 and the extensions ask for.
  await using client = await SmtpClient.hello(server.port);
  assert.match(await client.command(`NOOP ${'x'.repeat(2_041)}`), /^250/);
  assert.match(await client.command(`NOOP ${'x'.repeat(2_042)}`), /^500 5\.5\.2/);
});

test('row 11: bytes that drip in, in a command or a message: 421 4.4.2 at an absolute deadline', async (t) => {
  const server = await SmtpTestServer.start(t, {
    limits: { commandTimeout: 400, lineTimeout: 300, dataTimeout: 300, dataRate: 1_000_000 },
  });
  const dripping = async (client: SmtpClient, text: string): Promise<void> => {
    const began = Date.now();
    const answer = client.reply();
    await drip(client, text, 20, answer);
    assert.match(await answer, /^421 4\.4\.2 (mail\.example\.test )?Error: timeout exceeded$/);
    assert.ok(Date.now() - began < 3_000);
    await client.closed();
  };
  const line = await SmtpClient.hello(server.port);
  await dripping(line, 'x');
  const data = await SmtpClient.hello(server.port);
  await data.envelope('eva@remote.test', 'ana@example.test');
  await dripping(data, 'x\r\n');
  const chunk = await SmtpClient.hello(server.port);
  await chunk.commands(['MAIL FROM:<>', '250'], ['RCPT TO:<ana@example.test>', '250']);
  chunk.line('BDAT 1000');
  await dripping(chunk, 'x');
  const auth = await SmtpClient.hello(server.submissionPort);
  await auth.commands(['AUTH PLAIN', '334']);
  await dripping(auth, 'A');
  const silent = await SmtpClient.hello(server.port);
  assert.match(await silent.reply(), /^421 4\.4\.2 /);
  for (const client of [line, data, chunk, auth, silent]) client.destroy();
});

test('row 11: a session of whole but slow commands ends, too', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { sessionTimeout: 400 } });
  const client = await SmtpClient.hello(server.port);
  const end = client.closed();
  await drip(client, 'NOOP\r\n', 10, end);
  assert.match(client.unread, /^(250 2\.0\.0 Ok\r\n)+421 4\.4\.2 mail\.example\.test Error: timeout exceeded\r\n$/);
});

test('row 11: a slow client stays as long as enough comes', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { dataTimeout: 200, dataRate: 1_000 } });
  await using client = await SmtpClient.hello(server.port);
  await client.envelope('eva@remote.test', 'ana@example.test');
  for (let i = 0; i < 6; i++) {
    client.send('x: y\r\n'.repeat(50));
    await sleep(80);
  }
  client.send('\r\n.\r\n');
  assert.match(await client.reply(), /^250/);
});

test('row 12: connections over the limit of an address or of all: 421 4.7.0; the place is free again when one goes', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { connectionsPerAddress: 3, connections: 4 } });
  const three = await Promise.all([1, 2, 3].map(() => SmtpClient.hello(server.port)));
  const more = await SmtpClient.connect(server.port);
  assert.equal(await more.reply(), '421 4.7.0 mail.example.test Error: too many connections from your address');
  await more.closed();
  const other = await SmtpClient.hello(server.port, { localAddress: '127.0.0.2' });
  const third = await SmtpClient.connect(server.port, { localAddress: '127.0.0.3' });
  assert.equal(await third.reply(), '421 4.7.0 mail.example.test Error: too many connections, try again later');
  await third.closed();
  three[0]?.destroy();
  await eventually(async () => server.smtp.connections < 4, 'one has gone');
  await (await SmtpClient.hello(server.port)).commands(['QUIT', '221']);
  // Of implicit TLS the handshake comes first: there nothing can be said.
  const full = await SmtpTestServer.start(t, { limits: { connections: 0 }, certificates: await certificatesFor('one.test') });
  const hidden = await SmtpClient.connect(full.submissionsPort);
  await hidden.ends();
  for (const client of [...three, other]) client.destroy();
});

test('row 12: IPv6 addresses of one /64, and an IPv4 address in IPv6 clothes, are one address', async (t) => {
  for (const remoteAddress of [
    ['2001:db8::1', '2001:db8::ffff:2'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
  ]) {
    const server = await SmtpTestServer.start(t, { limits: { connectionsPerAddress: 1 }, remoteAddress });
    await using client = await SmtpClient.hello(server.port);
    await using more = await SmtpClient.connect(server.port);
    assert.match(await more.reply(), /^421 4\.7\.0 /);
    await client.commands(['NOOP', '250']);
  }
  const apart = await SmtpTestServer.start(t, {
    limits: { connectionsPerAddress: 1 },
    remoteAddress: ['2001:db8::1', '2001:db8:0:1::1', '192.0.2.1', '192.0.2.2'],
  });
  const clients = await Promise.all([1, 2, 3, 4].map(() => SmtpClient.hello(apart.port)));
  for (const client of clients) client.destroy();
});

test('a session ends when its client is cut off, whatever it waits for', async (t) => {
  const server = await SmtpTestServer.start(t);
  const prepare: readonly ((client: SmtpClient) => Promise<unknown>)[] = [
    async () => undefined,
    async (client) => client.send('MAIL FR'),
    (client) => client.envelope('eva@remote.test', 'ana@example.test'),
    async (client) => {
      await client.envelope('eva@remote.test', 'ana@example.test');
      client.send('x'.repeat(100_000));
    },
    async (client) => {
      await client.commands(['MAIL FROM:<>', '250'], ['RCPT TO:<ana@example.test>', '250']);
      client.send('BDAT 500\r\nabc');
    },
  ];
  for (const get of prepare)
    for (const how of ['end', 'reset'] as const) {
      const client = await SmtpClient.hello(server.port);
      await get(client);
      await sleep(5);
      if (how === 'reset') client.socket.resetAndDestroy();
      else client.socket.end();
      await eventually(async () => server.smtp.sessions === 0 && server.smtp.connections === 0, `${how} is noticed`, 3_000);
      client.destroy();
    }
  assert.equal(server.messages.length, 0);
});

test('row 7: a stop lets a message in flight finish, tells the others 421 4.3.2, and cuts off who stays', async (t) => {
  const certificates = await certificatesFor('one.test');
  const server = await SmtpTestServer.start(t, { certificates });
  const idle = await SmtpClient.hello(server.port);
  const half = await SmtpClient.hello(server.port);
  half.send('MAIL FROM:<eva');
  const envelope = await SmtpClient.hello(server.port);
  await envelope.commands(['MAIL FROM:<>', '250'], ['RCPT TO:<ana@example.test>', '250']);
  const asking = await SmtpClient.hello(server.submissionPort);
  await asking.commands(['AUTH PLAIN', '334']);
  const busy = await SmtpClient.hello(server.port);
  await busy.envelope('eva@remote.test', 'ana@example.test');
  busy.send('Subject: in flight\r\n');
  const stuck = await SmtpClient.hello(server.port);
  await stuck.envelope('eva@remote.test', 'ana@example.test');
  const shaking = connect(server.submissionsPort, '127.0.0.1').on('error', () => undefined);
  await new Promise((resolve) => shaking.once('connect', resolve));
  await eventually(async () => server.submission.connections === 2, 'all are there');

  const began = Date.now();
  const stopped = Promise.all([server.smtp.close(1_500), server.submission.close(1_500)]);
  for (const client of [idle, half, envelope, asking]) {
    assert.equal(await client.reply(), '421 4.3.2 mail.example.test Error: Service shutting down');
    await client.ends();
  }
  busy.send('\r\nx\r\n.\r\n');
  assert.match(await busy.reply(), /^250 2\.0\.0 /);
  assert.match(await busy.reply(), /^421 4\.3\.2 /);
  await busy.ends();
  await stopped;
  assert.ok(Date.now() - began >= 1_400, 'the message that did not come was waited for');
  await stuck.closed();
  shaking.resume();
  await eventually(async () => shaking.closed, 'the handshake is cut');
  assert.deepEqual([server.smtp.sessions, server.messages.length], [0, 1]);
});

test('a stop without messages in flight is quick', async (t) => {
  const server = await SmtpTestServer.start(t);
  const clients = await Promise.all([1, 2, 3].map(() => SmtpClient.hello(server.port)));
  const began = Date.now();
  await server.smtp.close(30_000);
  assert.ok(Date.now() - began < 3_000);
  for (const client of clients) client.destroy();
});

test('a client that does not read its replies is not answered into memory', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { errors: 1e9 } });
  const socket = connect(server.port, '127.0.0.1').on('error', () => undefined);
  t.after(() => socket.destroy());
  await new Promise((resolve) => socket.once('data', resolve));
  socket.write('EHLO client.test\r\n');
  await sleep(50);
  socket.pause();
  socket.write(Buffer.from('MAIL FROM:<\r\n'.repeat(4_000_000)));
  // The kernel's buffers take some MB; behind them the client is stopped: for a while nothing more is taken of what it has to say.
  const taken = await eventually(
    async () => {
      const before = socket.bytesWritten - socket.writableLength;
      await sleep(300);
      return before === socket.bytesWritten - socket.writableLength ? before : undefined;
    },
    'the client is stopped',
    20_000,
  );
  assert.ok(taken < 40_000_000, `${taken} bytes were taken`);
  assert.ok(socket.writableLength > 0);
});
