import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownCounters, takePlace, type Counters } from '../../src/lib/counters.ts';
import { MailError } from '../../src/lib/errors.ts';
import { formatNextHop, parseNextHop } from '../../src/queue/next-hop.ts';
import { QueueRunner } from '../../src/queue/runner.ts';
import { DEFAULT_QUEUE_LIMITS, type QueueLimits } from '../../src/queue/scheduler/limits.ts';
import type {
  DeliveryAgent,
  Failure,
  Job,
  JobResult,
  NextHop,
  Outcome,
  QueuedMessage,
  ReportedRecipient,
} from '../../src/queue/types.ts';
import { captureLog } from '../support/log-capture.ts';
import { seededRandom } from '../support/random.ts';
import { ListStore, newMessage, settled, TwoClocks, type MessageOptions } from '../support/queue-world.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const RELAY = 'mx.one.test[192.0.2.1]:25';
const SENT: Outcome = {
  kind: 'delivered',
  relay: RELAY,
  status: '2.0.0',
  reply: '250 2.0.0 Ok: queued as X',
  dsnPassedOn: false,
};
const LATER: Outcome = {
  kind: 'deferred',
  relay: RELAY,
  status: '4.2.2',
  reason: `host mx.one.test[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)`,
  remote: 'mx.one.test',
  reply: '452 4.2.2 full',
};
const NEVER: Outcome = {
  ...LATER,
  kind: 'failed',
  status: '5.1.1',
  reason: 'host said: 550 5.1.1 unknown',
  reply: '550 5.1.1 unknown',
};

interface Told {
  readonly message: QueuedMessage;
  readonly recipients: readonly ReportedRecipient[];
  readonly delay: boolean;
}

/** A runner whose agent, reporter and tables the test scripts. */
class RunnerWorld {
  readonly clocks: TwoClocks;
  readonly store: ListStore;
  readonly log = captureLog();
  readonly tried: { readonly job: Job; readonly hop: NextHop; readonly at: number }[] = [];
  readonly told: Told[] = [];
  readonly traced: { readonly id: string; readonly recipients: readonly ReportedRecipient[] }[] = [];
  readonly corrupt: string[] = [];
  /** Order of what happened. */
  readonly order: string[] = [];
  agentClosed = false;
  limits: QueueLimits;
  /** The answer for each recipient. */
  outcome: (address: string) => Outcome = () => SENT;
  site: JobResult['site'] = 'up';
  deliver: DeliveryAgent['deliver'] = async (job) => this.result(job);
  report: () => Promise<void> = async () => undefined;
  resolve: (address: string) => string = (address) => `smtp:${address.split('@')[1]}`;
  readonly runner: QueueRunner;

  /** With the store and the clocks of `before`: as after a start anew. */
  constructor(limits: Partial<QueueLimits> = {}, counters: Counters = ownCounters(), before?: RunnerWorld) {
    this.clocks = before?.clocks ?? new TwoClocks();
    this.store = before?.store ?? new ListStore();
    this.limits = { ...DEFAULT_QUEUE_LIMITS, ...limits };
    this.runner = new QueueRunner({
      store: this.store.asStore,
      transports: { resolve: async (recipient) => parseNextHop(this.resolve(recipient)) },
      agent: {
        deliver: (job, hop, source, signal) => {
          this.tried.push({ job, hop, at: this.clocks.monotonic() });
          this.order.push('deliver');
          return this.deliver(job, hop, source, signal);
        },
        close: async () => void (this.agentClosed = true),
      },
      reporter: {
        report: async (message, recipients, source, delay) => {
          let bytes = 0;
          for await (const chunk of source.chunks()) bytes += chunk.length;
          assert.equal(bytes, source.size);
          await this.report();
          this.order.push('report');
          this.told.push({ message, recipients, delay });
        },
        trace: async (message, recipients) => {
          await this.report();
          this.order.push('trace');
          this.traced.push({ id: message.envelope.id, recipients });
        },
      },
      limits: () => this.limits,
      lease: () => takePlace(counters, 'queue', 'runner', 1),
      onCorrupt: async ({ envelope }) => void this.corrupt.push(envelope.id),
      clock: this.clocks,
      monotonic: this.clocks.monotonic,
      random: () => 0,
      logger: this.log.logger,
    });
  }

