// DANE for SMTP (RFC 7672) as the client does it, with a scripted resolver that validates: which certificates count, and when there is no DANE at all.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import { systemResolver } from '../../src/dns/resolver.ts';
import { secureResolver } from '../../src/dns/secure-resolver.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { tlsDefaults, tlsPolicyFinder } from '../../src/queue/tls-policy.ts';
import type { Outcome } from '../../src/queue/types.ts';
import type { StsPolicy } from '../../src/policy/mta-sts/policy.ts';
import { outboundTls } from '../../src/worker/outbound-tls.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { testAgent } from '../support/delivery.ts';
import { DnsServer } from '../support/dns-server.ts';
import { pairFor } from '../support/policy-host.ts';
import { SmtpSink, type SinkOptions } from '../support/smtp-sink.ts';
import { tempFolder } from '../support/temp-folder.ts';

const told = (outcome: Outcome): string =>
  outcome.kind === 'delivered' ? `delivered ${outcome.tls ?? 'clear'}` : `${outcome.kind} ${outcome.status} ${outcome.reason}`;
const hex = (bytes: Buffer, digest = 'sha256'): string => createHash(digest).update(bytes).digest('hex');
const keyOf = (x509: X509Certificate): Buffer => x509.publicKey.export({ type: 'spki', format: 'der' });
const WRONG = '0'.repeat(64);

interface World {
  readonly dns: DnsServer;
  readonly sink: SmtpSink;
  /** What becomes of a mail to x.test. */
  readonly send: (level?: string, policy?: StsPolicy) => Promise<string>;
  /** Domains whose MTA-STS policy was asked for. */
  readonly asked: string[];
  readonly tlsa: (...records: readonly string[]) => void;
}

async function world(t: TestContext, options: SinkOptions = {}): Promise<World> {
  const dns = await new DnsServer().start();
  dns.validating = true;
  const sink = await new SmtpSink({ tls: await pairFor('mx.x.test'), ...options }).start();
  t.after(async () => {
    await sink.stop();
    await dns.stop();
  });
  dns.set('x.test', { records: { mx: [[10, 'mx.x.test']] } });
  dns.set('mx.x.test', { records: { a: ['127.0.0.1'] } });
  const folder = await tempFolder(t);
  const port = Number(dns.address.split(':')[1]);
  const asked: string[] = [];
  return {
    dns,
    sink,
    asked,
    tlsa: (...records) => dns.set(`_${sink.port}._tcp.mx.x.test`, { records: { tlsa: records } }),
    send: async (level = 'dane', policy) => {
      const settings = settingsFromObject({ hostname: 'client.test', smtp_tls_security_level: level }, folder);
      const tlsPolicy = tlsPolicyFinder({ maps: [], defaults: tlsDefaults(settings), logger: silentLogger });
      const policies = { find: async (domain: string) => (asked.push(domain), policy) };
      const dnssec = secureResolver({ address: '127.0.0.1', port, timeout: 600 });
      const agent = testAgent(t, {
        resolver: systemResolver({ servers: [dns.address], timeout: 2_000 }),
        protocols: [4],
        limits: { smtp_connection_cache_time_limit: 0 },
        tlsPolicy: (site, host, signal) =>
          outboundTls({ settings, tlsPolicy }, { policies, dnssec, logger: silentLogger }, { site, host, signal }),
      });
      return told((await agent.deliver({ hop: `smtp:x.test:${sink.port}`, to: [{ address: 'ben@x.test' }] })).outcome);
    },
  };
}

test('DANE-EE: the certificate or key that the records name, whoever signed it and whatever its name is', async (t) => {
  const { send, tlsa, asked } = await world(t, { tls: await pairFor('other.test') });
  const x509 = new X509Certificate((await pairFor('other.test')).cert);
  for (const record of [
    `3 1 1 ${hex(keyOf(x509))}`,
    `3 0 1 ${hex(x509.raw)}`,
    `3 1 2 ${hex(keyOf(x509), 'sha512')}`,
    `3 0 0 ${x509.raw.toString('hex')}`,
  ]) {
    tlsa(`3 1 1 ${WRONG}`, record);
    assert.equal(await send(), 'delivered verified', record.slice(0, 6));
    assert.equal(await send('dane-only'), 'delivered verified');
  }
  for (const record of [`3 1 1 ${WRONG}`, `3 0 1 ${hex(keyOf(x509))}`, `3 1 1 ${hex(x509.raw)}`]) {
    tlsa(record);
    assert.match(
      await send(),
      /^deferred 4\.7\.5 Cannot start TLS with mx\.x\.test\[127\.0\.0\.1\]: the certificate is not that of the TLSA/,
    );
  }
  assert.deepEqual(asked, [], 'DANE comes before MTA-STS');
});

