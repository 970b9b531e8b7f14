// The supervisor against workers that do not do what a worker does: small programs that speak its channel themselves.
import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { parseSettings, type Settings } from '../../src/config/settings.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { Supervisor } from '../../src/worker/supervisor.ts';
import { captureLog, type LogEvent } from '../support/log-capture.ts';
import { eventually, freePorts } from '../support/mail-host.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Time that stands until the test moves it. */
class HandClock implements Clock {
  #now = 1_000_000;
  readonly #timers = new Set<{ readonly at: number; readonly fn: () => void }>();

  now(): number {
    return this.#now;
  }
  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#now + ms, fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) if (timer.at <= this.#now && this.#timers.delete(timer)) timer.fn();
  }
  /** Milliseconds until each timer. */
  get waits(): number[] {
    return [...this.#timers].map(({ at }) => at - this.#now);
  }
}

/** What every fake worker begins with: `order(o)` is called for each order, `say` answers, `note` tells the test. */
const PRELUDE = `
import { appendFileSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
const folder = new URL('.', import.meta.url);
const channel = new Socket({ fd: 3, readable: true, writable: true });
const say = (message, then) => channel.write(JSON.stringify(message) + '\\n', then);
const note = (value) => appendFileSync(new URL('notes', folder), JSON.stringify(value) + '\\n');
const plan = () => readFileSync(new URL('plan', folder), 'utf8');
let rest = '';
channel.on('data', (chunk) => {
  const lines = (rest + chunk).split('\\n');
  rest = lines.pop();
  for (const line of lines) order(JSON.parse(line));
});
channel.on('close', () => process.exit(0)).on('error', () => undefined);
`;

interface Host extends AsyncDisposable {
  readonly folder: string;
  readonly supervisor: Supervisor;
  readonly settings: Settings;
  readonly clock: HandClock;
  readonly events: LogEvent[];
  plan(text: string): Promise<void>;
  notes(): Promise<unknown[]>;
  named(event: string): LogEvent[];
}

/** A supervisor of one worker with this program, not started. */
async function supervise(t: TestContext, program: string, more: Readonly<Record<string, unknown>> = {}): Promise<Host> {
  const folder = await tempFolder(t);
  const entry = join(folder, 'worker.mjs');
  await writeFile(entry, PRELUDE + program);
  await writeFile(join(folder, 'notes'), '');
  const [port = 0] = await freePorts(1);
  const settings = parseSettings(
    JSON.stringify({
      hostname: 'mail.example.test',
      workers: 1,
      data_directory: join(folder, 'data'),
      queue_directory: join(folder, 'queue'),
      virtual_uid_maps: `static:${process.getuid?.() ?? 0}`,
      virtual_gid_maps: `static:${process.getgid?.() ?? 0}`,
      smtpd_tls_cert_file: join(folder, 'cert.pem'),
      smtpd_tls_key_file: join(folder, 'key.pem'),
      listeners: [{ protocol: 'smtp', address: '127.0.0.1', port }],
      ...more,
    }),
    join(folder, 'buzon.yaml'),
  );
  const clock = new HandClock();
  const { logger, events } = captureLog();
  const supervisor = new Supervisor({ settings, logger, clock, entry: pathToFileURL(entry) });
  const plan = (text: string): Promise<void> => writeFile(join(folder, 'plan'), text);
  await plan('serve');
  return {
    folder,
    supervisor,
    settings,
    clock,
    events,
    plan,
    notes: async () =>
      (await readFile(join(folder, 'notes'), 'utf8'))
        .split('\n')
        .filter((line) => line !== '')
        .map((line): unknown => JSON.parse(line)),
    named: (event) => events.filter((one) => one.event === event),
    async [Symbol.asyncDispose]() {
      for (const pid of supervisor.pids) process.kill(pid, 'SIGKILL');
      await supervisor.stop();
    },
  };
}
const until = (condition: () => boolean, what: string): Promise<true> =>
  eventually(() => Promise.resolve(condition() || undefined).then((yes) => yes && (true as const)), what, 20_000);

test('row 38: a worker gets no file but the certificates and keys of the settings, by their very names', async (t) => {
  await using host = await supervise(
    t,
    `const wanted = ['/etc/shadow', 'key.pem', new URL('data/../key.pem', folder).pathname.replace('key.pem', 'data/../key.pem'), new URL('key.pem', folder).pathname];
    function order(order) {
      if (order.type === 'start') wanted.forEach((path, id) => say({ type: 'ask', id, question: { kind: 'pem', path } }));
      if (order.type === 'answer') { note(order); if (order.id === 3) say({ type: 'ready' }); }
    }`,
  );
  await writeFile(join(host.folder, 'key.pem'), 'a key', { mode: 0o600 });
  await host.supervisor.start();
  const answers = (await host.notes()) as { id: number; error?: string; value?: { base64: string; mode: number } }[];
  for (const id of [0, 1, 2]) {
    const answer = answers.find((one) => one.id === id);
    assert.match(answer?.error ?? '', /is not in the settings/);
    assert.equal(answer?.value, undefined);
  }
  const given = answers.find(({ id }) => id === 3)?.value;
  assert.deepEqual([Buffer.from(given?.base64 ?? '', 'base64').toString(), given?.mode], ['a key', 0o600]);
  const refused = host.named('worker.refused');
  assert.equal(refused.length, 3);
  assert.deepEqual([refused[0]?.level, refused[0]?.fields], ['error', { worker: 1, path: '/etc/shadow' }]);
});

