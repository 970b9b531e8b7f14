// The queue's commands on a queue on the disk: who may run them, whose its files are afterwards, what `buzon verify` finds.
import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { memorySource } from '../../src/message/source.ts';
import { lockRunner } from '../../src/queue/runner-lock.ts';
import { pathOf } from '../../src/queue/store/queue-file.ts';
import { openQueueStore } from '../../src/queue/store/store.ts';
import type { QueueStore } from '../../src/queue/types.ts';
import { actAs } from '../../src/worker/privileges.ts';
import { buzon } from '../support/buzon.ts';
import { captureIo } from '../support/command-io.ts';
import { MailHost, PROJECT, TREE_OWNER } from '../support/mail-host.ts';
import { requireProgram, requireRoot, run } from '../support/programs.ts';

const TEXT = Buffer.from('Subject: hola\r\n\r\nma\u00f1ana\r\n', 'latin1');

class QueueHost {
  readonly host: MailHost;
  readonly directory: string;
  constructor(host: MailHost, directory: string) {
    this.host = host;
    this.directory = directory;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
  }
  /** Works on the queue as its owner. */
  with<T>(fn: (queue: QueueStore) => Promise<T>): Promise<T> {
    return actAs(TREE_OWNER, async () => {
      const queue = await openQueueStore({ directory: this.directory, logger: silentLogger, clock: systemClock });
      return fn(queue).finally(() => queue.close());
    });
  }
  path(id: string): string {
    return pathOf(this.directory, id);
  }
  buzon(...args: string[]): ReturnType<typeof buzon> {
    return buzon(this.host, args);
  }
}

/** A host with a queue of its tree's owner; A1 and B2 wait in it. */
async function aHost(ids: readonly string[] = ['A1', 'B2']): Promise<QueueHost> {
  const made: { directory?: string } = {};
  const host = await MailHost.create({
    settings: { queue_directory: 'queue' },
    prepare: (one) => one.ownedFolder((made.directory = join(one.directory, 'queue'))),
  });
  const queue = new QueueHost(host, made.directory ?? '');
  await queue.with(async (store) => {
    for (const [i, id] of ids.entries())
      await store.add({
        envelope: { id, sender: 'ana@example.test', arrived: 1_795_626_575_000 + i, smtpUtf8: false, bodyType: '8BITMIME' },
        source: memorySource(TEXT),
        recipients: [
          { address: `bob${i}@remote.test`, destination: 'smtp:remote.test' },
          { address: `eve${i}@other.test`, destination: 'smtp:other.test', ...(i === 1 ? { hold: 'looked at' } : {}) },
        ],
      });
  });
  return queue;
}

async function filesOf(directory: string): Promise<Map<string, number>> {
  const owners = new Map<string, number>();
  for (const name of await readdir(directory, { recursive: true })) owners.set(name, (await stat(join(directory, name))).uid);
  return owners;
}

/** A command with a name of Postfix's, in a process of its own; gives its output as bytes' text. */
const tool = (host: QueueHost, name: string, args: readonly string[], as: { uid?: number; gid?: number } = {}, input = '') =>
  run(process.execPath, [join(PROJECT, 'src/bin', `${name}.ts`), '-c', host.host.settingsFile, ...args], {
    input,
    cwd: '/',
    ...as,
  });

test('queue tools: root sees and changes the queue, and every file stays its owner’s', async () => {
  await using host = await aHost();
  assert.match((await host.buzon('queue', 'list')).stdout, /^A1 .*\nB2 |^A1[^]*\nB2 [^]*\n2 messages, 4 recipients, /);
  assert.equal((await host.buzon('queue', 'hold', 'A1')).stdout, '1 message held\n');
  assert.equal((await host.buzon('queue', 'release', '--all')).stdout, '2 messages released\n');
  assert.equal((await host.buzon('queue', 'delete', '--recipient', 'BOB0@remote.test')).stdout, '1 message deleted\n');
  const left = JSON.parse((await host.buzon('queue', 'show', 'A1', '--json')).stdout) as { recipients: { address: string }[] };
  assert.deepEqual(
    left.recipients.map(({ address }) => address),
    ['eve0@other.test'],
  );
  assert.equal((await host.buzon('queue', 'delete', 'A1')).status, 0);
  await assert.rejects(stat(host.path('A1')));
  const owner = TREE_OWNER?.uid ?? process.getuid?.();
  for (const [name, uid] of await filesOf(host.directory)) assert.equal(uid, owner, name);
});

