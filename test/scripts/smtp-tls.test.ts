// STARTTLS (RFC 3207) and implicit TLS (RFC 8314): certificates by name, nothing kept from before, handshakes that fail.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { eventually } from '../support/mail-host.ts';
import { playSmtp, SmtpClient } from '../support/smtp-script.ts';
import { certificatesFor, SmtpTestServer } from '../support/smtp-server.ts';

const certificates = await certificatesFor('one.test', 'two.test');
const nameOf = (socket: TLSSocket): string => String(socket.getPeerCertificate().subject.CN);

test('STARTTLS by SNI: each name gets its certificate, no name the default', async (t) => {
  // Few at a time: connections that are over are counted no more, with TLS too.
  const server = await SmtpTestServer.start(t, { certificates, limits: { connectionsPerAddress: 2 } });
  for (const port of [server.port, server.submissionPort])
    for (const [asked, given] of [
      ['two.test', 'two.test'],
      ['one.test', 'one.test'],
      ['other.test', 'one.test'],
      [undefined, 'one.test'],
    ] as const) {
      await using client = await SmtpClient.hello(port);
      await client.commands(['STARTTLS', '220 2.0.0 Ready to start TLS']);
      assert.equal(nameOf(await client.startTls(asked)), given);
      await client.commands(
        ['EHLO client.test', '250-'],
        ['NOOP', '250'],
        ['STARTTLS', '554 5.5.1 Error: TLS already active'],
        ['QUIT', '221'],
      );
      await client.closed();
      await eventually(async () => server.smtp.connections + server.submission.connections === 0, 'it is over');
    }
  await using client = await SmtpClient.connect(server.submissionsPort);
  assert.equal(nameOf(await client.startTls('two.test')), 'two.test');
  assert.match(await client.reply(), /^220 mail\.example\.test ESMTP/);
  await client.commands(['EHLO client.test', '250-']);
});

test('mail over TLS says so in Received', async (t) => {
  const server = await SmtpTestServer.start(t, { certificates });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(['STARTTLS', '220']);
  const socket = await client.startTls();
  await client.commands(['EHLO client.test', '250']);
  assert.match(await client.message('eva@remote.test', ['ana@example.test'], 'a: b'), /^250/);
  const cipher = socket.getCipher().standardName;
  assert.match(
    server.messages[0]?.text ?? '',
    new RegExp(
      `^Received: from client\\.test \\(unknown \\[127\\.0\\.0\\.1\\]\\)\\r\\n\\t\\(using TLSv1\\.3 with cipher ${cipher} \\((128/128|256/256) bits\\)\\)\\r\\n\\tby mail\\.example\\.test \\(Buzon\\) with ESMTPS id `,
    ),
  );
});

test('row 18: commands behind STARTTLS in one packet do not run', async (t) => {
  const server = await SmtpTestServer.start(t, { certificates });
  for (const behind of [
    'EHLO evil\r\nMAIL FROM:<eva@remote.test>\r\nRCPT TO:<ana@example.test>\r\n',
    'RSET\r\nNOOP',
    `${'NOOP\r\n'.repeat(5_000)}QUIT\r\n`,
  ]) {
    const client = await SmtpClient.hello(server.port);
    client.send(`STARTTLS\r\n${behind}`);
    assert.match(await client.reply(), /^220 /);
    // What was too much for one read may reach the handshake, which it breaks: that is an end, too.
    const secured = await client.startTls().then(
      () => true,
      () => false,
    );
    if (secured) {
      assert.equal(await client.command('MAIL FROM:<eva@remote.test>'), '503 5.5.1 Error: send HELO/EHLO first');
      assert.equal(client.unread, '');
      await client.commands(['EHLO client.test', '250'], ['RCPT TO:<ana@example.test>', '503 5.5.1'], ['QUIT', '221']);
    } else assert.ok(behind.length > 10_000, 'a small packet is thrown away');
    client.destroy();
  }
  assert.equal(server.messages.length, 0);
});

test('row 18: STARTTLS resets the session: greeting, log-in and transaction are forgotten', async (t) => {
  const server = await SmtpTestServer.start(t, { certificates });
  await playSmtp(
    server.submissionPort,
    String.raw`
    C: EHLO client.test
    S~ ^250-
    C: AUTH PLAIN ${Buffer.from('\0ana@example.test\0secret').toString('base64')}
    S~ ^235
    C: MAIL FROM:<ana@example.test>
    S~ ^250
    C: RCPT TO:<info@example.test>
    S~ ^250
    C: STARTTLS now
    S: 501 5.5.4 Syntax: STARTTLS
    C: STARTTLS
    S: 220 2.0.0 Ready to start TLS
    C^ one.test
    C: DATA
    S: 503 5.5.1 Error: need MAIL command
    C: MAIL FROM:<ana@example.test>
    S: 503 5.5.1 Error: send HELO/EHLO first
    C: EHLO client.test
    S~ 250-AUTH PLAIN
    C: MAIL FROM:<ana@example.test>
    S: 530 5.7.0 Authentication required
  `,
  );
  await eventually(async () => server.auth.watching === 0, 'the watch of the account has ended');
});

test('a handshake that fails, is cut, or never comes ends the session', async (t) => {
  const server = await SmtpTestServer.start(t, { certificates, limits: { handshakeTimeout: 400 } });
  const gone = (): Promise<unknown> =>
    eventually(async () => server.smtp.connections + server.submission.connections + server.smtp.sessions === 0, 'all are gone');
  for (const how of ['nonsense', 'cut', 'half closed', 'silence'] as const)
    for (const implicit of [false, true]) {
      const client = implicit ? await SmtpClient.connect(server.submissionsPort) : await SmtpClient.hello(server.port);
      if (!implicit) await client.commands(['STARTTLS', '220']);
      if (how === 'nonsense') client.line('EHLO this is no handshake');
      if (how === 'cut') client.socket.resetAndDestroy();
      if (how === 'half closed') client.socket.end();
      await gone();
      client.destroy();
    }
  await using client = await SmtpClient.hello(server.port);
  await client.commands(['NOOP', '250']);
});
