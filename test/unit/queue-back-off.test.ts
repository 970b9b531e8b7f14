import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ages } from '../../src/queue/scheduler/ages.ts';
import { backoff, isGreylisting, JITTER, longestBackoff } from '../../src/queue/scheduler/back-off.ts';
import { DEFAULT_QUEUE_LIMITS } from '../../src/queue/scheduler/limits.ts';
import type { Failure } from '../../src/queue/types.ts';
import { seededRandom } from '../support/random.ts';
import { TwoClocks } from '../support/queue-world.ts';

const limits = DEFAULT_QUEUE_LIMITS;
const DAY = 86_400_000;
const refused: Failure = { status: '4.4.1', reason: 'Connection refused' };
const wait = (age: number, attempts: number, failure = refused, chance = 0): number =>
  backoff({ age, attempts, failure }, limits, () => chance);

test('a message waits as long again as it has waited, between minimal_backoff_time and maximal_backoff_time', () => {
  const waits = [0, 1_000, 300_000, 700_000, 3_999_000, 4_000_001, DAY].map((age) => wait(age, 3) / 1000);
  assert.deepEqual(waits, [300, 300, 300, 700, 3999, 4000, 4000]);
  // maximal below minimal: the minimal one counts.
  assert.equal(
    backoff({ age: DAY, attempts: 1, failure: refused }, { minimalBackoff: 10, maximalBackoff: 5 }, () => 0),
    10,
  );
});

test('jitter only makes it longer, by up to a fifth, and spreads what failed together', () => {
  const random = seededRandom(7);
  const waits = Array.from({ length: 1000 }, () => wait(0, 1, refused, random.below(1_000_000) / 1_000_000));
  assert.ok(Math.min(...waits) >= 300_000 && Math.max(...waits) <= 300_000 * (1 + JITTER));
  assert.ok(new Set(waits.map((ms) => Math.floor(ms / 1000))).size >= 55);
  assert.ok(waits.every((ms) => ms <= longestBackoff(limits)));
});

for (const [reply, status, seconds] of [
  ['450 4.7.1 <x@y.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/y.html', '4.7.1', 120],
  ['451 4.7.1 Please try again later', '4.7.1', 120],
  ['450 4.2.0 <x@y.test>: Recipient address rejected: Greylisted for 5 minutes', '4.2.0', 305],
  ['451 4.7.1 Greylisting in action, please come back in 00:01:30', '4.7.1', 95],
  ['451 4.7.1 greylisted, try again in 10 seconds', '4.7.1', 60],
  ['450 4.7.1 Graylisted: try again in 9999 mins', '4.7.1', 3600],
  ['451 4.3.0 Temporary lookup failure', '4.3.0', 300],
  ['421 4.7.1 Too many connections', '4.7.1', 300],
  ['452 4.2.2 Mailbox full', '4.2.2', 300],
] as const)
  test(`a first try that ends with "${reply.slice(0, 60)}" is repeated after ${seconds} s`, () => {
    const failure = { status, reason: `host said: ${reply}`, reply };
    assert.equal(wait(0, 0, failure) / 1000, seconds);
    assert.equal(isGreylisting(failure), seconds !== 300);
    // Still too early: as everybody.
    assert.equal(wait(seconds * 1000, 1, failure) / 1000, Math.max(300, seconds));
  });

const ages = (): { clocks: TwoClocks; ages: Ages } => {
  const clocks = new TwoClocks();
  return { clocks, ages: new Ages(() => clocks.now(), clocks.monotonic) };
};

test('row 48: a clock that is set a day forward makes no message older, and one that comes later not younger', async () => {
  const world = ages();
  const before = world.clocks.now();
  await world.clocks.pass(3_600_000);
  world.clocks.set(DAY);
  assert.equal(world.ages.age(before), 3_600_000);
  const after = world.clocks.now();
  await world.clocks.pass(60_000);
  assert.equal(world.ages.age(before), 3_660_000);
  assert.equal(world.ages.age(after), 60_000);
  world.clocks.set(-DAY);
  assert.equal(world.ages.age(before), 3_660_000);
});

test('row 48: a clock that is set a day back makes messages of before no younger; those in doubt are taken for the younger', async () => {
  const world = ages();
  const before = world.clocks.now() - 2 * DAY;
  world.clocks.set(-DAY);
  assert.equal(world.ages.age(before), 2 * DAY);
  // Of an hour that has not come yet.
  const doubtful = world.clocks.now() + 3_600_000;
  assert.equal(world.ages.age(doubtful), DAY - 3_600_000);
  await world.clocks.pass(7_200_000);
  // By the clock of before or of after: nobody knows.
  assert.equal(world.ages.age(doubtful), 3_600_000);
  assert.equal(world.ages.age(world.clocks.now() - 60_000), 60_000);
});

test('row 48: no jumps in any order make a message expire early', async () => {
  const random = seededRandom(48);
  for (let round = 0; round < 200; round++) {
    const world = ages();
    const messages: { readonly arrived: number; readonly at: number }[] = [];
    for (let step = 0; step < 60; step++) {
      if (random.below(3) > 0) messages.push({ arrived: world.clocks.now(), at: world.clocks.monotonic() });
      await world.clocks.pass(random.below(3_600_000));
      if (random.below(5) === 0) {
        world.clocks.set((random.below(2) ? 1 : -1) * random.below(3 * DAY));
        world.ages.observe();
      }
      for (const { arrived, at } of messages) {
        const real = world.clocks.monotonic() - at;
        // What is below the threshold of a jump is taken for drift: at most 10 s each time.
        assert.ok(world.ages.age(arrived) <= real + 10_000 * 60, `round ${round}: ${world.ages.age(arrived)} > ${real}`);
      }
    }
  }
});

test('drift is followed: a clock that runs a little fast or is slewed has not jumped', async () => {
  const world = ages();
  const arrived = world.clocks.now();
  for (let i = 0; i < 100; i++) {
    await world.clocks.pass(30_000);
    world.clocks.set(900);
    assert.equal(world.ages.observe(), 0);
  }
  assert.equal(world.ages.age(arrived), 100 * 30_900);
});

test('row 48: after a start nothing expires before it has been tried and put off once', async () => {
  const world = ages();
  const arrived = world.clocks.now() - 30 * DAY;
  const since = world.ages.steadySince;
  assert.equal(world.ages.isExpired(arrived, 5 * DAY, { attempts: 0, nextAttempt: arrived }), false);
  assert.equal(world.ages.isExpired(arrived, 5 * DAY, { attempts: 9, nextAttempt: since - 1 }), false);
  assert.equal(world.ages.isExpired(arrived, 5 * DAY, { attempts: 9, nextAttempt: since + 300_000 }), true);
  assert.equal(world.ages.isExpired(arrived, 31 * DAY, { attempts: 9, nextAttempt: since + 300_000 }), false);
  world.clocks.set(DAY);
  assert.equal(world.ages.isExpired(arrived, 5 * DAY, { attempts: 9, nextAttempt: since + 300_000 }), false);
  // One try only, as set.
  assert.equal(world.ages.isExpired(world.clocks.now(), 0, { attempts: 0, nextAttempt: 0 }), true);
});
