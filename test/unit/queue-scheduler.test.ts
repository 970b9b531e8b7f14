import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import type { JobEnd } from '../../src/queue/scheduler/destination.ts';
import { newMessage, SchedulerWorld, settled } from '../support/queue-world.ts';

const DOWN: JobEnd = {
  site: 'down',
  failure: { status: '4.4.1', reason: 'connect to mx.slow.test[192.0.2.1]:25: Connection refused' },
};

test('a new destination gets initial_destination_concurrency jobs at a time', async () => {
  const world = new SchedulerWorld();
  await world.queue('one.test', 30);
  assert.equal(world.runningAt('one.test'), 5);
});

test('the window grows by one with each success, up to the limit, and no further than it is used', async () => {
  const world = new SchedulerWorld({ concurrency: 8 });
  await world.queue('one.test', 40);
  await world.end('one.test', 1);
  assert.equal(world.runningAt('one.test'), 6);
  await world.end('one.test', 1);
  assert.equal(world.runningAt('one.test'), 7);
  await world.end('one.test', 3);
  assert.equal(world.runningAt('one.test'), 8);

  const quiet = new SchedulerWorld();
  for (let i = 0; i < 20; i++) {
    await quiet.store.add(newMessage(`M${i}`, ['user@one.test']));
    await settled();
    await quiet.end('one.test', 1);
  }
  await quiet.queue('one.test', 40);
  // One at a time has shown nothing about many: 1 in use + 5.
  assert.equal(quiet.runningAt('one.test'), 6);
});

test('the window shrinks by one with each failure of the site; what the recipients were told does not count', async () => {
  const world = new SchedulerWorld({ failedCohorts: 0 });
  await world.queue('one.test', 40);
  await world.end('one.test', 2, DOWN);
  assert.equal(world.runningAt('one.test'), 3);
  await world.end('one.test', 3, DOWN);
  // Never below one.
  assert.equal(world.runningAt('one.test'), 1);
  await world.end('one.test', 1);
  assert.equal(world.runningAt('one.test'), 2);
  await world.end('one.test', 1, { site: 'none' });
  assert.equal(world.runningAt('one.test'), 2);
});

test('a failed cohort makes a destination dead: the rest is put off without a try, and later one job goes first', async () => {
  const world = new SchedulerWorld();
  await world.queue('dead.test', 300);
  for (let i = 0; i < 4; i++) await world.end('dead.test', 1, DOWN);
  await world.clocks.pass(2_000);
  assert.equal(world.suspended.length, 300 - 5);
  assert.match(
    world.store.recipient('dead.test-100')?.lastFailure?.reason ?? '',
    /^delivery temporarily suspended: connect to mx\.slow\.test/,
  );
  assert.deepEqual(
    world.log.events.map(({ event, fields }) => [event, fields['destination']]),
    [['queue.destination.dead', 'smtp:dead.test']],
  );
  // What comes now does not wake the dead.
  await world.queue('dead.test', 3, 'later');
  assert.equal(world.suspended.length, 298);

  await world.end('dead.test', 1, DOWN);
  await world.clocks.pass(300_000);
  await world.queue('dead.test', 10, 'again');
  assert.equal(world.runningAt('dead.test'), 1);
  await world.end('dead.test', 1);
  assert.equal(world.runningAt('dead.test'), 2);
  await world.end('dead.test', 2);
  assert.equal(world.runningAt('dead.test'), 4);
});

test('a probe that fails makes it dead again at once', async () => {
  const world = new SchedulerWorld();
  await world.queue('dead.test', 5);
  await world.end('dead.test', 5, DOWN);
  await world.clocks.pass(300_000);
  await world.queue('dead.test', 10, 'again');
  await world.end('dead.test', 1, DOWN);
  assert.equal(world.running.length, 0);
  assert.equal(world.suspended.length, 9);
});

test('one success between failures keeps a destination alive', async () => {
  const world = new SchedulerWorld();
  await world.queue('shaky.test', 100);
  for (let i = 0; i < 20; i++) {
    await world.end('shaky.test', 1, DOWN);
    await world.end('shaky.test', 1);
  }
  assert.equal(world.suspended.length, 0);
});

test('a flush makes a dead destination be tried once, not more than once a minute', async () => {
  const world = new SchedulerWorld();
  await world.queue('dead.test', 20);
  for (let i = 0; i < 4; i++) await world.end('dead.test', 1, DOWN);
  await world.end('dead.test', 1, DOWN);
  assert.equal(world.suspended.length, 15);
  await world.clocks.pass(61_000);
  world.store.retry(world.clocks.now());
  await settled();
  assert.equal(world.runningAt('dead.test'), 1);
  await world.end('dead.test', 1, DOWN);
  assert.equal(world.runningAt('dead.test'), 0);
  world.store.retry(world.clocks.now());
  await settled();
  assert.equal(world.runningAt('dead.test'), 0);
  await world.clocks.pass(61_000);
  world.store.retry(world.clocks.now());
  await settled();
  await world.end('dead.test', 1);
  assert.equal(world.runningAt('dead.test'), 2);
});

