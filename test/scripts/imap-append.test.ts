// APPEND: literals, refusals before the message is sent, APPENDUID, flags and date, quota, spool.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const LOGIN = 'C: l LOGIN ana@example.test secret\n    S~ ^l OK';

test('synchronising and LITERAL+ literals, flags, date, APPENDUID; told at once where it is selected', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: s SELECT INBOX
    S* ^s OK \[READ-WRITE\]
    C: a APPEND INBOX (\Seen $Junk) "24-Nov-2026 13:41:13 +0100" {16}
    S: + OK
    C| Subject: x\r\n\r\nab\r\n
    S* ^\* 1 EXISTS
    S* ^a OK \[APPENDUID \d+ 1\] Append completed
    C: b FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])
    S~ ^\* 1 FETCH \(FLAGS \(\\Seen \$Junk.*\) INTERNALDATE "24-Nov-2026 12:41:13 \+0000" BODY\[\] \{16\}\r\nSubject: x\r\n\r\nab\)
    S~ ^b OK
    C| c APPEND {5+}\r\nINBOX {12+}\r\nSubject: y\r\n\r\n
    S* ^c OK \[APPENDUID \d+ 2\]
    C: d APPEND INBOX () {0}
    S~ ^d NO \[CANNOT\]
    C: e APPEND INBOX (\Nosuch) {5}
    S: e BAD Unknown system flag
    C: f APPEND INBOX "yesterday" {5}
    S: f BAD Bad date-time
    C: g APPEND INBOX
    S: g BAD Expected a mailbox and a message
    C: h APPEND INBOX {3}
    S: + OK
    C: abc trailing
    S: h BAD Unexpected text after the message
    C: i NOOP
    S: i OK NOOP completed
  `,
  );
});

test('a missing mailbox is [TRYCREATE] before the literal; a bad name [CANNOT]', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a APPEND nosuch {5}
    S~ ^a NO \[TRYCREATE\]
    C: b APPEND ../x {5}
    S~ ^b NO \[CANNOT\]
    C| c APPEND nosuch {5+}\r\na NO \r\nd NOOP\r\n
    S~ ^c NO \[TRYCREATE\]
    S: d OK NOOP completed
    C| {3}\r\n
    S: * BAD Expected a tag
    C| x"y {3}\r\n
    S: x BAD Expected a tag and a command
  `,
  );
});

test('row 22: APPEND over the limit is NO [TOOBIG] before the +', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { appendSize: 1_000 } });
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a APPEND INBOX {1001}
    S: a NO [TOOBIG] The message is too large
    C: b NOOP
    S: b OK NOOP completed
    C| c APPEND INBOX {1500+}\r\n${'x'.repeat(1500)}\r\nd NOOP\r\n
    S: c NO [TOOBIG] The message is too large
    S: d OK NOOP completed
    C: e APPEND INBOX {4294967295+}
    S: e NO [TOOBIG] The message is too large
    S: * BYE The message is too large
    S.
  `,
  );
});

test('over quota: NO [OVERQUOTA], before the literal where it is sure', async (t) => {
  const server = await ImapTestServer.start(t, { quota: { bytes: 1_000, messages: 2 } });
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a APPEND INBOX {5000}
    S~ ^a NO \[OVERQUOTA\]
    C: b APPEND INBOX {1100}
    S: + OK
    C: ${'x'.repeat(1100)}
    S~ ^b NO \[OVERQUOTA\]
    C| c APPEND INBOX {5+}\r\nabc\r\n\r\nd APPEND INBOX {5+}\r\nabc\r\n\r\n
    S~ ^c OK
    S~ ^d OK
    C: e APPEND INBOX {5}
    S~ ^e NO \[OVERQUOTA\]
  `,
  );
});

test('a message larger than memory goes through the spool, whole, and nothing of it is left', async (t) => {
  const server = await ImapTestServer.start(t);
  const message = `Subject: big\r\n\r\n${'0123456789abcdef'.repeat(4).concat('\r\n').repeat(30_000)}`;
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  client.line(`a APPEND INBOX {${message.length}}`);
  assert.match(await client.response(), /^\+/);
  client.send(message);
  client.line('');
  assert.match(await client.response(), /^a OK \[APPENDUID/);
  await client.command('s', 'EXAMINE INBOX');
  const [line] = await client.command('f', 'FETCH 1 BODY.PEEK[]');
  assert.equal(line, `* 1 FETCH (BODY[] {${message.length}}\r\n${message})`);
  assert.deepEqual(await readdir(join(server.folder, 'spool')), []);
  client.destroy();
});

test('a client that goes away in the middle of a message leaves nothing', async (t) => {
  const server = await ImapTestServer.start(t);
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  client.line('a APPEND INBOX {500000}');
  await client.response();
  client.send('x'.repeat(400_000));
  client.destroy();
  for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(server.imap.connections, 0);
  assert.deepEqual(await readdir(join(server.folder, 'spool')), []);
  assert.equal((await server.store().status(['INBOX'])).messages, 0);
});

test('row 45: a full disk is NO, and the session goes on', async (t) => {
  let full = true;
  const server = await ImapTestServer.start(t, {
    wrapStore: (store) =>
      new Proxy(store, {
        get(target, key) {
          if (key === 'append' && full) return () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      }),
  });
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C| a APPEND INBOX {5+}\r\nabc\r\n\r\n
    S: a NO [UNAVAILABLE] Insufficient system storage
    C: b NOOP
    S: b OK NOOP completed
  `,
  );
  full = false;
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C| a APPEND INBOX {5+}\r\nabc\r\n\r\n
    S~ ^a OK
  `,
  );
});
