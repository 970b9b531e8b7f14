// The queue as a part of the server: mail of SMTP clients in, the runner's lease, the end. Store and agent are the test's own.
import assert from 'node:assert/strict';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import type { Route } from '../../src/delivery/types.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { lockFile } from '../../src/lib/sqlite.ts';
import { MailError } from '../../src/lib/errors.ts';
import { memorySource } from '../../src/message/source.ts';
import { parseNextHop } from '../../src/queue/next-hop.ts';
import type { Job, JobResult, Outcome } from '../../src/queue/types.ts';
import { clientLimits } from '../../src/worker/queue-parts.ts';
import { MailServer } from '../../src/worker/mail-server.ts';
import { queueLimits, type QueueParts } from '../../src/worker/outbound.ts';
import { corruptNotice, ownMailSender, type OwnMail } from '../../src/worker/reports.ts';
import { DEFAULT_QUEUE_LIMITS } from '../../src/queue/scheduler/limits.ts';
import { captureLog } from '../support/log-capture.ts';
import { eventually } from '../support/mail-host.ts';
import { ListStore, newMessage } from '../support/queue-world.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { tempFolder } from '../support/temp-folder.ts';

const SENT: Outcome = { kind: 'delivered', relay: 'mx[192.0.2.1]:25', status: '2.0.0', reply: '250 Ok', dsnPassedOn: false };
const MAIL = { from: 'ana@example.test', to: ['x@outside.test'], data: 'Subject: out\r\n\r\nhello\r\n' };

async function serverOf(t: TestContext, parts: Partial<QueueParts> = {}) {
  const folder = await tempFolder(t);
  const settings = settingsFromObject(
    {
      hostname: 'mail.example.test',
      virtual_mailbox_domains: ['example.test'],
      virtual_mailbox_base: 'vhosts',
      virtual_mailbox_maps: 'inline:{ ana@example.test=example.test/ana/ }',
      mynetworks: ['127.0.0.0/8'],
      data_directory: 'data',
      queue_directory: 'queue',
      smtp_process_limit: 7,
      listeners: [{ protocol: 'smtp', address: '127.0.0.1', port: 0 }],
    },
    folder,
  );
  const store = new ListStore();
  const closed: string[] = [];
  const jobs: Job[] = [];
  const { logger, events } = captureLog();
  const server = new MailServer(settings, {
    logger,
    queueParts: () => ({
      openStore: async () => Object.assign(store.asStore, { close: async () => void closed.push('store') }),
      transports: { resolve: async (address) => parseNextHop(`smtp:${address.split('@')[1]}`) },
      agent: {
        deliver: async (job): Promise<JobResult> => {
          jobs.push(job);
          return { site: 'up', outcomes: new Map(job.recipients.map(({ number }) => [number, SENT])) };
        },
        close: async () => void closed.push('agent'),
      },
      reporter: { report: async () => undefined, trace: async () => undefined, reportStored: async () => undefined },
      ...parts,
    }),
  });
  t.after(() => server.stop());
  return { folder, settings, store, closed, jobs, events, server, port: () => server.addresses[0]?.port ?? 0 };
}

test('mail of a client in mynetworks goes through the queue to its agent; the server ends runner, then store', async (t) => {
  const host = await serverOf(t);
  await host.server.start();
  await deliverBySmtp(host.port(), MAIL);
  const job = await eventually(async () => host.jobs[0], 'the job');
  assert.deepEqual([job.destination, job.envelope.sender], ['smtp:outside.test', 'ana@example.test']);
  await eventually(async () => host.store.rows.length === 0, 'the settlement');
  assert.equal((await stat(join(host.folder, 'queue'))).mode & 0o777, 0o711);
  await host.server.stop();
  assert.deepEqual(host.closed, ['agent', 'store']);
});

test('a store that cannot be opened stops the start; nothing listens', async (t) => {
  const host = await serverOf(t, {
    openStore: () => Promise.reject(new MailError('config', 'QUEUE_VERSION', 'another version')),
  });
  await assert.rejects(host.server.start(), { code: 'QUEUE_VERSION' });
  assert.deepEqual(host.server.addresses, []);
});

