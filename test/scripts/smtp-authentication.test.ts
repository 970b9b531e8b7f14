// Mail from outside, verified on its way in: what clients are told, and what stands at the head of what is kept.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { AuthenticationAction } from '../../src/config/schema-authentication.ts';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { InboundAuthentication, type AuthenticationActions } from '../../src/policy/inbound.ts';
import { loadMailauth } from '../../src/policy/mailauth-adapter.ts';
import { MessageVerifier } from '../../src/policy/verify.ts';
import { dkimKey } from '../support/dkim.ts';
import { PLAIN, signed } from '../support/signed-message.ts';
import { SmtpClient } from '../support/smtp-script.ts';
import { SmtpTestServer, type SmtpTestOptions } from '../support/smtp-server.ts';
import { spfSuite } from '../support/spf-suite.ts';

const signatures = await loadMailauth();
const key = dkimKey('sender.test', 's1');
const FROM = 'ana@sender.test';
const TO = 'info@example.test';
const RECORDS: Record<string, StaticRecords> = {
  'sender.test': { txt: ['v=spf1 ip4:192.0.2.1 -all exp=why.sender.test'] },
  'why.sender.test': { txt: ['%{c} is not ours'] },
  '_dmarc.sender.test': { txt: ['v=DMARC1; p=reject'] },
  's1._domainkey.sender.test': { txt: [key.record] },
};
const ACTIONS: AuthenticationActions = {
  spf_fail: 'mark',
  dkim_fail: 'accept',
  dmarc_reject: 'reject',
  dmarc_quarantine: 'quarantine',
  dmarc_bad_from: 'quarantine',
};

interface Options extends Omit<SmtpTestOptions, 'authentication'> {
  readonly resolver?: Resolver;
  readonly actions?: Partial<Record<keyof AuthenticationActions, AuthenticationAction>>;
  readonly tempfail?: 'accept' | 'defer';
  readonly timeout?: number;
}

function start(
  t: TestContext,
  { resolver = staticResolver(RECORDS), actions, tempfail = 'accept', timeout = 5_000, ...rest }: Options = {},
): Promise<SmtpTestServer> {
  const verifier = new MessageVerifier({
    resolver,
    signatures,
    hostname: 'mail.example.test',
    timeout,
    clock: systemClock,
    logger: silentLogger,
  });
  const authentication = new InboundAuthentication({
    verifier,
    authservId: 'mail.example.test',
    hostname: 'mail.example.test',
    actionsFor: () => ({ ...ACTIONS, ...actions }),
    tempfail,
    trustedSealers: new Set(),
  });
  return SmtpTestServer.start(t, { remoteAddress: '192.0.2.1', authentication, ...rest });
}
async function send(server: SmtpTestServer, message: string, from = FROM, ...to: string[]): Promise<string> {
  await using client = await SmtpClient.hello(server.port);
  return await client.message(from, to.length > 0 ? to : [TO], message);
}

test('the result stands above Received; what others wrote in our name is gone', async (t) => {
  const server = await start(t);
  const forged = 'Authentication-Results: mail.example.test; dkim=pass header.d=bank.test\r\n';
  const other = 'Authentication-Results: mx.sender.test; auth=pass\r\n';
  assert.match(await send(server, `${forged}${other}${signed(PLAIN, key)}`), /^250 2\.0\.0 /);
  const [head = ''] = server.messages[0]?.text.split('\r\n\r\n') ?? [];
  const b = /b=([A-Za-z0-9+/]{8})[^;]*$/m.exec(signed(PLAIN, key))?.[1] ?? '';
  assert.equal(
    head.slice(0, head.indexOf('Received: ')),
    'Authentication-Results: mail.example.test;\r\n\tspf=pass smtp.mailfrom=sender.test;\r\n' +
      `\tdkim=pass header.d=sender.test header.i=@sender.test\r\n\t  header.s=s1 header.a=rsa-sha256 header.b=${b.includes('/') ? `"${b}"` : b};\r\n` +
      '\tdmarc=pass (p=reject dis=none) header.from=sender.test policy.dmarc=reject\r\n' +
      'Received-SPF: pass (mail.example.test: sender.test designates the client as permitted sender)\r\n\tclient-ip=192.0.2.1;\r\n\tenvelope-from="ana@sender.test";\r\n\thelo=client.test;\r\n\treceiver=mail.example.test;\r\n\tidentity=mailfrom;\r\n\tmechanism="ip4:192.0.2.1"\r\n',
  );
  assert.equal(head.includes('bank.test'), false);
  assert.ok(head.includes('\r\nAuthentication-Results: mx.sender.test; auth=pass\r\nDKIM-Signature: '));
});