test('queue tools: what is due is active as long as a process has the runner’s lock', async () => {
  await using queue = await aHost();
  const names = async (): Promise<string[]> => {
    const io = captureIo({});
    await runCommand(['postqueue', '-c', queue.host.settingsFile, '-j'], io);
    const { stdout } = io;
    return [...stdout.matchAll(/"queue_name": "(\w+)"/g)].map(([, name = '']) => name);
  };
  assert.deepEqual(await names(), ['incoming', 'incoming']);
  await actAs(TREE_OWNER, async () => lockRunner(queue.directory)?.release());
  assert.deepEqual(await names(), ['incoming', 'incoming'], 'a lock that nobody holds');
  const lock = await actAs(TREE_OWNER, async () => lockRunner(queue.directory));
  assert.deepEqual(await names(), ['active', 'active']);
  lock?.release();
  assert.deepEqual(await names(), ['incoming', 'incoming']);
});

test('queue tools: where no server has made a queue there is none, and none is made', async () => {
  await using host = await MailHost.create({ settings: { queue_directory: 'none' } });
  assert.deepEqual(await buzon(host, ['queue', 'list']), { status: 0, stdout: 'nothing is waiting\n', stderr: '' });
  assert.equal((await buzon(host, ['queue', 'delete', '--all'])).stdout, '0 messages deleted\n');
  assert.match((await buzon(host, ['queue', 'stats'])).stdout, /^0 messages, 0B\n/);
  assert.doesNotMatch((await buzon(host, ['verify'])).stdout, /queue/);
  await assert.rejects(stat(join(host.directory, 'none')));
});

test('queue tools: as programs, for root, the owner, and nobody else', async (t) => {
  if (!requireRoot(t) || !TREE_OWNER) return;
  await using host = await aHost();
  const listed = await tool(host, 'mailq', []);
  assert.match(listed.stdout, /^-Queue ID-[^]*\n\n-- 0 Kbytes in 2 Requests\.\n$/);
  assert.deepEqual(await tool(host, 'postqueue', ['-p'], TREE_OWNER), listed);
  const stranger = { uid: 12_345, gid: 12_345 };
  const refused = await tool(host, 'mailq', [], stranger);
  assert.deepEqual([refused.status, refused.stdout], [77, '']);
  assert.match(refused.stderr, /^mailq: fatal: User unknown\(12345\) is not allowed to view the mail queue\n$/);
  assert.equal((await tool(host, 'postqueue', ['-f'], stranger)).status, 77);
  assert.equal((await tool(host, 'postsuper', ['-d', 'ALL'], stranger)).status, 1);
  assert.equal((await tool(host, 'postcat', ['-q', 'A1'], stranger)).status, 1);
  assert.equal(
    (await tool(host, 'postsuper', ['-h', '-'], {}, 'A1\n')).stderr,
    'postsuper: A1: placed on hold\npostsuper: Placed on hold: 1 message\n',
  );
  const both = await host.with(async (queue) => Promise.all(['A1', 'B2'].map((id) => queue.find(id))));
  assert.deepEqual(
    both.map((message) => message?.recipients.map(({ state }) => state).join()),
    ['held,held', 'ready,held'],
  );
});

test('postcat: the body’s bytes are those of the message', async () => {
  await using host = await aHost();
  const child = await run('/bin/sh', [
    '-c',
    `"$0" "$@" | od -An -c`,
    process.execPath,
    join(PROJECT, 'src/bin/postcat.ts'),
    '-c',
    host.host.settingsFile,
    '-bq',
    'A1',
  ]);
  assert.equal(child.stdout.replaceAll(/\s+/g, ' ').trim(), '\\n m a 361 a n a \\n');
});

