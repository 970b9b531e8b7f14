// Mail of the host's own programs: cron, PHP, GNU mailutils, other users; through sendmail into mailboxes, whether or not the server runs.
import assert from 'node:assert/strict';
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { createHashing } from '../../src/auth/hashing.ts';
import { loadSettings } from '../../src/config/settings.ts';
import { Intents } from '../../src/delivery/intents.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { noQueue } from '../../src/queue/no-queue.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import { maildropPickup, prepareMaildrop } from '../../src/worker/maildrop.ts';
import { Parts } from '../../src/worker/parts.ts';
import { eventually, MailHost, PROJECT, TREE_OWNER } from '../support/mail-host.ts';
import { requireProgram, requireRoot, run, type RunResult } from '../support/programs.ts';

interface LocalHost {
  readonly host: MailHost;
  readonly queue: string;
  /** A script as install-tools makes it. */
  readonly tool: (name: string) => Promise<string>;
  /** The server's part, in this process: hands in what lies in the maildrop until the returned function is called. */
  readonly serve: () => Promise<() => Promise<void>>;
}

async function localHost(t: TestContext): Promise<LocalHost> {
  const host = await MailHost.create({
    settings: { alias_maps: 'hash:aliases' },
    prepare: async (made) => {
      await writeFile(join(made.directory, 'aliases'), 'root: ana@example.test\nwww-data: root\n');
    },
  });
  t.after(() => host[Symbol.asyncDispose]());
  const queue = join(host.directory, 'queue');
  const settings = await loadSettings(host.settingsFile);
  await prepareMaildrop(settings, host.settingsFile, TREE_OWNER);
  // As on a host where the settings are nobody's business.
  await chmod(host.settingsFile, 0o600);
  return {
    host,
    queue,
    async tool(name) {
      const path = join(host.directory, name);
      const entry = join(PROJECT, 'src', 'bin', `${name}.ts`);
      await writeFile(join(host.directory, 'tools.json'), await readFile(join(queue, 'tools.json')));
      await writeFile(
        path,
        `#!/bin/sh\nBUZON_TOOLS=${join(host.directory, 'tools.json')} exec ${process.execPath} ${entry} "$@"\n`,
      );
      await chmod(path, 0o755);
      return path;
    },
    async serve() {
      const hashing = createHashing();
      const store = new MailStore({ logger: silentLogger });
      const parts = new Parts(settings, {
        logger: silentLogger,
        clock: systemClock,
        hashing,
        queue: noQueue,
        intents: new Intents(settings.data_directory, Date.now, silentLogger),
        storeOf: (location) => store.account(location),
      });
      const bounce = async (): Promise<void> => undefined;
      const probe = { checkMailbox: bounce, queue: noQueue, report: bounce };
      const pickup = maildropPickup({
        settings: () => settings,
        parts: () => ({ router: parts.router, accept: parts.delivery.accept, bounce, probe }),
        clock: systemClock,
        logger: silentLogger,
      });
      pickup.start();
      return async () => {
        await pickup.stop();
        parts.close();
        store.close();
        await hashing.close();
      };
    },
  };
}

const inbox = (host: MailHost, text: string): Promise<string> =>
  eventually(async () => (await host.inbox('ana@example.test')).find((message) => message.includes(text)), text);

