// A host as an administrator has it: started as root on the real ports, with keys that only root may read. Its workers never can read them,
// and yet a renewed certificate reaches them all, a broken one none, and no session of theirs ends for it.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, chown, mkdir, readdir, readFile, readlink, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { parse, stringify } from 'yaml';
import { makeSelfSigned } from '../support/certificate.ts';
import { ImapClient } from '../support/imap-script.ts';
import { eventually, PROJECT, startMailHost, type MailHost } from '../support/mail-host.ts';
import { requireProgram, requireRoot, run } from '../support/programs.ts';
import { SmtpClient } from '../support/smtp-script.ts';

const ANA = 'ana@example.test';
const LOGIN = Buffer.from(`\0${ANA}\0ana-secret`).toString('base64');
/** An address of this machine on which nobody else has these ports. */
const HOST = '127.0.0.5';
const PORTS = { smtp: 25, submission: 587, submissions: 465, imap: 143, imaps: 993 } as const;
type Protocol = keyof typeof PORTS;
const NAMES = ['mail.example.test', 'example.test'];

const dkimFile = (host: MailHost): string => join(host.directory, 'opendkim', 'default.private');
const keyFile = (host: MailHost): string => join(host.directory, 'root', 'key.pem');

/** On the five ports, in two workers, its key in a folder that is root's alone. */
function startHost(): Promise<MailHost> {
  const listeners = Object.entries(PORTS).map(([protocol, port]) => ({ protocol, address: HOST, port }));
  return startMailHost({
    settings: { workers: 2, listeners, smtpd_client_connection_count_limit: 300, mail_max_userip_connections: 300 },
    prepare: async (host) => {
      await mkdir(join(host.directory, 'root'), { mode: 0o700 });
      await rename(join(host.directory, 'key.pem'), keyFile(host));
      // As opendkim has its own: 0600, another user's, in a folder that only that user may enter.
      const folder = join(host.directory, 'opendkim');
      await mkdir(folder, { mode: 0o700 });
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      await writeFile(dkimFile(host), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
      for (const path of [folder, dkimFile(host)]) await chown(path, 64_321, 64_321);
      await change(host, {
        smtpd_tls_key_file: keyFile(host),
        dkim_keys: [{ domain: 'example.test', selector: 'default', file: dkimFile(host) }],
      });
    },
  });
}
async function change(host: MailHost, settings: Readonly<Record<string, unknown>>): Promise<void> {
  const now = parse(await readFile(host.settingsFile, 'utf8')) as Record<string, unknown>;
  await writeFile(host.settingsFile, stringify({ ...now, ...settings }));
}
const times = (host: MailHost, event: RegExp): number => host.output.split('\n').filter((line) => event.test(line)).length;
/** Waits until the log has so many more lines that match than `before`. */
const said = (host: MailHost, event: RegExp, before: number, more = 1): Promise<unknown> =>
  eventually(() => Promise.resolve(times(host, event) >= before + more), `${event} in ${host.output}`, 30_000);
async function reload(host: MailHost): Promise<void> {
  const before = times(host, /settings\.reloaded/);
  host.signal('SIGHUP');
  await said(host, /settings\.reloaded/, before);
}
async function replaceCertificate(host: MailHost): Promise<void> {
  const { cert, key } = await makeSelfSigned([...NAMES, 'new.example.test']);
  await writeFile(`${keyFile(host)}.new`, key, { mode: 0o600 });
  await writeFile(`${host.ca}.new`, cert);
  await rename(`${keyFile(host)}.new`, keyFile(host));
  await rename(`${host.ca}.new`, host.ca);
}

/** Local ports of clients whose connections a worker holds. */
async function clientsOf(pid: number): Promise<Set<number>> {
  const links = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')),
  );
  const own = new Set(links);
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  return new Set(lines.filter((f) => own.has(`socket:[${f[9]}]`)).map((f) => parseInt(f[2]?.split(':')[1] ?? '', 16)));
}

