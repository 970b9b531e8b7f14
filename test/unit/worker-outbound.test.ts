// The queue as a part of the server: mail of SMTP clients in, the runner's lease, the end. Store and agent are the test's own.
import assert from 'node:assert/strict';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { settingsFromObject } from '../../src/config/settings-object.ts';
import { Intents } from '../../src/delivery/intents.ts';
import { staticResolver } from '../../src/dns/resolver.ts';
import type { Route } from '../../src/delivery/types.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { lockFile } from '../../src/lib/sqlite.ts';
import { MailError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { memorySource } from '../../src/message/source.ts';
import { formatNextHop, parseNextHop } from '../../src/queue/next-hop.ts';
import { noQueue } from '../../src/queue/no-queue.ts';
import type { Job, JobResult, Outcome } from '../../src/queue/types.ts';
import { clientLimits, queueParts } from '../../src/worker/queue-parts.ts';
import { MailServer } from '../../src/worker/mail-server.ts';
import { limitsBySettings, queueLimits, type QueueParts } from '../../src/worker/outbound.ts';
import { Parts } from '../../src/worker/parts.ts';
import { corruptNotice, ownMailSender, type OwnMail } from '../../src/worker/reports.ts';
import { DEFAULT_QUEUE_LIMITS } from '../../src/queue/scheduler/limits.ts';
import { plainHashing } from '../../src/testing/plain-hashing.ts';
import { captureLog } from '../support/log-capture.ts';
import { eventually } from '../support/mail-host.ts';
import { ListStore, newMessage } from '../support/queue-world.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
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

test('limits of a transport: its own where they are set, else the ones for all; those of the settings as they are now', () => {
  const settingsOf = (more: Record<string, number>) => settingsFromObject({ hostname: 'mail.example.test', ...more }, '/nowhere');
  let settings = settingsOf({ default_destination_recipient_limit: 30, default_destination_concurrency_limit: 15 });
  const limits = limitsBySettings(() => settings);
  const own = (destination?: string): number[] => {
    const { initialConcurrency, concurrency, failedCohorts, recipients } = limits(destination);
    return [initialConcurrency, concurrency, failedCohorts, recipients];
  };
  const places = ['smtp:x.test', 'smtp:[a], [b]:26', 'lmtp:unix:/run/x', 'discard:', undefined];
  assert.deepEqual(places.map(own), Array(5).fill([5, 15, 1, 30]));
  assert.equal(limits('smtp:x.test'), limits('smtp:y.test'), 'they are made once');
  settings = settingsOf({
    default_destination_concurrency_limit: 15,
    smtp_initial_destination_concurrency: 2,
    smtp_destination_concurrency_limit: 4,
    smtp_destination_concurrency_failed_cohort_limit: 10,
    smtp_destination_recipient_limit: 7,
    lmtp_initial_destination_concurrency: 3,
    lmtp_destination_concurrency_limit: 6,
    lmtp_destination_concurrency_failed_cohort_limit: 0,
    lmtp_destination_recipient_limit: 1,
  });
  const [smtp, lmtp, all] = [
    [2, 4, 10, 7],
    [3, 6, 0, 1],
    [5, 15, 1, 50],
  ];
  assert.deepEqual(places.map(own), [smtp, smtp, lmtp, all, all]);
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

test('local_recipient_maps of the settings: the usual ones, tables of their own, none', async (t) => {
  const folder = await tempFolder(t);
  const told = async (local?: string): Promise<readonly string[]> => {
    const settings = settingsFromObject(
      {
        hostname: 'mail.example.test',
        data_directory: 'data',
        alias_maps: 'inline:{ root=ana@far.test }',
        ...(local === undefined ? {} : { local_recipient_maps: local }),
      },
      folder,
    );
    const parts = new Parts(settings, {
      logger: silentLogger,
      clock: systemClock,
      hashing: plainHashing,
      queue: noQueue,
      intents: new Intents(folder, Date.now, silentLogger),
      storeOf: () => assert.fail('no mailbox is asked for'),
    });
    const one = async (user: string): Promise<string> => {
      const { kind } = await parts.router.route(`${user}@mail.example.test`);
      return kind === 'deliver' ? formatNextHop(await parts.transports.resolve(`${user}@mail.example.test`, '')) : kind;
    };
    const all = [await one('root'), await one('ghost'), await one('user')];
    parts.close();
    return all;
  };
  const [here, gone] = ['error:4.3.5 mail for mail.example.test is delivered by this server itself', 'unknown-user'];
  const back = (user: string): string => `error:5.1.1 unknown user: "${user}"`;
  assert.deepEqual(await told(), [here, gone, gone]);
  assert.deepEqual(await told('unix:passwd.byname'), [here, gone, gone]);
  assert.deepEqual(await told('proxy:unix:passwd.byname inline:{ user=x }'), [here, gone, back('user')]);
  assert.deepEqual(await told('inline:{ user=x }'), [gone, gone, back('user')]);
  assert.deepEqual(await told(''), [here, back('ghost'), back('user')]);
});

test('the client has the settings’ limits; no limit of messages a connection is none for it either', () => {
  const limitsOf = (more: Record<string, string | number>) =>
    clientLimits(settingsFromObject({ hostname: 'mail.example.test', ...more }, '/nowhere'));
  const usual = limitsOf({});
  assert.equal(usual.smtp_connection_reuse_count_limit, 100);
  assert.equal(usual.smtp_connect_timeout, 30_000);
  const set = limitsOf({
    minimal_backoff_time: '10s',
    smtp_connection_reuse_count_limit: 0,
    smtp_mx_session_limit: 0,
    smtp_rcpt_timeout: '7s',
  });
  assert.equal(set.smtp_connection_reuse_count_limit, Infinity);
  assert.equal(set.smtp_mx_session_limit, 0);
  assert.equal(set.smtp_rcpt_timeout, 7_000);
  assert.equal(set.minimal_backoff_time, 10_000);
});

test('the client goes by the settings as they are now, and asks for the log-in at the host that it speaks to', async (t) => {
  const sink = await new SmtpSink({ extensions: ['PIPELINING'] }).start();
  t.after(() => sink.stop());
  const folder = await tempFolder(t);
  const settingsOf = (cache: string) =>
    settingsFromObject(
      { hostname: 'mail.example.test', data_directory: 'data', smtp_connection_cache_time_limit: cache },
      folder,
    );
  let settings = settingsOf('60s');
  const asked: unknown[] = [];
  const parts = () =>
    ({
      settings,
      credentials: async (...question: unknown[]) => void asked.push(question),
      bindAddresses: async () => ({}),
      tlsPolicy: async () => undefined,
    }) as unknown as Parts;
  const resolver = staticResolver({ 'far.test': { mx: ['mx.far.test'] }, 'mx.far.test': { a: ['127.0.0.1'] } });
  const { agent } = queueParts({ parts, dkimKeys: () => undefined, logger: silentLogger, clock: systemClock }, resolver);
  t.after(() => agent.close());
  const hop = parseNextHop(`smtp:far.test:${sink.port}`);
  const { envelope, source, recipients } = newMessage('M', ['u@far.test'], { arrived: 0 });
  const job: Job = {
    envelope,
    size: source.size,
    destination: formatNextHop(hop),
    recipients: recipients.map((one) => ({
      ...one,
      number: 0,
      state: 'ready',
      attempts: 0,
      nextAttempt: 0,
      delayReported: false,
    })),
  };
  const connections = async (): Promise<number> => {
    const { outcomes } = await agent.deliver(job, hop, source, new AbortController().signal);
    assert.equal(outcomes.get(0)?.kind, 'delivered');
    return sink.connections;
  };
  assert.deepEqual([await connections(), await connections()], [1, 1]);
  assert.deepEqual(asked[0], [hop, envelope.sender, 'mx.far.test']);
  settings = settingsOf('0s');
  assert.deepEqual([await connections(), await connections()], [2, 3]);
});
