import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, rename, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect, TLSSocket } from 'node:tls';
import { test, type TestContext } from 'node:test';
import { certificateFiles, CertificateStore, type CertificateFiles } from '../../src/config/certificates.ts';
import { createSelfSigned } from '../../src/config/self-signed.ts';
import { defaultSettings } from '../../src/config/settings.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Writes a pair as `NAME.pem` and `NAME.key`. */
async function writePair(
  folder: string,
  name: string,
  names: readonly string[],
  options: { from?: number; days?: number } = {},
): Promise<CertificateFiles> {
  const pair = await createSelfSigned({ names, ...options });
  const files = { domains: [], cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await writeFile(files.key, pair.key, { mode: 0o600 });
  await writeFile(files.cert, pair.cert);
  return files;
}

/** An echo over TLS, set up as the listeners do: the protocol versions and ciphers are those of the context a connection starts with. */
async function serve(t: TestContext, store: CertificateStore): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    const tls = new TLSSocket(socket, {
      isServer: true,
      secureContext: store.secureContextFor(undefined),
      SNICallback: store.sniCallback,
    });
    tls.on('error', () => socket.destroy());
    tls.on('data', (data: Buffer) => tls.write(data));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function handshake(
  t: TestContext,
  port: number,
  servername: string,
  options: { minVersion?: 'TLSv1'; maxVersion?: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2'; ciphers?: string } = {},
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername, rejectUnauthorized: false, ...options });
    t.after(() => socket.destroy());
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });
}

const nameOf = (socket: TLSSocket): string | undefined => String(socket.getPeerCertificate().subject.CN);

test('a self-signed certificate is one that OpenSSL reads, for its names and its key', { timeout: 20_000 }, async () => {
  const from = Date.UTC(2048, 0, 1);
  const { cert, key } = await createSelfSigned({
    names: ['example.test', '*.example.test', '127.0.0.1', '2001:db8::1'],
    from,
    days: 1000,
  });
  const x509 = new X509Certificate(cert);
  assert.equal(x509.subject, 'CN=example.test');
  assert.equal(
    x509.subjectAltName,
    'DNS:example.test, DNS:*.example.test, IP Address:127.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1',
  );
  assert.equal(x509.validFromDate.getTime(), from);
  assert.equal(x509.validToDate.getTime(), from + 1000 * 86_400_000, 'behind 2049 too, where the form of times changes');
  assert.ok(x509.verify(x509.publicKey));
  assert.equal(x509.ca, false);
  assert.ok(x509.checkHost('mail.example.test') && x509.checkIP('127.0.0.1') && !x509.checkHost('example.org'));
  const { createPrivateKey } = await import('node:crypto');
  assert.ok(x509.checkPrivateKey(createPrivateKey(key)));
  await assert.rejects(createSelfSigned({ names: [] }), RangeError);
});

test(
  'the name a client asks for chooses: exact before wildcard, in any case, else the default',
  { timeout: 20_000 },
  async (t) => {
    const folder = await tempFolder(t);
    const certificates = [
      await writePair(folder, 'default', ['mail.example.com']),
      await writePair(folder, 'wild', ['*.example.org', 'example.org']),
      await writePair(folder, 'exact', ['imap.example.org']),
      { ...(await writePair(folder, 'listed', ['listed.test'])), domains: ['chosen.example.net'] },
    ];
    const store = await CertificateStore.load({ certificates, logger: silentLogger });
    const port = await serve(t, store);
    for (const [asked, expected] of [
      ['mail.example.com', 'mail.example.com'],
      ['EXAMPLE.org', '*.example.org'],
      ['smtp.example.org', '*.example.org'],
      ['a.b.example.org', 'mail.example.com'],
      ['imap.example.org', 'imap.example.org'],
      ['chosen.example.net', 'listed.test'],
      ['listed.test', 'mail.example.com'],
      ['unknown.test', 'mail.example.com'],
    ] as const)
      assert.equal(nameOf(await handshake(t, port, asked)), expected, asked);
    assert.equal(store.secureContextFor(undefined), store.certificates[0]?.context);
    assert.equal((await CertificateStore.load({ certificates: [], logger: silentLogger })).secureContextFor('x'), undefined);
  },
);

