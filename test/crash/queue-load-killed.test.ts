// Mail that goes through the queue while workers and the supervisor are killed: an outside client with its ledger on one side, a next hop that counts on the
// other. Mixed recipients: each local copy exactly once, each remote one at least once, and never more often than it was in a crash.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { inspect } from '../../src/queue/store/adopt.ts';
import { isQueueId, messagesFolder, pathOf } from '../../src/queue/store/queue-file.ts';
import { eventually, startMailHost, type MailHost } from '../support/mail-host.ts';
import { seededRandom } from '../support/random.ts';
import { SmtpSender } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const MESSAGES = Number(process.env['QUEUE_MESSAGES'] ?? 300);
const KILLS = Number(process.env['QUEUE_KILLS'] ?? 8);
const SEED = Number(process.env['QUEUE_SEED'] ?? 1);
const LANES = 4;
const ANA = 'ana@example.test';
const STUCK_MS = 120_000;

interface Sent {
  readonly id: number;
  acknowledged: boolean;
  cut: number;
}

/** One try; says whether the connection can go on. */
async function attempt(sender: SmtpSender, sent: Sent): Promise<boolean> {
  let reply: string;
  try {
    await sender.command('MAIL FROM:<eva@example.test>', '250');
    await sender.command(`RCPT TO:<${ANA}>`, '250');
    for (const user of ['one', 'two']) await sender.command(`RCPT TO:<${user}@outside.test>`, '250');
    await sender.command('DATA', '354');
    const text = `Message-ID: <${sent.id}@client.test>\r\nFrom: <eva@example.test>\r\n\r\n${`line of ${sent.id}\r\n`.repeat(20)}.`;
    reply = await sender.command(text, '');
  } catch {
    return false;
  }
  if (reply.startsWith('250')) sent.acknowledged = true;
  else if (reply.startsWith('000')) sent.cut++;
  else assert.match(reply, /^4/);
  return sent.acknowledged;
}

async function lane(host: MailHost, next: () => Sent | undefined): Promise<void> {
  let sender: SmtpSender | undefined;
  for (let sent = next(); sent; sent = next()) {
    const end = performance.now() + STUCK_MS;
    while (!sent.acknowledged) {
      assert.ok(performance.now() < end, `message ${sent.id} is not taken`);
      sender ??= await SmtpSender.connect(host.ports.smtp).catch(() => undefined);
      if (sender && (await attempt(sender, sent))) continue;
      await sender?.quit();
      sender = undefined;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  await sender?.quit();
}

async function kill(host: MailHost, supervisor: boolean): Promise<void> {
  if (supervisor) {
    await host.stop('SIGKILL');
    await host.start();
    return;
  }
  const pid = await eventually(async () => (await host.workers())[0], 'a worker to kill');
  process.kill(pid, 'SIGKILL');
}

/** Files of the queue that are whole, and which message each has. Fails for a damaged one. */
async function filesLeft(host: MailHost): Promise<{ name: string; id: number }[]> {
  const queue = join(host.directory, 'queue');
  const names = await readdir(messagesFolder(queue), { recursive: true });
  const left: { name: string; id: number }[] = [];
  for (const name of names.map((path) => basename(path)).filter((name) => name.length > 2 && isQueueId(name))) {
    const found = inspect(queue, name);
    assert.notEqual(found.kind, 'damaged', name);
    // Removed meanwhile, or cut off by a kill while it was written.
    if (found.kind !== 'whole') continue;
    const text = await readFile(pathOf(queue, name), 'latin1').catch(() => undefined);
    const [, id] = /^Message-ID: <(\d+)@client\.test>/m.exec(text ?? '') ?? [];
    if (text !== undefined) left.push({ name, id: Number(id) });
  }
  return left;
}

test('row 2, row 5, row 6: workers and the supervisor killed while mail passes through: local copies once, remote ones repeated only where a crash cut them', async (t) => {
  await using sink = await new SmtpSink().start();
  await using host = await startMailHost({
    users: { [ANA]: 'a', 'eva@example.test': 'b' },
    settings: {
      workers: 2,
      mynetworks: ['127.0.0.0/8'],
      transport_maps: `inline:{outside.test=smtp:[127.0.0.1]:${sink.port}}`,
      minimal_backoff_time: '1s',
      maximal_backoff_time: '2s',
    },
  });
  const all = Array.from({ length: MESSAGES }, (_, id): Sent => ({ id, acknowledged: false, cut: 0 }));
  let taken = 0;
  const sending = Promise.all(Array.from({ length: LANES }, () => lane(host, () => all[taken++])));
  const random = seededRandom(SEED);
  for (let n = 1; n <= KILLS; n++) {
    const due = Math.floor((MESSAGES * n) / (KILLS + 1));
    await eventually(async () => all.filter(({ acknowledged }) => acknowledged).length >= due, `${due} messages`, STUCK_MS);
    await new Promise((resolve) => setTimeout(resolve, random.below(50)));
    await kill(host, n % 4 === 0);
  }
  await sending;
  await eventually(
    async () => (await spawnBuzon(host, ['queue', 'list', '--json'])).stdout.trim() === '',
    'the queue is empty',
    STUCK_MS,
  );
  const copies = (id: number): number[] =>
    ['one', 'two'].map(
      (user) =>
        sink.messages.filter(
          (m) =>
            m.recipients.includes(`${user}@outside.test`) && new RegExp(`^Message-ID: <${id}@client\\.test>`, 'mi').test(m.data),
        ).length,
    );
  for (const { name, id } of await filesLeft(host)) {
    // A kill between file and row: nobody was told 250, the reply was cut (the file is taken up after two minutes). Or between the end of the row and the
    // removal of the file: then everybody has got it.
    const { cut } = all[id] ?? { cut: 0 };
    assert.ok(cut > 0 || copies(id).every((count) => count >= 1), `${name} is left of message ${id}`);
  }
  const inbox = await host.inbox(ANA);
  let repeated = 0;
  for (const { id, cut } of all) {
    const local = inbox.filter((text) => text.includes(`Message-ID: <${id}@client.test>`)).length;
    assert.ok(local >= 1 && local <= 1 + cut, `${id}: ${local} local copies, reply cut ${cut} times`);
    for (const count of copies(id)) {
      assert.ok(count >= 1, `${id} never reached the next hop`);
      assert.ok(count <= 1 + cut + KILLS, `${id} reached it ${count} times`);
      if (count > 1) repeated++;
    }
  }
  assert.ok(
    repeated <= KILLS * 2 * 20 + all.reduce((sum, { cut }) => sum + 2 * cut, 0),
    `${repeated} repeated: more than were under way`,
  );
  t.diagnostic(JSON.stringify({ messages: MESSAGES, kills: KILLS, repeated, cut: all.reduce((sum, { cut }) => sum + cut, 0) }));
});
