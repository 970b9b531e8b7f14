// sendmail -bv and -v through a whole server: what would become of each recipient, and what became of it, by mail; a question is delivered to nobody.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, PROJECT, startMailHost, type MailHost } from '../support/mail-host.ts';
import { run } from '../support/programs.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const ANA = 'ana@example.test';

function startHost(sink: SmtpSink): Promise<MailHost> {
  return startMailHost({
    settings: {
      workers: 2,
      alias_maps: 'texthash:aliases',
      transport_maps: `inline:{outside.test=smtp:[127.0.0.1]:${sink.port}}`,
      minimal_backoff_time: '1h',
      shutdown_timeout: '1s',
    },
    prepare: (host) => writeFile(join(host.directory, 'aliases'), `root: ${ANA}\n`),
  });
}

async function sendmail(host: MailHost, args: readonly string[], input = ''): Promise<string> {
  const bin = join(PROJECT, 'dist', 'bin', 'sendmail.js');
  const sent = await run(process.execPath, [bin, '-C', host.settingsFile, '-f', 'root', ...args], { input });
  assert.equal(sent.status, 0, sent.stderr);
  return sent.stdout;
}

/** Reports in the mailbox once there are `count`, and what they say: `address action status`, sorted. */
async function reports(host: MailHost, count: number): Promise<{ texts: string[]; said: string[] }> {
  const texts = await eventually(
    async () => {
      const found = (await host.inbox(ANA)).filter((text) => /^Subject: Mail Delivery Status Report$/m.test(text));
      return found.length >= count && found;
    },
    `${count} reports: ${host.output.slice(-3000)}`,
    20_000,
  );
  assert.equal(texts.length, count);
  const blocks = texts.flatMap((text) => [...text.matchAll(/^Final-Recipient: rfc822; (\S+)\nAction: (\w+)\nStatus: (\S+)$/gm)]);
  return { texts, said: blocks.map(([, ...words]) => words.join(' ')).sort() };
}
const queueIsEmpty = (host: MailHost): Promise<unknown> =>
  eventually(async () => (await spawnBuzon(host, ['queue', 'list', '--json'])).stdout === '', 'the queue is empty', 20_000);

test('sendmail -bv: addresses here are looked up, others asked for as far as RCPT TO; reports tell, nobody gets anything', async () => {
  await using sink = await new SmtpSink({
    rcpt: (line) => (line.includes('<bad@') ? '550 5.1.1 no such user' : undefined),
  }).start();
  await using host = await startHost(sink);
  const said = await sendmail(host, ['-bv', ANA, 'nobody@example.test', 'good@outside.test', 'bad@outside.test']);
  assert.equal(said, 'Mail Delivery Status Report will be mailed to <root>.\n');
  const found = await reports(host, 2);
  assert.deepEqual(found.said, [
    'ana@example.test deliverable 2.0.0',
    'bad@outside.test undeliverable 5.1.1',
    'good@outside.test deliverable 2.1.5',
    'nobody@example.test undeliverable 5.1.1',
  ]);
  for (const text of found.texts) {
    assert.match(text, /^Return-Path: <>$/m);
    assert.match(text, /^Content-Type: multipart\/report; report-type=delivery-status;/m);
  }
  await queueIsEmpty(host);
  assert.ok(sink.verbs.includes('RCPT') && !sink.verbs.includes('DATA'), sink.verbs.join());
  assert.deepEqual(sink.messages, []);
  assert.equal((await host.inbox(ANA)).length, 2, 'nothing but the reports');
  assert.match(host.output, /"event":"queue\.deliverable"[^\n]*"to":"good@outside\.test"/);
});

test('sendmail -v: delivered, and reported on after the first try', async () => {
  await using sink = await new SmtpSink({ rcpt: (line) => (line.includes('<late@') ? '450 4.2.0 later' : undefined) }).start();
  await using host = await startHost(sink);
  await sendmail(host, ['-v', ANA, 'good@outside.test', 'late@outside.test'], 'Subject: hola\n\nhola\n');
  const { said } = await reports(host, 2);
  assert.deepEqual(said, [
    'ana@example.test delivered 2.0.0',
    'good@outside.test relayed 2.0.0',
    'late@outside.test delayed 4.2.0',
  ]);
  assert.deepEqual(
    sink.messages.map(({ recipients }) => recipients),
    [['good@outside.test']],
  );
  assert.ok((await host.inbox(ANA)).some((text) => /^Subject: hola$/m.test(text)));
});

test('mailq has a * behind the id of what is being delivered, as long as a server runs', async () => {
  await using sink = await new SmtpSink({ rcpt: () => ({ hang: true }) }).start();
  await using host = await startHost(sink);
  const mailq = async (): Promise<string> => {
    const listed = await run(process.execPath, [join(PROJECT, 'dist/bin/mailq.js'), '-C', host.settingsFile]);
    assert.equal(listed.status, 0, listed.stderr);
    return listed.stdout;
  };
  await sendmail(host, ['slow@outside.test'], 'Subject: x\n\n');
  await eventually(async () => sink.verbs.includes('RCPT'), 'it is being delivered');
  assert.match(await mailq(), /^[0-9A-F]{12}\* +\d/m);
  await host.stop('SIGKILL');
  await eventually(async () => /^[0-9A-F]{12} +\d/m.test(await mailq()), 'nobody delivers it any more', 20_000);
});

test('postsuper -e: a message that waits goes back to its sender at once, with why it waited', async () => {
  await using sink = await new SmtpSink({ rcpt: () => '450 4.2.0 later' }).start();
  await using host = await startHost(sink);
  await sendmail(host, ['late@outside.test'], 'Subject: adios\n\nhola\n');
  const id = await eventually(async () => {
    const { stdout } = await spawnBuzon(host, ['queue', 'list', '--state', 'deferred', '--json']);
    return stdout === '' ? undefined : (JSON.parse(stdout) as { id: string }).id;
  }, 'it is put off');
  const expired = await run(process.execPath, [join(PROJECT, 'dist/bin/postsuper.js'), '-c', host.settingsFile, '-e', id]);
  assert.deepEqual([expired.status, expired.stderr], [0, `postsuper: ${id}: expired\npostsuper: Force-expired: 1 message\n`]);
  const report = await eventually(
    async () => (await host.inbox(ANA)).find((text) => /^Subject: Undelivered Mail/m.test(text)),
    'the report',
    20_000,
  );
  assert.match(report.replace(/\n\s+/g, ' '), /Action: failed\nStatus: 5\.2\.0\n[^]*450 4\.2\.0 later/);
  await queueIsEmpty(host);
  assert.equal(sink.verbs.filter((verb) => verb === 'RCPT').length, 1, 'it was not tried once more');
});
