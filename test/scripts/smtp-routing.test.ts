// What a session says of mail that leaves the house: relay_domains, transport_maps, suppressed addresses, send limits, DSN and REQUIRETLS.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { RouterOptions } from '../../src/delivery/router.ts';
import { SendCounts } from '../../src/delivery/send-counts.ts';
import { SendLimits, UNLIMITED } from '../../src/delivery/send-limits.ts';
import type { OutboundQueue } from '../../src/delivery/types.ts';
import { MailError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { table } from '../support/routing.ts';
import { playSmtp, SmtpClient } from '../support/smtp-script.ts';
import { certificatesFor, SmtpTestServer, type SmtpTestOptions } from '../support/smtp-server.ts';
import { tempFolder } from '../support/temp-folder.ts';

const queue: OutboundQueue = { available: true, enqueue: async () => undefined };
const ANA = Buffer.from('\0ana@example.test\0secret').toString('base64');
const routes: Partial<RouterOptions> = {
  relayDomains: { has: async (domain) => domain === 'backup.test' },
  relayRecipientMaps: [table({ 'user@backup.test': 'x' })],
  transport: async (address) => {
    if (address === 'info@example.test') return { status: '5.1.6', reason: 'she has moved to far.test' };
    if (address === 'no@far.test') return { status: '5.1.2', reason: 'never there' };
    return /@(example|two|mail\.example)\.test$/.test(address) ? 'here' : 'queue';
  },
  suppressed: async (address) => (address === 'gone@far.test' ? '' : undefined),
};
const start = (t: TestContext, options: SmtpTestOptions = {}): Promise<SmtpTestServer> =>
  SmtpTestServer.start(t, { queue, routes, limits: { errors: 100 }, ...options });

async function loggedIn(server: SmtpTestServer): Promise<SmtpClient> {
  const client = await SmtpClient.hello(server.submissionPort);
  await client.commands([`AUTH PLAIN ${ANA}`, '235 2.7.0'], ['MAIL FROM:<ana@example.test>', '250']);
  return client;
}

test('relay_domains: anybody may write to an address that relay_recipient_maps have; its local part stays as it is', async (t) => {
  const server = await start(t);
  await playSmtp(
    server.port,
    String.raw`
    C: EHLO client.test
    S~ ^250
    C: MAIL FROM:<eva@remote.test>
    S: 250 2.1.0 Ok
    C: RCPT TO:<User@Backup.test>
    S: 250 2.1.5 Ok
    C: RCPT TO:<other@backup.test>
    S: 550 5.1.1 <other@backup.test>: Recipient address rejected: User unknown
    C: RCPT TO:<user@notbackup.test>
    S: 554 5.7.1 <user@notbackup.test>: Relay access denied
    C: DATA
    S~ ^354
    C| Subject: x\r\n\r\nx\r\n.\r\n
    S~ ^250 2\.0\.0
  `,
  );
  const [recipient] = server.messages[0]?.envelope.recipients ?? [];
  assert.deepEqual(recipient?.route, { kind: 'deliver', targets: [{ kind: 'remote', address: 'User@backup.test' }] });
});

test('row 26: with relay_domains, no spelling leads through them to elsewhere', async (t) => {
  const server = await start(t);
  await using client = await SmtpClient.hello(server.port);
  for (const sender of ['', 'ana@example.test', 'user@backup.test', 'eva@remote.test'])
    for (const address of [
      'u@remote.test',
      '"u@remote.test"',
      '"u@remote.test"@backup.test',
      'u%remote.test@backup.test',
      'remote.test!u@backup.test',
      '@backup.test:u@remote.test',
      'u@remote.test@backup.test',
      'u@[192.0.2.1]',
      'user@backup.test.remote.test',
      'user@backup.test.',
    ]) {
      await client.commands(['RSET', '250'], [`MAIL FROM:<${sender}>`, '250']);
      assert.match(await client.command(`RCPT TO:<${address}>`), /^5\d\d 5\./, `${sender}: ${address}`);
    }
  assert.deepEqual(server.messages, []);
});

test('transport_maps with error: 550 with their status and text; to strangers only of our own addresses', async (t) => {
  const server = await start(t);
  await using stranger = await SmtpClient.hello(server.port);
  await stranger.commands(
    ['MAIL FROM:<eva@remote.test>', '250'],
    ['RCPT TO:<info@example.test>', '550 5.1.6 <info@example.test>: Recipient address rejected: she has moved to far.test'],
    ['RCPT TO:<no@far.test>', '554 5.7.1 <no@far.test>: Relay access denied'],
    ['RCPT TO:<gone@far.test>', '554 5.7.1 <gone@far.test>: Relay access denied'],
  );
  await using user = await loggedIn(server);
  await user.commands(
    ['RCPT TO:<no@far.test>', '550 5.1.2 <no@far.test>: Recipient address rejected: never there'],
    ['RCPT TO:<Gone@far.test>', '550 5.7.1 <Gone@far.test>: Recipient address rejected: Address is on the suppression list'],
    ['RCPT TO:<u@far.test>', '250'],
  );
});

test('without a queue, what would go into it is 451 4.3.0, forwards and relay_domains too', async (t) => {
  const server = await SmtpTestServer.start(t, { routes, virtualAliases: { 'list@example.test': 'u@far.test' } });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(
    ['MAIL FROM:<eva@remote.test>', '250'],
    ['RCPT TO:<user@backup.test>', '451 4.3.0'],
    ['RCPT TO:<list@example.test>', '451 4.3.0'],
    ['RCPT TO:<ana@example.test>', '250'],
  );
});

test('row 28: 51 Received fields end a forward: 554 5.4.0', async (t) => {
  const server = await start(t, { virtualAliases: { 'list@example.test': 'u@far.test' } });
  await using client = await SmtpClient.hello(server.port);
  const hops = (n: number): string => `${'Received: by there\n'.repeat(n)}Subject: x\n\nx`;
  assert.match(await client.message('eva@remote.test', ['list@example.test'], hops(51)), /^554 5\.4\.0 /);
  assert.match(await client.message('eva@remote.test', ['list@example.test'], hops(50)), /^250/);
});

async function limited(t: TestContext): Promise<SmtpTestServer> {
  const counts = new SendCounts(join(await tempFolder(t), 'counts.sqlite'), Date.now);
  t.after(() => counts.close());
  const limits = new SendLimits({
    counts,
    limits: { ...UNLIMITED, recipients_per_hour: 3, messages_per_hour: 2 },
    maps: [],
    logger: silentLogger,
  });
  return start(t, { meter: (account) => limits.begin(account) });
}

test('row 30: too high a rate: 450 4.7.1 at RCPT; what is refused does not count, nor do strangers', async (t) => {
  const server = await limited(t);
  await using client = await loggedIn(server);
  for (const name of ['a', 'b', 'c']) await client.commands([`RCPT TO:<${name}@far.test>`, '250']);
  await client.commands(
    ['RCPT TO:<no@far.test>', '550'],
    ['RCPT TO:<a@far.test>', '250'],
    ['RCPT TO:<d@far.test>', '450 4.7.1 <d@far.test>: Sending limit reached (3 recipients an hour), try again later'],
    ['RSET', '250'],
  );
  assert.match(await client.message('ana@example.test', ['a@far.test'], 'From: ana@example.test\n\nx'), /^250/);
  assert.match(await client.message('ana@example.test', ['b@far.test'], 'From: info@example.test\n\nx'), /^553 5\.7\.1/);
  assert.match(await client.message('ana@example.test', ['b@far.test'], 'From: ana@example.test\n\nx'), /^250/);
  await client.commands(
    ['MAIL FROM:<ana@example.test>', '250'],
    ['RCPT TO:<a@far.test>', '450 4.7.1 <a@far.test>: Sending limit reached (2 messages an hour)'],
  );
  await using stranger = await SmtpClient.hello(server.port);
  for (let i = 0; i < 4; i++)
    assert.match(await stranger.message('eva@remote.test', ['ana@example.test'], 'Subject: x\n\nx'), /^250/);
});

test('row 30: two messages at a time that together are too many: 450 4.7.1 to the later one, at its end', async (t) => {
  const server = await limited(t);
  await using one = await loggedIn(server);
  await using two = await loggedIn(server);
  for (const client of [one, two])
    await client.commands(['RCPT TO:<a@far.test>', '250'], ['RCPT TO:<b@far.test>', '250'], ['DATA', '354']);
  one.send('From: ana@example.test\r\n\r\nx\r\n.\r\n');
  assert.match(await one.reply(), /^250/);
  two.send('From: ana@example.test\r\n\r\nx\r\n.\r\n');
  assert.equal(await two.reply(), '450 4.7.1 Sending limit reached (3 recipients an hour), try again later');
  assert.equal(server.messages.length, 1);
});

test('a message that could not be taken is given back to its account', async (t) => {
  let charged = 0;
  const server = await start(t, {
    accept: async () => {
      throw new MailError('disk-full', 'DISK_FULL', 'Insufficient system storage');
    },
    meter: async () => ({
      recipient: async () => undefined,
      charge: async () => {
        charged++;
        return async () => void charged--;
      },
    }),
  });
  await using client = await loggedIn(server);
  await client.commands(['RCPT TO:<a@far.test>', '250'], ['DATA', '354']);
  client.send('From: ana@example.test\r\n\r\nx\r\n.\r\n');
  assert.match(await client.reply(), /^452 4\.3\.1/);
  assert.equal(charged, 0);
});

test('REQUIRETLS is announced and taken over TLS only, and kept with the message (RFC 8689); DSN is announced', async (t) => {
  const server = await start(t, { certificates: await certificatesFor('mail.example.test') });
  await using client = await SmtpClient.connect(server.port);
  await client.reply();
  const clear = await client.command('EHLO client.test');
  assert.match(clear, /\|250-DSN\|/);
  assert.doesNotMatch(clear, /REQUIRETLS/);
  await client.commands(['MAIL FROM:<eva@remote.test> REQUIRETLS', '555 5.5.4'], ['STARTTLS', '220']);
  await client.startTls();
  assert.match(await client.command('EHLO client.test'), /\|250-REQUIRETLS\|/);
  await client.commands(
    ['MAIL FROM:<eva@remote.test> REQUIRETLS', '250'],
    ['RCPT TO:<user@backup.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;user@old.test', '250'],
    ['DATA', '354'],
  );
  client.send('Subject: x\r\n\r\nx\r\n.\r\n');
  assert.match(await client.reply(), /^250/);
  const { envelope } = server.messages[0] ?? {};
  assert.equal(envelope?.requireTls, true);
  assert.deepEqual(envelope?.recipients[0]?.notify, ['SUCCESS', 'FAILURE']);
  assert.equal(envelope?.recipients[0]?.orcpt, 'rfc822;user@old.test');
});
