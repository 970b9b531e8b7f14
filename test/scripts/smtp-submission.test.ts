// Submission (RFC 6409): who may log in where, and what a user may send.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutboundQueue } from '../../src/delivery/types.ts';
import { eventually } from '../support/mail-host.ts';
import { playSmtp, SmtpClient } from '../support/smtp-script.ts';
import { certificatesFor, SmtpTestServer } from '../support/smtp-server.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const ANA = base64('\0ana@example.test\0secret');

async function loggedIn(server: SmtpTestServer): Promise<SmtpClient> {
  const client = await SmtpClient.hello(server.submissionPort);
  await client.commands([`AUTH PLAIN ${ANA}`, '235 2.7.0']);
  return client;
}

test('AUTH: every way through the exchange, and each that leads nowhere (RFC 4954)', async (t) => {
  const server = await SmtpTestServer.start(t, { mechanisms: ['PLAIN', 'X-LOOP', 'X-DATA'], limits: { errors: 100 } });
  await playSmtp(
    server.submissionPort,
    String.raw`
    C: AUTH PLAIN ${ANA}
    S: 503 5.5.1 Error: send EHLO first
    C: HELO client.test
    S~ ^250
    C: AUTH PLAIN ${ANA}
    S: 503 5.5.1 Error: send EHLO first
    C: EHLO client.test
    S~ 250-AUTH PLAIN X-LOOP X-DATA
    C: AUTH
    S: 501 5.5.4 Syntax: AUTH mechanism
    C: AUTH PLAIN ${ANA} more
    S: 501 5.5.4 Syntax: AUTH mechanism
    C: AUTH GSSAPI
    S: 504 5.5.4 Unrecognized authentication type
    C: AUTH PLAIN %%%%
    S: 501 5.5.2 Invalid base64 data
    C: AUTH PLAIN abc
    S: 501 5.5.2 Invalid base64 data
    C: AUTH PLAIN =
    S: 501 5.5.2 no NUL
    C: AUTH PLAIN
    S: 334 ${''}
    C: *
    S: 501 5.7.0 Authentication aborted
    C: AUTH PLAIN
    S: 334 ${''}
    C: !!!
    S: 501 5.5.2 Invalid base64 data
    C: AUTH PLAIN ${base64('nothing')}
    S: 501 5.5.2 no NUL
    C: AUTH X-LOOP
    S: 334 ${base64('round 1')}
    ${Array.from({ length: 9 }, (_, i) => `C: ${base64('x')}\n    S: 334 ${base64(`round ${i + 2}`)}`).join('\n    ')}
    C: ${base64('x')}
    S: 501 5.5.2 Too many steps
    C: AUTH PLAIN ${base64('\0ana@example.test\0wrong')}
    S: 535 5.7.8 Error: authentication failed
    C: AUTH PLAIN ${base64('\0ana@example.test\0busy')}
    S: 454 4.7.0 Temporary authentication failure
    C: MAIL FROM:<ana@example.test>
    S: 530 5.7.0 Authentication required
    C: AUTH X-DATA ${base64('ana@example.test')}
    S: 334 ${base64('server proof')}
    C:
    S: 235 2.7.0 Authentication successful
    C: AUTH PLAIN ${ANA}
    S: 503 5.5.1 Error: already authenticated
    C: MAIL FROM:<ana@example.test> AUTH=<>
    S: 250 2.1.0 Ok
    C: QUIT
    S~ ^221
    2C: EHLO client.test
    2S~ ^250
    2C: AUTH PLAIN
    2S: 334 ${''}
    2C: ${ANA}
    2S: 235 2.7.0 Authentication successful
    3C: EHLO client.test
    3S~ ^250
    3C: AUTH PLAIN ${base64('\0ana@example.test\0storm')}
    3S: 421 4.7.0 Error: too many failed log-ins
    3S.
    4C: EHLO client.test
    4S~ ^250
    4C: AUTH X-DATA ${base64('ana@example.test')}
    4S~ ^334
    4C: *
    4S: 501 5.7.0 Authentication aborted
    4C: MAIL FROM:<ana@example.test>
    4S: 530 5.7.0 Authentication required
  `,
  );
  const [failed] = server.logged('smtp.auth.failed');
  assert.deepEqual([failed?.['mechanism'], failed?.['user']], ['PLAIN', 'ana@example.test']);
  await eventually(async () => server.auth.watching === 0, 'watches of accounts end with their sessions');
});

test('AUTH: a line of an exchange that is too long ends it with 500 5.5.6', async (t) => {
  const server = await SmtpTestServer.start(t);
  await using client = await SmtpClient.hello(server.submissionPort);
  await client.commands(['AUTH PLAIN', '334']);
  assert.equal(await client.command('A'.repeat(12_289)), '500 5.5.6 Error: authentication exchange line is too long');
  assert.match(await client.reply(), /^500 5\.5\.2 /);
  await client.ends();
});