test('a file that a reload took out of the settings is refused once the reload after it is done', async (t) => {
  await using host = await supervise(
    t,
    `let asked = 0;
    const ask = () => say({ type: 'ask', id: ++asked, question: { kind: 'pem', path: new URL('key.pem', folder).pathname } });
    function order(order) {
      if (order.type === 'start') say({ type: 'ready' });
      if (order.type === 'reload') ask();
      if (order.type === 'answer') note(order.error ?? 'given');
    }`,
  );
  await writeFile(join(host.folder, 'key.pem'), 'a key', { mode: 0o600 });
  await host.supervisor.start();
  const without = { ...host.settings, smtpd_tls_cert_file: undefined, smtpd_tls_key_file: undefined };
  for (let times = 1; times <= 2; times++) {
    await host.supervisor.reload(without);
    await eventually(async () => (await host.notes()).length === times, 'an answer');
  }
  const [first, second] = await host.notes();
  assert.equal(first, 'given');
  assert.match(String(second), /key\.pem is not in the settings/);
});

test('no message makes the supervisor bind, open or start anything: what is no question is logged and harmless', async (t) => {
  const [port = 0] = await freePorts(1);
  await using host = await supervise(
    t,
    `const nonsense = [null, 7, 'x', [], {}, { type: 'ask' }, { type: 'ask', id: 1, question: null },
      { type: 'bind', address: '127.0.0.1', port: ${port} }, { type: 'listen', port: ${port} },
      { cmd: 'NODE_CLUSTER', act: 'queryServer', address: '127.0.0.1', port: ${port}, addressType: 4, fd: -1, flags: 0, index: 0 },
      { cmd: 'NODE_HANDLE', type: 'net.Server', msg: {} },
      { type: 'ask', id: 1, question: { kind: 'write', path: new URL('made', folder).pathname } },
      { type: 'ask', id: 1, question: { kind: 'pem', path: 'x'.repeat(5000) } },
      { type: 'ask', id: 1, question: { kind: 'admit', scope: 'smtp', key: { toString: 1 }, limit: 1 } },
      { type: 'ask', id: '1', question: { kind: 'pem', path: '/etc/passwd' } }];
    function order(order) {
      if (order.type !== 'start') return;
      for (const one of nonsense) say(one);
      channel.write('no JSON\\n');
      channel.write(Buffer.from([0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 255, 255, 10]));
      say({ type: 'ready' });
    }`,
  );
  await host.supervisor.start();
  assert.equal(host.named('worker.nonsense').length, 17);
  assert.deepEqual(host.named('worker.nonsense')[0]?.fields, { worker: 1 });
  const refused = await new Promise((resolve) =>
    connect(port, '127.0.0.1')
      .once('connect', () => resolve(false))
      .once('error', () => resolve(true)),
  );
  assert.equal(refused, true);
  await assert.rejects(stat(join(host.folder, 'made')), { code: 'ENOENT' });
  assert.equal(host.supervisor.pids.length, 1);
});

test('a message without end is not taken into memory: the worker is ended and replaced', async (t) => {
  await using host = await supervise(
    t,
    `function order(order) {
      if (order.type !== 'start') return;
      say({ type: 'ready' });
      if (plan() === 'flood') channel.write('x'.repeat(1024 * 1024));
    }`,
  );
  await host.plan('flood');
  await host.supervisor.start();
  await until(() => host.named('worker.died').length === 1, 'its end');
  assert.equal(host.named('worker.nonsense').length, 1);
  await host.plan('serve');
  host.clock.advance(100);
  await until(() => host.named('worker.restarted').length === 1, 'another one');
});

