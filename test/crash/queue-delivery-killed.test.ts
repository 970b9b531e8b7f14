// A delivery killed at every step: before each file system call of the process that runs the queue, and at each point of its conversation with the next hop.
// Whoever runs the queue afterwards finishes it. Both sides count. CI walks the calls that change something; CRASH_ALL=1 all of them (long).
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { pathOf } from '../../src/queue/store/queue-file.ts';
import { ALL_STEPS, numberedMessage } from '../support/crash.ts';
import { requireProgram } from '../support/programs.ts';
import { QueueChild } from '../support/queue-child.ts';
import { openQueue, queued, type TestQueue } from '../support/queue-store.ts';
import { SmtpSink, type Act, type SinkOptions } from '../support/smtp-sink.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { Strace } from '../support/traced-host.ts';

/** More than one read of the file, and more than one write to the socket. */
const BYTES = 150_000;
const MOST_STEPS = 400;
const STALLED_MS = 30_000;
const RECIPIENTS = ['one@remote.test', 'two@remote.test'];
/** Each call with how many are passed over between two kills. */
const CALLS: Readonly<Record<string, number>> = ALL_STEPS
  ? {
      openat: 1,
      pread64: 1,
      read: 1,
      connect: 1,
      write: 1,
      writev: 1,
      close: 1,
      pwrite64: 1,
      fdatasync: 1,
      unlink: 1,
      utimensat: 1,
    }
  : { openat: 1, pread64: 2, read: 3, connect: 1, write: 3, writev: 1, fdatasync: 1, fsync: 1, unlink: 1 };

class Bench {
  readonly queue: TestQueue;
  readonly sink: SmtpSink;
  #first: { stage: string; child: QueueChild } | undefined;

  private constructor(queue: TestQueue) {
    this.queue = queue;
    const at = (stage: string) => (): Act => this.#at(stage);
    const hooks: SinkOptions = {
      connect: at('greeting'),
      ehlo: at('EHLO'),
      mail: at('MAIL'),
      rcpt: (_, { recipients }) => this.#at(`RCPT ${recipients.length + 1}`),
      data: at('DATA'),
      dot: at('dot'),
    };
    let lines = 0;
    this.sink = new SmtpSink({ ...hooks, body: () => this.#at(`line ${++lines % 1000}`) });
  }
  static async start(t: TestContext): Promise<Bench> {
    const bench = new Bench(await openQueue(t));
    await bench.sink.start();
    t.after(() => bench.sink.stop());
    return bench;
  }

  /** The process dies before it gets the reply to this. */
  #at(stage: string): Act {
    if (this.#first?.stage === stage) process.kill(this.#first.child.pid, 'SIGKILL');
    return undefined;
  }
  get hop(): string {
    return `smtp:[127.0.0.1]:${this.sink.port}`;
  }
  /** What the next hop has said 250 to, of each recipient. */
  taken(id: string): number[] {
    const whole = numberedMessage(id, BYTES);
    const copies = this.sink.messages.filter(({ data }) => data.startsWith(`Message-ID: <${id}@`));
    for (const { data } of copies) assert.ok(data === whole, `${id}: a copy that is not whole`);
    return RECIPIENTS.map((address) => copies.filter(({ recipients }) => recipients.includes(address)).length);
  }

  /** Until the message has left, its file too, or the process is dead; says whether it is. */
  async #watch(id: string, child: QueueChild): Promise<boolean> {
    const end = performance.now() + STALLED_MS;
    const file = pathOf(this.queue.directory, id);
    while (!child.hasEnded) {
      if ((await this.queue.store.find(id)) === undefined && !existsSync(file)) return child.hasEnded;
      assert.ok(performance.now() < end, `${id} stays in the queue`);
      await sleep(5);
    }
    return true;
  }

  /** Delivers a message by a process that something happens to, then by one that is left alone; accounts for each recipient. Says whether the first was killed. */
  async deliver(id: string, tamper: { stage: string } | ((child: QueueChild) => Promise<Strace>)): Promise<boolean> {
    const { store, directory } = this.queue;
    const to = RECIPIENTS.map((address) => ({ address, destination: this.hop }));
    await store.add(queued(id, { to, body: numberedMessage(id, BYTES) }));
    await using first = await QueueChild.start(directory);
    const tracing = typeof tamper === 'function' ? await tamper(first) : undefined;
    if (typeof tamper === 'object') this.#first = { stage: tamper.stage, child: first };
    await first.ask(`run ${this.hop}`);
    const killed = await this.#watch(id, first);
    this.#first = undefined;
    await first.end('SIGKILL');
    await tracing?.end();
    const before = this.taken(id);
    const left = (await store.find(id))?.recipients.map(({ address }) => address) ?? [];
    if (!killed) assert.deepEqual([before, left], [[1, 1], []], id);
    if (left.length > 0) {
      await using second = await QueueChild.start(directory);
      await second.ask(`run ${this.hop}`);
      assert.equal(await this.#watch(id, second), false);
    }
    this.taken(id).forEach((count, n) => {
      const was = before[n] ?? 0;
      assert.ok(count >= 1, `${id}: ${RECIPIENTS[n]} never got it`);
      // A repeat only where a 250 had been given and was not committed; never of one that was.
      assert.ok(count <= was + Number(left.includes(RECIPIENTS[n] ?? '')), `${id}: ${RECIPIENTS[n]} got it ${count} times`);
      assert.ok(was <= 1 && count <= 2, `${id}: ${RECIPIENTS[n]} got it ${was}, then ${count} times`);
    });
    return killed;
  }
}

test('row 5: killed before every file system call of a delivery: each recipient has it, repeated once at most where the 250 was cut off, and never once it was committed', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  const bench = await Bench.start(t);
  const traces = await tempFolder(t);
  const kills: Record<string, number> = {};
  for (const [call, stride] of Object.entries(CALLS))
    for (let n = 1; ; n += stride) {
      assert.ok(n < MOST_STEPS, `the walk of ${call} does not end`);
      const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${n}`];
      const killed = await bench.deliver(`${call.toUpperCase()}${n}`, ({ pid }) =>
        Strace.attach(strace, { directory: traces, pid }, inject),
      );
      if (!killed) break;
      kills[call] = (kills[call] ?? 0) + 1;
    }
  t.diagnostic(JSON.stringify(kills));
  for (const call of ['openat', 'connect', 'fsync', 'unlink'])
    assert.ok((kills[call] ?? 0) >= 1, `nothing was killed at ${call}`);
});

test('row 5: killed at each step of the conversation with the next hop: the same', async (t) => {
  const bench = await Bench.start(t);
  for (const stage of ['greeting', 'EHLO', 'MAIL', 'RCPT 1', 'RCPT 2', 'DATA', 'line 1', 'line 999', 'dot'])
    assert.ok(await bench.deliver(`AT${stage.replace(' ', '').toUpperCase()}`, { stage }), `it was killed at ${stage}`);
});
