// `buzon queue`: which messages a filter means, what is listed, what is changed, the live view.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command, Terminal } from '../../src/cli/command.ts';
import { makeQueueCommand } from '../../src/cli/queue.ts';
import { readFilter, readQueueId } from '../../src/cli/queue/filter.ts';
import { shortSize, shortTime } from '../../src/cli/queue/text.ts';
import { readOptions } from '../../src/cli/options.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { MailError } from '../../src/lib/errors.ts';
import { captureIo } from '../support/command-io.ts';
import { MemoryQueue, NOW, opens, refuses } from '../support/memory-queue.ts';

const clock: Clock = { now: () => NOW, after: () => () => undefined };
const GREYLISTED = 'host mx.remote.test[192.0.2.1] said: 450 4.7.1 greylisted (in reply to RCPT TO command)';

function aQueue(): MemoryQueue {
  return new MemoryQueue()
    .add('A1', {
      sender: 'ana@example.test',
      arrived: NOW - 7_500_000,
      account: 'ana@example.test',
      messageId: '<1@example.test>',
      recipients: {
        'bob@remote.test': { reason: GREYLISTED, status: '4.7.1', attempts: 3 },
        'eve@other.test': { state: 'ready', nextAttempt: 0 },
      },
    })
    .add('B2', { sender: '', arrived: NOW - 60_000, recipients: { 'x@remote.test': { state: 'held', hold: 'looked at' } } });
}

async function run(
  command: Command,
  args: readonly string[],
  input?: string,
): Promise<{ status: number | string; stdout: string; stderr: string }> {
  const io = captureIo({ input });
  const status = await command.run(args, io).catch((error: unknown) => (error as MailError).code);
  return { status, stdout: io.stdout, stderr: io.stderr };
}
const on = (queue: MemoryQueue): Command => makeQueueCommand(opens(queue), clock);

test('queue: times and sizes are short', () => {
  const times = [-5, 0, 59_999, 60_000, 3_600_000, 7_500_000, 86_400_000 * 3 + 3_600_000 * 4].map(shortTime);
  assert.deepEqual(times, ['0s', '0s', '59s', '1m', '1h00m', '2h05m', '3d04h']);
  const sizes = [0, 812, 1024, 3_174, 12_582_912, 1024 ** 5].map(shortSize);
  assert.deepEqual(sizes, ['0B', '812B', '1.0K', '3.1K', '12M', '1048576G']);
});

test('queue: options become a filter; ids as any command prints them', () => {
  const names = ['--sender', '--recipient', '--domain', '--destination', '--older-than', '--newer-than', '--reason', '--state'];
  const filter = (...args: string[]): unknown => {
    const options = readOptions(args, names);
    return JSON.parse(JSON.stringify(readFilter(options, options.rest, NOW)));
  };
  assert.deepEqual(filter(), {});
  assert.deepEqual(filter('--sender', '<>', '--recipient=<Bob@x.test>', '--domain', '@x.test'), {
    sender: '',
    recipient: 'Bob@x.test',
    domain: 'x.test',
  });
  assert.deepEqual(filter('--older-than', '2h', '--newer-than', '5d', '--state', 'held', '--reason', 'said', 'a1!', 'B2*'), {
    ids: ['A1', 'B2'],
    state: 'held',
    reason: 'said',
    arrivedBefore: NOW - 7_200_000,
    arrivedAfter: NOW - 5 * 86_400_000,
  });
  for (const [args, says] of [
    [['--older-than', 'soon'], /--older-than: "soon" is not a time; /],
    [['--state', 'active'], /--state: "active" is none of ready, deferred, held/],
    [['../x'], /"\.\.\/x" is no queue id/],
  ] as const)
    assert.throws(() => filter(...args), says);
  assert.throws(() => readQueueId(''), MailError);
});

test('queue list: each message with its recipients, the reason below those that share it', async () => {
  assert.deepEqual(await run(on(aQueue()), ['list']), {
    status: 0,
    stderr: '',
    stdout: `A1    23B   2h05m  ana@example.test
    bob@remote.test  deferred, 3 tries, next in 10m  smtp:remote.test
      ${GREYLISTED}
    eve@other.test  ready  smtp:other.test
B2    23B      1m  <>
    x@remote.test  held  smtp:remote.test
      looked at
2 messages, 3 recipients, 46B
`,
  });
  assert.equal((await run(on(new MemoryQueue()), ['list'])).stdout, 'nothing is waiting\n');
});