  result(job: Job): JobResult {
    return { site: this.site, outcomes: new Map(job.recipients.map(({ number, address }) => [number, this.outcome(address)])) };
  }
  async start(): Promise<this> {
    this.runner.start();
    await settled();
    return this;
  }
  async add(id: string, recipients: readonly string[], options: MessageOptions = {}): Promise<void> {
    await this.store.add(newMessage(id, recipients, { arrived: this.clocks.now(), ...options }));
    await settled();
  }
  /** Names and some fields of the queue's events. */
  events(...names: string[]): string[] {
    return this.log.events
      .filter(({ event }) => (names.length === 0 ? event.startsWith('queue.') : names.includes(event)))
      .map(({ event }) => event);
  }
}
const world = (limits: Partial<QueueLimits> = {}): Promise<RunnerWorld> => new RunnerWorld(limits).start();

test('a message is delivered, settled, logged, and gone', async () => {
  const w = await world();
  await w.add('A1', ['x@one.test', 'y@one.test', 'z@two.test']);
  assert.equal(w.store.rows.length, 0);
  assert.deepEqual(w.told, []);
  const logged = w.log.events.filter(({ event }) => event === 'queue.delivered').map(({ fields }) => fields);
  assert.deepEqual(
    logged.find(({ to }) => to === 'x@one.test'),
    {
      id: 'A1',
      from: 'ana@example.test',
      to: 'x@one.test',
      relay: RELAY,
      delay: '0',
      delays: '0/0/0/0',
      dsn: '2.0.0',
      status: '250 2.0.0 Ok: queued as X',
      transport: 'smtp',
      attempts: 1,
    },
  );
  assert.equal(logged.length, 3);
  assert.equal(w.events().at(-1), 'queue.removed');
  // One settlement a transaction.
  assert.equal(w.store.settlements.length, 2);
});

test('what is put off is tried again at growing intervals, and says why meanwhile', async () => {
  const w = await world();
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test']);
  const recipient = w.store.recipient('A1');
  assert.equal(recipient?.state, 'deferred');
  assert.deepEqual(recipient.lastFailure, {
    status: '4.2.2',
    reason: 'host mx.one.test[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)',
    remote: 'mx.one.test',
    reply: '452 4.2.2 full',
  } satisfies Failure);
  await w.clocks.pass(3 * 3_600_000);
  const times = w.tried.map(({ at }) => Math.round(at / 1000));
  assert.deepEqual(times.slice(0, 7), [0, 300, 600, 1200, 2400, 4800, 8800]);
  w.outcome = () => SENT;
  await w.clocks.pass(4_000_000);
  assert.equal(w.store.rows.length, 0);
  assert.equal(w.events('queue.active').length, w.tried.length - 1);
});

test('each recipient has an outcome of its own; a failure is reported before it leaves the queue', async () => {
  const w = await world();
  w.outcome = (address) => ({ 'a@one.test': SENT, 'b@one.test': LATER, 'c@one.test': NEVER })[address] ?? SENT;
  const settle = w.store.settle.bind(w.store);
  w.store.settle = async (id, settlements) => {
    w.order.push(`settle ${settlements.map(({ number, kind }) => `${number} ${kind}`).join(', ')}`);
    return settle(id, settlements);
  };
  await w.add('A1', ['a@one.test', 'b@one.test', 'c@one.test']);
  assert.deepEqual(w.order, ['deliver', 'settle 0 done, 1 deferred', 'report', 'settle 2 done']);
  assert.deepEqual(
    w.told.map(({ message, recipients, delay }) => [
      message.envelope.id,
      recipients.map(({ recipient }) => recipient.address),
      delay,
    ]),
    [['A1', ['c@one.test'], false]],
  );
  assert.deepEqual(w.events(), ['queue.runner.started', 'queue.delivered', 'queue.deferred', 'queue.bounced']);
});

