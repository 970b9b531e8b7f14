// The test server as a test suite uses it: mail sent by nodemailer, read by imapflow, looked at, refused on demand, thrown away.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ImapFlow } from 'imapflow';
import { createTransport, type SendMailOptions } from 'nodemailer';
import { startTestServer, type TestEndpoint, type TestServer } from '../../src/testing.ts';
import { captureLog } from '../support/log-capture.ts';
import { eventually } from '../support/mail-host.ts';
import { deliverBySmtp, SmtpSender } from '../support/smtp-send.ts';

const ANA = 'ana@example.test';
const LEO = 'leo@example.test';
const USERS = { [ANA]: 'secret', [LEO]: 'pass:wörd ' };
/** Ten times what a start may take, and far more than one does: for a machine that does much else. */
const STALLED_MS = 1_500;

async function send(
  server: TestServer,
  mail: SendMailOptions,
  endpoint: TestEndpoint = server.smtp,
  user?: string,
): Promise<void> {
  const auth = user === undefined ? {} : { auth: { user, pass: server.users[user] ?? '' } };
  const transport = createTransport({ ...endpoint, ...auth, tls: { ca: server.ca } });
  try {
    await transport.sendMail({ from: 'shop@shop.test', to: ANA, subject: 'Welcome', text: 'Hello', ...mail });
  } finally {
    transport.close();
  }
}

/** A mailbox's subjects as a client sees them. */
async function subjects(server: TestServer, user: string): Promise<string[]> {
  const client = new ImapFlow({
    ...server.imaps,
    auth: { user, pass: server.users[user] ?? '' },
    tls: { ca: server.ca },
    logger: false,
  });
  await client.connect();
  try {
    await client.mailboxOpen('INBOX');
    const found: string[] = [];
    for await (const { envelope } of client.fetch('1:*', { envelope: true })) found.push(envelope?.subject ?? '');
    return found;
  } finally {
    client.close();
  }
}

const folderOf = (server: TestServer): string => dirname(server.caFile);

test('a started test server is ready within the stall limit, on ports of its own and with the users it was given', async () => {
  await (await startTestServer()).stop();
  const began = performance.now();
  await using server = await startTestServer({ users: USERS });
  assert.ok(performance.now() - began < STALLED_MS);
  const endpoints = [server.smtp, server.submission, server.submissions, server.imap, server.imaps];
  assert.deepEqual(
    endpoints.map(({ host, secure }) => [host, secure]),
    [false, false, true, false, true].map((secure) => ['127.0.0.1', secure]),
  );
  assert.equal(new Set(endpoints.map(({ port }) => port)).size, 5);
  assert.ok(endpoints.every(({ port }) => port > 1023));
  assert.deepEqual(server.users, USERS);
  assert.deepEqual(server.messages(), []);
});

test('what a program sends is waited for, and seen with envelope, bytes, text, HTML, attachments and headers', async () => {
  await using server = await startTestServer({ users: USERS });
  const waiting = server.waitForMessage({ to: ANA, subject: 'Bienvenida, ñandú' });
  await send(server, {
    from: '"Tienda, S.A." <shop@shop.test>',
    to: `Ana <${ANA}>`,
    cc: LEO,
    subject: 'Bienvenida, ñandú',
    text: 'Hola, ñandú',
    html: '<p>Hola</p>',
    attachments: [{ filename: 'año.bin', content: Buffer.from([0, 1, 2, 255]) }],
    headers: { 'X-Campaign': 'spring' },
  });
  const mail = await waiting;
  assert.deepEqual([mail.envelope.from, mail.envelope.to, mail.envelope.user], ['shop@shop.test', [ANA, LEO], undefined]);
  assert.deepEqual(mail.envelope.recipients, [
    { address: ANA, mailboxes: [ANA], outside: [] },
    { address: LEO, mailboxes: [LEO], outside: [] },
  ]);
  const { parsed } = mail;
  assert.deepEqual(parsed.from, [{ name: 'Tienda, S.A.', address: 'shop@shop.test' }]);
  assert.deepEqual([parsed.text?.trim(), parsed.html?.trim()], ['Hola, ñandú', '<p>Hola</p>']);
  assert.deepEqual(
    parsed.attachments.map(({ filename, content }) => [filename, [...content]]),
    [['año.bin', [0, 1, 2, 255]]],
  );
  assert.deepEqual(parsed.headers.get('x-campaign'), ['spring']);
  assert.match(mail.raw.toString('latin1'), new RegExp(`^Received: from [^]*\\(Buzon\\) with ESMTPS id ${mail.id}`));
  assert.ok(mail.raw.toString('latin1').endsWith(mail.original.toString('latin1')));
  assert.match(mail.original.toString('latin1'), /^X-Campaign: spring\r\n/);
  assert.deepEqual(server.messages(), [mail]);
  assert.deepEqual(await subjects(server, LEO), ['Bienvenida, ñandú']);
});

