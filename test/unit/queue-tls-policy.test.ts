// smtp_tls_policy_maps: what entries say, which entry is a next hop's, and what becomes of entries that say nothing sensible.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkSettings } from '../../src/cli/check/settings.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { parseNextHop } from '../../src/queue/next-hop.ts';
import { parseTlsPolicy, tlsDefaults, tlsPolicyFinder } from '../../src/queue/tls-policy.ts';
import type { InetHop } from '../../src/queue/types.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

const DIGEST = 'ab'.repeat(32);
const defaults = tlsDefaults(settingsFromObject({ hostname: 'mail.example.com' }, '/'));

test('levels and attributes', () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['none', { level: 'none' }],
    ['MAY', { level: 'may' }],
    ['encrypt', { level: 'encrypt' }],
    ['dane', { level: 'dane' }],
    ['dane-only protocols=TLSv1.3', { level: 'dane-only', minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }],
    ['verify', { level: 'verify', names: ['hostname'] }],
    ['secure', { level: 'secure', names: ['nexthop', 'dot-nexthop'] }],
    ['secure match=MX.example.net:.example.org', { level: 'secure', names: ['mx.example.net', '.example.org'] }],
    ['secure, match=a.test match=b.test', { level: 'secure', names: ['a.test', 'b.test'] }],
    [
      `fingerprint match=${DIGEST.toUpperCase().match(/../g)?.join(':')}|${DIGEST}`,
      { level: 'fingerprint', fingerprints: [DIGEST, DIGEST], digest: 'sha256' },
    ],
    ['encrypt protocols=TLSv1.3', { level: 'encrypt', minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }],
    ['encrypt protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1', { level: 'encrypt', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' }],
    ['encrypt protocols=>=TLSv1.3', { level: 'encrypt', minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }],
    ['may protocols=<=TLSv1.2 ciphers=medium', { level: 'may', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }],
    ['encrypt ciphers=high', { level: 'encrypt', ciphers: 'HIGH:!aNULL:!eNULL' }],
  ];
  for (const [value, expected] of cases) assert.deepEqual(parseTlsPolicy(value, defaults), expected, value);
});

test('what an entry cannot say is said back, and is never taken for less', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [' , ', /empty; write a level/],
    ['half-dane', /"half-dane" is no level/],
    ['dane match=a.test', /match= means nothing at level dane/],
    ['encrpyt', /"encrpyt" is no level/],
    ['encrypt match=a.test', /match= means nothing at level encrypt/],
    ['secure match=', /is no attribute/],
    ['secure mx.example.net', /is no attribute/],
    ['none match=x', /means nothing without TLS/],
    ['secure matches=x', /matches= is not known here/],
    ['encrypt protocols=TLSv1', /leaves none that is spoken here/],
    ['encrypt protocols=TLSv9', /"TLSv9" is no protocol/],
    ['encrypt ciphers=high ciphers=medium', /ciphers is there twice/],
    ['encrypt ciphers=null', /is no grade/],
    ['fingerprint', /without one to match/],
    ['fingerprint match=ab:cd', /no sha256 fingerprint .*64 hex digits/],
  ];
  for (const [value, expected] of cases) {
    const read = parseTlsPolicy(value, defaults);
    assert.match(typeof read === 'string' ? read : 'taken', expected, value);
  }
});

test('which entry is meant: brackets and port as written, domains above as .domain, nothing of a domain for what has a port', async () => {
  const { logger, events } = captureLog();
  const table = openTable(
    'inline:{ {example.net = encrypt}, {.example.net = verify}, {[hub.test]:587 = secure}, {[alone.test]:smtp = encrypt}, {far.test:2525 = encrypt}, {bad.test = dany}, {.org = none} }',
    { logger: silentLogger },
  );
  const find = tlsPolicyFinder({ maps: [table], defaults, logger });
  const level = async (hop: string): Promise<string | undefined> => (await find(parseNextHop(hop) as InetHop))?.level;
  const expected: Readonly<Record<string, string | undefined>> = {
    'smtp:example.net': 'encrypt',
    'smtp:mx.example.net': 'verify',
    'smtp:a.b.example.net': 'verify',
    'smtp:xexample.net': undefined,
    'smtp:[example.net]': undefined,
    'smtp:example.net:2525': undefined,
    'smtp:[mx.example.net]': undefined,
    'smtp:[hub.test]:587': 'secure',
    'smtp:[hub.test]:submission': 'secure',
    'smtp:[hub.test]': undefined,
    'smtp:hub.test': undefined,
    'smtp:[alone.test]': 'encrypt',
    'smtp:far.test:2525': 'encrypt',
    'smtp:far.test': undefined,
    'smtp:wiki.example.org': 'none',
    'smtp:bad.test': 'refused',
  };
  for (const [hop, wanted] of Object.entries(expected)) assert.equal(await level(hop), wanted, hop);
  assert.deepEqual(
    events.map(({ level: severity, event, fields }) => `${severity} ${event} ${String(fields['destination'])}`),
    ['error queue.tls-policy-bad bad.test'],
  );
});

test('buzon check names entries that cannot be; the settings refuse a resolver elsewhere and what is no fingerprint', async (t) => {
  const folder = await tempFolder(t);
  const settings = settingsFromObject(
    { hostname: 'mail.example.com', smtp_tls_policy_maps: 'inline:{ {a.test = secure match=b.test}, {c.test = dany} }' },
    folder,
  );
  const found = (await checkSettings(settings)).filter(({ code }) => code === 'ROUTE_BAD');
  assert.deepEqual(
    found.map(({ subject }) => subject),
    ['smtp_tls_policy_maps c.test'],
  );
  for (const [input, expected] of [
    [{ dnssec_resolver: '192.0.2.1' }, /"192\.0\.2\.1" is not on this host/],
    [{ dnssec_resolver: '127.0.0.1:70000' }, /is not on this host/],
    [{ smtp_tls_fingerprint_cert_match: ['zz'] }, /"zz" is no fingerprint/],
  ] as const)
    assert.throws(() => settingsFromObject({ hostname: 'mail.example.com', ...input }, folder), expected);
});
