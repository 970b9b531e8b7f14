// Several processes deliver into one tree: what one is at, no other touches; what a dead one left, any other takes up.
import assert from 'node:assert/strict';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Intents } from '../../src/delivery/intents.ts';
import { SharedCounters } from '../../src/lib/counters.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { tempFolder } from '../support/temp-folder.ts';

const KEY = 'a'.repeat(64);
const ANA = 'ana@example.test';

interface Processes {
  readonly folder: string;
  readonly counters: SharedCounters;
  /** Another process's view; `counters.forget(number)` is its death. */
  of(number: number): Intents;
  waiting(): Promise<string[]>;
  /** Leaves a copy under tmp/ and says so. */
  begin(intents: Intents): Promise<void>;
}

async function processes(t: TestContext): Promise<Processes> {
  const folder = await tempFolder(t);
  const counters = new SharedCounters();
  const tmp = join(folder, 'ana', 'tmp');
  await mkdir(tmp, { recursive: true });
  return {
    folder: join(folder, 'deliveries'),
    counters,
    of: (number) =>
      new Intents(folder, () => Date.now(), silentLogger, {
        admit: (scope, key, limit) => Promise.resolve(counters.admit(number, scope, key, limit)),
        leave: (scope, key) => counters.leave(number, scope, key),
      }),
    waiting: () => readdir(tmp),
    begin: async (intents) => {
      await writeFile(join(tmp, '1'), 'x');
      await intents.record(KEY, new Set(), { [ANA]: join(tmp, '1') });
    },
  };
}

/** A promise and what settles it. */
function gate(): { open: () => void; passed: Promise<void> } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { open, passed };
}

test('a process that starts leaves alone what another is delivering, and settles it once that one is dead', async (t) => {
  const all = await processes(t);
  const begun = gate();
  const end = gate();
  const first = all.of(1);
  const delivery = first.exclusively(KEY, async () => {
    await all.begin(first);
    await writeFile(join(all.folder, `${KEY}.tmp`), 'being written');
    begun.open();
    await end.passed;
  });
  await begun.passed;
  await all.of(2).recover();
  assert.deepEqual([await all.waiting(), (await readdir(all.folder)).sort()], [['1'], [KEY, `${KEY}.tmp`]]);
  all.counters.forget(1);
  await all.of(3).recover();
  assert.deepEqual([await all.waiting(), await readdir(all.folder)], [[], []]);
  end.open();
  await delivery;
  assert.equal(all.counters.size, 0);
});

test('what another process left is seen, and that it is gone too, whether the folder is old or was just changed', async (t) => {
  const all = await processes(t);
  const [one, other] = [all.of(1), all.of(2)];
  assert.deepEqual([await one.any(), await other.any()], [false, false]);
  await all.begin(one);
  assert.equal(await other.any(), true);
  // As if all that had been long ago: what was read then is kept while the folder stays as it is.
  const settle = async (): Promise<void> => {
    const past = new Date((await stat(all.folder)).mtimeMs - 60_000);
    await utimes(all.folder, past, past);
  };
  await settle();
  assert.equal(await other.any(), true);
  await one.withdraw(KEY, new Set());
  assert.equal(await other.any(), false);
  await settle();
  assert.equal(await other.any(), false);
  await one.record(KEY, new Set([ANA]), {});
  assert.equal(await other.any(), true);
});

test('a message is delivered by one process at a time; the other waits a moment, then its client is to come again', async (t) => {
  const all = await processes(t);
  const order: string[] = [];
  const begun = gate();
  const end = gate();
  const first = all.of(1).exclusively(KEY, async () => {
    begun.open();
    await end.passed;
    order.push('first');
  });
  await begun.passed;
  await assert.rejects(
    all.of(2).exclusively(KEY, async () => void order.push('refused')),
    { name: 'MailError', kind: 'temporary', code: 'IN_DELIVERY' },
  );
  const second = all.of(2).exclusively(KEY, async () => void order.push('second'));
  await all.of(2).exclusively('b'.repeat(64), async () => void order.push('another message'));
  end.open();
  await Promise.all([first, second]);
  assert.deepEqual(order, ['another message', 'first', 'second']);
});
