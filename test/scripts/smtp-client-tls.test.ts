// TLS towards other servers: levels, certificates, servers that do it badly, AUTH, REQUIRETLS.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { staticResolver } from '../../src/dns/resolver.ts';
import type { ClientOptions, TlsLevel, TlsPolicy } from '../../src/queue/client/options.ts';
import type { Outcome } from '../../src/queue/types.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { MESSAGE, testAgent, type TestAgent } from '../support/delivery.ts';
import { SmtpSink, type SinkOptions } from '../support/smtp-sink.ts';

const pairs = new Map<string, Promise<{ cert: string; key: string }>>();
const pairFor = (name: string): Promise<{ cert: string; key: string }> => {
  const pair = pairs.get(name) ?? makeSelfSigned([name]);
  pairs.set(name, pair);
  return pair;
};
const resolver = staticResolver({
  'x.test': { mx: ['mx.x.test'] },
  'mx.x.test': { a: ['127.0.0.1'] },
});
async function sinkFor(t: TestContext, options: SinkOptions, name = 'mx.x.test'): Promise<{ sink: SmtpSink; hop: string }> {
  const sink = await new SmtpSink({ tls: await pairFor(name), ...options }).start();
  t.after(() => sink.stop());
  return { sink, hop: `smtp:x.test:${sink.port}` };
}
type AgentOptions = Partial<Omit<ClientOptions, 'roots'>> & { readonly roots?: string };
const agentFor = (t: TestContext, level: TlsLevel, { roots, ...options }: AgentOptions = {}): TestAgent =>
  testAgent(t, {
    resolver,
    tlsPolicy: () => ({ level }),
    ...(roots === undefined ? {} : { roots: async () => roots }),
    ...options,
    limits: { smtp_starttls_timeout: 300, smtp_helo_timeout: 1_000 },
  });
const to = [{ address: 'ben@x.test' }];
const told = (outcome: Outcome): string =>
  outcome.kind === 'delivered' ? `delivered ${outcome.tls ?? 'clear'}` : `${outcome.kind} ${outcome.status} ${outcome.reason}`;

test('levels against a server with a certificate that nobody knows, one that is good, one for another name', async (t) => {
  const good = (await pairFor('mx.x.test')).cert;
  const other = (await pairFor('other.test')).cert;
  const domain = (await pairFor('x.test')).cert;
  const cases: readonly (readonly [TlsLevel, name: string, roots: string | undefined, expected: RegExp])[] = [
    ['none', 'mx.x.test', good, /^delivered clear$/],
    ['may', 'mx.x.test', undefined, /^delivered encrypted$/],
    ['may', 'mx.x.test', good, /^delivered verified$/],
    ['may', 'other.test', other, /^delivered encrypted$/],
    ['encrypt', 'mx.x.test', undefined, /^delivered encrypted$/],
    ['verify', 'mx.x.test', good, /^delivered verified$/],
    ['verify', 'mx.x.test', undefined, /^deferred 4\.7\.5 Cannot start TLS with mx\.x\.test\[127\.0\.0\.1\]: .*self-signed/],
    ['verify', 'other.test', other, /^deferred 4\.7\.5 .*(altnames|Hostname)/],
    ['secure', 'mx.x.test', good, /^delivered verified$/],
    ['secure', 'x.test', domain, /^delivered verified$/],
    ['secure', 'other.test', other, /^deferred 4\.7\.5 .*certificate is not for x\.test, \.x\.test$/],
  ];
  for (const [level, name, roots, expected] of cases) {
    const { sink, hop } = await sinkFor(t, {}, name);
    const { outcome, site } = await agentFor(t, level, roots === undefined ? {} : { roots }).deliver({ hop, to });
    assert.match(told(outcome), expected, `${level} ${name}`);
    assert.equal(site, outcome.kind === 'delivered' ? 'up' : 'down');
    assert.equal(sink.messages[0]?.secure, outcome.kind === 'delivered' ? level !== 'none' : undefined);
    if (outcome.kind === 'delivered' && level !== 'none')
      assert.deepEqual(sink.verbs.slice(0, 3), ['EHLO', 'STARTTLS', 'EHLO'], 'asked again behind the handshake');
  }
});