test('a wait in vain tells what did arrive and what the server refused', async () => {
  await using server = await startTestServer({ users: USERS });
  await send(server, { subject: 'Something else' });
  await assert.rejects(send(server, { to: 'anna@example.test' }), /550 5\.1\.1/);
  await assert.rejects(server.waitForMessage({ subject: 'Welcome' }, { timeout: 50 }), (error: Error) => {
    assert.match(error.message, /^waited 50 ms in vain for a message: subject "Welcome"\n1 message arrived:\n/);
    assert.match(error.message, /1\. .* from <shop@shop\.test> to <ana@example\.test>, subject "Something else"\n/);
    assert.match(error.message, /the server refused:\n {2}1\. RCPT from <shop@shop\.test> to <anna@example\.test>: 550 5\.1\.1 /);
    return true;
  });
});

test('users log in with STARTTLS and TLS, whatever stands in their passwords; others do not', async () => {
  await using server = await startTestServer({
    users: { ...USERS, '..@example.test': 'dots', "o'hara/x@example.test": 'slash' },
  });
  for (const user of Object.keys(server.users))
    for (const endpoint of [server.submission, server.submissions]) {
      await send(server, { from: user, to: 'open@remote.test', bcc: 'secret@remote.test' }, endpoint, user);
      const mail = await server.waitForMessage({ user, to: 'secret@remote.test' });
      assert.equal(mail.envelope.from, user);
      assert.deepEqual(mail.parsed.to, [{ name: '', address: 'open@remote.test' }]);
      assert.deepEqual(await subjects(server, user), []);
      assert.match(mail.raw.toString('latin1'), /with ESMTPSA id/);
      await server.reset();
    }
  const wrong = createTransport({ ...server.submission, auth: { user: ANA, pass: 'wrong' }, tls: { ca: server.ca } });
  await assert.rejects(wrong.verify(), /535 5\.7\.8/);
});

test('mail to outside is caught and goes nowhere, for loopback and for users who have logged in', async () => {
  await using server = await startTestServer({ users: USERS, aliases: { 'sales@shop.test': [LEO, 'boss@remote.test'] } });
  await send(server, { to: 'someone@elsewhere.test' });
  await send(server, { from: ANA, to: 'other@elsewhere.test' }, server.submission, ANA);
  await send(server, { to: 'sales@shop.test' });
  assert.deepEqual(
    server.messages().map(({ envelope }) => envelope.recipients),
    [
      [{ address: 'someone@elsewhere.test', mailboxes: [], outside: ['someone@elsewhere.test'] }],
      [{ address: 'other@elsewhere.test', mailboxes: [], outside: ['other@elsewhere.test'] }],
      [{ address: 'sales@shop.test', mailboxes: [LEO], outside: ['boss@remote.test'] }],
    ],
  );
});

test('without mynetworks a test server relays for nobody who has not logged in', async () => {
  await using server = await startTestServer({ users: USERS, mynetworks: [] });
  await assert.rejects(send(server, { to: 'someone@elsewhere.test' }), /554 5\.7\.1/);
  await send(server, { from: ANA, to: 'someone@elsewhere.test' }, server.submissions, ANA);
  assert.equal(server.messages().length, 1);
});

test('an address of a domain of its own that nobody has is refused, with domains as with users', async () => {
  await using server = await startTestServer({ domains: ['empty.test'] });
  await assert.rejects(send(server, { to: 'anybody@empty.test' }), /550 5\.1\.1/);
  await send(server, { to: 'anybody@other.test' });
});

test('failNext at connect: the next greeting is the refusal, the one after is not', async () => {
  await using server = await startTestServer({ users: USERS });
  server.failNext({ stage: 'connect', code: 421 });
  await assert.rejects(SmtpSender.connect(server.smtp.port), /got 421 4\.3\.2 Refused for a test, try again later/);
  await (await SmtpSender.connect(server.smtp.port)).quit();
});

test('failNext at auth: the next log-in is refused though its password is right', async () => {
  await using server = await startTestServer({ users: USERS });
  server.failNext({ stage: 'auth', code: 454, text: 'Later' });
  const sender = await SmtpSender.connect(server.submission.port);
  const plain = Buffer.from(`\0${ANA}\0secret`).toString('base64');
  assert.equal(await sender.command(`AUTH PLAIN ${plain}`, '454'), '454 4.7.0 Later\r\n');
  await sender.command(`AUTH PLAIN ${plain}`, '235');
  await sender.quit();
});