test('a report that is not accepted keeps its recipient; it is tried again, not for ever', async () => {
  const w = await world({ lifetime: 3_600_000, bounceLifetime: 3_600_000 });
  w.outcome = () => NEVER;
  w.report = () => Promise.reject(new MailError('disk-full', 'DISK_FULL', 'Insufficient system storage'));
  await w.add('A1', ['x@one.test']);
  assert.equal(w.store.recipient('A1')?.state, 'deferred');
  assert.equal(w.store.recipient('A1')?.lastFailure?.status, '5.1.1');
  assert.deepEqual(w.events('queue.bounced', 'queue.report.failed'), ['queue.report.failed']);
  await w.clocks.pass(4 * 3_600_000);
  assert.equal(w.store.rows.length, 0);
  assert.equal(w.events('queue.report.lost').length, 1);

  w.report = async () => undefined;
  await w.add('A2', ['x@one.test']);
  assert.equal(w.told.length, 1);
  assert.equal(w.store.rows.length, 0);
});

test('success is reported to those who want it, unless the next hop does; a report that fails does not repeat the delivery', async () => {
  const w = await world();
  w.outcome = (address) => (address === 'b@one.test' ? { ...SENT, dsnPassedOn: true } : SENT);
  await w.add('A1', ['a@one.test', 'b@one.test'], { notify: ['SUCCESS', 'FAILURE'] });
  assert.deepEqual(
    w.told.map(({ recipients }) => recipients.map(({ recipient }) => recipient.address)),
    [['a@one.test']],
  );
  w.report = () => Promise.reject(new Error('no'));
  await w.add('A2', ['a@one.test'], { notify: ['SUCCESS'] });
  assert.equal(w.store.rows.length, 0);
  assert.equal(w.tried.length, 2);
});

test('after maximal_queue_lifetime a message goes back as 4.4.7, with the last reason', async () => {
  const w = await world();
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test']);
  await w.add('B1', ['x@two.test'], { sender: '' });
  await w.clocks.pass(5 * DAY - 1);
  assert.deepEqual([w.store.rows.length, w.told.length], [2, 0]);
  await w.clocks.pass(4_000_000);
  assert.equal(w.store.rows.length, 0);
  const [told] = w.told.filter(({ message }) => message.envelope.id === 'A1');
  const outcome = told?.recipients[0]?.outcome;
  assert.ok(outcome?.kind === 'failed');
  assert.deepEqual([outcome.status, outcome.reply], ['4.4.7', '452 4.2.2 full']);
  assert.match(outcome.reason, /^message expired: host mx\.one\.test/);
  assert.equal(w.events('queue.expired').length, 2);
});

test('a message that an administrator expires is not tried once more: it goes back, with why it waited', async () => {
  const w = await world();
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test', 'y@one.test']);
  w.store.expire('A1');
  w.store.retry(w.clocks.now());
  await w.clocks.pass(0);
  assert.equal(w.tried.length, 1);
  assert.equal(w.store.rows.length, 0);
  const { status, reason } = w.told[0]?.recipients[0]?.outcome as Failure;
  assert.deepEqual([w.told.length, status, reason], [1, '4.2.2', LATER.kind === 'deferred' ? LATER.reason : '']);
  assert.equal(w.events('queue.expired').length, 2);
  assert.ok(w.log.events.filter(({ event }) => event === 'queue.expired').every(({ fields }) => fields['forced'] === true));
  await w.add('B2', ['x@one.test'], { expire: true });
  assert.equal(w.tried.length, 1);
  const untried = w.told[1]?.recipients[0]?.outcome as Failure;
  assert.deepEqual([untried.status, untried.reason], ['4.7.0', 'message is administratively expired']);
});