test('row 36: TLS 1.2 and 1.3 with Mozilla’s intermediate ciphers, nothing older or weaker', { timeout: 20_000 }, async (t) => {
  const folder = await tempFolder(t);
  const store = await CertificateStore.load({ certificates: [await writePair(folder, 'a', ['a.test'])], logger: silentLogger });
  const port = await serve(t, store);
  assert.equal((await handshake(t, port, 'a.test')).getProtocol(), 'TLSv1.3');
  assert.equal((await handshake(t, port, 'a.test', { maxVersion: 'TLSv1.2' })).getProtocol(), 'TLSv1.2');
  for (const maxVersion of ['TLSv1', 'TLSv1.1'] as const)
    await assert.rejects(
      handshake(t, port, 'a.test', { minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' }),
      { code: /./ },
      maxVersion,
    );
  for (const ciphers of ['AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'ECDHE-ECDSA-AES128-CCM'])
    await assert.rejects(handshake(t, port, 'a.test', { maxVersion: 'TLSv1.2', ciphers }), { code: /./ }, ciphers);
});

test(
  'row 37: a replaced certificate is used at once, a broken one keeps the old and raises an alarm, 100 sessions stay',
  { timeout: 20_000 },
  async (t) => {
    const folder = await tempFolder(t);
    const files = await writePair(folder, 'a', ['old.test']);
    const { logger, events } = captureLog();
    const store = await CertificateStore.load({ certificates: [files], logger });
    const port = await serve(t, store);
    const sessions = await Promise.all(Array.from({ length: 100 }, () => handshake(t, port, 'x.test')));
    await writePair(folder, 'a', ['new.test']);
    assert.equal(await store.reload(), true);
    assert.equal(nameOf(await handshake(t, port, 'x.test')), 'new.test');
    for (const broken of [
      '',
      'nonsense',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      (await createSelfSigned({ names: ['other.test'] })).cert,
    ]) {
      await writeFile(files.cert, broken);
      events.length = 0;
      assert.equal(await store.reload(), false);
      assert.deepEqual(
        events.map(({ level, event, fields }) => [level, event, fields['kept']]),
        [['error', 'tls.certificate-broken', true]],
      );
      assert.equal(nameOf(await handshake(t, port, 'x.test')), 'new.test');
    }
    await rename(files.cert, `${files.cert}.gone`);
    assert.equal(await store.reload(), false);
    assert.equal(nameOf(await handshake(t, port, 'x.test')), 'new.test');
    for (const session of sessions) {
      const answer = new Promise((resolve) => session.once('data', (data: Buffer) => resolve(data.toString())));
      session.write('still here');
      assert.equal(await answer, 'still here');
    }
  },
);

test(
  'the watch sees a new pair by itself; a half-written one is no alarm, one that stays broken is, once',
  { timeout: 20_000 },
  async (t) => {
    const folder = await tempFolder(t);
    const files = await writePair(folder, 'a', ['old.test']);
    const { logger, events } = captureLog();
    let due: (() => void) | undefined;
    let now = Date.now();
    const clock = { now: () => now, after: (_ms: number, fn: () => void) => ((due = fn), () => (due = undefined)) };
    const store = await CertificateStore.load({ certificates: [files], logger, clock });
    store.watch();
    const tick = async (): Promise<void> => {
      const look = due;
      assert.ok(look);
      due = undefined;
      look();
      for (let i = 0; i < 500 && !due; i++) await new Promise((resolve) => setTimeout(resolve, 2));
    };
    await tick();
    assert.deepEqual(events, [], 'nothing changed');
    const fresh = await createSelfSigned({ names: ['new.test'] });
    await writeFile(files.cert, fresh.cert);
    await tick();
    assert.deepEqual(events, [], 'the key may be on its way');
    await writeFile(files.key, fresh.key);
    await tick();
    assert.deepEqual(
      events.map(({ event }) => event),
      ['tls.certificate-loaded'],
    );
    assert.deepEqual(store.certificates[0]?.names, ['new.test']);
    await writeFile(files.cert, 'broken');
    now += 60_000;
    await tick();
    await tick();
    assert.deepEqual(
      events.slice(1).map(({ event, level }) => [event, level]),
      [['tls.certificate-broken', 'error']],
    );
    store.close();
    assert.equal(due, undefined);
  },
);

test('row 38: a key that everybody can read is refused, at the start and at a reload', { timeout: 20_000 }, async (t) => {
  const folder = await tempFolder(t);
  const files = await writePair(folder, 'a', ['a.test']);
  const { logger, events } = captureLog();
  await chmod(files.key, 0o640);
  const store = await CertificateStore.load({ certificates: [files], logger });
  await chmod(files.key, 0o644);
  await assert.rejects(CertificateStore.load({ certificates: [files], logger }), { kind: 'config', code: 'TLS_KEY_EXPOSED' });
  assert.equal(await store.reload(), false);
  assert.equal(events.at(-1)?.fields['code'], 'TLS_KEY_EXPOSED');
  assert.equal(store.certificates.length, 1);
});

test('a start with a certificate that cannot be used says which and why', { timeout: 20_000 }, async (t) => {
  const folder = await tempFolder(t);
  const one = await writePair(folder, 'a', ['a.test']);
  const other = await writePair(folder, 'b', ['b.test']);
  const load = (certificate: Partial<CertificateFiles>) =>
    CertificateStore.load({ certificates: [{ ...one, ...certificate }], logger: silentLogger });
  await assert.rejects(load({ key: other.key }), { code: 'TLS_INVALID', message: /a\.pem with .*b\.key: the key is not/ });
  await assert.rejects(load({ cert: join(folder, 'none') }), { code: 'TLS_UNREADABLE', message: /none: ENOENT/ });
});

test(
  'an expired certificate is served and said as an error, one that soon will be as a warning, each once',
  { timeout: 20_000 },
  async (t) => {
    const folder = await tempFolder(t);
    const { logger, events } = captureLog();
    const now = Date.now();
    const store = await CertificateStore.load({
      certificates: [
        await writePair(folder, 'a', ['a.test'], { from: now - 10 * 86_400_000, days: 5 }),
        await writePair(folder, 'b', ['b.test'], { days: 5 }),
      ],
      logger,
    });
    await store.reload();
    assert.deepEqual(
      events.map(({ level, event }) => `${level} ${event}`),
      ['error tls.certificate-expired', 'warn tls.certificate-expires-soon'],
    );
  },
);

test('a reload takes another list of certificates', { timeout: 20_000 }, async (t) => {
  const folder = await tempFolder(t);
  const [a, b] = [await writePair(folder, 'a', ['a.test']), await writePair(folder, 'b', ['b.test'])];
  const store = await CertificateStore.load({ certificates: [a], logger: silentLogger });
  assert.equal(await store.reload([b, { ...a, domains: ['named.test'] }]), true);
  assert.deepEqual(
    store.certificates.map(({ names }) => names),
    [['b.test'], ['named.test']],
  );
});

test('the settings’ default certificate comes first', () => {
  const settings = { ...defaultSettings('a.b'), certificates: [{ domains: ['x.test'], cert: '/x.pem', key: '/x.key' }] };
  assert.deepEqual(certificateFiles(settings), settings.certificates);
  assert.deepEqual(certificateFiles({ ...settings, smtpd_tls_cert_file: '/c', smtpd_tls_key_file: '/k' })[0], {
    domains: [],
    cert: '/c',
    key: '/k',
  });
});