test('fingerprints of a certificate or a key count whoever signed it; others do not, and no password goes there', async (t) => {
  const { cert } = await pairFor('other.test');
  const x509 = new X509Certificate(cert);
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  const key = sha256(x509.publicKey.export({ type: 'spki', format: 'der' }));
  for (const [fingerprint, expected] of [
    [sha256(x509.raw), /^delivered verified$/],
    [key, /^delivered verified$/],
    ['0'.repeat(64), new RegExp(`^deferred 4\\.7\\.5 Cannot start TLS with .*fingerprints that are wanted.*${key}$`)],
  ] as const) {
    const { sink, hop } = await sinkFor(t, { extensions: ['AUTH PLAIN'] }, 'other.test');
    const agent = agentFor(t, 'may', {
      tlsPolicy: () => ({ level: 'fingerprint', fingerprints: [fingerprint] }),
      credentials: () => ({ user: 'ana', password: 'secret' }),
    });
    assert.match(told((await agent.deliver({ hop, to })).outcome), expected);
    assert.equal(sink.verbs.includes('AUTH'), expected.source.includes('delivered'));
  }
});

test('names to match, protocols, and a policy that forbids a host', async (t) => {
  const roots = (await pairFor('other.test')).cert;
  const cases: readonly (readonly [TlsPolicy, RegExp])[] = [
    [{ level: 'verify', names: ['hostname'] }, /^deferred 4\.7\.5 .*certificate is not for mx\.x\.test$/],
    [{ level: 'verify', names: ['hostname', 'other.test'] }, /^delivered verified$/],
    [{ level: 'secure', names: ['nexthop', 'dot-nexthop'] }, /certificate is not for x\.test, \.x\.test$/],
    [{ level: 'secure', names: ['.test'] }, /^delivered verified$/],
    [{ level: 'encrypt', minVersion: 'TLSv1.3' }, /^deferred 4\.7\.5 .*(version|protocol)/i],
    [{ level: 'encrypt', maxVersion: 'TLSv1.2', ciphers: 'HIGH:!aNULL:!eNULL' }, /^delivered encrypted$/],
    [{ level: 'refused', status: '4.7.5', reason: 'not here' }, /^deferred 4\.7\.5 not here$/],
  ];
  for (const [policy, expected] of cases) {
    const { sink, hop } = await sinkFor(t, { tlsVersion: 'TLSv1.2' }, 'other.test');
    const agent = agentFor(t, 'may', { roots, tlsPolicy: () => policy });
    assert.match(told((await agent.deliver({ hop, to })).outcome), expected, JSON.stringify(policy));
    if (policy.level === 'refused') assert.equal(sink.connections, 0);
  }
});

test('a server that does STARTTLS badly: in clear where that may be, put off where it may not', async (t) => {
  const faults: Readonly<Record<string, SinkOptions>> = {
    absent: { tls: undefined },
    refused: { starttls: () => '454 4.7.0 TLS not available' },
    nonsense: { starttls: () => 'what?' },
    garbage: { starttls: () => ({ raw: '220 go\r\n', reply: undefined }) },
    dropped: { starttls: (_, { connection }) => (connection === 1 ? { drop: 'end' } : undefined) },
    hanging: { starttls: () => ({ hang: true }) },
    reset: { starttls: () => ({ raw: '220 go ahead\r\nnot TLS at all', drop: 'end' }) },
  };
  for (const [fault, options] of Object.entries(faults)) {
    const clear = await sinkFor(t, fault === 'garbage' ? { ...options, tls: { cert: '', key: '' } } : options);
    const { outcome } = await agentFor(t, 'may').deliver({ hop: clear.hop, to });
    assert.equal(told(outcome), 'delivered clear', fault);
    assert.equal(clear.sink.messages.length, 1);
    const strict = await sinkFor(t, fault === 'garbage' ? { ...options, tls: { cert: '', key: '' } } : options);
    const kept = (await agentFor(t, 'encrypt').deliver({ hop: strict.hop, to })).outcome;
    const expected: Readonly<Record<string, RegExp>> = {
      absent: /^deferred 4\.7\.4 TLS is required, but was not offered by host mx\.x\.test\[127\.0\.0\.1\]$/,
      refused:
        /^deferred 4\.7\.5 TLS is required, but host mx\.x\.test\[127\.0\.0\.1\] refused to start TLS: 454 4\.7\.0 TLS not available$/,
    };
    assert.match(told(kept), expected[fault] ?? /^deferred 4\.(7\.5|4\.2|5\.0) /, fault);
    assert.equal(strict.sink.messages.length, 0, fault);
  }
});