test('queue list: filters must all hold', async () => {
  const ids = async (...args: string[]): Promise<string[]> => {
    const { stdout } = await run(on(aQueue()), ['list', '--json', ...args]);
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [(JSON.parse(line) as { id: string }).id]));
  };
  assert.deepEqual(await ids('--sender', '<>'), ['B2']);
  assert.deepEqual(await ids('--recipient', 'EVE@other.test'), ['A1']);
  assert.deepEqual(await ids('--domain', 'remote.test', '--older-than', '1h'), ['A1']);
  assert.deepEqual(await ids('--newer-than', '1h'), ['B2']);
  assert.deepEqual(await ids('--reason', 'GREYLISTED'), ['A1']);
  assert.deepEqual(await ids('--reason', 'greylisted', '--state', 'ready'), []);
  assert.deepEqual(await ids('--destination', 'smtp:remote.test', 'b2', 'ZZ'), ['B2']);
});

test('queue list, show, stats: JSON lines have the keys that the usage names', async () => {
  const lines = (await run(on(aQueue()), ['list', '--json'])).stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  assert.deepEqual(lines[0], {
    id: 'A1',
    sender: 'ana@example.test',
    arrived: '2026-11-25T14:55:00.000Z',
    size: 23,
    account: 'ana@example.test',
    messageId: '<1@example.test>',
    bodyType: '7BIT',
    smtpUtf8: false,
    requireTls: false,
    expire: false,
    recipients: [
      {
        address: 'bob@remote.test',
        destination: 'smtp:remote.test',
        state: 'deferred',
        attempts: 3,
        nextAttempt: '2026-11-25T17:10:00.000Z',
        status: '4.7.1',
        reason: GREYLISTED,
      },
      { address: 'eve@other.test', destination: 'smtp:other.test', state: 'ready', attempts: 0 },
    ],
  });
  assert.deepEqual((await run(on(aQueue()), ['show', 'A1', '--json'])).stdout, `${JSON.stringify(lines[0])}\n`);
  const stats = JSON.parse((await run(on(aQueue()), ['stats', '--json'])).stdout) as object;
  assert.deepEqual(stats, {
    messages: 2,
    recipients: { ready: 1, deferred: 1, held: 1 },
    bytes: 46,
    oldest: '2026-11-25T14:55:00.000Z',
    destinations: [
      { destination: 'smtp:remote.test', recipients: 2 },
      { destination: 'smtp:other.test', recipients: 1 },
    ],
  });
});

test('queue show: everything about a message; an id that is not there is a fault', async () => {
  const queue = aQueue().add('C3', {
    envid: 'e1',
    ret: 'HDRS',
    requireTls: true,
    smtpUtf8: true,
    recipients: { 'z@remote.test': { notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;z@old.test', reason: 'no route' } },
  });
  assert.deepEqual(await run(on(queue), ['show', 'c3']), {
    status: 0,
    stderr: '',
    stdout: `id         C3
sender     ana@example.test
arrived    2026-11-25T16:00:00.000Z (1h00m ago)
size       23 bytes
envid      e1
ret        HDRS
body       7BIT, SMTPUTF8, REQUIRETLS
recipient  z@remote.test  deferred, 1 try, next in 10m  smtp:remote.test
             NOTIFY=SUCCESS,DELAY ORCPT=rfc822;z@old.test
             4.4.1: no route
`,
  });
  assert.equal((await run(on(queue), ['show', 'A1', 'D4'])).status, 'NO_SUCH_MESSAGE');
});

test('row 24: queue list: what a peer said can neither break its line nor reach the terminal', async () => {
  const queue = new MemoryQueue().add('A1', {
    sender: 'a\u001b[2J@x.test',
    recipients: { 'b\u009b@x.test': { reason: '450 \u001b]0;x\u0007\r\nB2 forged' } },
  });
  for (const verb of [['list'], ['show', 'A1'], ['stats'], ['top', '--once']]) {
    const { stdout } = await run(on(queue), verb);

    assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]|^B2/m, verb.join(' '));
  }
});

test('queue: changes say how many messages they changed', async () => {
  const queue = aQueue();
  assert.equal((await run(on(queue), ['hold', 'A1'])).stdout, '1 message held\n');
  assert.deepEqual(queue.states('A1'), ['held', 'held']);
  assert.equal((await run(on(queue), ['release', '--state', 'held'])).stdout, '2 messages released\n');
  assert.deepEqual([...queue.states('A1'), ...queue.states('B2')], ['ready', 'ready', 'ready']);
  const other = aQueue();
  assert.equal((await run(on(other), ['retry', '--domain', 'remote.test'])).stdout, '1 message to be tried now\n');
  assert.equal((await run(on(aQueue()), ['flush', '--json'])).stdout, '{"messages":1}\n');
  assert.equal((await run(on(other), ['requeue', '--all'])).stdout, '2 messages queued anew\n');
  assert.equal((await run(on(other), ['delete', '-'], 'b2\n\nA1!  \r\n')).stdout, '2 messages deleted\n');
  assert.deepEqual(other.ids, []);
});