test('a queue that another server runs is not run a second time; mail is taken in all the same', async (t) => {
  const host = await serverOf(t);
  await host.server.start();
  await eventually(async () => host.events.some(({ event }) => event === 'queue.runner.started'), 'the lease');
  await host.server.stop();

  const other = await serverOf(t);
  await mkdir(other.settings.queue_directory);
  const lock = lockFile(join(other.settings.queue_directory, 'runner.lock'));
  await other.server.start();
  await deliverBySmtp(other.port(), MAIL);
  assert.equal(other.store.rows.length, 1);
  assert.equal(other.jobs.length, 0);
  lock.release();
  await eventually(async () => other.jobs.length === 1, 'the runner');
});

test("settings become the runner's limits", async (t) => {
  const { settings } = await serverOf(t);
  assert.deepEqual(queueLimits(settings), { ...DEFAULT_QUEUE_LIMITS, processes: 7 });
});

test("mail of the server's own comes from <> and goes where the router says; who is nobody gets none", async () => {
  const accepted: { readonly sender: string; readonly to: string; readonly route: string }[] = [];
  const { logger, events } = captureLog();
  const routes: Record<string, Route> = {
    'ana@example.test': { kind: 'deliver', targets: [] },
    'x@outside.test': { kind: 'relay' },
  };
  const send = ownMailSender({
    router: () => ({
      route: async (address) => routes[address] ?? { kind: 'unknown-user' },
      isLocalDomain: async () => false,
      maySendAs: async () => false,
    }),
    accept: async ({ envelope: { sender, recipients } }) => {
      for (const { address, route } of recipients) accepted.push({ sender, to: address, route: route.kind });
    },
    logger,
  });
  for (const recipient of ['ana@example.test', 'x@outside.test', 'nobody@example.test'])
    await send({ recipient, source: memorySource(Buffer.from('x')), smtpUtf8: false, id: 'R1' });
  assert.deepEqual(accepted, [
    { sender: '', to: 'ana@example.test', route: 'deliver' },
    { sender: '', to: 'x@outside.test', route: 'relay' },
  ]);
  assert.deepEqual(
    events.map(({ event, fields }) => [event, fields['to']]),
    [['queue.report.undeliverable', 'nobody@example.test']],
  );
});

test('row 24: the postmaster hears once of a damaged message, in lines of our own', async () => {
  const sent: OwnMail[] = [];
  const { logger, events } = captureLog();
  let fails = false;
  const notice = corruptNotice({
    send: async (mail) => {
      if (fails) throw new MailError('temporary', 'X', 'not now');
      sent.push(mail);
    },
    hostname: () => 'mail.example.test',
    clock: systemClock,
    logger,
  });
  const { envelope } = newMessage('A1', []);
  const evil = { envelope: { ...envelope, sender: 'a@b\r\nBcc: x@y' }, size: 3, recipients: [] };
  await notice(evil, 'bad\nSubject: other');
  await notice(evil, 'again');
  assert.equal(sent.length, 1);
  let text = '';
  for await (const chunk of sent[0]?.source.chunks() ?? []) text += chunk.toString();
  assert.match(text, /^From: Mail Delivery System <MAILER-DAEMON@mail\.example\.test>\r\nTo: postmaster@/);
  assert.doesNotMatch(text, /^(Bcc|Subject: other)/m);
  assert.match(text, /\r\nProblem: bad\?Subject: other\r\nSender: <a@b\?Bcc: x@y>\r\n/);
  fails = true;
  await notice({ ...evil, envelope: { ...envelope, id: 'A2' } }, 'bad');
  assert.deepEqual(
    events.map(({ event }) => event),
    ['queue.notice.failed'],
  );
});

test('the client has the settings’ limits; no limit of messages a connection is none for it either', () => {
  const limitsOf = (more: Record<string, string | number>) =>
    clientLimits(settingsFromObject({ hostname: 'mail.example.test', ...more }, '/nowhere'));
  const usual = limitsOf({});
  assert.equal(usual.smtp_connection_reuse_count_limit, 100);
  assert.equal(usual.smtp_connect_timeout, 30_000);
  const set = limitsOf({ smtp_connection_reuse_count_limit: 0, smtp_mx_session_limit: 0, smtp_rcpt_timeout: '7s' });
  assert.equal(set.smtp_connection_reuse_count_limit, Infinity);
  assert.equal(set.smtp_mx_session_limit, 0);
  assert.equal(set.smtp_rcpt_timeout, 7_000);
});
