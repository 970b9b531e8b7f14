// Two whole servers with domains of their own find each other by MX records of a scripted name server, on port 25 of two loopback addresses, and pass
// mail on: STARTTLS, DKIM, reports, and what a killed server still has in its queue.
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { dkimRecord } from '../../src/policy/dkim-record.ts';
import { verdicts, type TestKey } from '../support/dkim.ts';
import { DnsServer } from '../support/dns-server.ts';
import { eventually, freePorts, MailHost } from '../support/mail-host.ts';
import { run } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

interface House {
  readonly host: MailHost;
  /** For its own users' programs. */
  readonly port: number;
  readonly user: string;
}

const isRoot = process.getuid?.() === 0;
/** What the house's key is checked with. */
async function keyOf({ host, user }: Pick<House, 'host' | 'user'>): Promise<TestKey> {
  const file = join(host.directory, 'dkim', 'default.private');
  const key = createPrivateKey(await readFile(file));
  return { domain: user.split('@')[1] ?? '', selector: 'default', file, key, record: dkimRecord(key) };
}

/** `user@domain` on `address`, with a key made by the command. */
async function makeHouse(dns: DnsServer, domain: string, user: string, address: string): Promise<House> {
  const [port = 0, imap = 0] = await freePorts(2);
  const host = await MailHost.create({
    users: { [user]: 'secret' },
    settings: {
      hostname: `mail.${domain}`,
      mynetworks: ['127.0.0.1/32'],
      dns: { servers: [dns.address] },
      dkim_keys: [{ domain, selector: 'default', file: 'dkim/default.private' }],
      minimal_backoff_time: '1s',
      listeners: [
        { protocol: 'smtp', address, port: 25 },
        { protocol: 'smtp', address: '127.0.0.1', port },
        { protocol: 'imap', address: '127.0.0.1', port: imap },
      ],
    },
  });
  const folder = join(host.directory, 'dkim');
  await mkdir(folder);
  const made = await spawnBuzon(host, ['dkim', 'keygen', domain, '--bits', '1024', '--out', folder]);
  assert.equal(made.status, 0, made.stderr);
  dns.set(domain, { records: { mx: [[10, `mail.${domain}`]] } });
  dns.set(`mail.${domain}`, { records: { a: [address] } });
  dns.set(`default._domainkey.${domain}`, { records: { txt: [(await keyOf({ host, user })).record] } });
  return { host, port, user };
}

async function houses(t: TestContext): Promise<{ dns: DnsServer; one: House; two: House } | undefined> {
  if (!isRoot) {
    t.skip('binds port 25: only root may');
    return undefined;
  }
  const dns = await new DnsServer().start();
  t.after(() => dns.stop());
  const one = await makeHouse(dns, 'one.test', 'ana@one.test', '127.0.0.2');
  const two = await makeHouse(dns, 'two.test', 'ben@two.test', '127.0.0.3');
  t.after(async () => {
    await one.host[Symbol.asyncDispose]();
    await two.host[Symbol.asyncDispose]();
  });
  return { dns, one, two };
}

const message = (from: string, to: string, subject: string): string =>
  `From: <${from}>\r\nTo: <${to}>\r\nSubject: ${subject}\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <${subject}@client.test>\r\n\r\nHello.\r\n`;

const send = ({ port, user }: House, to: string, subject: string): Promise<string> =>
  deliverBySmtp(port, { from: user, to: [to], data: message(user, to, subject) });

/** The message of that subject, once it is there. */
const arrived = ({ host, user }: House, subject: string): Promise<string> =>
  eventually(
    async () => (await host.inbox(user)).find((text) => text.includes(`Subject: ${subject}\n`)),
    `${subject} is in the mailbox of ${user}: ${host.output.slice(-2000)}`,
    20_000,
  );

