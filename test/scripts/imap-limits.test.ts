// What a peer may not do: lines, literals, nesting, counts, control characters, connections, deadlines.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const LOGIN = 'C: l LOGIN ana@example.test secret\n    S~ ^l OK';

async function connected(server: ImapTestServer, login = false): Promise<ImapClient> {
  const client = await ImapClient.connect(server.port);
  await client.response();
  if (login) await client.command('l', 'LOGIN ana@example.test secret');
  return client;
}
const growth = async (work: () => Promise<void>): Promise<number> => {
  const before = process.memoryUsage();
  await work();
  const after = process.memoryUsage();
  return after.arrayBuffers - before.arrayBuffers;
};

test('row 20: a line without an end over 8 KB before login, 64 KB after: BAD, BYE', async (t) => {
  const server = await ImapTestServer.start(t);
  const stranger = await connected(server);
  stranger.send('a '.padEnd(8_000, 'x'));
  await sleep(20);
  assert.equal(stranger.unread, '');
  stranger.send('x'.repeat(300));
  assert.equal(await stranger.response(), '* BAD Line too long');
  assert.equal(await stranger.response(), '* BYE Line too long');
  await stranger.closed();
  const user = await connected(server, true);
  user.line(`a NOOP ${'x'.repeat(65_000)}`);
  assert.match(await user.response(), /^a BAD/);
  user.send('x'.repeat(65_600));
  assert.equal(await user.response(), '* BAD Line too long');
  assert.equal(await user.response(), '* BYE Line too long');
  await user.closed();
});

test('row 21: before login: {4294967295+}, {9…9}, 10⁶ parentheses, a tag of 10⁶ bytes: refused, at most 1 MB of growth', async (t) => {
  const server = await ImapTestServer.start(t);
  const grown = await growth(async () => {
    for (const text of [
      'a LOGIN {4294967295+}\r\n',
      `a LOGIN {${'9'.repeat(30)}}\r\n`,
      `a ID ${'('.repeat(1_000_000)}`,
      'x'.repeat(1_000_000),
    ]) {
      const client = await connected(server);
      client.send(text);
      assert.match(await client.response(), /^(\* |a )BAD/);
      assert.match(await client.response(), /^\* BYE/);
      await client.closed();
      client.destroy();
    }
  });
  assert.ok(grown < 10 * 1_048_576, `grew by ${grown}`);
  await play(
    server.port,
    String.raw`
    C: a LOGIN {8193}
    S: a BAD Literal too big
    C: b ID ${'('.repeat(60)}
    S~ ^b BAD
    C: ${'t'.repeat(201)} NOOP
    S: * BAD The tag is too long
    C: c LOGIN {4000}
    S~ ^\+
    C: ${'x'.repeat(4000)} {4193}
    S: c BAD Literal too big
    ${LOGIN}
    C: d SELECT INBOX
    S* ^d OK
    C: e SEARCH ${'('.repeat(60)}ALL${')'.repeat(60)}
    S~ ^e BAD
    C: f SEARCH ${'NOT '.repeat(2_000)}ALL
    S~ ^f BAD
    C: g SEARCH ${'OR ALL '.repeat(2_000)}ALL
    S~ ^g BAD
    C: h SEARCH ${'ALL '.repeat(1_500)}ALL
    S~ ^h BAD
    C: i FETCH 1 (${'FLAGS '.repeat(1_500)}FLAGS)
    S~ ^i BAD
    C: j STORE 1 FLAGS (${'a '.repeat(1_500)}a)
    S~ ^j BAD
  `,
  );
});