test('DANE-TA: a chain to the authority that the records name, for the host’s name', async (t) => {
  const folder = await tempFolder(t);
  const ca = await pairFor('Authority.test');
  const at = (name: string): string => join(folder, name);
  /** Made by `by`, shown with the authority's certificate. */
  const issue = async (name: string, by = ca): Promise<{ cert: string; key: string }> => {
    await writeFile(at('ca.pem'), by.cert);
    await writeFile(at('ca.key'), by.key);
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const made = ['-keyout', at('key'), '-out', at('cert'), '-CA', at('ca.pem'), '-CAkey', at('ca.key')];
    const extensions = [`subjectAltName=DNS:${name}`, 'basicConstraints=critical,CA:FALSE', 'authorityKeyIdentifier=none'];
    const names = ['-subj', `/CN=${name}`, ...extensions.flatMap((one) => ['-addext', one])];
    await promisify(execFile)('openssl', ['req', '-x509', ...curve, '-days', '5', ...names, ...made]);
    return { cert: `${await readFile(at('cert'), 'utf8')}${ca.cert}`, key: await readFile(at('key'), 'utf8') };
  };
  const authority = new X509Certificate(ca.cert);
  const right = [`2 0 1 ${hex(authority.raw)}`, `2 1 1 ${hex(keyOf(authority))}`];
  const good = await world(t, { tls: await issue('mx.x.test') });
  for (const record of right) {
    good.tlsa(record);
    assert.equal(await good.send(), 'delivered verified');
  }
  good.tlsa(`2 0 1 ${WRONG}`);
  assert.match(await good.send(), /^deferred 4\.7\.5 .*no certificate of the TLSA records vouches/);
  const other = await world(t, { tls: await issue('other.test') });
  other.tlsa(...right);
  assert.match(await other.send(), /^deferred 4\.7\.5 .*certificate is not for mx\.x\.test, x\.test$/);
  // The authority's certificate is shown, and the host's was not made by it: by nobody, or by another of the same name.
  const stranger = await pairFor('mx.x.test');
  const impostor = await issue('mx.x.test', await makeSelfSigned(['Authority.test']));
  for (const tls of [{ cert: `${stranger.cert}${ca.cert}`, key: stranger.key }, impostor]) {
    const forged = await world(t, { tls });
    forged.tlsa(...right);
    assert.match(await forged.send(), /^deferred 4\.7\.5 .*no certificate of the TLSA records vouches/);
  }
});

test('records and no TLS: it waits; records of which none can be used: TLS, whatever the certificate', async (t) => {
  const { send, tlsa, sink } = await world(t, { tls: undefined });
  tlsa(`3 1 1 ${WRONG}`);
  assert.match(await send(), /^deferred 4\.7\.4 TLS is required, but was not offered/);
  tlsa(`1 1 1 ${WRONG}`);
  assert.match(await send(), /^deferred 4\.7\.4 TLS is required/);
  assert.equal(sink.messages.length, 0);
  const other = await world(t);
  for (const record of [`1 1 1 ${WRONG}`, `3 1 9 ${WRONG}`, '3 1 1 abcd']) {
    other.tlsa(record);
    assert.equal(await other.send(), 'delivered encrypted');
    assert.match(await other.send('dane-only'), /^deferred 4\.7\.5 no usable TLSA records for mx\.x\.test$/);
  }
});

test('without proof by DNSSEC there is no DANE: as may, or not at all with dane-only; MTA-STS counts then', async (t) => {
  const { send, tlsa, dns, sink, asked } = await world(t);
  const place = `_${sink.port}._tcp.mx.x.test`;
  tlsa(`3 1 1 ${WRONG}`);
  const records = { mx: [[10, 'mx.x.test']] as const };
  for (const [name, value, reason] of [
    ['x.test', { records, secure: false }, /no DNSSEC for the MX of x\.test/],
    ['mx.x.test', { records: { a: ['127.0.0.1'] }, secure: false }, /no DNSSEC for the addresses of mx\.x\.test/],
    [place, { records: { tlsa: [`3 1 1 ${WRONG}`] }, secure: false }, /no TLSA records for mx\.x\.test/],
    [place, { records: {} }, /no TLSA records for mx\.x\.test/],
  ] as const) {
    dns.set('x.test', { records });
    dns.set('mx.x.test', { records: { a: ['127.0.0.1'] } });
    tlsa(`3 1 1 ${WRONG}`);
    dns.set(name, value);
    assert.equal(await send(), 'delivered encrypted', String(reason));
    assert.match(await send('dane-only'), reason);
  }
  assert.ok(asked.length > 0);
  assert.match(
    await send('dane', { mode: 'enforce', mx: ['mx.x.test'], maxAge: 9 }),
    /^deferred 4\.7\.5 Cannot start TLS .*self-signed/,
  );
  assert.match(
    await send('dane', { mode: 'enforce', mx: ['b.test'], maxAge: 9 }),
    /^deferred 4\.7\.5 MX host mx\.x\.test is not in/,
  );
});

test('row 44: DNS that fails where TLSA is asked for: it waits; an answer over TCP, an alias, forged answers', async (t) => {
  const { send, tlsa, dns, sink } = await world(t);
  const x509 = new X509Certificate((await pairFor('mx.x.test')).cert);
  const tlsaRecords = [`3 1 1 ${hex(keyOf(x509))}`];
  const place = `_${sink.port}._tcp.mx.x.test`;
  for (const fault of ['servfail', 'refused', 'silent', 'garbage', 'forged', 'tcp-silent'] as const) {
    dns.set(place, { fault, records: { tlsa: tlsaRecords } });
    assert.match(await send(), /^deferred 4\.7\.5 TLSA lookup error for mx\.x\.test: TLSA _\d+\._tcp\.mx\.x\.test: /, fault);
  }
  assert.equal(sink.messages.length, 0);
  dns.set(place, { fault: 'truncated', records: { tlsa: tlsaRecords } });
  assert.equal(await send(), 'delivered verified');
  // The records of the name that an alias leads to come first.
  tlsa(`3 1 1 ${WRONG}`);
  dns.set('mx.x.test', { records: { cname: 'real.x.test', a: ['127.0.0.1'] } });
  dns.set(`_${sink.port}._tcp.real.x.test`, { records: { tlsa: tlsaRecords } });
  assert.equal(await send(), 'delivered verified');
});
