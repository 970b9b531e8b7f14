// What the benchmark counts: percentiles, medians, and stored messages, of which none may be missing, double, misplaced or cut.
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { MessageSet } from '../../bench/messages.ts';
import { median, percentile, spread } from '../../bench/statistics.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('percentiles are samples, the nearest rank; medians of an even number lie between', () => {
  const samples = Array.from({ length: 200 }, (_, i) => 200 - i);
  assert.equal(percentile(samples, 0.5), 100);
  assert.equal(percentile(samples, 0.99), 198);
  assert.equal(percentile(samples, 1), 200);
  assert.equal(percentile(samples, 0), 1);
  assert.equal(percentile([7], 0.99), 7);
  assert.ok(Number.isNaN(percentile([], 0.5)));
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.deepEqual(spread([5, 1, 9]), { median: 5, min: 1, max: 9 });
});

interface Boxes {
  readonly messages: MessageSet;
  readonly paths: readonly string[];
  /** Stores message `n` as a server would, in the mailbox it is for or another. */
  readonly store: (n: number, box?: number, change?: (text: string) => string) => Promise<void>;
}
async function twoBoxes(t: TestContext, count: number): Promise<Boxes> {
  const folder = await tempFolder(t);
  const paths = [join(folder, 'a'), join(folder, 'b')];
  for (const path of paths) for (const sub of ['new', 'tmp']) await mkdir(join(path, sub), { recursive: true });
  const messages = new MessageSet('r1', count, 4096, new Map(paths.map((path, i) => [`${'ab'[i]}@example.test`, path])));
  let files = 0;
  return {
    messages,
    paths,
    store: async (n, box = n % 2, change = (text) => text) => {
      const sent = `Return-Path: <x>\r\nReceived: by\r\n\there\r\n${messages.head(n)}${messages.tail.toString().replace(/\.\r\n$/, '')}`;
      await writeFile(join(paths[box] ?? '', 'new', String(files++)), change(sent.replaceAll('\r\n', '\n')));
    },
  };
}

test('messages have the size asked for, and end with the dot', async (t) => {
  const folder = await tempFolder(t);
  for (const size of [4096, 65_536]) {
    const messages = new MessageSet('many-off-1-2000', 2000, size, new Map([['box01@example.test', folder]]));
    const whole = Buffer.byteLength(messages.head(1234)) + messages.tail.length - 3;
    assert.ok(Math.abs(whole - size) < 40, `${whole} for ${size}`);
    assert.match(messages.tail.toString(), /^(?:[a-z ]{1,90}\r\n)+\.\r\n$/);
  }
});

test('all messages stored: counted, checked, removed', async (t) => {
  const { messages, paths, store } = await twoBoxes(t, 4);
  assert.equal(messages.recipient(1), 'b@example.test');
  for (const n of [0, 1, 2, 3]) await store(n);
  assert.equal(messages.stored(), 4);
  await messages.collect();
  assert.equal(messages.stored(), 0);
  for (const path of paths) assert.deepEqual(await readdir(join(path, 'new')), []);
});

test('a message that is missing, double, cut, misplaced, of another run, or left in tmp/ is told', async (t) => {
  const failing = async (expected: RegExp, spoil: (boxes: Boxes) => Promise<void>): Promise<void> => {
    const boxes = await twoBoxes(t, 2);
    await boxes.store(0);
    await spoil(boxes);
    await assert.rejects(boxes.messages.collect(), expected);
  };
  await failing(/message 1 was acknowledged and is not there/, async () => undefined);
  await failing(/message 0 is there twice/, ({ store }) => store(0));
  await failing(/message 1 is not whole/, ({ store }) => store(1, 1, (text) => text.slice(0, -1)));
  await failing(/message 1 is not whole/, ({ store }) => store(1, 1, (text) => `${text}\n`));
  await failing(/message 1 is in the wrong mailbox/, ({ store }) => store(1, 0));
  await failing(/no message of run r1/, ({ store }) => store(1, 1, (text) => text.replace('<r1.1@', '<r0.1@')));
  await failing(/tmp holds left/, async ({ store, paths }) => {
    await store(1);
    await writeFile(join(paths[1] ?? '', 'tmp', 'left'), '');
  });
});