test('DMARC p=reject: 550 5.7.1 behind the message, and nothing is kept', async (t) => {
  const server = await start(t, { remoteAddress: '192.0.2.9' });
  assert.equal(await send(server, PLAIN), '550 5.7.1 Message refused: DMARC of sender.test fails, and asks for rejection');
  assert.equal(
    await send(server, PLAIN, 'x@elsewhere.test'),
    '550 5.7.1 Message refused: DMARC of sender.test fails, and asks for rejection',
  );
  assert.match(await send(server, signed(PLAIN, key), 'x@elsewhere.test'), /^250 /);
  assert.equal(server.messages.length, 1);
  assert.match(String(server.logged('smtp.reject')[0]?.['reply']), /^550 5\.7\.1 /);
  assert.deepEqual(
    server.logged('smtp.authentication').map(({ dmarc, action }) => [dmarc, action]),
    [
      ['fail', 'reject'],
      ['fail', 'reject'],
      ['pass', 'accept'],
    ],
  );
});

test('quarantine: the recipients of the accepted message are told to the delivery as junk', async (t) => {
  const server = await start(t, { remoteAddress: '192.0.2.9', actions: { dmarc_reject: 'quarantine' } });
  assert.match(await send(server, PLAIN), /^250 /);
  assert.equal(server.messages[0]?.envelope.recipients[0]?.junk, true);
  assert.match(server.messages[0]?.text ?? '', /dmarc=fail \(p=reject dis=quarantine\)/);
  assert.match(server.messages[0]?.text ?? '', /^X-Authentication-Warning: mail\.example\.test: DMARC of sender\.test fails/m);
});

test('two From fields, or none, are not a way round', async (t) => {
  const server = await start(t, { remoteAddress: '192.0.2.9' });
  const two = PLAIN.replace('From: ', 'From: x@evil.test\r\nFrom: ');
  assert.match(await send(server, two), /^550 5\.7\.1 Message refused: the message has more than one From field$/);
  assert.match(await send(server, 'Subject: x\r\n\r\nx\r\n'), /^250 /);
  assert.equal(server.messages[0]?.envelope.recipients[0]?.junk, true);
});

test('SPF fail refused at RCPT where the setting says so, with the words of its domain', async (t) => {
  const server = await start(t, { remoteAddress: '192.0.2.9', actions: { spf_fail: 'reject' } });
  await using client = await SmtpClient.hello(server.port);
  await client.commands([`MAIL FROM:<${FROM}>`, '250']);
  assert.equal(
    await client.command(`RCPT TO:<${TO}>`),
    `550 5.7.23 <${TO}>: Message refused: SPF of sender.test does not allow 192.0.2.9 to send; sender.test explained: 192.0.2.9 is not ours`,
  );
  await client.commands(['RSET', '250'], ['MAIL FROM:<x@elsewhere.test>', '250'], [`RCPT TO:<${TO}>`, '250']);
});

test('nobody makes us ask DNS with recipients that are not there', async (t) => {
  const asked: string[] = [];
  const base = staticResolver(RECORDS);
  const server = await start(t, { resolver: { ...base, txt: async (name) => (asked.push(name), base.txt(name)) } });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(
    [`MAIL FROM:<${FROM}>`, '250'],
    ['RCPT TO:<nobody@example.test>', '550'],
    ['RCPT TO:<x@other.test>', '554'],
  );
  assert.deepEqual(asked, []);
  await client.commands([`RCPT TO:<${TO}>`, '250'], ['RCPT TO:<ana@example.test>', '250']);
  assert.deepEqual(asked, ['sender.test']);
});

