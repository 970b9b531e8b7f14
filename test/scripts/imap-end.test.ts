// The ends of a session that the server decides: shutdown, a changed account; and STARTTLS, the other change from outside.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { sleep } from '../../src/lib/async.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer, type ImapTestOptions } from '../support/imap-server.ts';

async function connected(server: ImapTestServer, login = false): Promise<ImapClient> {
  const client = await ImapClient.connect(server.port);
  await client.response();
  if (login) await client.command('l', 'LOGIN ana@example.test secret');
  return client;
}
async function withTls(t: TestContext, options: ImapTestOptions = {}): Promise<ImapTestServer> {
  return ImapTestServer.start(t, { ...options, tls: await makeSelfSigned(['mail.example.test', '127.0.0.1']) });
}
async function upgrade(client: ImapClient): Promise<void> {
  const socket: TLSSocket = tlsConnect({ socket: client.detach(), rejectUnauthorized: false });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  client.attach(socket);
}

test('shutdown: waiting and idling sessions hear BYE at once', async (t) => {
  const server = await ImapTestServer.start(t);
  const [stranger, user, idler] = [await connected(server), await connected(server, true), await connected(server, true)];
  idler.line('i IDLE');
  await idler.response();
  const closing = server.imap.close(5_000);
  for (const client of [stranger, user, idler]) {
    assert.equal(await client.response(), '* BYE Server is shutting down');
    await client.closed();
  }
  await closing;
  const late = await ImapClient.connect(server.port);
  assert.equal(await late.response(), '* BYE [UNAVAILABLE] Server is shutting down');
});

test('shutdown: the command that runs is finished and answered first', async (t) => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const server = await ImapTestServer.start(t, {
    wrapStore: (store) =>
      new Proxy(store, {
        get(target, key) {
          if (key === 'quota') return () => gate.then(() => target.quota());
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      }),
  });
  const client = await connected(server, true);
  client.send('a APPEND INBOX {5+}\r\nabc\r\n\r\n');
  await sleep(50);
  const closing = server.imap.close(5_000);
  release();
  assert.match(await client.response(), /^a OK \[APPENDUID/);
  assert.equal(await client.response(), '* BYE Server is shutting down');
  await client.closed();
  await closing;
  assert.equal((await server.store().status(['INBOX'])).messages, 1);
});

test('shutdown: who does not finish is cut off after the grace', async (t) => {
  const server = await ImapTestServer.start(t);
  const client = await connected(server, true);
  client.line('a APPEND INBOX {5000}');
  await client.response();
  const before = Date.now();
  await server.imap.close(200);
  assert.ok(Date.now() - before < 2_000);
  await client.closed();
});

test('shutdown: a handshake that hangs is not waited for', async (t) => {
  const server = await withTls(t);
  const client = new ImapClient((await ImapClient.connect(server.tlsPort)).detach());
  for (const end = Date.now() + 5_000; server.imap.connections === 0 && Date.now() < end;) await sleep(5);
  const before = Date.now();
  await server.imap.close(4_000);
  assert.ok(Date.now() - before < 2_000);
  await client.closed();
});

test('row 35: password changed or user removed: BYE, also in the middle of a literal; nobody else is touched', async (t) => {
  const server = await ImapTestServer.start(t);
  const [waiting, idler, sending, other] = [
    await connected(server, true),
    await connected(server, true),
    await connected(server, true),
    await connected(server),
  ];
  await other.command('l', 'LOGIN info@example.test secret');
  idler.line('i IDLE');
  await idler.response();
  sending.line('a APPEND INBOX {5000}');
  await sending.response();
  server.auth.revoke('ana@example.test');
  for (const client of [waiting, idler, sending]) {
    assert.equal(await client.response(), '* BYE Account changed, log in again');
    await client.closed();
  }
  assert.deepEqual(await other.command('n', 'NOOP'), ['n OK NOOP completed']);
  assert.equal((await server.store().status(['INBOX'])).messages, 0);
  assert.equal(server.auth.watching, 1);
  other.destroy();
});

test("row 35: one user sees nothing of another's mail", async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver('Subject: secret\n\nx\n');
  await play(
    server.port,
    String.raw`
    C: l LOGIN info@example.test secret
    S~ ^l OK
    C: a LIST "" *
    S: * LIST (\HasNoChildren) "." INBOX
    S~ ^a OK
    C: b SELECT ../ana@example.test
    S~ ^b NO
    C: c SELECT "~ana@example.test/INBOX"
    S~ ^c NO
    C: d SELECT INBOX
    S* ^\* 0 EXISTS
    S* ^d OK
  `,
  );
});

