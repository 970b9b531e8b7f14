// Two whole servers and MTA-STS between them (RFC 8461): one.test sends only to the MX that two.test's policy names, and only behind its certificate.
import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { loadSettings } from '../../src/config/settings.ts';
import { ownPolicy } from '../../src/policy/mta-sts/own.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { DnsServer } from '../support/dns-server.ts';
import { eventually, freePorts, MailHost } from '../support/mail-host.ts';
import { policyText } from '../support/policy-host.ts';
import { requireRoot } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const ADDRESS = '127.0.0.5';

/** A server for one.test that trusts `roots`, with a port for its own users. */
async function sender(dns: DnsServer, roots: string): Promise<{ host: MailHost; port: number }> {
  const [port = 0] = await freePorts(1);
  const host = await MailHost.create({
    users: { 'ana@one.test': 'secret' },
    settings: {
      hostname: 'mail.one.test',
      mynetworks: ['127.0.0.1/32'],
      dns: { servers: [dns.address] },
      smtp_tls_CAfile: 'roots.pem',
      smtp_mta_sts_private_addresses: 'yes',
      minimal_backoff_time: '1s',
      listeners: [{ protocol: 'smtp', address: '127.0.0.1', port }],
    },
  });
  await writeFile(join(host.directory, 'roots.pem'), roots);
  return { host, port };
}

/** A server for two.test on port 25, whose certificate is for `names`. With `policies` it serves its own. */
async function receiver(names: readonly string[], policies = false): Promise<{ host: MailHost; cert: string }> {
  const pair = await makeSelfSigned(names);
  const host = await MailHost.create({
    users: { 'ben@two.test': 'secret' },
    settings: {
      hostname: 'mail.two.test',
      smtpd_tls_cert_file: 'mx.pem',
      smtpd_tls_key_file: 'mx.key',
      mta_sts_mode: 'enforce',
      listeners: [
        { protocol: 'smtp', address: ADDRESS, port: 25 },
        ...(policies ? [{ protocol: 'https', address: ADDRESS, port: 443 }] : []),
      ],
    },
  });
  await writeFile(join(host.directory, 'mx.pem'), pair.cert);
  await writeFile(join(host.directory, 'mx.key'), pair.key, { mode: 0o600 });
  return { host, cert: pair.cert };
}