test('a message that only asks: one try, its answers reported, whatever they are, and gone', async () => {
  const w = await world();
  w.outcome = (address) => (address.startsWith('yes') ? SENT : address.startsWith('no') ? NEVER : LATER);
  await w.add('A1', ['yes@one.test', 'no@one.test', 'later@one.test'], { trace: 'verify' });
  assert.deepEqual([w.tried.length, w.store.rows.length, w.told.length, w.traced.length], [1, 0, 0, 1]);
  const kinds = w.traced[0]?.recipients.map(({ recipient, outcome }) => `${recipient.address} ${outcome.kind}`);
  assert.deepEqual(kinds, ['yes@one.test delivered', 'no@one.test failed', 'later@one.test deferred']);
  const logged = w.log.events.filter(({ event }) => event.endsWith('deliverable')).map(({ event }) => event);
  assert.deepEqual(logged, ['queue.deliverable', 'queue.undeliverable', 'queue.undeliverable']);
  assert.deepEqual(w.events('queue.delivered', 'queue.bounced', 'queue.deferred'), []);
  // Where a table says hold, the agent says so.
  w.resolve = () => 'hold:not now';
  await w.add('B2', ['held@one.test'], { trace: 'verify' });
  assert.deepEqual([w.store.rows.length, w.traced.length, w.events('queue.held')], [0, 2, []]);
});

test('a question whose report is not accepted stays, for no longer than any mail', async () => {
  const w = await world();
  w.report = () => Promise.reject(new MailError('temporary', 'X', 'not now'));
  await w.add('A1', ['yes@one.test'], { trace: 'verify' });
  assert.equal(w.store.recipient('A1')?.state, 'deferred');
  await w.clocks.pass(6 * DAY);
  assert.equal(w.store.rows.length, 0);
  assert.deepEqual(w.traced, []);
});

test('sendmail -v: a report of the first try besides what is reported anyway', async () => {
  const w = await world();
  w.outcome = (address) => (address.startsWith('yes') ? SENT : address.startsWith('no') ? NEVER : LATER);
  await w.add('A1', ['yes@one.test', 'no@one.test', 'later@one.test'], { trace: 'record' });
  assert.deepEqual([w.traced.length, w.traced[0]?.recipients.length, w.told.length], [1, 3, 1]);
  w.outcome = () => SENT;
  await w.clocks.pass(DAY);
  assert.deepEqual([w.store.rows.length, w.traced.length], [0, 1]);
});

test('bounce_queue_lifetime is for mail from <>; a lifetime of 0 is one try', async () => {
  const w = await world({ bounceLifetime: 0 });
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test']);
  await w.add('B1', ['x@one.test'], { sender: '' });
  assert.deepEqual(
    w.store.rows.map(({ message }) => message.envelope.id),
    ['A1'],
  );
});

test('row 48: a clock a day, or a month, forward or back while the server runs: no early bounce, no lost time', async () => {
  for (const [jump, late] of [
    [DAY, 0],
    [-DAY, 1],
    [30 * DAY, 0],
    [-30 * DAY, 0],
  ] as const) {
    const w = await world({ lifetime: 2 * DAY });
    w.outcome = () => LATER;
    await w.add('A1', ['x@one.test']);
    await w.clocks.pass(0.5 * DAY);
    w.clocks.set(jump);
    const tries = w.tried.length;
    await w.clocks.pass(5 * MINUTE + 4_800_000);
    // It goes on being tried: with a clock set back its time is not a month off.
    assert.ok(w.tried.length > tries, `${jump}`);
    await w.clocks.pass(1.4 * DAY);
    assert.deepEqual([w.told.length, w.store.rows.length], [0, 1], `${jump}`);
    // One of a time that the clock shows twice may stay for as long as that lasts.
    await w.clocks.pass((0.1 + late) * DAY);
    assert.deepEqual([w.told.length, w.store.rows.length], [1, 0], `${jump}`);
    assert.equal(w.events('queue.clock.jumped').length, 1);
  }
});

test('row 48: after a start with another clock a message is tried and put off before it can expire', async () => {
  const w = new RunnerWorld();
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test'], { arrived: w.clocks.now() - 9 * DAY });
  await w.start();
  assert.deepEqual([w.tried.length, w.told.length], [1, 0]);
  await w.clocks.pass(4_800_000);
  assert.deepEqual([w.tried.length, w.told.length], [2, 1]);
});