test('STARTTLS: log-in behind it, capabilities asked anew', async (t) => {
  const server = await withTls(t, { remoteAddress: '192.0.2.1' });
  const client = await connected(server);
  assert.match((await client.command('a', 'CAPABILITY'))[0] ?? '', / STARTTLS LOGINDISABLED$/);
  assert.deepEqual(await client.command('b', 'STARTTLS'), ['b OK Begin TLS negotiation now']);
  await upgrade(client);
  assert.equal((await client.command('c', 'CAPABILITY'))[0], '* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN');
  assert.match((await client.command('d', 'STARTTLS')).join(), /^d BAD/);
  assert.match((await client.command('e', 'LOGIN ana@example.test secret')).join(), /^e OK/);
  assert.equal((await client.command('f', 'LOGOUT')).at(-1), 'f OK Logout completed');
  await client.closed();
  for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;) await sleep(5);
  assert.equal(server.imap.connections, 0);
});

test('row 11: a handshake that never comes ends at the deadline of the log-in, on both ports', async (t) => {
  const server = await withTls(t, { limits: { loginTimeout: 200 } });
  const client = await connected(server);
  await client.command('a', 'STARTTLS');
  const implicit = new ImapClient((await ImapClient.connect(server.tlsPort)).detach());
  await client.closed();
  await implicit.closed();
  for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;) await sleep(5);
  assert.equal(server.imap.connections, 0);
});

test('STARTTLS and then no handshake, or nonsense: the connection ends and is not counted any more', async (t) => {
  const server = await withTls(t);
  for (const after of ['nonsense instead of a ClientHello\r\n', undefined]) {
    const client = await connected(server);
    await client.command('a', 'STARTTLS');
    if (after === undefined) client.destroy();
    else client.send(after);
    await client.closed();
    for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;) await sleep(5);
    assert.equal(server.imap.connections, 0);
  }
  assert.ok(server.events.some((event) => event.event === 'imap.tls.failed'));
});

test('row 18: commands behind STARTTLS in one packet are never run', async (t) => {
  const server = await withTls(t);
  const client = await connected(server);
  client.send('a STARTTLS\r\nb LOGIN ana@example.test secret\r\nc CREATE injected\r\n');
  assert.equal(await client.response(), 'a OK Begin TLS negotiation now');
  await upgrade(client);
  assert.deepEqual(await client.command('d', 'SELECT INBOX'), ['d BAD Log in first']);
  client.destroy();
  assert.ok(server.events.some((event) => event.event === 'imap.starttls.injection'));
  assert.ok(!server.events.some((event) => event.event === 'imap.login'));
  assert.deepEqual(
    (await server.store().list()).map((entry) => entry.path.join('.')),
    ['INBOX'],
  );
});

test('row 18: a literal announced before STARTTLS does not swallow the handshake, nor is half a line kept', async (t) => {
  const server = await withTls(t);
  const client = await connected(server);
  client.send('a STARTTLS\r\nx LOGIN {5+}\r\nab');
  assert.equal(await client.response(), 'a OK Begin TLS negotiation now');
  await upgrade(client);
  assert.deepEqual(await client.command('d', 'NOOP'), ['d OK NOOP completed']);
  client.destroy();
});