test('row 24: NUL, CR and control characters in strings are BAD; nothing of them reaches the log as a line', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C| a LOGIN "ana\x07@example.test" secret\r\n
    S: a BAD Control character in a string
    C| b LOGIN {5+}\r\nx\0\r\ny secret\r\n
    S: b BAD NUL in a literal
    C| c LOGIN {4+}\r\na\r\nb secret\r\n
    S: c BAD Control character in a string
    C| d LOGIN "a\rb" secret\r\n
    S: d BAD Control character in a quoted string
    C| e AUTHENTICATE PLAIN AA\x01A\r\n
    S: e BAD Invalid base64
    C| f LOGIN a\x7fb secret\r\n
    S~ ^f BAD
    C| g LOGIN "\xff\xfe" secret\r\n
    S: g BAD A string is not UTF-8
    ${LOGIN}
    C| h CREATE "a\x1bb"\r\n
    S: h BAD Control character in a mailbox name
    C| i CREATE {4+}\r\na\r\nb\r\n
    S: i BAD Control character in a mailbox name
    C| j LIST "" "\x01*"\r\n
    S: j BAD Control character in a mailbox name
    C| k STATUS "a\0b" (MESSAGES)\r\n
    S~ ^k BAD
    C| m ID ("name" {6+}\r\nx\r\ny\r\n)\r\n
    S~ ^\* ID
    S~ ^m OK
  `,
  );
});

test('row 12, row 13: connections past the cap of an address and in all get BYE; the place is free again when one goes', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { connectionsPerAddress: 3 } });
  const clients = await Promise.all([1, 2, 3].map(() => connected(server)));
  const more = await ImapClient.connect(server.port);
  assert.equal(await more.response(), '* BYE [UNAVAILABLE] Too many connections from your address');
  await more.closed();
  clients[0]?.destroy();
  for (const end = Date.now() + 5_000; server.imap.connections > 2 && Date.now() < end;) await sleep(5);
  const again = await connected(server);
  again.destroy();
  for (const client of clients) client.destroy();
  const full = await ImapTestServer.start(t, { limits: { connections: 1 } });
  const one = await connected(full);
  const two = await ImapClient.connect(full.port);
  assert.equal(await two.response(), '* BYE [UNAVAILABLE] Too many connections, try again later');
  const hidden = connect(full.tlsPort, '127.0.0.1');
  await new Promise((resolve) =>
    hidden
      .once('close', resolve)
      .on('error', () => undefined)
      .resume(),
  );
  one.destroy();
});

test('row 12: IPv6 addresses of one /64 are one address', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { connectionsPerAddress: 1 }, remoteAddress: '2001:db8::1' });
  const client = await connected(server);
  const more = await ImapClient.connect(server.port);
  assert.match(await more.response(), /^\* BYE/);
  client.destroy();
});

test('sessions of one user from one address are limited', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { sessionsPerUser: 2 } });
  await play(
    server.port,
    String.raw`
    1C: a LOGIN ana@example.test secret
    1S~ ^a OK
    2C: a LOGIN ana@example.test secret
    2S~ ^a OK
    3C: a LOGIN ana@example.test secret
    3S~ ^a NO \[LIMIT\]
    3C: b LOGIN info@example.test secret
    3S~ ^b OK
    2C: b LOGOUT
    2S* ^b OK
    2S.
    4C: a LOGIN ana@example.test secret
    4S~ ^a OK
  `,
  );
});

test('row 11: a login that takes too long, byte by byte, ends at an absolute deadline', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { loginTimeout: 300 } });
  const client = await connected(server);
  const drip = setInterval(() => client.send('x'), 20);
  try {
    assert.equal(await client.response(), '* BYE Log in sooner');
    await client.closed();
  } finally {
    clearInterval(drip);
  }
});

test('silence after login ends in BYE; a command begun must come to its end', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { idleTimeout: 250, commandTimeout: 200 } });
  const silent = await connected(server, true);
  assert.equal(await silent.response(), '* BYE Disconnected for inactivity');
  await silent.closed();
  const half = await connected(server, true);
  half.line('a SELECT {5}');
  assert.match(await half.response(), /^\+/);
  half.send('INB');
  assert.equal(await half.response(), '* BYE Disconnected for inactivity');
  const message = await connected(server, true);
  message.line('a APPEND INBOX {500}');
  assert.match(await message.response(), /^\+/);
  for (let i = 0; i < 4; i++) {
    message.send('x'.repeat(100));
    await sleep(80);
  }
  // Slow is well; silent is not.
  assert.equal(message.unread, '');
  assert.equal(await message.response(), '* BYE Disconnected for inactivity');
});

test('1:4294967295 on an empty and on a small mailbox costs nothing; 20,001 ranges are BAD', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver('Subject: x\n\nx\n');
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: s SELECT INBOX
    S* ^s OK
    C: a UID FETCH 1:4294967295 UID
    S: * 1 FETCH (UID 1)
    S~ ^a OK
    C: b UID STORE 4294967294:1 FLAGS.SILENT (\Seen)
    S~ ^b OK
    C: c UID SEARCH UID 1:4294967295
    S: * SEARCH 1
    S~ ^c OK
    C: d UID FETCH ${Array.from({ length: 20_001 }, () => '1').join(',')} UID
    S~ ^d BAD
  `,
  );
});

test('limits of 0 connections an address and sessions a user are none', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { connectionsPerAddress: 0, sessionsPerUser: 0 } });
  const client = await connected(server);
  assert.match((await client.command('a', 'LOGIN ana@example.test secret')).join(), /^a OK/);
  client.destroy();
});