test('delay_warning_time: one warning a recipient, none when it is 0, none to <>', async () => {
  for (const [delayWarning, sender, warnings] of [
    [4 * 3_600_000, 'ana@example.test', 1],
    [0, 'ana@example.test', 0],
    [4 * 3_600_000, '', 0],
  ] as const) {
    const w = await world({ delayWarning });
    w.outcome = () => LATER;
    await w.add('A1', ['x@one.test'], { sender });
    await w.clocks.pass(4 * 3_600_000 - 1);
    assert.equal(w.told.length, 0);
    await w.clocks.pass(DAY);
    assert.deepEqual(
      w.told.map(({ delay }) => delay),
      Array.from({ length: warnings }, () => true),
    );
    assert.equal(w.store.recipient('A1')?.delayReported, warnings === 1);
  }
});

test('a greylisting host is tried again after two minutes', async () => {
  const w = await world();
  w.outcome = () => ({ ...LATER, status: '4.7.1', reply: '450 4.7.1 Greylisted' });
  await w.add('A1', ['x@one.test']);
  w.outcome = () => SENT;
  await w.clocks.pass(2 * MINUTE + 1_000);
  assert.equal(w.store.rows.length, 0);
});

test('where mail goes is asked anew each time: who goes elsewhere now is sent there, a hold holds', async () => {
  const w = await world();
  w.outcome = () => LATER;
  await w.add('A1', ['a@one.test', 'b@one.test', 'c@one.test']);
  w.outcome = () => SENT;
  w.resolve = (address) => ({ 'a@one.test': 'smtp:[relay.test]:587', 'b@one.test': 'hold:for now' })[address] ?? 'smtp:one.test';
  await w.clocks.pass(6 * MINUTE);
  assert.deepEqual(
    w.tried.slice(1).map(({ hop, job }) => [formatNextHop(hop), job.recipients.map(({ address }) => address)]),
    [
      ['smtp:one.test', ['c@one.test']],
      ['smtp:[relay.test]:587', ['a@one.test']],
    ],
  );
  assert.equal(w.store.rows.length, 1);
  const held = w.store.recipient('A1', 1);
  assert.deepEqual([held?.state, held?.lastFailure?.reason], ['held', 'for now']);
  assert.equal(w.events('queue.held').length, 1);
});

test('a table that cannot be read puts mail off', async () => {
  const w = await world();
  w.resolve = () => {
    throw new MailError('temporary', 'MAP_UNREADABLE', 'Temporary lookup failure');
  };
  await w.add('A1', ['x@one.test']);
  assert.deepEqual([w.tried.length, w.store.recipient('A1')?.state], [0, 'deferred']);
  assert.equal(w.store.recipient('A1')?.lastFailure?.status, '4.3.0');
});

test('a damaged file: nothing of it is sent, the message is held, the postmaster hears of it', async () => {
  const w = await world();
  w.store.failing.set('open', new MailError('corrupt', 'QUEUE_FILE', 'damaged'));
  await w.add('A1', ['x@one.test']);
  assert.deepEqual([w.tried.length, w.store.recipient('A1')?.state, w.corrupt], [0, 'held', ['A1']]);
  w.store.failing.clear();
  // Noticed while it is read.
  w.deliver = () => Promise.reject(new MailError('corrupt', 'QUEUE_FILE', 'another hash'));
  await w.add('A2', ['x@one.test']);
  assert.deepEqual([w.store.recipient('A2')?.state, w.corrupt], ['held', ['A1', 'A2']]);
  assert.equal(w.events('queue.corrupt').length, 2);
});

test('an agent that breaks puts mail off and is logged', async () => {
  const w = await world();
  w.deliver = () => Promise.reject(new TypeError('x is not a function'));
  await w.add('A1', ['x@one.test']);
  assert.equal(w.store.recipient('A1')?.state, 'deferred');
  assert.equal(w.events('queue.job.failed').length, 1);
});

