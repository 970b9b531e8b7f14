// smtp_tls_policy_maps before Postfix's smtp(8) and our client: the same table, the same server, the same mail that gets there and the same that waits.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openTable } from '../../src/config/maps/table.ts';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import { staticResolver } from '../../src/dns/resolver.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { TlsPolicy } from '../../src/queue/client/options.ts';
import { tlsDefaults, tlsPolicyFinder } from '../../src/queue/tls-policy.ts';
import { makeSelfSigned } from '../support/certificate.ts';
import { testAgent } from '../support/delivery.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('smtp_tls_policy_maps: what Postfix delivers and what it holds back, we do too', async (t) => {
  if (!requireRoot(t) || !(await requireProgram(t, 'postfix'))) return;
  const tls = await makeSelfSigned(['mx.p.test', '*.wild.test', 'localhost']);
  const x509 = new X509Certificate(tls.cert);
  const print = (bytes: Buffer): string =>
    createHash('sha256').update(bytes).digest('hex').toUpperCase().match(/../g)?.join(':') ?? '';
  const key = print(x509.publicKey.export({ type: 'spki', format: 'der' }));
  const sink = await new SmtpSink({ host: '0.0.0.0', tls }).start();
  const clear = await new SmtpSink({ host: '0.0.0.0' }).start();
  t.after(async () => {
    await sink.stop();
    await clear.stop();
  });
  // One address of loopback each, so that each has an entry of its own.
  const entries = [
    'none',
    'may',
    'encrypt',
    'verify',
    'verify match=mx.p.test',
    'verify match=other.test:mx.p.test',
    'secure',
    'secure match=.p.test',
    'secure match=.mx.p.test',
    'secure match=one.wild.test',
    'secure match=.wild.test',
    'secure match=wild.test',
    `fingerprint match=${print(x509.raw)}`,
    `fingerprint match=${key}`,
    `fingerprint match=${'00:'.repeat(31)}00|${key}`,
    `fingerprint match=${'00:'.repeat(31)}00`,
    'fingerprint',
    'encrypt match=mx.p.test',
    'encrpyt',
    'encrypt protocols=TLSv1.2',
    'encrypt protocols=>=TLSv1.2:!TLSv1.2',
    'encrypt protocols=nonsense',
    'secure mx.p.test',
    'secure match=mx.p.test ciphers=high',
  ];
  const hops = entries.flatMap((entry, i) => [
    { domain: `t${i}.test`, hop: `[127.0.1.${i + 1}]:${sink.port}`, entry },
    { domain: `c${i}.test`, hop: `[127.0.1.${i + 1}]:${clear.port}`, entry },
  ]);
  // Written otherwise than the next hop is.
  hops.push({ domain: 'bare.test', hop: `[127.0.2.1]:${sink.port}`, entry: '' });
  const table = [
    ...hops.filter(({ entry }) => entry !== '').map(({ hop, entry }) => `${hop} ${entry}\n`),
    '127.0.2.1 secure\n[127.0.2.1] secure\n',
  ].join('');

  const folder = await tempFolder(t);
  await chmod(folder, 0o755);
  const file = (name: string): string => join(folder, name);
  await writeFile(file('vmailbox'), 'box@example.test x/\n');
  await writeFile(file('tls_policy'), table);
  await writeFile(file('transport'), hops.map(({ domain, hop }) => `${domain} smtp:${hop}\n`).join(''));
  await writeFile(file('ca.pem'), tls.cert);
  const postfix = await Postfix.create({
    directory: folder,
    base: folder,
    domains: ['example.test'],
    vmailbox: file('vmailbox'),
    main: [
      `transport_maps = texthash:${file('transport')}`,
      `smtp_tls_policy_maps = texthash:${file('tls_policy')}`,
      `smtp_tls_CAfile = ${file('ca.pem')}`,
      'smtp_tls_fingerprint_digest = sha256',
      'smtp_tls_security_level = may',
      'maximal_queue_lifetime = 0',
    ],
    services: ['smtp unix - - n - - smtp', 'tlsmgr unix - - n 1000? 1 tlsmgr'],
  });
  await postfix.start();
  t.after(() => postfix.stop());
  const recipients = hops.map(({ domain }) => `u@${domain}`);
  const taken = (): string[] =>
    [
      ...sink.messages.map((m) => `${m.secure ? 'tls' : 'clear'} ${m.recipients.join()}`),
      ...clear.messages.map((m) => `none ${m.recipients.join()}`),
    ]
      .filter((line) => recipients.some((to) => line.endsWith(` ${to}`)))
      .sort();
  await deliverBySmtp(postfix.port, { from: 'ana@s.test', to: recipients, data: 'Subject: x\r\n\r\nx\r\n' });
  await postfix.drained();
  const theirs = taken();
  sink.messages.length = 0;
  clear.messages.length = 0;

  const find = tlsPolicyFinder({
    maps: [openTable(`texthash:${file('tls_policy')}`, { logger: silentLogger })],
    defaults: tlsDefaults(settingsFromObject({ hostname: 'mail.example.test' }, folder)),
    logger: silentLogger,
  });
  const agent = testAgent(t, {
    resolver: staticResolver(),
    protocols: [4],
    roots: async () => tls.cert,
    tlsPolicy: async (site) => ((await find(site)) ?? { level: 'may' }) as TlsPolicy,
  });
  for (const { domain, hop } of hops) await agent.deliver({ hop: `smtp:${hop}`, to: [`u@${domain}`] });
  assert.deepEqual(taken(), theirs, await postfix.log());
  assert.ok(theirs.length > 15 && theirs.length < hops.length - 15, String(theirs.length));
});
