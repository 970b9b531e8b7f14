// What the queue holds out against: a message of hundreds of MB on its way through, and next hops that answer a byte at a time.
import assert from 'node:assert/strict';
import { createServer, type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { eventually, startMailHost } from '../support/mail-host.ts';
import { growthOf } from '../support/process-memory.ts';
import { SmtpClient } from '../support/smtp-script.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const EVA = 'eva@example.test';
const MB = 1_048_576;
const STALLED_MS = 60_000;

const settings = (routes: Readonly<Record<string, number>>): Readonly<Record<string, unknown>> => ({
  mynetworks: ['127.0.0.0/8'],
  transport_maps: `inline:{${Object.entries(routes)
    .map(([domain, port]) => `{${domain} = smtp:[127.0.0.1]:${port}}`)
    .join(', ')}}`,
});

test('row 8: a message of 200 MB through the queue: at most 64 MB of growth, from the client to the next hop', async (t) => {
  // It takes messages of any size.
  await using sink = await new SmtpSink({ extensions: ['PIPELINING', '8BITMIME'] }).start();
  sink.keep = false;
  await using host = await startMailHost({
    users: { [EVA]: 'x' },
    settings: { ...settings({ 'outside.test': sink.port }), message_size_limit: 256 * MB },
  });
  await using client = await SmtpClient.hello(host.ports.smtp);
  const line = 'x'.repeat(998);
  // What is loaded once, and the garbage of any mail, are not growth with the size of this one.
  assert.match(await client.message(EVA, ['ana@outside.test'], `Subject: ordinary\n\n${`${line}\n`.repeat(24_000)}`), /^250/);
  await eventually(async () => sink.messages.length === 1, 'the ordinary one is passed on', STALLED_MS);
  const grown = await growthOf(host.pid ?? 0, async () => {
    await client.envelope(EVA, 'ben@outside.test');
    client.line('Subject: big\r\n');
    const block = Buffer.from(`${line}\r\n`.repeat(1_000));
    for (let left = 200 * MB; left > 0; left -= block.length)
      if (!client.socket.write(block)) await new Promise((resolve) => client.socket.once('drain', resolve));
    client.line('.');
    assert.match(await client.reply(STALLED_MS), /^250 /);
    await eventually(async () => sink.messages.length === 2, 'it is passed on', STALLED_MS);
  });
  t.diagnostic(`grew by ${grown / MB} MB`);
  assert.ok(grown < 64 * MB, `grew by ${grown / MB} MB`);
});

/** A next hop whose greeting never ends: a byte each half second. */
async function drippingHop(t: TestContext): Promise<{ port: number; connections: () => number }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    const greeting = '220 sink.test ESMTP '.padEnd(400, 'x');
    let at = 0;
    const timer = setInterval(() => socket.write(greeting[at++] ?? 'x'), 500);
    socket.on('error', () => undefined).on('close', () => clearInterval(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

test('row 11: next hops that answer a byte at a time are left at an absolute deadline; ordinary mail goes through meanwhile', async (t) => {
  // More of them than the queue has places, each a destination of its own.
  const hops = await Promise.all(Array.from({ length: 30 }, () => drippingHop(t)));
  await using sink = await new SmtpSink().start();
  const routes = Object.fromEntries(hops.map(({ port }, i) => [`slow${i}.test`, port]));
  await using host = await startMailHost({
    users: { [EVA]: 'x' },
    settings: { ...settings({ ...routes, 'fast.test': sink.port }), smtp_process_limit: 20, smtp_helo_timeout: '15s' },
  });
  const send = (to: string): Promise<string> =>
    deliverBySmtp(host.ports.smtp, { from: EVA, to: [to], data: 'Subject: x\r\n\r\nx\r\n' });
  const sent = Object.keys(routes).flatMap((domain) => [`ana@${domain}`, `ben@${domain}`]);
  for (const address of sent) await send(address);
  await eventually(
    async () => hops.filter(({ connections }) => connections() > 0).length >= 10,
    'they are spoken to',
    STALLED_MS,
  );
  const began = performance.now();
  await send('ana@fast.test');
  await eventually(async () => sink.messages.length === 1, 'ordinary mail', STALLED_MS);
  assert.ok(performance.now() - began < 10_000, `ordinary mail took ${performance.now() - began} ms`);
  await eventually(
    async () => {
      const { stdout } = await spawnBuzon(host, ['queue', 'list', '--json']);
      return /timed out while receiving the initial server greeting/.test(stdout);
    },
    'the first are put off',
    STALLED_MS,
  );
});