interface Session {
  readonly port: number;
  /** The server's certificate, where there is TLS. */
  readonly fingerprint?: string;
  /** Whether the session is in IDLE. */
  readonly idle?: ImapClient;
  /** Does something that only a session of this kind that is logged in (where it can be) may do. @throws when it is dead */
  readonly work: () => Promise<void>;
  readonly closed: () => Promise<void>;
  readonly destroy: () => void;
}

async function smtpSession(protocol: 'smtp' | 'submission' | 'submissions'): Promise<Session> {
  const client = await SmtpClient.connect(PORTS[protocol], { host: HOST });
  const port = client.socket.localPort ?? 0;
  let tls: TLSSocket | undefined;
  if (protocol === 'submissions') tls = await client.startTls('example.test');
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.command('EHLO client.test'), /^250/);
  if (protocol === 'submission') {
    assert.match(await client.command('STARTTLS'), /^220/);
    tls = await client.startTls('example.test');
    assert.match(await client.command('EHLO client.test'), /^250/);
  }
  if (protocol !== 'smtp') assert.match(await client.command(`AUTH PLAIN ${LOGIN}`), /^235/);
  const from = protocol === 'smtp' ? 'eva@remote.test' : ANA;
  return {
    port,
    ...(tls ? { fingerprint: tls.getPeerCertificate().fingerprint256 } : {}),
    work: () => client.commands([`MAIL FROM:<${from}>`, '250'], [`RCPT TO:<${ANA}>`, '250'], ['RSET', '250']),
    closed: () => client.closed(),
    destroy: () => client.destroy(),
  };
}

async function imapSession(protocol: 'imap' | 'imaps', idle: boolean): Promise<Session> {
  const raw = connect({ port: PORTS[protocol], host: HOST });
  await new Promise((resolve, reject) => raw.once('connect', resolve).once('error', reject));
  const port = raw.localPort ?? 0;
  let tls: TLSSocket | undefined;
  if (protocol === 'imaps') {
    tls = connectTls({ socket: raw, servername: 'example.test', rejectUnauthorized: false });
    await new Promise((resolve, reject) => tls?.once('secureConnect', resolve).once('error', reject));
  }
  const client = new ImapClient(tls ?? raw);
  const ok = async (text: string): Promise<void> => {
    const answer = await client.command('t', text);
    assert.match(answer.at(-1) ?? '', /^t OK/, `${text}: ${answer.join('\n')}`);
  };
  assert.match(await client.response(), /^\* OK/);
  await ok(`LOGIN ${ANA} ana-secret`);
  await ok('SELECT INBOX');
  if (idle) {
    client.line('i IDLE');
    assert.match(await client.response(), /^\+ /);
  }
  return {
    port,
    ...(tls ? { fingerprint: tls.getPeerCertificate().fingerprint256 } : {}),
    ...(idle ? { idle: client } : {}),
    work: async () => {
      if (idle) {
        client.line('DONE');
        assert.match((await client.until('i')).at(-1) ?? '', /^i OK/);
      }
      await ok('STATUS INBOX (MESSAGES)');
      if (!idle) return;
      client.line('i IDLE');
      assert.match(await client.response(), /^\+ /);
    },
    closed: () => client.closed(),
    destroy: () => client.destroy(),
  };
}
const open = (protocol: Protocol, idle = false): Promise<Session> =>
  protocol === 'imap' || protocol === 'imaps' ? imapSession(protocol, idle) : smtpSession(protocol);

/** Certificates that the next connections are shown: enough of them to come to both workers. */
async function shown(): Promise<Set<string | undefined>> {
  const sessions = await Promise.all(Array.from({ length: 12 }, () => open('imaps')));
  for (const session of sessions) session.destroy();
  return new Set(sessions.map(({ fingerprint }) => fingerprint));
}

