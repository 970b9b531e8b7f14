// A server with 100,000 messages in its queue: what starts, lists and delivers must not depend on how many wait. Limits are ten times the aims (start 2 s, list 1 s);
// `npm run bench -- queue-size` shows the figures.
import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { fillQueue } from '../support/full-queue.ts';
import { eventually, MailHost } from '../support/mail-host.ts';
import { memoryOf } from '../support/process-memory.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const COUNT = 100_000;
const DEAD = 'smtp:[127.0.0.1]:1';
const MB = 1_048_576;
const STALLED_MS = 300_000;

test('100,000 messages in the queue: the server starts, lists and delivers as with none, and none of it is in memory', async (t) => {
  await using sink = await new SmtpSink().start();
  await using host = await MailHost.create({
    users: { 'eva@example.test': 'x' },
    settings: {
      mynetworks: ['127.0.0.0/8'],
      transport_maps: `inline:{{fast.test = smtp:[127.0.0.1]:${sink.port}}, {held.test = hold:}, {dead.test = ${DEAD}}}`,
    },
  });
  const directory = join(host.directory, 'queue');
  await host.start();
  const empty = await memoryOf(host.pid ?? 0, 'VmRSS');
  await host.stop();
  for (const name of await readdir(directory)) if (name.startsWith('queue.db')) await rm(join(directory, name));
  fillQueue({
    directory,
    count: COUNT,
    // One in a hundred for a host that cannot be reached: those are tried, and put off.
    route: (n) =>
      n % 100 === 0
        ? { address: `u${n}@dead.test`, destination: DEAD }
        : { address: `u${n}@held.test`, destination: 'hold:', hold: 'held by the transport table' },
  });
  await host.start();
  const stats = async (): Promise<{ messages: number; recipients: { ready: number } }> =>
    JSON.parse((await spawnBuzon(host, ['queue', 'stats', '--json'])).stdout) as Awaited<ReturnType<typeof stats>>;
  const rebuilding = performance.now();
  await eventually(
    async () => {
      await sleep(2_000);
      return (await stats()).messages === COUNT;
    },
    'the database is made anew',
    STALLED_MS,
  );
  const rebuilt = performance.now() - rebuilding;
  await host.stop();

  const starting = performance.now();
  await host.start();
  const started = performance.now() - starting;
  const listing = performance.now();
  const list = await spawnBuzon(host, ['queue', 'list', '--json']);
  assert.equal(list.stdout.trimEnd().split('\n').length, COUNT);
  const took = performance.now() - listing;
  await deliverBySmtp(host.ports.smtp, { from: 'eva@example.test', to: ['ana@fast.test'], data: 'Subject: x\r\n\r\nx\r\n' });
  await eventually(async () => sink.messages.length === 1, 'a new message is delivered', 10_000);
  await eventually(async () => (await stats()).recipients.ready === 0, 'those for the dead host are put off', STALLED_MS);
  const grown = (await memoryOf(host.pid ?? 0, 'VmHWM')) - empty;
  t.diagnostic(
    `made anew in ${Math.round(rebuilt)} ms, started in ${Math.round(started)} ms, listed in ${Math.round(took)} ms, ${(grown / MB).toFixed(1)} MB more than with none`,
  );
  assert.ok(started < 20_000, `started in ${started} ms`);
  assert.ok(took < 10_000, `listed in ${took} ms`);
  assert.ok(grown < 64 * MB, `${grown / MB} MB more than with none`);
});
