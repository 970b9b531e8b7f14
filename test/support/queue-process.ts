// A process of its own with a queue open: does what its standard input says, a line each, and answers with a line.
//
//   add ID BYTES     done | failed KIND CODE
//   work             settles everything that is ready until the queue is empty; gives the ids, each as often as it was taken
//   run HOP          runs the queue with the real client, to this next hop; answers at once
//   close            ends
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/lib/clock.ts';
import { MailError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { createDeliveryAgent } from '../../src/queue/client/agent.ts';
import { parseNextHop } from '../../src/queue/next-hop.ts';
import { QueueRunner } from '../../src/queue/runner.ts';
import { DEFAULT_QUEUE_LIMITS } from '../../src/queue/scheduler/limits.ts';
import { openQueueStore } from '../../src/queue/store/store.ts';
import { numberedMessage } from './crash.ts';
import { DEFAULT_CLIENT_OPTIONS } from './delivery.ts';
import { DESTINATION, queued } from './queue-store.ts';

const [, , directory = ''] = process.argv;
const store = await openQueueStore({ directory, logger: silentLogger, clock: systemClock });
const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function work(): Promise<string> {
  const taken: string[] = [];
  for (let empty = 0; empty < 20;) {
    const jobs = await store.jobs(DESTINATION, 10, 50, new Set());
    if (jobs.length === 0) {
      empty++;
      await new Promise((resolve) => setTimeout(resolve, 50));
    } else empty = 0;
    await Promise.all(
      jobs.map(async ({ envelope, recipients }) => {
        const source = await store.open(envelope.id);
        for await (const chunk of source.chunks()) void chunk;
        await source.dispose();
        taken.push(envelope.id);
        await store.settle(
          envelope.id,
          recipients.map(({ number }) => ({ number, kind: 'done' })),
        );
      }),
    );
  }
  return taken.join(' ');
}

/** As a worker that has the lease, but for reports: nobody is told of failures. */
function runQueue(hop: string): void {
  new QueueRunner({
    store,
    transports: { resolve: async () => parseNextHop(hop) },
    agent: createDeliveryAgent(DEFAULT_CLIENT_OPTIONS),
    reporter: { report: async () => undefined, trace: async () => undefined },
    lease: async () => () => undefined,
    limits: () => DEFAULT_QUEUE_LIMITS,
    clock: systemClock,
    monotonic: () => performance.now(),
    random: Math.random,
    logger: silentLogger,
  }).start();
}

async function run(line: string): Promise<string> {
  const [verb = '', id = '', bytes = '0'] = line.split(' ');
  if (verb === 'work') return work();
  if (verb === 'run') {
    runQueue(id);
    return 'running';
  }
  if (verb === 'close') {
    await store.close();
    process.exit(0);
  }
  const body = numberedMessage(id, Number(bytes));
  await store.add(queued(id, { body, to: ['a@remote.test', 'b@remote.test'], sender: `${id.slice(0, 1)}@example.test` }));
  return 'done';
}

say('ready');
createInterface({ input: process.stdin }).on('line', (line) => {
  run(line).then(say, (error: unknown) =>
    say(`failed ${error instanceof MailError ? `${error.kind} ${error.code} ${error.detail}` : String(error)}`),
  );
});