test('10,000 recipients of one domain do not hold up a letter to another', async () => {
  const world = new SchedulerWorld({ processes: 10 });
  for (let i = 0; i < 200; i++)
    await world.store.add(
      newMessage(
        `BULK${i}`,
        Array.from({ length: 50 }, (_, n) => `u${i}-${n}@bulk.test`),
      ),
    );
  await world.queue('other.test', 1);
  await settled();
  assert.equal(world.runningAt('other.test'), 1);
});

test('with all places taken, freed ones go round the ring', async () => {
  const world = new SchedulerWorld({ processes: 4, initialConcurrency: 4 });
  world.answer = () => ({ took: 100 });
  await world.queue('a.test', 60);
  await world.clocks.pass(1_000);
  await world.queue('b.test', 20);
  await world.queue('c.test', 20);
  const from = world.begun.length;
  await world.clocks.pass(1_000);
  const next = world.begun.slice(from, from + 30);
  for (const domain of ['a', 'b', 'c']) {
    const share = next.filter((name) => name === `smtp:${domain}.test`).length;
    assert.ok(share >= 6, `${domain}: ${share} of 30`);
  }
});

test('a job has at most default_destination_recipient_limit recipients, and no recipient is in two', async () => {
  const world = new SchedulerWorld();
  const all = Array.from({ length: 120 }, (_, n) => `u${n}@one.test`);
  await world.store.add(newMessage('M', all));
  await settled();
  assert.deepEqual(
    world.running.map(({ job }) => job.recipients.length),
    [50, 50, 20],
  );
  assert.equal(new Set(world.running.flatMap(({ job }) => job.recipients.map(({ address }) => address))).size, 120);
});

test('limits are those of the destination', async () => {
  const world = new SchedulerWorld();
  world.limitsOf['smtp:one.test'] = { initialConcurrency: 2, concurrency: 3, recipients: 1 };
  world.limitsOf['smtp:dead.test'] = { failedCohorts: 0.2 };
  await world.store.add(newMessage('M', ['a@one.test', 'b@one.test', 'c@one.test', 'd@two.test', 'e@two.test']));
  await settled();
  assert.deepEqual(
    world.running.map(({ job }) => [job.destination, job.recipients.length]),
    [
      ['smtp:one.test', 1],
      ['smtp:one.test', 1],
      ['smtp:two.test', 2],
    ],
  );
  await world.queue('dead.test', 20);
  assert.equal(world.runningAt('dead.test'), 5);
  world.running.find(({ job }) => job.destination === 'smtp:dead.test')?.end({ site: 'down' });
  await settled();
  world.scheduler.wake();
  await settled();
  assert.equal(world.suspended.length, 15, 'a fifth of its window has failed');
  for (let i = 0; i < 10; i++) {
    await world.queue('one.test', 2, `more-${i}`);
    world.running.find(({ job }) => job.destination === 'smtp:one.test')?.end();
    await settled();
  }
  assert.equal(world.runningAt('one.test'), 3);
});

test('nothing is begun twice while places are asked for, jobs end and others come', async () => {
  const world = new SchedulerWorld({ processes: 7 });
  const seen = new Set<string>();
  let twice = 0;
  let n = 0;
  world.answer = (job) => {
    for (const { number } of job.recipients) {
      const key = `${job.envelope.id}/${number}`;
      if (seen.has(key)) twice++;
      seen.add(key);
    }
    n = (n * 31 + 7) % 97;
    return { took: n };
  };
  for (let i = 0; i < 60; i++) {
    await world.store.add(newMessage(`M${i}`, [`a@d${i % 7}.test`, `b@d${i % 7}.test`, `c@d${(i + 1) % 7}.test`]));
    if (i % 5 === 0) await world.clocks.pass(13);
  }
  await world.clocks.pass(60_000);
  assert.deepEqual([twice, seen.size, world.store.rows.length], [0, 180, 0]);
});

test('slow destinations get at most half of the places, unknown ones three quarters with them', async () => {
  const world = new SchedulerWorld({ processes: 20, initialConcurrency: 5 });
  for (let i = 0; i < 6; i++) await world.queue(`unknown${i}.test`, 40);
  assert.equal(world.running.length, 15);
  await world.queue('known.test', 1);
  // Nothing is known of it yet.
  assert.equal(world.runningAt('known.test'), 0);
  await world.end('unknown0.test', 5);
  assert.ok(world.running.length <= 15 + 5, String(world.running.length));
});

test('a job that goes on for long gives its place up: hosts that say nothing keep mail from nobody', async () => {
  const world = new SchedulerWorld({ processes: 20, initialConcurrency: 5 });
  for (let i = 0; i < 6; i++) await world.queue(`silent${i}.test`, 40);
  assert.equal(world.running.length, 15);
  await world.queue('fresh.test', 9);
  assert.equal(world.runningAt('fresh.test'), 0);
  await world.clocks.pass(6_100);
  assert.ok(world.runningAt('fresh.test') >= 1);
});