test('a listing whose reader goes away ends without a word', async () => {
  await using host = await aHost(Array.from({ length: 60 }, (_, i) => `C${i}`));
  const ended = await run('/bin/sh', [
    '-c',
    `{ "$0" "$@"; echo $? >&2; } | head -1`,
    process.execPath,
    join(PROJECT, 'src/bin/mailq.ts'),
    '-c',
    host.host.settingsFile,
  ]);
  assert.match(ended.stdout, /^-Queue ID-.*\n$/);
  assert.equal(ended.stderr, '0\n');
});

test('queue top on a terminal: drawn, and q ends it', async (t) => {
  if (!(await requireProgram(t, 'script'))) return;
  await using host = await aHost();
  const command = `stty rows 20 columns 70; ${process.execPath} ${join(PROJECT, 'src/bin/buzon.ts')} queue top --config ${host.host.settingsFile}`;
  const shown = await run('/bin/sh', ['-c', `(sleep 2; printf q; sleep 5) | script -qec "$0" /dev/null`, command], {
    timeoutMs: 20_000,
  });
  assert.equal(shown.status, 0, shown.stdout);
  assert.match(shown.stdout, /\u001b\[HBuzon's queue at [^]*2 messages, /);
});

test('verify: a queue whose files and database agree; a server’s work meanwhile is no problem', async () => {
  await using host = await aHost();
  const { status, stdout } = await host.buzon('verify');
  assert.deepEqual([status, stdout.split('\n')[1]], [0, 'queue: 2 messages, 4 recipients: all agree']);
  assert.doesNotMatch((await host.buzon('verify', 'ana@example.test')).stdout, /queue/);
});

test('verify: what is wrong between queue.db and its files is told, and nothing is changed', async () => {
  await using host = await aHost(['A1', 'B2', 'C3', 'D4', 'E5', 'F6']);
  const old = new Date(Date.now() - 3_600_000);
  await rm(host.path('A1'));
  const whole = (await stat(host.path('B2'))).size;
  await appendFile(host.path('B2'), 'more');
  const changed = await readFile(host.path('C3'), 'latin1');
  await writeFile(host.path('C3'), changed.replace('hola', 'HOLA'), 'latin1');
  const done = await readFile(host.path('D4'), 'latin1');
  await writeFile(host.path('D4'), done.replace('\nW{', '\nD{'), 'latin1');
  // A message that queue.db has lost.
  const kept = await readFile(host.path('F6'));
  await host.with((queue) => queue.remove({ ids: ['F6'] }));
  await actAs(TREE_OWNER, async () => {
    await mkdir(dirname(host.path('F7')), { recursive: true });
    await writeFile(host.path('F7'), kept.toString('latin1').replaceAll('"id":"F6"', '"id":"F7"'), 'latin1');
    await utimes(host.path('F7'), old, old);
  });
  const { status, stdout } = await host.buzon('verify');
  assert.equal(status, 1);
  assert.deepEqual(
    stdout
      .split('\n')
      .filter((line) => line.startsWith('queue: '))
      .map((line) => line.replace(/^queue: \/\S*\/(?=[A-Z]\d: )/, '')),
    [
      'A1: the file of a message that waits is missing; it will be held when it is tried',
      `B2: it has ${whole + 4} bytes, not ${whole}; the message will be held when it is tried`,
      'C3: the message is not the one that was written; it will be held when it is tried',
      'D4: recipient 0 is done by the file and waits by queue.db; it will be tried',
      'F7: queue.db does not know this message; the server will take it up within minutes',
      'queue: 5 messages, 10 recipients: 5 problems',
    ],
  );
  assert.equal((await host.buzon('queue', 'list', '--json')).stdout.split('\n').length, 6);
});