/** The web server with two.test's policy. */
async function web(t: TestContext, policy: () => string): Promise<string> {
  const pair = await makeSelfSigned(['mta-sts.two.test']);
  const server = createServer(pair, (_, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end(policy()));
  await new Promise<void>((resolve) => server.listen(443, ADDRESS, resolve));
  t.after(() => void server.close());
  return pair.cert;
}

const message = (subject: string): string =>
  `From: <ana@one.test>\r\nTo: <ben@two.test>\r\nSubject: ${subject}\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <${subject}@client.test>\r\n\r\nHello.\r\n`;

for (const [certificate, mx, expected] of [
  ['mail.two.test', 'mail.two.test', 'delivered'],
  ['other.two.test', 'mail.two.test', /4\.7\.5[^\n]*Cannot start TLS with mail\.two\.test/],
  ['mail.two.test', 'mx.two.test', /4\.7\.5[^\n]*MX host mail\.two\.test is not in the MTA-STS policy of two\.test/],
] as const)
  test(`MTA-STS between two servers: certificate for ${certificate}, policy for ${mx}`, async (t) => {
    if (!requireRoot(t)) return;
    const dns = await new DnsServer({
      'two.test': { records: { mx: [[10, 'mail.two.test']] } },
      'mail.two.test': { records: { a: [ADDRESS] } },
      'mta-sts.two.test': { records: { a: [ADDRESS] } },
      '_mta-sts.two.test': { records: { txt: ['v=STSv1; id=20261128a;'] } },
    }).start();
    t.after(() => dns.stop());
    let policy = policyText('enforce', [mx]);
    const policyCert = await web(t, () => policy);
    const two = await receiver([certificate]);
    const one = await sender(dns, `${policyCert}${two.cert}`);
    t.after(async () => {
      await one.host[Symbol.asyncDispose]();
      await two.host[Symbol.asyncDispose]();
    });
    await two.host.start();
    await one.host.start();
    await deliverBySmtp(one.port, { from: 'ana@one.test', to: ['ben@two.test'], data: message('strict') });
    const inbox = async (): Promise<string[]> => two.host.inbox('ben@two.test');
    if (expected === 'delivered') {
      await eventually(async () => (await inbox()).length === 1, `it arrives: ${one.host.output.slice(-2000)}`);
      await eventually(async () => /"event":"queue\.delivered"[^\n]*"tls":"verified"/.test(one.host.output), 'it is told so');
      assert.deepEqual(await one.host.dataNames('mta-sts'), ['two.test.json']);
      return;
    }
    await eventually(async () => expected.test(one.host.output), `it waits: ${one.host.output.slice(-2000)}`);
    assert.equal((await inbox()).length, 0);
    // Down and up again, and the web server says something else already: still in force. The domain's own change of mind counts, once its id says so.
    await one.host.stop();
    await one.host.start();
    policy = policyText('none', []);
    await spawnBuzon(one.host, ['queue', 'flush']);
    await eventually(async () => expected.test(one.host.output), 'it waits after a restart too');
    assert.equal((await inbox()).length, 0);
    await one.host.stop();
    dns.set('_mta-sts.two.test', { records: { txt: ['v=STSv1; id=20261128b;'] } });
    await one.host.start();
    await spawnBuzon(one.host, ['queue', 'flush']);
    await eventually(async () => (await inbox()).length === 1, `it arrives: ${one.host.output.slice(-2000)}`, 20_000);
  });

test('a server serves its own policy, and the other one heeds it; a reload changes it with its id', async (t) => {
  if (!requireRoot(t)) return;
  const dns = await new DnsServer({
    'two.test': { records: { mx: [[10, 'mail.two.test']] } },
    'mail.two.test': { records: { a: [ADDRESS] } },
    'mta-sts.two.test': { records: { a: [ADDRESS] } },
  }).start();
  t.after(() => dns.stop());
  const two = await receiver(['mail.two.test', 'mta-sts.two.test'], true);
  const one = await sender(dns, two.cert);
  t.after(async () => {
    await one.host[Symbol.asyncDispose]();
    await two.host[Symbol.asyncDispose]();
  });
  const record = async (): Promise<string> => {
    const id = ownPolicy(await loadSettings(two.host.settingsFile), 'two.test').id;
    dns.set('_mta-sts.two.test', { records: { txt: [`v=STSv1; id=${id};`] } });
    return id;
  };
  const first = await record();
  await two.host.start();
  await one.host.start();
  await deliverBySmtp(one.port, { from: 'ana@one.test', to: ['ben@two.test'], data: message('own') });
  await eventually(
    async () => (await two.host.inbox('ben@two.test')).length === 1,
    `it arrives: ${one.host.output.slice(-2000)}${two.host.output.slice(-2000)}`,
  );
  assert.match(one.host.output, /"event":"mta-sts\.policy"[^\n]*"mode":"enforce","mx":\["mail\.two\.test"\],"maxAge":604800/);
  await eventually(async () => /"event":"queue\.delivered"[^\n]*"tls":"verified"/.test(one.host.output), 'it is told so');
  assert.match(two.host.output, /"event":"http\.request"[^\n]*"host":"mta-sts\.two\.test"[^\n]*"status":200/);

  const text = await readFile(two.host.settingsFile, 'utf8');
  await writeFile(two.host.settingsFile, text.replace('mta_sts_mode: enforce', 'mta_sts_mode: none'));
  two.host.signal('SIGHUP');
  await eventually(async () => two.host.output.includes('server.reloaded'), 'the settings are taken over');
  assert.notEqual(await record(), first);
  await one.host.stop();
  await one.host.start();
  await deliverBySmtp(one.port, { from: 'ana@one.test', to: ['ben@two.test'], data: message('none') });
  await eventually(async () => (await two.host.inbox('ben@two.test')).length === 2, 'it arrives');
  assert.match(one.host.output, /"event":"mta-sts\.policy"[^\n]*"mode":"none"/);
});