test('row 37: root-only keys in two workers on 25, 587, 465, 143 and 993: certificate renewed and broken, settings reloaded, a worker killed, under 100 sessions', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await startHost();
  const sessions: Session[] = [];
  t.after(() => sessions.forEach((session) => session.destroy()));
  for (let n = 0; n < 10; n++)
    sessions.push(
      ...(await Promise.all([
        ...(['smtp', 'smtp', 'submission', 'submissions', 'imap', 'imaps'] as const).map((protocol) => open(protocol)),
        ...(['imap', 'imaps', 'imaps', 'imaps'] as const).map((protocol) => open(protocol, true)),
      ])),
    );
  assert.equal(sessions.length, 100);
  const [first, ...others] = new Set(sessions.flatMap(({ fingerprint }) => fingerprint ?? []));
  assert.deepEqual(others, []);

  // Renewed on disk: found without being told, by both workers.
  await replaceCertificate(host);
  await said(host, /"event":"tls\.certificate-loaded"/, 0, 2);
  const [renewed, ...more] = await shown();
  assert.deepEqual(more, []);
  assert.notEqual(renewed, first);

  // Broken, with new settings at the same time: the settings are taken over, the certificate stays, the log says so.
  await writeFile(host.ca, '-----BEGIN CERTIFICATE-----\nbroken\n');
  await change(host, { message_size_limit: 123_456 });
  await reload(host);
  await said(host, /"level":"error","event":"tls\.certificate-broken".*"kept":true/, 0, 2);
  assert.deepEqual([...(await shown())], [renewed]);
  for (const session of sessions) await session.work();
  const fresh = await SmtpClient.connect(PORTS.smtp, { host: HOST });
  assert.match(await fresh.reply(), /^220/);
  assert.match(await fresh.command('EHLO client.test'), /SIZE 123456/);

  // A worker killed: its sessions end and can come back, also while a broken certificate lies on disk; those of the other go on.
  const [victim = 0, survivor = 0] = await host.workers();
  const [lost, kept] = [await clientsOf(victim), await clientsOf(survivor)];
  assert.ok(sessions.every(({ port }) => lost.has(port) !== kept.has(port)));
  process.kill(victim, 'SIGKILL');
  for (const session of sessions) if (lost.has(session.port)) await session.closed();
  await said(host, /"event":"worker\.restarted"/, 0);
  const living = sessions.filter(({ port }) => kept.has(port));
  assert.ok(living.length > 0 && living.length < 100);
  for (const session of living) await session.work();
  for (const protocol of Object.keys(PORTS) as Protocol[]) {
    const again = await open(protocol);
    await again.work();
    again.destroy();
  }
  assert.deepEqual([...(await shown())], [renewed]);
  assert.ok((await host.workers()).every((pid) => pid !== victim));
  assert.match(host.output, /"event":"worker\.died".*"signal":"SIGKILL"/);

  // What is delivered now wakes whoever is left in IDLE, in whichever worker it came in.
  const idle = living.flatMap(({ idle }) => idle ?? []);
  assert.ok(idle.length > 0);
  const delivering = await SmtpClient.connect(PORTS.smtp, { host: HOST });
  assert.match(await delivering.reply(), /^220/);
  assert.match(await delivering.command('EHLO client.test'), /^250/);
  assert.match(await delivering.message('eva@remote.test', [ANA], 'Subject: one\n\nbody'), /^250/);
  for (const client of idle) assert.match(await client.response(), /^\* 1 EXISTS/);
  delivering.destroy();
  fresh.destroy();

  // Mended: the next look finds it.
  const loaded = times(host, /"event":"tls\.certificate-loaded"/);
  await replaceCertificate(host);
  await reload(host);
  await said(host, /"event":"tls\.certificate-loaded"/, loaded, 2);
  const [mended, ...rest] = await shown();
  assert.deepEqual(rest, []);
  assert.notEqual(mended, renewed);
});