test('a worker that dies again and again comes back after pauses that grow to 30 s, each death with its cause', async (t) => {
  await using host = await supervise(
    t,
    `function order(order) {
      if (order.type === 'stop') process.exit(0);
      if (order.type !== 'start') return;
      if (plan() === 'fail') say({ type: 'failed', error: 'the disk is on fire' }, () => process.exit(1));
      else say({ type: 'ready' }, () => { if (plan() === 'exit') process.exit(3); });
    }`,
  );
  await host.plan('exit');
  await host.supervisor.start();
  const pauses: number[] = [];
  for (let n = 1; n <= 11; n++) {
    await until(() => host.named('worker.died').length === n, `death ${n}`);
    // It is off the clock's hands now but for the pause, and for what waits a second for last words.
    const pause = Math.min(100 * 2 ** (n - 1), 30_000);
    assert.ok(host.clock.waits.includes(pause), `${pause} in ${String(host.clock.waits)}`);
    pauses.push(pause);
    if (n === 5) await host.plan('fail');
    if (n === 11) await host.plan('serve');
    host.clock.advance(pause - 1);
    assert.equal(host.supervisor.pids.length, 0, 'not before the pause is over');
    host.clock.advance(1);
    assert.equal(host.supervisor.pids.length, 1);
  }
  assert.equal(pauses.at(-1), 30_000);
  const died = host.named('worker.died');
  const { status, signal, worker } = died[0]?.fields ?? {};
  assert.deepEqual([died[0]?.level, worker, status, signal], ['error', 1, 3, null]);
  assert.deepEqual([died[5]?.fields['status'], died[5]?.fields['reason']], [1, 'the disk is on fire']);
  await until(() => host.events.at(-1)?.event === 'worker.restarted', 'it serves');

  // One that lived for over a minute died of something new: it comes back at once.
  host.clock.advance(60_001);
  process.kill(host.supervisor.pids[0] ?? 0, 'SIGKILL');
  await until(() => host.named('worker.died').length === 12, 'the last death');
  assert.equal(host.named('worker.died').at(-1)?.fields['signal'], 'SIGKILL');
  assert.ok(host.clock.waits.includes(100));
  host.clock.advance(100);
  await until(() => host.events.at(-1)?.event === 'worker.restarted', 'it serves again');
});

test('a worker that cannot be made is tried again too', async (t) => {
  await using host = await supervise(t, `function order(order) { if (order.type === 'start') say({ type: 'ready' }); }`);
  await host.supervisor.start();
  const program = process.execPath;
  t.after(() => (process.execPath = program));
  process.execPath = join(host.folder, 'nothing');
  process.kill(host.supervisor.pids[0] ?? 0, 'SIGKILL');
  await until(() => host.named('worker.died').length === 1, 'its end');
  host.clock.advance(100);
  await until(() => host.named('worker.died').length === 2, 'the start that fails');
  assert.match(String(host.named('worker.died')[1]?.fields['reason']), /ENOENT/);
  process.execPath = program;
  host.clock.advance(200);
  await until(() => host.named('worker.restarted').length === 1, 'another one');
});

test('a worker that never gets ready fails the start, with what it said', async (t) => {
  await using host = await supervise(
    t,
    `function order(order) { if (order.type === 'start') say({ type: 'failed', error: 'no table vmailbox' }, () => process.exit(1)); }`,
  );
  await assert.rejects(host.supervisor.start(), { kind: 'config', code: 'WORKER_FAILED', message: /no table vmailbox/ });
  assert.deepEqual(host.supervisor.pids, []);
  // Its folder is free again.
  await assert.rejects(stat(join(host.folder, 'data/buzon.pid')), { code: 'ENOENT' });
});

test('a worker that hangs while it starts is killed after a minute, and fails the start', async (t) => {
  await using host = await supervise(t, `function order(order) { if (order.type === 'start') note('there'); }`);
  const started = host.supervisor.start();
  const refused = assert.rejects(started, { kind: 'config', message: /not ready within 60 s/ });
  await eventually(async () => (await host.notes()).length === 1, 'it runs', 20_000);
  host.clock.advance(60_000);
  await refused;
});

test('a worker that does not end is killed when shutdown_timeout and five seconds are over', async (t) => {
  await using host = await supervise(
    t,
    `process.on('SIGTERM', () => {});
    function order(order) { if (order.type === 'start') say({ type: 'ready' }); if (order.type === 'stop') note('heard'); }`,
    { shutdown_timeout: '7s' },
  );
  await host.supervisor.start();
  const stopped = host.supervisor.stop();
  await eventually(async () => (await host.notes()).length === 1, 'it is told to end');
  host.clock.advance(11_999);
  assert.equal(host.supervisor.pids.length, 1);
  host.clock.advance(1);
  await stopped;
  assert.deepEqual(host.supervisor.pids, []);
  assert.equal(host.events.at(-1)?.event, 'server.stopped');
});

test('a reload while a worker starts reaches it as soon as it serves', async (t) => {
  await using host = await supervise(
    t,
    `function order(order) {
      note([order.type, order.settings?.message_size_limit ?? null]);
      if (order.type === 'start' && plan() === 'serve') say({ type: 'ready' });
      if (order.type === 'start' && plan() === 'wait') setInterval(() => plan() === 'go' && say({ type: 'ready' }), 20);
    }`,
  );
  await host.supervisor.start();
  await host.plan('wait');
  process.kill(host.supervisor.pids[0] ?? 0, 'SIGKILL');
  await until(() => host.named('worker.died').length === 1, 'its end');
  host.clock.advance(100);
  await eventually(async () => (await host.notes()).length === 2, 'the next one starts', 20_000);
  await host.supervisor.reload({ ...host.settings, message_size_limit: 4711 });
  await host.plan('go');
  await eventually(async () => (await host.notes()).length === 3, 'the reload', 20_000);
  assert.deepEqual((await host.notes()).at(-1), ['reload', 4711]);
});