test('failNext at mail, rcpt and data: each refuses once, and the message then goes through', async () => {
  await using server = await startTestServer({ users: USERS });
  server.failNext({ stage: 'data', code: 452 });
  server.failNext({ stage: 'rcpt', code: 450, enhanced: '4.7.1', text: 'Greylisted' });
  server.failNext({ stage: 'mail', code: 553 });
  const sender = await SmtpSender.connect(server.smtp.port);
  assert.match(await sender.command('MAIL FROM:<a@shop.test>', '553'), /^553 5\.1\.8 /);
  await sender.command('MAIL FROM:<a@shop.test>', '250');
  assert.equal(await sender.command(`RCPT TO:<${ANA}>`, '450'), '450 4.7.1 Greylisted\r\n');
  await sender.command(`RCPT TO:<${ANA}>`, '250');
  await sender.command('DATA', '354');
  assert.match(await sender.command('Subject: refused\r\n\r\n.', '452'), /^452 4\.3\.1 /);
  assert.deepEqual(server.messages(), []);
  await sender.send({ from: 'a@shop.test', to: [ANA], data: 'Subject: taken\r\n\r\n' });
  await sender.quit();
  assert.deepEqual(
    server.messages().map(({ parsed }) => parsed.subject),
    ['taken'],
  );
  assert.deepEqual(await subjects(server, ANA), ['taken']);
});

test('failNext refuses what no server could answer', async () => {
  await using server = await startTestServer();
  assert.throws(() => server.failNext({ stage: 'data', code: 250 }), RangeError);
});

test('reset: messages, failures, mailboxes and subscriptions are gone, and an open IMAP session sees it', async () => {
  await using server = await startTestServer({ users: USERS });
  await send(server, { to: [ANA, LEO], subject: 'before' });
  const client = new ImapFlow({ ...server.imaps, auth: { user: ANA, pass: 'secret' }, tls: { ca: server.ca }, logger: false });
  await client.connect();
  try {
    await client.mailboxCreate('Archive.2030');
    await client.mailboxSubscribe('Archive.2030');
    const opened = await client.mailboxOpen('INBOX');
    assert.equal(opened.exists, 1);
    let expunged = false;
    client.once('expunge', () => (expunged = true));
    server.failNext({ stage: 'rcpt', code: 550 });
    await server.reset();
    await client.noop();
    await eventually(async () => expunged, 'the client hears of the expunge');
    assert.deepEqual(
      (await client.list()).map(({ path }) => path),
      ['INBOX'],
    );
    assert.deepEqual(server.messages(), []);
    await send(server, { to: [ANA, LEO], subject: 'after' });
    for (const user of [ANA, LEO]) assert.deepEqual(await subjects(server, user), ['after']);
    const files = await readdir(join(folderOf(server), 'vhosts', 'example.test', 'ana', 'new'));
    const seen = await readdir(join(folderOf(server), 'vhosts', 'example.test', 'ana', 'cur'));
    assert.equal(files.length + seen.length, 1);
  } finally {
    client.close();
  }
});

test('stop removes the folder, frees the ports and keeps what was seen; a second stop is nothing new', async () => {
  const server = await startTestServer({ users: USERS });
  await send(server, { subject: 'kept' });
  const waiting = server.waitForMessage({ subject: 'never' }, { timeout: 60_000 });
  assert.ok(existsSync(folderOf(server)));
  await Promise.all([server.stop(), assert.rejects(waiting, /the test server was stopped/)]);
  await server.stop();
  assert.ok(!existsSync(folderOf(server)));
  await assert.rejects(deliverBySmtp(server.smtp.port, { from: 'a@shop.test', to: [ANA], data: 'x' }));
  assert.equal((await server.waitForMessage({ subject: 'kept' })).parsed.subject, 'kept');
  await assert.rejects(server.waitForMessage({ subject: 'later' }), /the test server was stopped/);
});

test('await using stops the server at the end of its block, also when the block fails', async () => {
  let seen: TestServer | undefined;
  await assert.rejects(
    (async () => {
      await using server = await startTestServer();
      seen = server;
      throw new Error('the test fails');
    })(),
    /the test fails/,
  );
  assert.ok(seen && !existsSync(folderOf(seen)));
});

test('two servers in one process know nothing of each other', async () => {
  await using one = await startTestServer({ users: { [ANA]: 'one' } });
  await using other = await startTestServer({ users: { [ANA]: 'other' } });
  one.failNext({ stage: 'rcpt', code: 550 });
  await send(other, { subject: 'for the other' });
  await assert.rejects(send(one, {}), /550 5\.1\.1 Refused for a test/);
  await send(one, { subject: 'for the one' });
  await one.reset();
  assert.deepEqual([await subjects(one, ANA), await subjects(other, ANA)], [[], ['for the other']]);
  await one.stop();
  await send(other, { from: ANA, subject: 'still here' }, other.submission, ANA);
  assert.equal(other.messages().length, 2);
});

