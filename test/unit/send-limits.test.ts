// How much an account may send: counted durably and across processes, refused with an alarm, forgotten in time. And addresses not written to.
import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { SendCounts } from '../../src/delivery/send-counts.ts';
import { parseLimits, SendLimits, UNLIMITED, type Limits } from '../../src/delivery/send-limits.ts';
import { SuppressionList } from '../../src/delivery/suppression.ts';
import { lockFile, openCounts } from '../../src/lib/sqlite.ts';
import { captureLog } from '../support/log-capture.ts';
import { table } from '../support/routing.ts';
import { tempFolder } from '../support/temp-folder.ts';

const HOUR = 3_600_000;
const NOON = Date.UTC(2026, 10, 25, 12);

async function house(t: TestContext, limits: Partial<Limits>, maps: Record<string, string> = {}) {
  const file = join(await tempFolder(t), 'counts.sqlite');
  const { logger, events } = captureLog();
  const clock = { now: NOON };
  const open = (): SendLimits => {
    const counts = new SendCounts(file, () => clock.now);
    t.after(() => counts.close());
    return new SendLimits({ counts, limits: { ...UNLIMITED, ...limits }, maps: [table(maps)], logger });
  };
  /** Sends one message: `ok`, or the refusal's text. */
  const send = async (by: SendLimits, account: string, ...to: string[]): Promise<string> => {
    const meter = await by.begin(account);
    try {
      for (const address of to) await meter?.recipient(address);
      await meter?.charge();
      return 'ok';
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { file, clock, open, send, events };
}
const ANA = 'ana@example.test';

test('row 30: messages an hour: the next is refused, over restarts and for all workers; one alarm; an hour later it goes again', async (t) => {
  const { clock, open, send, events } = await house(t, { messages_per_hour: 2 });
  const [one, two] = [open(), open()];
  assert.equal(await send(one, ANA, 'a@x.test'), 'ok');
  assert.equal(await send(two, ANA, 'a@x.test', 'b@x.test'), 'ok');
  assert.equal(await send(one, ANA, 'c@x.test'), 'Sending limit reached (2 messages an hour), try again later');
  assert.match(await send(two, ANA, 'c@x.test'), /^Sending limit/);
  assert.match(await send(open(), ANA, 'c@x.test'), /^Sending limit/, 'after a new start');
  assert.equal(await send(one, 'eva@example.test', 'c@x.test'), 'ok');
  assert.deepEqual(
    events.map(({ level, event, fields }) => [level, event, fields]),
    [['error', 'send-limit.reached', { account: ANA, limit: 'messages_per_hour', allowed: 2 }]],
  );
  clock.now += HOUR + 5 * 60_000;
  assert.equal(await send(one, ANA, 'c@x.test'), 'ok');
  assert.equal(await send(one, ANA, 'c@x.test'), 'ok');
  assert.match(await send(one, ANA, 'c@x.test'), /^Sending limit/);
  assert.equal(events.length, 2);
});

test('recipients: said at the one too many; the same twice is one; a day is not an hour', async (t) => {
  const { clock, open, send } = await house(t, { recipients_per_hour: 3, recipients_per_day: 4 });
  const limits = open();
  assert.match(await send(limits, ANA, 'a@x.test', 'b@x.test', 'c@x.test', 'd@x.test'), /3 recipients an hour/);
  assert.equal(await send(limits, ANA, 'a@x.test', 'A@X.test', 'b@x.test', 'c@x.test'), 'ok', 'what was refused does not count');
  clock.now += 2 * HOUR;
  assert.match(await send(limits, ANA, 'a@x.test', 'b@x.test'), /4 recipients a day/);
  assert.equal(await send(limits, ANA, 'a@x.test'), 'ok');
  clock.now += 24 * HOUR;
  assert.equal(await send(limits, ANA, 'a@x.test', 'b@x.test', 'c@x.test'), 'ok');
});

test('new recipients: those written to before do not count, until 90 days have gone; the file holds no addresses', async (t) => {
  const { clock, file, open, send } = await house(t, { new_recipients_per_day: 2 });
  const limits = open();
  assert.equal(await send(limits, ANA, 'a@x.test', 'b@x.test'), 'ok');
  assert.equal(await send(limits, ANA, 'B@x.test', 'a@x.test'), 'ok');
  assert.match(await send(limits, ANA, 'c@x.test'), /2 new recipients a day/);
  clock.now += 25 * HOUR;
  assert.equal(await send(limits, ANA, 'c@x.test', 'a@x.test'), 'ok');
  clock.now += 91 * 24 * HOUR;
  assert.match(await send(limits, ANA, 'a@x.test', 'b@x.test', 'c@x.test'), /new recipients/);
  for (const name of [file, `${file}-wal`]) assert.doesNotMatch(await readFile(name, 'latin1'), /[abc]@x\.test/i);
});

test('a message that is not accepted after all does not count', async (t) => {
  const { open, send } = await house(t, { messages_per_day: 1 });
  const limits = open();
  const meter = await limits.begin(ANA);
  await meter?.recipient('a@x.test');
  const refund = await meter?.charge();
  assert.match(await send(limits, ANA, 'a@x.test'), /^Sending limit/);
  await refund?.();
  assert.equal(await send(limits, ANA, 'a@x.test'), 'ok');
});

test('a map has other limits for an account or a domain; a value that is none is logged, and the setting holds', async (t) => {
  const maps = { 'news@example.test': 'unlimited', '@two.test': 'messages_per_day=2', 'odd@example.test': 'messages=5' };
  const { open, send, events } = await house(t, { messages_per_day: 1 }, maps);
  const limits = open();
  assert.equal(await limits.begin('news@example.test'), undefined);
  for (const expected of [/^ok$/, /^ok$/, /^Sending limit/]) assert.match(await send(limits, 'u@two.test', 'a@x.test'), expected);
  for (const expected of [/^ok$/, /^Sending limit/]) assert.match(await send(limits, 'odd@example.test', 'a@x.test'), expected);
  assert.ok(events.some(({ event, fields }) => event === 'send-limit.bad' && fields['account'] === 'odd@example.test'));
  assert.deepEqual(parseLimits('messages_per_hour=7, recipients_per_day=0', { ...UNLIMITED, recipients_per_day: 9 }), {
    ...UNLIMITED,
    messages_per_hour: 7,
  });
  for (const bad of ['messages_per_hour', 'messages_per_hour=x', 'constructor=1', '=1', 'toString=1'])
    assert.equal(typeof parseLimits(bad, UNLIMITED), 'string', bad);
});

test('without limits nothing is opened', async (t) => {
  const { file, open } = await house(t, {});
  assert.equal(await open().begin(ANA), undefined);
  await assert.rejects(stat(file), { code: 'ENOENT' });
});

test('row 46: another process holds the file’s write lock: the loop goes on, and it is tried again', async (t) => {
  const { file, open, send } = await house(t, { messages_per_day: 9 });
  const limits = open();
  assert.equal(await send(limits, ANA, 'a@x.test'), 'ok');
  const other = openCounts(file, '');
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  let turns = 0;
  const ticker = setInterval(() => turns++, 5);
  const waiting = send(limits, ANA, 'a@x.test');
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(turns > 10);
  clearInterval(ticker);
  other.exec('COMMIT');
  assert.equal(await waiting, 'ok');
});

test('a file that is no database is begun anew', async (t) => {
  const { file, open, send } = await house(t, { messages_per_day: 1 });
  await writeFile(file, 'x'.repeat(5_000));
  const limits = open();
  assert.equal(await send(limits, ANA, 'a@x.test'), 'ok');
  assert.match(await send(limits, ANA, 'a@x.test'), /^Sending limit/);
  assert.throws(() => lockFile('/nonexistent/x'));
});

test('suppression list: added once, asked for by address and domain, edited by hand, removed; what breaks a line is taken out', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'data', 'suppressed');
  const options = {
    file,
    maps: [table({ 'map@x.test': 'by map', '@gone.test': 'domain' })],
    recipientDelimiter: '+',
    now: () => NOON,
  };
  const list = new SuppressionList(options);
  assert.equal(await list.find('a@x.test'), undefined);
  assert.equal(await list.add('A@X.test', 'asked us\r\nb@x.test to'), true);
  assert.equal(await list.add('a@x.test', 'again'), false);
  assert.equal(await readFile(file, 'utf8'), 'a@x.test  2026-11-25T12:00:00Z asked us b@x.test to\n');
  const other = new SuppressionList(options);
  assert.match((await other.find('a+tag@x.test')) ?? '', /asked us/);
  assert.deepEqual([await other.find('map@x.test'), await other.find('u@gone.test')], ['by map', 'domain']);
  await writeFile(file, `# by hand\n${await readFile(file, 'utf8')}c@x.test\n`);
  assert.equal(await list.find('c@x.test'), '');
  assert.deepEqual([await other.remove('c@x.test'), await other.remove('c@x.test')], [true, false]);
  assert.deepEqual(await list.list(), [{ address: 'a@x.test', reason: '2026-11-25T12:00:00Z asked us b@x.test to' }]);
  assert.match(await readFile(file, 'utf8'), /^# by hand\n/);
  assert.equal(await list.noteFailure('full@x.test', '5.2.2', 'full'), false);
  assert.equal(await list.noteFailure('none@x.test', '5.1.1', 'unknown'), true);
  assert.match((await other.find('none@x.test')) ?? '', /bounced: 5\.1\.1 unknown$/);
});

test('suppression list: many at once lose nothing', async (t) => {
  const file = join(await tempFolder(t), 'suppressed');
  const make = (): SuppressionList => new SuppressionList({ file, maps: [], recipientDelimiter: '', now: () => NOON });
  const [one, two] = [make(), make()];
  await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? one : two).add(`u${i}@x.test`, 'x')));
  await Promise.all([one.remove('u0@x.test'), two.remove('u1@x.test'), one.add('new@x.test', 'x')]);
  assert.equal((await make().list()).length, 19);
});