test('implicit TLS; a handshake that is none ends quietly', async (t) => {
  const server = await withTls(t);
  const socket = tlsConnect({ port: server.tlsPort, host: '127.0.0.1', rejectUnauthorized: false });
  const client = new ImapClient(socket);
  assert.match(await client.response(), /^\* OK \[CAPABILITY IMAP4rev1 LITERAL\+ SASL-IR ID ENABLE IDLE AUTH=PLAIN\]/);
  client.destroy();
  const plain = new ImapClient((await ImapClient.connect(server.tlsPort)).detach());
  plain.send('a NOOP\r\n'.repeat(100));
  await plain.closed();
  plain.destroy();
  for (const end = Date.now() + 5_000; server.imap.connections > 0 && Date.now() < end;) await sleep(5);
  assert.equal(server.imap.connections, 0);
});

test('STARTTLS without a certificate is BAD', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: a STARTTLS
    S: a BAD TLS is not available
    C: b STARTTLS now
    S~ ^b BAD
  `,
  );
});

test('log events: connect, login, failures and the end, with what fail2ban and an administrator need', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: a LOGIN "eva rip=192.0.2.9" wrong
    S~ ^a NO
    C: b LOGIN ana@example.test secret
    S~ ^b OK
    C: c LOGOUT
    S* ^c OK
    S.
  `,
  );
  const of = (event: string): unknown => {
    const found = server.events.find((e) => e.event === event);
    return found && { client: found['client'], user: found['user'], mechanism: found['mechanism'], reason: found['reason'] };
  };
  assert.deepEqual(of('imap.auth.failed'), {
    client: '127.0.0.1',
    user: 'eva rip=192.0.2.9',
    mechanism: 'LOGIN',
    reason: undefined,
  });
  assert.deepEqual(of('imap.login'), { client: '127.0.0.1', user: 'ana@example.test', mechanism: 'LOGIN', reason: undefined });
  for (const end = Date.now() + 5_000; !of('imap.disconnect') && Date.now() < end;) await sleep(5);
  assert.deepEqual(of('imap.disconnect'), {
    client: '127.0.0.1',
    user: 'ana@example.test',
    mechanism: undefined,
    reason: 'Logged out',
  });
  assert.ok(!JSON.stringify(server.events).includes('wrong'));
});

test('a file that cannot be read to its end cuts the connection instead of breaking the literal', async (t) => {
  const server = await ImapTestServer.start(t, {
    wrapStore: (store) =>
      new Proxy(store, {
        get(target, key) {
          if (key !== 'open') {
            const value: unknown = Reflect.get(target, key, target);
            return typeof value === 'function' ? (value.bind(target) as unknown) : value;
          }
          return async (path: readonly string[]) => {
            const mailbox = await target.open(path);
            const content = mailbox.content.bind(mailbox);
            mailbox.content = async (uid) => {
              const real = await content(uid);
              return {
                size: real.size,
                readWire: (start, end) => real.readWire(start, end),
                async *read(start, end) {
                  let chunks = 0;
                  for await (const chunk of real.read(start, end)) {
                    if (++chunks > 3) throw Object.assign(new Error('read error'), { code: 'EIO' });
                    yield chunk;
                  }
                },
                close: () => real.close(),
              };
            };
            return mailbox;
          };
        },
      }),
  });
  await server.deliver(`Subject: big\n\n${'line\n'.repeat(200_000)}`);
  const client = await connected(server, true);
  await client.command('s', 'EXAMINE INBOX');
  client.send('f FETCH 1 BODY.PEEK[]\r\ng NOOP\r\n');
  await client.closed();
  assert.match(client.unread, /^\* 1 FETCH \(BODY\[\] \{\d+\}\r\nSubject: big/);
  assert.doesNotMatch(client.unread, /\r\n[fg] /);
  assert.ok(server.events.some((event) => event.event === 'imap.failed' && event['code'] === 'EIO'));
});