test('ten servers in one process start, take mail and stop at once', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const servers = await Promise.all(Array.from({ length: 10 }, () => startTestServer({ users: USERS })));
  try {
    await Promise.all(servers.map((server, i) => send(server, { subject: `number ${i}` })));
    assert.deepEqual(
      servers.map((server) => server.messages().map(({ parsed }) => parsed.subject)),
      servers.map((_, i) => [`number ${i}`]),
    );
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    process.off('warning', onWarning);
  }
  assert.deepEqual(warnings, []);
});

test('the injected clock is the one of Received, of an added Date and of receivedAt', async () => {
  let now = Date.UTC(2031, 4, 6, 7, 8, 9);
  await using server = await startTestServer({ users: USERS, clock: { now: () => now } });
  const sender = await SmtpSender.connect(server.submission.port);
  await sender.command(`AUTH PLAIN ${Buffer.from(`\0${ANA}\0secret`).toString('base64')}`, '235');
  await sender.send({ from: ANA, to: [LEO], data: `From: ${ANA}\r\nSubject: undated\r\n\r\n` });
  now += 60_000;
  await sender.send({ from: ANA, to: [LEO], data: `From: ${ANA}\r\nSubject: later\r\n\r\n` });
  await sender.quit();
  const [first, second] = server.messages();
  assert.equal(first?.receivedAt.toISOString(), '2031-05-06T07:08:09.000Z');
  assert.equal(first.parsed.date?.toISOString(), '2031-05-06T07:08:09.000Z');
  assert.match(first.parsed.headers.get('received')?.[0] ?? '', /; Tue, 0?6 May 2031 \d\d:08:09 /);
  assert.equal(second?.parsed.date?.toISOString(), '2031-05-06T07:09:09.000Z');
  assert.deepEqual(await subjects(server, LEO), ['undated', 'later']);
});

test('the injected DNS answers for the names of clients, which must lead back', async () => {
  const received = async (dns: Parameters<typeof startTestServer>[0]): Promise<string> => {
    await using server = await startTestServer({ users: USERS, ...dns });
    await send(server, {});
    return (await server.waitForMessage()).parsed.headers.get('received')?.[0] ?? '';
  };
  const named = { '127.0.0.1': { ptr: ['app.example.test.'] }, 'app.example.test': { a: ['127.0.0.1'] } };
  assert.match(await received({ dns: named }), /\(app\.example\.test \[127\.0\.0\.1\]\)/);
  assert.match(await received({ dns: { '127.0.0.1': { ptr: ['app.example.test'] } } }), /\(unknown \[127\.0\.0\.1\]\)/);
  assert.match(await received({ dns: { '127.0.0.1': { fails: true } } }), /\(unknown \[127\.0\.0\.1\]\)/);
  assert.match(await received({}), /\(unknown \[127\.0\.0\.1\]\)/);
});

test('settings are those of buzon.yaml; the log is silent unless it is asked for', async () => {
  const { events, logger } = captureLog();
  await using server = await startTestServer({
    users: USERS,
    settings: { hostname: 'mx.shop.test', message_size_limit: '1k', smtpd_tls_security_level: 'none' },
    log: (level, event, fields) => logger.log(level, event, fields),
  });
  assert.equal(server.hostname, 'mx.shop.test');
  await assert.rejects(send(server, { text: 'x'.repeat(2_000) }), /552 5\.3\.4/);
  await send(server, {});
  assert.match((await server.waitForMessage()).raw.toString(), /by mx\.shop\.test \(Buzon\) with ESMTP id/);
  assert.ok(events.some(({ event }) => event === 'delivery.stored'));
});

test('options that cannot be are refused by name, and leave nothing behind', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'buzon-test-'));
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = scratch;
  try {
    const refused = (options: unknown, error: RegExp): Promise<void> =>
      assert.rejects(startTestServer(options as Parameters<typeof startTestServer>[0]), error);
    await refused({ users: { ana: 'secret' } }, /"ana" is not an address that a user can have/);
    await refused({ users: { [ANA]: '' } }, /ana@example\.test needs a password/);
    await refused({ aliases: { 'x@example.test': [] } }, /the alias "x@example\.test" is not of the form/);
    await refused({ settings: { listeners: [] } }, /the test server sets listeners itself/);
    await refused({ settings: { mesage_size_limit: 1 } }, /^MailError: mesage_size_limit: .* did you mean message_size_limit\?$/);
    assert.deepEqual(await readdir(scratch), []);
  } finally {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    await rm(scratch, { recursive: true });
  }
});