test('cron’s and PHP’s mail arrives: sent while the server is down, and while it is up', async (t) => {
  const { host, tool, serve, queue } = await localHost(t);
  const sendmail = await tool('sendmail');
  const cron =
    'From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@mail> backup\nContent-Type: text/plain; charset=UTF-8\n\ndone\n.\n';
  const sent = await run(sendmail, ['-i', '-FCronDaemon', '-oem', 'root'], { input: cron });
  assert.equal(sent.status, 0, sent.stderr);
  assert.equal((await readdir(join(queue, 'maildrop'))).length, 1);
  const stop = await serve();
  t.after(stop);
  const first = await inbox(host, 'Cron <root@mail>');
  assert.match(first, /^X-Original-To: root@mail\.example\.test$/m);
  assert.match(first, /^From: Cron Daemon <root@mail\.example\.test>$/m);
  assert.ok(first.endsWith('\ndone\n.\n'), first);
  // As PHP's mail() writes it with sendmail_path = "sendmail -t -i".
  const php =
    'To: ana@example.test\r\nSubject: php\r\nX-PHP-Originating-Script: 33:x.php\r\nFrom: web@example.test\r\n\r\nline\nline 2\r\n';
  assert.equal((await run(sendmail, ['-t', '-i'], { input: php })).status, 0);
  assert.ok((await inbox(host, 'X-PHP-Originating-Script')).endsWith('\n\nline\nline 2\n'));
  assert.deepEqual([await readdir(join(queue, 'maildrop')), await readdir(join(queue, 'pickup'))], [[], []]);
});

test('another user may send, is named, and sees nobody else’s mail', async (t) => {
  if (!requireRoot(t)) return;
  const { host, tool, serve, queue } = await localHost(t);
  const sendmail = await tool('sendmail');
  const as = { uid: 33, gid: 33, cwd: '/' };
  const sent = await run(sendmail, ['-t', '-i'], { ...as, input: 'To: root\nSubject: from www\n\nbody\n' });
  assert.equal(sent.status, 0, sent.stderr);
  const [name = ''] = await readdir(join(queue, 'maildrop'));
  const file = await stat(join(queue, 'maildrop', name));
  assert.deepEqual([file.uid, file.gid, (file.mode & 0o7777).toString(8)], [33, TREE_OWNER?.gid, '640']);
  const other = { uid: 34, gid: 34, cwd: '/' };
  assert.notEqual((await run('/bin/ls', [join(queue, 'maildrop')], other)).status, 0, 'names are not to be seen');
  assert.notEqual(
    (await run('/bin/cat', [join(queue, 'maildrop', name)], other)).status,
    0,
    'nor what is in a file whose name is known',
  );
  assert.notEqual((await run('/bin/rm', ['-f', join(queue, 'maildrop', name)], other)).status, 0, 'nor can it be removed');
  assert.notEqual((await run('/bin/ls', [join(queue, 'pickup')], other)).status, 0);
  const stop = await serve();
  t.after(stop);
  const message = await inbox(host, 'from www');
  assert.match(message, /^Return-Path: <www-data@mail\.example\.test>$/m);
  assert.match(message, /\(Buzon, from userid 33\)/);
});

test('Debian’s GNU mailutils send through our sendmail and read our Maildirs', async (t) => {
  const mail = await requireProgram(t, 'mail.mailutils');
  if (mail === undefined) return;
  const { host, tool, serve } = await localHost(t);
  const sendmail = await tool('sendmail');
  const env = { ...process.env, HOME: host.directory };
  const options = ['--no-config', '-E', `set sendmail=sendmail:${sendmail}`];
  await writeFile(join(host.directory, 'a.txt'), 'attached\n');
  const args = [
    ...options,
    '-s',
    'from mailutils',
    '-a',
    'X-Test: 1',
    '-A',
    join(host.directory, 'a.txt'),
    '-r',
    'info@example.test',
    'ana@example.test',
  ];
  const sent = await run(mail, args, { input: 'hola\n', env });
  assert.equal(sent.status, 0, sent.stderr);
  const stop = await serve();
  t.after(stop);
  const message = await inbox(host, 'from mailutils');
  assert.match(message, /^X-Test: 1$/m);
  assert.match(message, /^From: .*info@example\.test>?$/m);
  const maildir = `maildir:${host.maildir('ana@example.test')}`;
  const listed = await run('/usr/bin/frm', ['--no-config', maildir], { env });
  assert.match(listed.stdout, /^[^\t]+\tfrom mailutils$/m, listed.stderr);
  // The test delivered as whoever it is.
  if (TREE_OWNER) await run('/bin/chown', ['-R', `${TREE_OWNER.uid}:${TREE_OWNER.gid}`, host.base]);
  const ours = await run(await tool('frm'), [host.maildir('ana@example.test')], { env });
  assert.equal(ours.stdout.trim(), listed.stdout.trim(), ours.stderr);
});