test('row 18: what a server (or somebody before it) sends in clear behind its reply to STARTTLS counts for nothing', async (t) => {
  const injected = '220 2.0.0 Ready\r\n250-mx.x.test\r\n250-EVIL\r\n250 SIZE 10\r\n250 2.1.0 Ok\r\n';
  // In one packet with the reply: thrown away, and the session goes on encrypted as if it had never come.
  const { sink, hop } = await sinkFor(t, { starttls: () => ({ raw: injected }) });
  const { outcome } = await agentFor(t, 'encrypt').deliver({ hop, to });
  assert.equal(told(outcome), 'delivered encrypted');
  assert.equal(sink.messages[0]?.secure, true);
  assert.equal(sink.messages[0]?.mail, `MAIL FROM:<ana@example.com> SIZE=${MESSAGE.length}`, 'SIZE 10 was not believed');
  // Before the reply: taken for it, and then nothing fits any more.
  const early = await sinkFor(t, { ehlo: () => ({ raw: '250-mx.x.test\r\n250 STARTTLS\r\n250 injected\r\n' }) });
  const late = (await agentFor(t, 'encrypt').deliver({ hop: early.hop, to })).outcome;
  assert.equal(late.kind, 'deferred');
  assert.equal(early.sink.messages.length, 0);
});

test('AUTH at a relay: over TLS only, wrong passwords wait, no fall-back to clear', async (t) => {
  const credentials = () => ({ user: 'ana', password: 'secret' });
  const extensions = ['AUTH PLAIN LOGIN', 'PIPELINING'];
  const { sink, hop } = await sinkFor(t, { extensions });
  assert.equal(told((await agentFor(t, 'may', { credentials }).deliver({ hop, to })).outcome), 'delivered encrypted');
  assert.ok(sink.commands.includes(`1: AUTH PLAIN ${Buffer.from('\0ana\0secret').toString('base64')}`));
  const wrong = await sinkFor(t, { extensions, auth: () => '535 5.7.8 Authentication failed' });
  const refused = agentFor(t, 'may', { credentials });
  assert.match(
    told((await refused.deliver({ hop: wrong.hop, to })).outcome),
    /^deferred 4\.7\.8 SASL authentication failed; server mx\.x\.test\[127\.0\.0\.1\] said: 535 5\.7\.8 Authentication failed$/,
  );
  assert.doesNotMatch(JSON.stringify(refused.events), /secret|c2VjcmV0/);
  for (const options of [
    { tls: undefined },
    { starttls: () => '454 4.7.0 no' },
    { starttls: () => ({ raw: '220 go\r\nnonsense', drop: 'end' as const }) },
  ]) {
    const clear = await sinkFor(t, { extensions, ...options });
    const { outcome } = await agentFor(t, 'may', { credentials }).deliver({ hop: clear.hop, to });
    assert.match(told(outcome), /^deferred 4\.7\.[05] /);
    assert.ok(!clear.sink.verbs.includes('AUTH'));
  }
  const allowed = await sinkFor(t, { extensions, tls: undefined });
  const open = agentFor(t, 'may', { credentials, authInClear: true });
  assert.equal(told((await open.deliver({ hop: allowed.hop, to })).outcome), 'delivered clear');
});

test('RFC 8689 REQUIRETLS: verified and offered, or returned', async (t) => {
  const roots = (await pairFor('mx.x.test')).cert;
  const extensions = ['PIPELINING', 'REQUIRETLS'];
  const envelope = { requireTls: true };
  const good = await sinkFor(t, { extensions });
  assert.equal(
    told((await agentFor(t, 'may', { roots }).deliver({ hop: good.hop, to, envelope })).outcome),
    'delivered verified',
  );
  assert.match(good.sink.messages[0]?.mail ?? '', / REQUIRETLS$/);
  for (const [options, more] of [
    [{ extensions: ['PIPELINING'] }, { roots }],
    [{ extensions }, {}],
    [{ extensions, tls: undefined }, { roots }],
  ] as const) {
    const { sink, hop } = await sinkFor(t, options);
    const { outcome } = await agentFor(t, 'may', more).deliver({ hop, to, envelope });
    assert.match(told(outcome), /^failed 5\.7\.30 REQUIRETLS support/);
    assert.equal(sink.messages.length, 0);
  }
});