test('row 38: the workers’ user cannot read the keys; a key that others can read is refused at the start and at a renewal', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await startHost();
  const status = await readFile(`/proc/${(await host.workers())[0]}/status`, 'utf8');
  const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
  assert.notEqual(uid, 0);
  for (const file of [keyFile(host), dkimFile(host)]) {
    const tried = await run('/bin/cat', [file], { uid, gid: uid });
    assert.match(tried.stderr, /Permission denied/);
  }

  await chmod(dkimFile(host), 0o644);
  await reload(host);
  await said(host, /"level":"error","event":"dkim\.key-broken".*"code":"DKIM_KEY_EXPOSED".*"kept":true/, 0, 2);
  await assert.rejects(
    host.stop().then(() => host.start()),
    /default\.private can be used by everybody \(mode 644\); run chmod 600/,
  );
  await chmod(dkimFile(host), 0o600);
  await host.start();

  await chmod(keyFile(host), 0o604);
  await reload(host);
  await said(host, /"level":"error","event":"tls\.certificate-broken".*"code":"TLS_KEY_EXPOSED".*"kept":true/, 0, 2);
  assert.equal((await shown()).size, 1);
  assert.equal(await host.stop(), 0);
  await assert.rejects(host.start(), /can be used by everybody \(mode 604\); run chmod 600/);
});

test('row 36: openssl s_client gets TLS 1.2 and 1.3 from the workers, and nothing older', async (t) => {
  const openssl = await requireProgram(t, 'openssl');
  if (openssl === undefined) return;
  await using host = await startMailHost({ settings: { workers: 2 } });
  const handshake = (port: number, ...args: string[]): ReturnType<typeof run> =>
    run(openssl, ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'example.test', ...args], { input: '' });
  for (const [port, ...start] of [
    [host.ports.imaps],
    [host.ports.submissions],
    [host.ports.smtp, '-starttls', 'smtp'],
    [host.ports.submission, '-starttls', 'smtp'],
    [host.ports.imap, '-starttls', 'imap'],
  ] as const) {
    for (const [flag, name] of [
      ['-tls1_2', 'TLSv1.2'],
      ['-tls1_3', 'TLSv1.3'],
    ] as const) {
      const { stdout } = await handshake(port, ...start, flag);
      assert.match(stdout, new RegExp(`New, ${name.replace('.', '\\.')}, Cipher is (TLS_|ECDHE-)`), `${port} ${flag}`);
    }
    // SECLEVEL=0: else openssl itself would not try.
    for (const flag of ['-tls1', '-tls1_1']) {
      const { stdout, stderr } = await handshake(port, ...start, flag, '-cipher', 'ALL:@SECLEVEL=0');
      assert.match(stdout, /Cipher is \(NONE\)/, `${port} ${flag}`);
      assert.match(stderr, /alert protocol version/, `${port} ${flag}`);
    }
    const { stdout } = await handshake(
      port,
      ...start,
      '-tls1_2',
      '-cipher',
      'AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0',
    );
    assert.match(stdout, /Cipher is \(NONE\)/);
  }
});

test('started by an ordinary user it serves in workers as that user, without any right to take or give up', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await startMailHost({
    settings: { workers: 2 },
    prepare: async (prepared) => {
      // The tree is the ordinary user's already (TREE_OWNER); so is the key, which nobody else reads for it.
      await chown(join(prepared.directory, 'key.pem'), 65534, 65534);
    },
    runAs: { uid: 65534, gid: 65534 },
  });
  const pids = [host.pid ?? 0, ...(await host.workers())];
  assert.equal(pids.length, 3);
  for (const pid of pids) assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), /^Uid:\t65534\t65534\t65534\t65534$/m);
  const client = await SmtpClient.hello(host.ports.smtp);
  assert.match(await client.message('eva@remote.test', [ANA], 'Subject: one\n\nbody'), /^250/);
  client.destroy();
  const imap = await ImapClient.connect(host.ports.imap);
  assert.match(await imap.response(), /^\* OK/);
  assert.match((await imap.command('a', `LOGIN ${ANA} ana-secret`)).at(-1) ?? '', /^a OK/);
  assert.match((await imap.command('b', 'SELECT INBOX')).join('\n'), /\* 1 EXISTS/);
  imap.destroy();
  const before = await run(process.execPath, [join(PROJECT, 'dist/bin/buzon.js'), 'check', '--config', host.settingsFile], {
    uid: 65534,
    gid: 65534,
  });
  assert.doesNotMatch(before.stdout, /^error/m);
  assert.equal(await host.stop(), 0);
  assert.doesNotMatch(host.output, /"level":"error"/);
});