test('mail of mynetworks and of our own users is not verified, and users cannot say that it was', async (t) => {
  const resolver: Resolver = new Proxy(staticResolver(), { get: () => assert.fail('DNS was asked') });
  const trusted = await start(t, { resolver, trusted: true });
  assert.match(await send(trusted, PLAIN), /^250 /);
  assert.match(trusted.messages[0]?.text ?? '', /^Received: /);
  const server = await start(t, { resolver, remoteAddress: '127.0.0.1' });
  await using client = await SmtpClient.hello(server.submissionPort);
  await client.commands([`AUTH PLAIN ${Buffer.from('\0ana@example.test\0secret').toString('base64')}`, '235']);
  const forged = 'Authentication-Results: mail.example.test; dmarc=pass header.from=bank.test\r\n';
  const reply = await client.message('ana@example.test', [TO], forged + PLAIN.replace('ana@sender.test', 'ana@example.test'));
  assert.match(reply, /^250 /);
  assert.match(server.messages[0]?.text ?? '', /^Received: /);
  assert.doesNotMatch(server.messages[0]?.text ?? '', /Authentication-Results/);
});

test('row 44: DNS that does not answer holds a message up for a bounded time, and it is taken as undecided', async (t) => {
  const silent = (): Promise<never> => new Promise(() => undefined);
  const resolver: Resolver = { mx: silent, a: silent, aaaa: silent, txt: silent, ptr: silent, exists: silent };
  const server = await start(t, { resolver, timeout: 200 });
  assert.match(await send(server, signed(PLAIN, key)), /^250 /);
  const [text = ''] = server.messages.map((message) => message.text);
  assert.match(text, /spf=temperror \(DNS: DNS_TIMEOUT for sender\.test\) smtp\.mailfrom=sender\.test;/);
  assert.match(text, /dkim=temperror \(DNS failure: DNS_TIMEOUT\)/);
  assert.match(text, /dmarc=temperror \(DNS: DNS_TIMEOUT\) header\.from=sender\.test/);
  const deferring = await start(t, { resolver, timeout: 200, tempfail: 'defer' });
  assert.equal(await send(deferring, PLAIN), '451 4.4.3 The sender cannot be verified now, since DNS fails, try again later');
});

test('all of the public suite of RFC 7208 through a running server: Received-SPF has the result', async (t) => {
  const cases = await spfSuite();
  let current: Resolver = staticResolver();
  const resolver = new Proxy(current, { get: (_, name): unknown => Reflect.get(current, name) });
  const server = await start(t, {
    resolver,
    remoteAddress: cases.map(({ question }) => question.ip),
    limits: { connectionsPerAddress: 1000 },
  });
  const wrong: string[] = [];
  const refused: string[] = [];
  for (const { scenario, name, question, results, resolver: zone } of cases) {
    current = zone;
    await using client = await SmtpClient.connect(server.port);
    await client.reply();
    const hello = await client.command(`EHLO ${question.helo === '' ? '[192.0.2.1]' : question.helo}`);
    const mail = await client.command(`MAIL FROM:<${question.sender}>`);
    // What is neither an address nor a host's name comes no further.
    if (!hello.startsWith('250') || !mail.startsWith('250')) {
      if (!results.includes('none')) refused.push(`${name}: ${mail.slice(0, 9)}`);
      continue;
    }
    await client.commands([`RCPT TO:<${TO}>`, '250'], ['DATA', '354']);
    client.send('From: x@nobody.test\r\n\r\n.\r\n');
    assert.match(await client.reply(), /^250 /);
    const text = server.messages.at(-1)?.text ?? '';
    const found = /^Received-SPF: ([a-z]+)/m.exec(text)?.[1] ?? '';
    if (!results.includes(found) || !text.includes(`spf=${found}`))
      wrong.push(`${scenario}, ${name}: ${found}, not ${results.join(' or ')}`);
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(refused, ['nolocalpart: 501 5.1.7', 'dorky-sentinel: 501 5.1.7', 'invalid-hello-macro: 503 5.5.1']);
});