test('row 5: a settlement that the store does not take is tried again until it does, and its recipient not', async () => {
  const w = await world();
  w.store.failing.set('settle', new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy'));
  await w.add('A1', ['x@one.test']);
  await w.clocks.pass(10 * MINUTE);
  assert.equal(w.tried.length, 1);
  w.store.failing.clear();
  await w.clocks.pass(MINUTE);
  assert.deepEqual([w.tried.length, w.store.rows.length], [1, 0]);
});

test('a dead destination: the others of it are put off without a try, with the reason', async () => {
  const w = await world();
  w.site = 'down';
  w.outcome = () => ({ kind: 'deferred', status: '4.4.1', reason: 'connect to one.test[192.0.2.1]:25: Connection refused' });
  for (let i = 0; i < 30; i++) await w.store.add(newMessage(`A${i}`, ['x@one.test'], { arrived: w.clocks.now() }));
  await w.clocks.pass(1_000);
  assert.ok(w.tried.length <= 8, String(w.tried.length));
  const reason = w.store.recipient('A29')?.lastFailure?.reason;
  assert.equal(reason, 'delivery temporarily suspended: connect to one.test[192.0.2.1]:25: Connection refused');
  assert.equal(w.events('queue.deferred').length, 30);
});

test('a promotion that fails is tried again', async () => {
  const w = await world();
  w.outcome = () => LATER;
  await w.add('A1', ['x@one.test']);
  w.store.failing.set('promote', new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy'));
  await w.clocks.pass(6 * MINUTE);
  assert.equal(w.tried.length, 1);
  w.store.failing.clear();
  await w.clocks.pass(2_000);
  assert.equal(w.tried.length, 2);
});

test('one runs at a time; when it ends another takes over', async () => {
  const counters = ownCounters();
  const [first, second] = [new RunnerWorld({}, counters), new RunnerWorld({}, counters)];
  await first.start();
  await second.start();
  await second.clocks.pass(60_000);
  assert.deepEqual([first.runner.isRunning, second.runner.isRunning], [true, false]);
  await first.runner.stop(1_000);
  await second.clocks.pass(3_000);
  assert.deepEqual([first.runner.isRunning, second.runner.isRunning], [false, true]);
  await second.add('A1', ['x@one.test']);
  assert.equal(second.tried.length, 1);
  await first.add('A1', ['x@one.test']);
  assert.equal(first.tried.length, 0);
});

test('a lease that nobody answers for is asked for again', async () => {
  let answers = false;
  const w = new RunnerWorld(
    {},
    {
      admit: async () => {
        if (!answers) throw new Error('the supervisor does not answer');
        return true;
      },
      leave: () => undefined,
    },
  );
  await w.start();
  assert.equal(w.runner.isRunning, false);
  answers = true;
  await w.clocks.pass(3_000);
  assert.equal(w.runner.isRunning, true);
});

test('row 7: stop lets what is under way end, begins nothing more, then gives the lease back', async () => {
  const counters = ownCounters();
  const w = await new RunnerWorld({}, counters).start();
  const ends: (() => void)[] = [];
  w.deliver = (job) => new Promise((resolve) => ends.push(() => resolve(w.result(job))));
  await w.add('A1', ['x@one.test']);
  await w.add('A2', ['x@one.test']);
  const stopping = w.runner.stop(30_000);
  await w.add('A3', ['x@one.test']);
  await w.clocks.pass(10_000);
  assert.equal(await takePlace(counters, 'queue', 'runner', 1), undefined);
  for (const end of ends) end();
  await stopping;
  assert.deepEqual(
    w.store.rows.map(({ message }) => message.envelope.id),
    ['A3'],
  );
  assert.equal(w.agentClosed, true);
  assert.ok(await takePlace(counters, 'queue', 'runner', 1));
});

test('row 7: what does not end in time is aborted: who was delivered is settled, the others stay as they were', async () => {
  const w = await world();
  w.deliver = (job, _hop, _source, signal) =>
    new Promise((resolve) => {
      w.outcome = (address) => (address === 'a@one.test' ? SENT : LATER);
      signal.addEventListener('abort', () => resolve(w.result(job)));
    });
  await w.add('A1', ['a@one.test', 'b@one.test']);
  const stopping = w.runner.stop(30_000);
  await w.clocks.pass(29_999);
  assert.equal(w.store.rows.length, 2);
  await w.clocks.pass(1);
  await stopping;
  assert.deepEqual(
    w.store.rows.map(({ recipient }) => [recipient.address, recipient.state, recipient.attempts]),
    [['b@one.test', 'ready', 0]],
  );
});

test('an agent that does not notice the abort does not keep the server', async () => {
  const w = await world();
  w.deliver = () => new Promise(() => undefined);
  await w.add('A1', ['a@one.test']);
  const stopping = w.runner.stop(1_000);
  await w.clocks.pass(6_100);
  await stopping;
  assert.equal(w.events('queue.runner.cut-off').length, 1);
});

test('at the end a settlement that cannot be made is given up after some tries, and logged', async () => {
  const w = await world();
  w.store.failing.set('settle', new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy'));
  await w.add('A1', ['a@one.test']);
  const stopping = w.runner.stop(0);
  await w.clocks.pass(5_000);
  await stopping;
  const [event] = w.log.events.filter(({ event }) => event === 'queue.unsettled');
  assert.deepEqual(event?.fields['done'], ['0']);
});

test('row 5: whatever fails, stops and begins anew, each recipient is delivered once, and at most once more for each crash it was in', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = seededRandom(seed);
    const delivered = new Map<string, number>();
    const exposed = new Map<string, number>();
    const count = (of: Map<string, number>, key: string): void => void of.set(key, (of.get(key) ?? 0) + 1);
    let before: RunnerWorld | undefined;
    const recipients: string[] = [];
    for (let life = 0; life < 6; life++) {
      const w: RunnerWorld = new RunnerWorld({ processes: 8, recipients: 3, lifetime: 100 * DAY }, ownCounters(), before);
      const unsettled = new Set<string>();
      let crashed = false;
      const settle = ListStore.prototype.settle.bind(w.store);
      w.store.settle = async (id, settlements) => {
        if (random.below(10) === 0) throw new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy');
        // Who is dead commits nothing.
        if (crashed) return new Promise(() => undefined);
        const gone = await settle(id, settlements);
        for (const { number } of settlements) unsettled.delete(`${id}/${number}`);
        return gone;
      };
      w.deliver = (job, _hop, _source, signal) =>
        new Promise((resolve) => {
          const end = (): void => {
            cancel();
            w.site = random.below(6) === 0 ? 'down' : 'up';
            w.outcome = () => (w.site === 'up' && !signal.aborted && random.below(3) > 0 ? SENT : LATER);
            const result = w.result(job);
            for (const [number, { kind }] of result.outcomes) {
              if (kind !== 'delivered' || crashed) continue;
              count(delivered, `${job.envelope.id}/${number}`);
              unsettled.add(`${job.envelope.id}/${number}`);
            }
            resolve(result);
          };
          const cancel = w.clocks.after(random.below(20_000), end);
          signal.addEventListener('abort', end);
        });
      await w.start();
      for (let i = 0; i < 15; i++) {
        const id = `S${seed}L${life}M${i}`;
        const to = Array.from({ length: 1 + random.below(5) }, (_, n) => `u${n}@d${random.below(4)}.test`);
        to.sort((a, b) => a.slice(3).localeCompare(b.slice(3)));
        recipients.push(...to.map((_, number) => `${id}/${number}`));
        await w.add(id, to);
        await w.clocks.pass(random.below(5_000));
      }
      await w.clocks.pass(life === 5 ? 2 * DAY : random.below(600_000));
      if (random.below(2) === 0 && life < 5) {
        crashed = true;
        for (const key of unsettled) count(exposed, key);
      }
      const stopping = w.runner.stop(random.below(2) * 10_000);
      await w.clocks.pass(20_000);
      await stopping;
      before = w;
    }
    assert.equal(before?.store.rows.length, 0, `seed ${seed}`);
    for (const key of recipients) {
      const times = delivered.get(key) ?? 0;
      assert.ok(
        times >= 1 && times <= 1 + (exposed.get(key) ?? 0),
        `seed ${seed}: ${key} ${times} times, crashes ${exposed.get(key) ?? 0}`,
      );
    }
  }
});