test('row 24: control characters and bare line ends in AUTH: 501 5.5.4, nothing of them in the log', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { errors: 100 } });
  await playSmtp(
    server.submissionPort,
    String.raw`
    C: EHLO client.test
    S~ ^250
    C| AUTH PLAIN A\0AA\r\n
    S~ ^501 5\.5\.4
    C| AUTH PLAIN AA\x01A\r\n
    S~ ^501 5\.5\.4
    C: AUTH PLAIN
    S~ ^334
    C| AA\0A\r\n
    S~ ^501 5\.5\.4
    C: AUTH PLAIN
    S~ ^334
    C| AA\rA\r\n
    S~ ^501 5\.5\.4
    C: AUTH PLAIN
    S~ ^334
    C| ${ANA}\n
    S~ ^501 5\.5\.4
    C: AUTH PLAIN ${base64('\0ana\r\nevil\0wrong')}
    S~ ^501 5\.5\.4
    C: AUTH PLAIN ${base64('\0ana\x1b[31m\0wrong')}
    S~ ^501 5\.5\.4
  `,
  );
  assert.deepEqual(server.logged('smtp.auth.failed'), []);
  for (const event of server.events) assert.doesNotMatch(JSON.stringify(Object.values(event)), /\\[rn]|\\u00[01]/);
});

test('row 34: AUTH in clear off loopback: not announced, 504 5.5.4; with TLS it is', async (t) => {
  const certificates = await certificatesFor('mail.example.test');
  const server = await SmtpTestServer.start(t, { certificates, remoteAddress: '192.0.2.1' });
  await using client = await SmtpClient.connect(server.submissionPort);
  await client.reply();
  assert.doesNotMatch(await client.command('EHLO client.test'), /AUTH/);
  await client.commands(
    [`AUTH PLAIN ${ANA}`, '504 5.5.4 '],
    ['AUTH LOGIN', '504 5.5.4 '],
    ['MAIL FROM:<ana@example.test>', '530 5.7.0 '],
    ['STARTTLS', '220 '],
  );
  await client.startTls();
  assert.match(await client.command('EHLO client.test'), /\|250-AUTH PLAIN\|/);
  await client.commands([`AUTH PLAIN ${ANA}`, '235'], ['MAIL FROM:<ana@example.test>', '250']);
  // Without a certificate there is no way at all.
  const bare = await SmtpTestServer.start(t, { remoteAddress: '192.0.2.1' });
  await using other = await SmtpClient.hello(bare.submissionPort);
  await other.commands([`AUTH PLAIN ${ANA}`, '504 5.5.4 '], ['STARTTLS', '502 5.5.1 ']);
  // Nor on the MX, whatever the transport.
  await using mx = await SmtpClient.hello(server.port);
  await mx.commands([`AUTH PLAIN ${ANA}`, '503 5.5.1 '], ['STARTTLS', '220']);
  await mx.startTls();
  await mx.commands(['EHLO client.test', '250'], [`AUTH PLAIN ${ANA}`, '503 5.5.1 ']);
});

test('row 34: where TLS is required, 530 5.7.0 to everything before it, on loopback too', async (t) => {
  const certificates = await certificatesFor('mail.example.test');
  const server = await SmtpTestServer.start(t, { certificates, tlsLevel: 'encrypt' });
  for (const port of [server.port, server.submissionPort]) {
    await using client = await SmtpClient.connect(port);
    await client.reply();
    assert.doesNotMatch(await client.command('EHLO client.test'), /AUTH/);
    for (const command of [`AUTH PLAIN ${ANA}`, 'MAIL FROM:<>', 'RCPT TO:<ana@example.test>', 'DATA', 'BDAT 1', 'VRFY x', 'HELP'])
      assert.equal(await client.command(command), '530 5.7.0 Must issue a STARTTLS command first', command);
    await client.commands(['NOOP', '250'], ['RSET', '250'], ['STARTTLS', '220']);
    await client.startTls();
    await client.commands(['EHLO client.test', '250'], ['VRFY x', '252']);
  }
});

test('row 34: without a log-in submission takes no mail: 530 5.7.0, from mynetworks too', async (t) => {
  const server = await SmtpTestServer.start(t, { trusted: true });
  await using client = await SmtpClient.hello(server.submissionPort);
  await client.commands(
    ['MAIL FROM:<ana@example.test>', '530 5.7.0 Authentication required'],
    ['RCPT TO:<ana@example.test>', '503 5.5.1'],
    ['DATA', '503 5.5.1'],
  );
});