test('row 11: 500 next hops that say nothing: mail for another is on its way within seconds; how many may be left waiting has a limit', async () => {
  const world = new SchedulerWorld();
  for (let i = 0; i < 500; i++) await world.queue(`silent${i}.test`, 1);
  await world.clocks.pass(60_000);
  assert.equal(world.running.length, 500);
  const { jobs } = world.store.calls;
  await world.queue('fresh.test', 1);
  await world.clocks.pass(1_100);
  assert.equal(world.runningAt('fresh.test'), 1);
  // Nobody asks again for those of which all that is ready is under way.
  assert.ok(world.store.calls.jobs <= jobs + 3, `${world.store.calls.jobs - jobs} questions`);
  for (let i = 500; i < 1_100; i++) await world.store.add(newMessage(`S${i}`, [`u@silent${i}.test`]));
  await world.clocks.pass(120_000);
  assert.ok(world.running.length > 900 && world.running.length <= 1_000, String(world.running.length));
});

test('where all are slow, half of the places stay free', async () => {
  const world = new SchedulerWorld({ processes: 20 });
  world.answer = () => ({ took: 8_000 });
  for (let i = 0; i < 4; i++) await world.queue(`slow${i}.test`, 400);
  await world.clocks.pass(60_000);
  for (let second = 0; second < 10; second++) {
    await world.clocks.pass(1_000);
    assert.ok(world.youngerThan(5_000) <= 10, `${world.youngerThan(5_000)} places are theirs`);
  }
  await world.queue('fresh.test', 9);
  assert.equal(world.runningAt('fresh.test'), 5);
});

test('a destination that takes 30 s a reply for 1,000 messages lowers the rate to others by at most 10 %', async () => {
  const rate = async (withSlow: boolean): Promise<number> => {
    const world = new SchedulerWorld();
    world.answer = ({ destination }) => ({ took: destination === 'smtp:slow.test' ? 30_000 : 500 });
    if (withSlow) await world.queue('slow.test', 1_000);
    for (let i = 0; i < 4; i++) await world.queue(`fast${i}.test`, 200);
    await world.clocks.pass(10_000);
    return world.begun.filter((name) => name.startsWith('smtp:fast')).length;
  };
  const alone = await rate(false);
  const beside = await rate(true);
  assert.ok(beside >= alone * 0.9, `${beside} beside it, ${alone} without`);
});

test('an idle scheduler asks nothing; one whose store fails asks again a second later', async () => {
  const world = new SchedulerWorld();
  world.scheduler.wake();
  await settled();
  const { readyDestinations } = world.store.calls;
  await world.clocks.pass(3_600_000);
  assert.equal(world.store.calls.readyDestinations, readyDestinations);

  world.store.failing.set('jobs', new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy'));
  await world.queue('one.test', 2);
  assert.equal(world.running.length, 0);
  world.store.failing.clear();
  await world.clocks.pass(1_000);
  assert.equal(world.running.length, 2);
  assert.ok(world.log.events.some(({ event }) => event === 'queue.scheduler.failed'));
});

test('jobs are asked for about as often as there are some', async () => {
  const world = new SchedulerWorld();
  world.answer = () => ({ took: 10 });
  for (let i = 0; i < 300; i++) {
    await world.store.add(newMessage(`M${i}`, [`u@d${i % 60}.test`]));
    if (i % 60 === 59) await world.clocks.pass(100);
  }
  await world.queue('one.test', 300);
  await world.clocks.pass(10_000);
  assert.equal(world.store.rows.length, 0);
  assert.ok(world.store.calls.jobs <= 400, String(world.store.calls.jobs));
  assert.ok(world.store.calls.readyDestinations <= 700, String(world.store.calls.readyDestinations));
});

test('memory: destinations beyond a number are forgotten, those at work are not', async () => {
  const world = new SchedulerWorld();
  world.answer = ({ destination }) => (destination === 'smtp:busy.test' ? undefined : { took: 1 });
  await world.queue('busy.test', 1);
  for (let i = 0; i < 600; i++) {
    await world.store.add(newMessage(`M${i}`, [`u@d${i}.test`]));
    if (i % 70 === 69) await world.clocks.pass(10);
  }
  assert.ok(world.scheduler.remembered <= 200, String(world.scheduler.remembered));
  await world.queue('busy.test', 9, 'more');
  assert.equal(world.runningAt('busy.test'), 5);
});

test('stop begins nothing more and waits for what is under way', async () => {
  const world = new SchedulerWorld();
  await world.queue('one.test', 30);
  let stopped = false;
  const stopping = world.scheduler.stop().then(() => (stopped = true));
  await world.end('one.test', 4);
  await world.queue('two.test', 3);
  assert.deepEqual([world.running.length, stopped], [1, false]);
  await world.end('one.test', 1);
  await stopping;
  assert.equal(world.begun.length, 5);
});
