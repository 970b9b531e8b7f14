// The server in several processes, as an administrator starts it: root binds and reads the keys, workers without any right serve.
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapFlow } from 'imapflow';
import { eventually, MailHost, PROJECT, startMailHost, TREE_OWNER, type MailHostOptions } from '../support/mail-host.ts';
import { requireRoot, run, type RunResult } from '../support/programs.ts';
import { deliverBySmtp, SmtpSender } from '../support/smtp-send.ts';

const ANA = 'ana@example.test';
const inWorkers = (options: MailHostOptions = {}): Promise<MailHost> =>
  startMailHost({ ...options, settings: { workers: 2, ...options.settings } });
const message = (subject: string): string => `From: eva@remote.test\r\nSubject: ${subject}\r\n\r\nbody\r\n`;

async function imap(host: MailHost): Promise<ImapFlow & AsyncDisposable> {
  const client = new ImapFlow({
    host: '127.0.0.1',
    port: host.ports.imaps,
    secure: true,
    tls: { rejectUnauthorized: false },
    auth: { user: ANA, pass: 'ana-secret' },
    logger: false,
    disableAutoIdle: true,
  });
  client.on('error', () => undefined);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => Promise.resolve(client.close()) });
}

const hexPort = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, '0')}`;

/** The worker that serves the connection from a client's port, by its inode among the open files. */
function servedBy(host: MailHost, clientPort: number): Promise<number> {
  const ours = new Set(Object.values<number>({ ...host.ports }).map(hexPort));
  return eventually(async () => {
    const sockets = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
    for (const [, local = '', remote = '', , , , , , , inode] of sockets) {
      // Other connections have that port, too, and earlier ones linger without a socket.
      if (inode === '0' || !remote.endsWith(hexPort(clientPort)) || !ours.has(local.slice(-5))) continue;
      for (const pid of await host.workers()) if (await holds(pid, `socket:[${inode}]`)) return pid;
    }
    return undefined;
  }, `somebody serves ${clientPort}`);
}
async function holds(pid: number, target: string): Promise<boolean> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const targets = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  return targets.includes(target);
}

test('no thread of a worker has a right of root: uid, gid, groups, capabilities', async (t) => {
  if (!requireRoot(t) || !TREE_OWNER) return;
  await using host = await inWorkers();
  // A password and a message have been through it, so that every thread it ever has is there.
  await using client = await imap(host);
  await deliverBySmtp(host.ports.smtp, { from: 'eva@remote.test', to: [ANA], data: message('one') });
  await client.noop();
  const workers = await host.workers();
  assert.equal(workers.length, 2);
  const { uid, gid } = TREE_OWNER;
  for (const pid of workers)
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8');
      const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '?';
      assert.deepEqual(
        ['Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapAmb'].map(field),
        [`${uid}\t${uid}\t${uid}\t${uid}`, `${gid}\t${gid}\t${gid}\t${gid}`, '', ...Array<string>(4).fill('0000000000000000')],
        `thread ${thread} of ${pid}`,
      );
    }
});

test('the program’s own folder may be root’s alone: whatever a worker needs of it is there before it gives root up', async (t) => {
  if (!requireRoot(t)) return;
  const folder = await mkdtemp(join(tmpdir(), 'buzon-program-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const part of ['dist', 'package.json', 'node_modules']) {
    const copy = (how: string): Promise<RunResult> => run('/bin/cp', [how, join(PROJECT, part), folder], { timeoutMs: 60_000 });
    // By hard links, where both are on one file system.
    if ((await copy('-al')).status !== 0) assert.equal((await copy('-a')).status, 0);
  }
  const { mode } = await stat(folder);
  assert.equal(mode & 0o777, 0o700);
  for (const workers of [2, 0]) {
    await using host = await startMailHost({ program: folder, settings: { workers } });
    // A password hashed in a thread, an alias table in SQLite, an index, a message, TLS.
    const hash = await run('/usr/bin/doveadm', ['pw', '-s', 'ARGON2ID', '-p', 'ana-secret']);
    await host.ownedFile(join(host.maildir(ANA), 'shadow'), `ana:${hash.stdout.trim()}\n`, 0o600);
    await deliverBySmtp(host.ports.smtp, { from: 'eva@remote.test', to: [ANA], data: message('one') });
    await using client = await imap(host);
    await client.mailboxOpen('INBOX');
    const fetched = await client.fetchOne('1', { envelope: true, bodyStructure: true });
    assert.equal(fetched && fetched.envelope?.subject, 'one');
    assert.doesNotMatch(host.output, /"level":"error"/);
  }
});

test('both workers take connections, and what one stores the other’s IDLE session hears of', async () => {
  await using host = await inWorkers();
  await using client = await imap(host);
  await client.mailboxOpen('INBOX');
  let heard = 0;
  client.on('exists', ({ count }: { count: number }) => (heard = count));
  const idle = client.idle();
  const serving = new Set<number>();
  for (let n = 1; n <= 60 && serving.size < 2; n++) {
    const sender = await SmtpSender.connect(host.ports.smtp);
    await sender.send({ from: 'eva@remote.test', to: [ANA], data: message(String(n)) });
    serving.add(await servedBy(host, sender.localPort));
    await sender.quit();
    await eventually(() => Promise.resolve(heard >= n), `EXISTS ${n}`);
  }
  assert.equal(serving.size, 2);
  await client.noop();
  await idle;
});

test('a worker that is killed is replaced; clients of the other notice nothing, and nothing acknowledged is lost', async () => {
  await using host = await inWorkers();
  const senders: { sender: SmtpSender; pid: number }[] = [];
  for (let n = 0; n < 60 && new Set(senders.map(({ pid }) => pid)).size < 2; n++) {
    const sender = await SmtpSender.connect(host.ports.smtp);
    senders.push({ sender, pid: await servedBy(host, sender.localPort) });
  }
  const victim = senders[0]?.pid ?? 0;
  let stored = 0;
  for (const { sender } of senders) {
    await sender.send({ from: 'eva@remote.test', to: [ANA], data: message('before') });
    stored++;
  }
  process.kill(victim, 'SIGKILL');
  await eventually(async () => {
    const workers = await host.workers();
    return workers.length === 2 && !workers.includes(victim);
  }, 'another worker');
  for (const { sender, pid } of senders) {
    if (pid === victim) continue;
    await sender.send({ from: 'eva@remote.test', to: [ANA], data: message('after') });
    stored++;
    await sender.quit();
  }
  await eventually(() => Promise.resolve(host.output.includes('worker.restarted')), 'the log tells');
  assert.match(host.output, /"event":"worker.died".*"signal":"SIGKILL"/);
  for (let n = 0; n < 10; n++) {
    await deliverBySmtp(host.ports.smtp, { from: 'eva@remote.test', to: [ANA], data: message('new') });
    stored++;
  }
  assert.equal((await host.inbox(ANA)).length, stored);
});

test('when the supervisor is killed its workers end, and the next start takes over', async () => {
  await using host = await inWorkers();
  const workers = await host.workers();
  await host.stop('SIGKILL');
  await eventually(async () => {
    const left = await Promise.all(workers.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)));
    return left.every((stat) => stat === undefined || / Z /.test(stat));
  }, 'the workers are gone');
  await host.start();
  await deliverBySmtp(host.ports.smtp, { from: 'eva@remote.test', to: [ANA], data: message('again') });
});

test('connections of an address are counted over all workers, and free again when a worker dies', async () => {
  await using host = await inWorkers({ settings: { smtpd_client_connection_count_limit: 6 } });
  const senders: SmtpSender[] = [];
  for (let n = 0; n < 6; n++) senders.push(await SmtpSender.connect(host.ports.smtp));
  await assert.rejects(SmtpSender.connect(host.ports.smtp), /421 4\.7\.0/);
  for (const pid of await host.workers()) process.kill(pid, 'SIGKILL');
  await eventually(() => Promise.resolve((host.output.match(/worker\.restarted/g) ?? []).length === 2), 'new workers');
  for (let n = 0; n < 6; n++) senders.push(await SmtpSender.connect(host.ports.smtp));
  await assert.rejects(SmtpSender.connect(host.ports.smtp), /421 4\.7\.0/);
});

test('a second server on the same data_directory refuses to start, and says which one runs', async () => {
  await using host = await inWorkers();
  await using second = await MailHost.create({ settings: { data_directory: `${host.directory}/data`, workers: 0 } });
  await assert.rejects(second.start(), new RegExp(`another server \\(process ${host.pid}\\) runs with the data_directory`));
});

test('an address that another program has is told before any worker starts', async () => {
  await using host = await inWorkers();
  await using second = await MailHost.create({
    settings: { workers: 2, listeners: [{ protocol: 'smtp', address: '127.0.0.1', port: host.ports.smtp }] },
  });
  await assert.rejects(second.start(), /smtp: another program listens on 127\.0\.0\.1:\d+ already/);
});

test('failed log-ins are counted over all workers', async () => {
  await using host = await inWorkers({ settings: { auth_failure_limit: 6 } });
  const wrong = Buffer.from('\0ana@example.test\0wrong').toString('base64');
  const serving = new Set<number>();
  let answer = '';
  for (let n = 1; n <= 6; n++) {
    const sender = await SmtpSender.connect(host.ports.submission);
    serving.add(await servedBy(host, sender.localPort));
    answer = await sender.command(`AUTH PLAIN ${wrong}`, n < 6 ? '535' : '421 4.7.0');
    await sender.quit();
  }
  assert.match(answer, /too many/);
  // Whichever worker it comes to: the address is sent away, with the right password too.
  for (let n = 0; n < 8; n++) {
    const sender = await SmtpSender.connect(host.ports.submission);
    serving.add(await servedBy(host, sender.localPort));
    await sender.command(`AUTH PLAIN ${Buffer.from('\0ana@example.test\0ana-secret').toString('base64')}`, '421 4.7.0');
    await sender.quit();
  }
  assert.equal(serving.size, 2);
});