const verdict = async (text: string, from: House): Promise<Record<string, string>> =>
  verdicts(Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1'), [await keyOf(from)]);

test('two servers mail each other by MX, STARTTLS and DKIM', async (t) => {
  const both = await houses(t);
  if (!both) return;
  const { dns, one, two } = both;
  await one.host.start();
  await two.host.start();
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    const domain = from.user.split('@')[1] ?? '';
    assert.match(await send(from, to.user, `there-from-${domain}`), /^250 /);
    const text = await arrived(to, `there-from-${domain}`);
    assert.match(text, new RegExp(`^Return-Path: <${from.user}>\n`));
    assert.match(
      text,
      new RegExp(`Received: from mail\\.${domain.replace('.', '\\.')} [^;]*with ESMTPS`),
      'the hop was encrypted',
    );
    assert.deepEqual(await verdict(text, from), { default: 'pass' });
    assert.match(from.host.output, /"event":"queue\.delivered"[^\n]*"tls":"encrypted"/);
  }
  assert.ok(dns.questions.includes('MX two.test') && dns.questions.includes('MX one.test'));
  assert.equal((await mailq(one)).trim(), 'Mail queue is empty');
});

test('row 27: what the other server refuses comes back as a report, and a report that cannot be delivered is nobody’s', async (t) => {
  const both = await houses(t);
  if (!both) return;
  const { one, two } = both;
  await one.host.start();
  await two.host.start();
  await send(one, 'nobody@two.test', 'refused');
  const report = await arrived(one, 'Undelivered Mail Returned to Sender');
  assert.match(report, /^Return-Path: <>\n/);
  assert.match(report, /Content-Type: multipart\/report/);
  assert.match(report, /Final-Recipient: rfc822; ?nobody@two\.test/);
  assert.match(report, /Status: 5\.1\.1/);
  assert.match(report.replace(/\n\s+/g, ' '), /550 5\.1\.1 <nobody@two\.test>: Recipient address rejected: User unknown/);
  // From an address that is none: the report about it cannot go anywhere, and nothing is sent about that.
  await deliverBySmtp(one.port, {
    from: 'gone@two.test',
    to: ['nobody@two.test'],
    data: message('gone@two.test', 'nobody@two.test', 'no-way-back'),
  });
  await eventually(async () => /"event":"queue\.double-bounce"/.test(one.host.output), 'the failing report is logged');
  await eventually(async () => (await mailq(one)).includes('empty'), 'the queue is empty');
  assert.equal((await one.host.inbox(one.user)).length, 1);
  assert.equal((await two.host.inbox(two.user)).length, 0);
});

test('a killed server still has what it took: after the next start, and once the other one is up, it arrives once', async (t) => {
  const both = await houses(t);
  if (!both) return;
  const { one, two } = both;
  await one.host.start();
  for (let n = 0; n < 5; n++) await send(one, two.user, `kept-${n}`);
  await eventually(async () => /Connection refused/.test(await mailq(one)), 'the first try failed');
  await one.host.stop('SIGKILL');
  await two.host.start();
  await one.host.start();
  const flushed = await spawnBuzon(one.host, ['queue', 'flush']);
  assert.equal(flushed.status, 0, flushed.stderr);
  for (let n = 0; n < 5; n++) await arrived(two, `kept-${n}`);
  await eventually(async () => (await mailq(one)).includes('empty'), 'the queue is empty', 20_000);
  assert.equal((await two.host.inbox(two.user)).length, 5);
});

test('sendmail reaches the other server, also when it was called while the server was down', async (t) => {
  const both = await houses(t);
  if (!both) return;
  const { one, two } = both;
  await two.host.start();
  await one.host.start();
  await one.host.stop();
  const sent = await spawnSendmail(one.host, ['-t', '-i', '-f', one.user], message(one.user, two.user, 'by-hand'));
  assert.equal(sent.status, 0, sent.stderr);
  await one.host.start();
  const text = await arrived(two, 'by-hand');
  assert.deepEqual(await verdict(text, one), { default: 'pass' });
});

const mailq = async ({ host }: House): Promise<string> =>
  (await run(process.execPath, [join(import.meta.dirname, '../../src/bin/mailq.ts'), '-C', host.settingsFile], { cwd: '/' }))
    .stdout;

const spawnSendmail = (host: MailHost, args: readonly string[], input: string): ReturnType<typeof run> =>
  run(process.execPath, [join(import.meta.dirname, '../../src/bin/sendmail.ts'), '-C', host.settingsFile, ...args], {
    input,
    cwd: '/',
  });