test('row 3: sendmail syncs the file before and after its name appears, then ends', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  const { host, tool } = await localHost(t);
  const trace = join(host.directory, 'trace');
  const args = [
    '-f',
    '-y',
    '-o',
    trace,
    '-e',
    'trace=fsync,rename,renameat,renameat2,exit_group',
    await tool('sendmail'),
    'root',
  ];
  assert.equal((await run(strace, args, { input: 'Subject: x\n\nbody\n' })).status, 0);
  const lines = (await readFile(trace, 'utf8'))
    .split('\n')
    .filter((line) => line.includes('/maildrop') || line.includes('exit_group'));
  const steps = lines.map((line) => /(fsync|rename\w*|exit_group)\(/.exec(line)?.[1]);
  assert.deepEqual(steps.slice(0, 3), ['fsync', 'rename', 'fsync'], lines.join('\n'));
});

test('sendmail killed at any moment leaves a whole message or none', async (t) => {
  const { host, tool, queue } = await localHost(t);
  const sendmail = await tool('sendmail');
  const { spawn } = await import('node:child_process');
  for (const pause of [150, 300, 450]) {
    const child = spawn(sendmail, ['root'], { stdio: ['pipe', 'ignore', 'ignore'] });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.stdin.on('error', () => undefined);
    child.stdin.write(`Subject: killed\n\n${'x'.repeat(70_000)}\n`);
    await new Promise((resolve) => setTimeout(resolve, pause));
    child.kill('SIGKILL');
    await ended;
  }
  const names = await readdir(join(queue, 'maildrop'));
  assert.ok(
    names.every((name) => name.startsWith('new.')),
    names.join(),
  );
  assert.deepEqual(await host.inbox('ana@example.test'), []);
});

test('commands installed for a settings file of another place use that one; a reader that goes away ends them in silence', async (t) => {
  await using host = await MailHost.create({ settings: { mynetworks: ['127.0.0.0/8'], default_transport: 'hold:' } });
  await host.start();
  const prefix = join(host.directory, 'tools');
  const buzon = join(PROJECT, 'dist', 'bin', 'buzon.js');
  const installed = await run(process.execPath, [buzon, 'install-tools', '--prefix', prefix, '--config', host.settingsFile]);
  assert.equal(installed.status, 0, installed.stderr);
  const tool = (command: string): Promise<RunResult> =>
    run('sh', ['-c', `cd / && PATH=${prefix}/bin:${prefix}/sbin:$PATH && ${command}`]);
  assert.equal((await tool('echo hello | sendmail -f ana@example.test far@outside.test')).status, 0);
  const listed = await eventually(async () => {
    const { stdout } = await tool('mailq');
    return stdout.includes('far@outside.test') && stdout;
  }, 'the message is in the queue');
  assert.match(listed, /ana@example\.test/);
  assert.match((await tool('postconf -h queue_directory')).stdout, new RegExp(`^${host.directory}/queue$`, 'm'));
  assert.match((await tool('postsuper -d ALL')).stderr, /Deleted: 1 message/);
  await host.stop();
  const many = join(host.directory, 'many.mbox');
  await writeFile(many, `From ana@example.test Sat Nov 28 10:00:00 2026\nSubject: many\n\n${'a line of text\n'.repeat(50_000)}`);
  const cut = await tool(`{ echo 'p 1' | mail -f ${many}; echo "status $?" >&2; } | head -1`);
  assert.equal(cut.stderr, 'status 141\n');
  t.diagnostic(cut.stdout);
});