test('queue: filters on recipients change those recipients only', async () => {
  const queue = aQueue();
  assert.equal((await run(on(queue), ['hold', '--domain', 'other.test'])).stdout, '1 message held\n');
  assert.deepEqual(queue.states('A1'), ['deferred', 'held']);
  await run(on(queue), ['delete', '--reason', 'greylisted']);
  assert.deepEqual([queue.ids, queue.states('A1')], [['A1', 'B2'], ['held']]);
});

test('queue: nothing is changed without saying what, and never more than was said', async () => {
  for (const args of [
    ['delete'],
    ['hold'],
    ['retry'],
    ['release', '--json'],
    ['requeue'],
    ['delete', '--all', 'A1'],
    ['delete', '--all', '--sender', 'ana@example.test'],
    ['delete', '--sender', 'ana@example.test', '-'],
    ['delete', 'A1', '*'],
    ['delete', '--older-than', '1 fortnight'],
    ['delete', '--subject', 'x'],
  ]) {
    const queue = aQueue();
    const before = [queue.ids, queue.states('A1'), queue.states('B2')];
    assert.equal((await run(on(queue), args)).status, 'BAD_ARGUMENTS', args.join(' '));
    assert.deepEqual([queue.ids, queue.states('A1'), queue.states('B2')], before, args.join(' '));
  }
  for (const args of [
    [],
    ['purge'],
    ['flush', 'A1'],
    ['flush', '--all'],
    ['show'],
    ['stats', '--sender', 'x'],
    ['list', '--all'],
  ])
    assert.equal((await run(on(aQueue()), args)).status, 2, args.join(' '));
});

test('queue: ids that are not there are told, the others are changed', async () => {
  const queue = aQueue();
  const { status, stdout } = await run(on(queue), ['delete', 'A1', 'ZZ9']);
  assert.deepEqual([status, stdout, queue.ids], ['NO_SUCH_MESSAGE', '1 message deleted\n', ['B2']]);
});

test('queue: who may not open it is told so', async () => {
  assert.equal((await run(makeQueueCommand(refuses, clock), ['list'])).status, 'QUEUE_NOT_PERMITTED');
});

test('queue top: without a terminal, or once, one frame', async () => {
  const expected = `Buzon's queue at 2026-11-25 17:00:00 UTC
2 messages, 46B, the oldest 2h05m old
3 recipients: 1 ready, 1 deferred, 1 held

destination                          recipients  last failure
smtp:remote.test                              2
smtp:other.test                               1
`;
  assert.equal((await run(on(aQueue()), ['top', '--once'])).stdout, expected);
  assert.equal((await run(on(aQueue()), ['top'])).stdout, expected);
});

test('queue top: drawn anew with rates, fits the terminal, outlives a busy queue, ends with q and gives the terminal back', async () => {
  const queue = aQueue();
  let at = NOW;
  let key: (typed: string) => void = () => undefined;
  let given = 0;
  const terminal: Terminal = {
    size: () => ({ columns: 50, rows: 8 }),
    keys: (listener) => {
      key = listener;
      return () => void given++;
    },
  };
  const steps: (() => void)[] = [
    () => queue.add('C3', { recipients: { 'y@remote.test': {}, 'z@remote.test': { reason: 'x'.repeat(200) } } }),
    () => (queue.failure = new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy')),
    () => (queue.failure = undefined),
    () => key('x'),
    () => key('\u0003'),
  ];
  const ticking: Clock = {
    now: () => at,
    after: (_ms, fn) => {
      at += 30_000;
      steps.shift()?.();
      setImmediate(fn);
      return () => undefined;
    },
  };
  const io = { ...captureIo(), terminal };
  let screen = '';
  io.out = (text) => void (screen += String(text));
  assert.equal(await makeQueueCommand(opens(queue), ticking).run(['top'], io), 0);
  const frames = screen.split('\u001b[H').slice(1);
  assert.equal(frames.length, 5);
  assert.match(frames[1] ?? '', /a minute, by the last 30 s: \+2 messages, \+4/);
  assert.match(frames[1] ?? '', /smtp:remote\.test +4/);
  assert.match(frames[2] ?? '', /^The queue is busy/);
  assert.doesNotMatch(frames[3] ?? '', /busy/);
  for (const frame of frames) {
    const lines = frame
      .replaceAll(/\u001b\[[KJ]/g, '')
      .trimEnd()
      .split('\r\n');
    assert.ok(lines.length <= 7 && lines.every((line) => line.length <= 50), frame);
  }
  assert.equal(given, 1);
});