test('row 30: MAIL FROM belongs to the user, aliases included: 553 5.7.1 to others', async (t) => {
  const server = await SmtpTestServer.start(t, {
    limits: { errors: 100 },
    virtualAliases: { 'sales@example.test': 'ana@example.test', 'info2@example.test': 'info@example.test' },
  });
  await using client = await loggedIn(server);
  for (const address of ['ana@example.test', 'ANA@example.test', 'ana+shop@example.test', 'sales@example.test', ''])
    await client.commands([`MAIL FROM:<${address}>`, '250 2.1.0'], ['RSET', '250']);
  for (const address of [
    'info@example.test',
    'info2@example.test',
    'eva@remote.test',
    'nobody@example.test',
    '"ana@example.test"@remote.test',
  ])
    assert.equal(
      await client.command(`MAIL FROM:<${address}>`),
      `553 5.7.1 <${address}>: Sender address rejected: not owned by user ana@example.test`,
    );
});

test('row 30: From belongs to the user, aliases included: 553 5.7.1 to others', async (t) => {
  const server = await SmtpTestServer.start(t, {
    limits: { errors: 100 },
    virtualAliases: { 'sales@example.test': 'ana@example.test' },
  });
  await using client = await loggedIn(server);
  for (const head of [
    'From: Ana <ana@example.test>',
    'From: sales@example.test',
    'From: "Info <info@example.test>" <ana+x@example.test>',
  ])
    assert.match(await client.message('ana@example.test', ['info@example.test'], `${head}\n\nx`), /^250/, head);
  for (const head of [
    'From: info@example.test',
    'From: ana@example.test, info@example.test',
    'From: ana@example.test\nFrom: info@example.test',
    'From: ana@example.test\nSender: info@example.test',
    'Subject: none',
    'From: ana@example.test <info@example.test>',
    'no header\nFrom: ana@example.test',
    `From: ${'ana@example.test, '.repeat(14_000)}ana@example.test`,
  ])
    assert.match(
      await client.message('ana@example.test', ['info@example.test'], `${head}\n\nx`),
      /^553 5\.7\.1 /,
      head.slice(0, 60),
    );
  assert.equal(server.messages.length, 3);
});

test('Message-ID and Date are added where they are missing, Bcc is removed, the user is told to the house', async (t) => {
  const server = await SmtpTestServer.start(t);
  await using client = await loggedIn(server);
  await client.message('ana@example.test', ['info@example.test'], 'From: ana@example.test\nBcc: x@y.test\nTo: z@y.test\n\nx');
  await client.message(
    'ana@example.test',
    ['info@example.test'],
    'Date: then\nMessage-Id: <mine@x>\nFrom: ana@example.test\n\nx',
  );
  const [one, two] = server.messages;
  assert.match(one?.text ?? '', /^Date: \w{3}, \d{1,2} \w{3} \d{4} [\d:]{8} [+-]\d{4}\r$/m);
  assert.match(one?.text ?? '', new RegExp(`^Message-ID: <\\d{14}\\.${one?.id}@mail\\.example\\.test>\\r$`, 'm'));
  assert.doesNotMatch(one?.text ?? '', /bcc/i);
  assert.match(one?.text ?? '', /with ESMTPA id /);
  assert.equal(one?.account, 'ana@example.test');
  assert.equal(two?.text.match(/^(date|message-id):/gim)?.length, 2);
  assert.match(two?.text ?? '', /\r\nDate: then\r\nMessage-Id: <mine@x>\r\n/);
});

test('users may send to outside: 451 4.3.0 until the queue is there; what they send reaches it', async (t) => {
  const none = await SmtpTestServer.start(t);
  await using refused = await loggedIn(none);
  await refused.commands(
    ['MAIL FROM:<ana@example.test>', '250'],
    ['RCPT TO:<u@remote.test>', '451 4.3.0 '],
    ['RCPT TO:<info@example.test>', '250'],
  );
  const queue: OutboundQueue = { available: true, enqueue: async () => undefined };
  const server = await SmtpTestServer.start(t, { queue });
  await using client = await loggedIn(server);
  assert.match(await client.message('ana@example.test', ['u@remote.test'], 'From: ana@example.test\n\nx'), /^250/);
  assert.equal(server.messages[0]?.envelope.recipients[0]?.route.kind, 'relay');
});

test('row 35: a changed password ends sessions that were logged in with the old one', async (t) => {
  const server = await SmtpTestServer.start(t);
  await using client = await loggedIn(server);
  await using busy = await loggedIn(server);
  await busy.envelope('ana@example.test', 'info@example.test');
  server.auth.revoke('ana@example.test');
  assert.match(await client.reply(), /^421 4\.7\.0 /);
  await client.ends();
  // A message that is coming in is finished.
  busy.send('From: ana@example.test\r\n\r\nx\r\n.\r\n');
  assert.match(await busy.reply(), /^250/);
  assert.match(await busy.reply(), /^421 4\.7\.0 /);
  await busy.ends();
});
