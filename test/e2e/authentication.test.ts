// The program verifies mail from outside, with its own name servers, in workers without any right; and as part of another program.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { parse, stringify } from 'yaml';
import { createMailServer } from '../../src/index.ts';
import { staticResolver } from '../../src/dns/resolver.ts';
import { dkimKey } from '../support/dkim.ts';
import { DnsServer } from '../support/dns-server.ts';
import { eventually, startMailHost, type MailHost } from '../support/mail-host.ts';
import { PLAIN, signed } from '../support/signed-message.ts';
import { SmtpClient } from '../support/smtp-script.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ANA = 'ana@example.test';
const INFO = 'info@example.test';
const key = dkimKey('sender.test', 's1');
const QUARANTINED = PLAIN.replace('sender.test', 'soft.test');

async function nameServer(t: TestContext): Promise<DnsServer> {
  const txt = (text: string) => ({ records: { txt: [text] } });
  const server = await new DnsServer({
    'sender.test': txt('v=spf1 ip4:127.0.0.1 -all'),
    '_dmarc.sender.test': txt('v=DMARC1; p=reject'),
    's1._domainkey.sender.test': txt(key.record),
    'soft.test': txt('v=spf1 -all'),
    '_dmarc.soft.test': txt('v=DMARC1; p=quarantine'),
    'broken.test': { fault: 'servfail' },
    '_dmarc.broken.test': { fault: 'silent' },
  }).start();
  t.after(() => server.stop());
  return server;
}

async function send(port: number, from: string, message: string, ...to: string[]): Promise<string> {
  await using client = await SmtpClient.hello(port);
  return await client.message(from, to, message);
}

const verified = (dns: DnsServer, more: object = {}): Record<string, unknown> => ({
  workers: 2,
  message_authentication: 'verify',
  message_authentication_timeout: '500ms',
  dns: { servers: [dns.address] },
  ...more,
});

async function texts(host: MailHost, address: string, ...folder: string[]): Promise<string[]> {
  const names = await host.names(address, ...folder, 'new');
  return Promise.all(names.map((name) => readFile(join(host.maildir(address), ...folder, 'new', name), 'utf8')));
}

test('signed mail arrives with its result on top, forged mail is refused, quarantine goes into Junk; a reload changes what is done', async (t) => {
  const dns = await nameServer(t);
  await using host = await startMailHost({ settings: verified(dns) });
  const { smtp } = host.ports;
  assert.match(await send(smtp, 'ana@sender.test', signed(PLAIN, key), ANA), /^250 /);
  const [good = ''] = await texts(host, ANA);
  assert.match(
    good,
    /^Return-Path: <ana@sender\.test>\nX-Original-To: ana@example\.test\nDelivered-To: ana@example\.test\nAuthentication-Results: mail\.example\.test;\n\tspf=pass [^]*\n\tdkim=pass [^]*\n\tdmarc=pass [^]*\nReceived-SPF: pass [^]*\nReceived: from /,
  );
  assert.equal(
    await send(smtp, 'x@nowhere.test', PLAIN, ANA),
    '550 5.7.1 Message refused: DMARC of sender.test fails, and asks for rejection',
  );
  assert.match(await send(smtp, 'x@soft.test', QUARANTINED, ANA, INFO), /^250 /);
  for (const address of [ANA, INFO]) {
    const [junk = ''] = await texts(host, address, '.Junk');
    assert.match(junk, /^\tdmarc=fail \(p=quarantine dis=quarantine\) header\.from=soft\.test policy\.dmarc=quarantine$/m);
  }
  assert.deepEqual([(await texts(host, ANA)).length, (await texts(host, INFO)).length], [1, 0]);

  const settings = parse(await readFile(host.settingsFile, 'utf8')) as object;
  const domains = [{ domain: 'example.test', dmarc_quarantine: 'reject' }];
  await writeFile(
    host.settingsFile,
    stringify({ ...settings, authserv_id: 'id.example.test', message_authentication_domains: domains }),
  );
  host.signal('SIGHUP');
  await eventually(async () => (host.output.includes('settings.reloaded') ? true : undefined), 'reloaded');
  await eventually(async () => {
    const reply = await send(smtp, 'x@soft.test', QUARANTINED, ANA);
    return reply === '550 5.7.1 Message refused: DMARC of soft.test fails, and asks for quarantine' ? true : undefined;
  }, 'both workers have the new settings');
  assert.match(await send(smtp, 'ana@sender.test', signed(PLAIN, key), INFO), /^250 /);
  assert.match((await texts(host, INFO))[0] ?? '', /^Authentication-Results: id\.example\.test;$/m);
});

test('row 44: SERVFAIL and silence of a name server: taken as undecided within the time that is set, or put off', async (t) => {
  const dns = await nameServer(t);
  await using host = await startMailHost({ settings: verified(dns, { workers: 0 }) });
  const broken = PLAIN.replace('sender.test', 'broken.test');
  assert.match(await send(host.ports.smtp, 'x@broken.test', broken, ANA), /^250 /);
  const [text = ''] = await texts(host, ANA);
  assert.match(
    text,
    /\tspf=temperror \(DNS: DNS_FAILED for broken\.test\) [^]*\tdmarc=temperror \(DNS: DNS_TIMEOUT\) header\.from=broken\.test\n/,
  );
  await host.stop();
  const settings = parse(await readFile(host.settingsFile, 'utf8')) as object;
  await writeFile(host.settingsFile, stringify({ ...settings, message_authentication_tempfail: 'defer' }));
  await host.start();
  assert.match(await send(host.ports.smtp, 'x@broken.test', broken, ANA), /^451 4\.4\.3 /);
  assert.equal((await texts(host, ANA)).length, 1);
});

test('as part of another program: verified where the program says whom to ask', async (t) => {
  const settings = {
    hostname: 'mail.example.test',
    virtual_mailbox_domains: ['example.test'],
    virtual_mailbox_base: 'vhosts',
    virtual_mailbox_maps: `inline:{ ${ANA}=example.test/ana/ }`,
    data_directory: 'data',
    queue_directory: 'queue',
    mynetworks: [],
    listeners: [{ protocol: 'smtp', address: '127.0.0.1', port: 0 }],
  };
  const resolver = staticResolver({ '_dmarc.sender.test': { txt: ['v=DMARC1; p=reject'] } });
  for (const [expected, more] of [
    [/^250 /, {}],
    [/^550 5\.7\.1 /, { resolver }],
  ] as const) {
    const directory = await tempFolder(t);
    await using server = await createMailServer({ settings, directory, log: false, ...more });
    await server.start();
    assert.match(await send(server.addresses[0]?.port ?? 0, 'x@nowhere.test', PLAIN, ANA), expected);
    if ('resolver' in more) continue;
    const folder = join(directory, 'vhosts/example.test/ana/new');
    const [name = ''] = await readdir(folder);
    assert.doesNotMatch(await readFile(join(folder, name), 'utf8'), /^Authentication-Results/m);
  }
});
