// `npm run bench -- queue`: how fast Postfix and Buzon pass mail on, from an SMTP client through their queues to a next hop that takes everything at
// once; and how much of that is left while a thousand messages wait for a next hop that answers each command after 30 s.
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { PROJECT } from '../test/support/mail-host.ts';
import { MessageSet } from './messages.ts';
import { Buzon } from './servers/buzon.ts';
import { PostfixServer } from './servers/postfix.ts';
import type { Server } from './servers/server.ts';
import { sendAll } from './smtp-load.ts';
import { printRows } from './smtp-report.ts';
import { median, rounded } from './statistics.ts';
import type { Teardown } from './teardown.ts';

export interface QueueBenchOptions {
  readonly runs: number;
  readonly messages: number;
  readonly workers: number;
}

interface QueueRun {
  readonly server: string;
  readonly phase: 'alone' | 'beside';
  readonly deliveredPerSecond: number;
  readonly cpuMsPerMessage: number;
}

const SIZE = 4096;
const SLOW_REPLY_MS = 30_000;
const SLOW_MESSAGES = 1000;
const DELIVERED_WITHIN_MS = 120_000;
const POLL_MS = 10;
const PAUSE_MS = 300;
/** What the rate to others may lose to a slow destination. */
const MAY_LOSE = 0.1;

export async function queueBench(options: QueueBenchOptions, teardown: Teardown): Promise<unknown> {
  const fast = teardown.use(await Sink.start(0));
  const slow = teardown.use(await Sink.start(SLOW_REPLY_MS));
  const servers = await startBoth(options, fast, slow, teardown);
  const runs: QueueRun[] = [];
  const rounds = async (phase: QueueRun['phase']): Promise<void> => {
    for (let run = 0; run < options.runs; run++)
      for (const server of run % 2 === 0 ? servers : servers.toReversed()) {
        const result = { server: server.name, phase, ...(await passOn(server, fast, `${phase}-${run}`, options.messages)) };
        console.log(
          `  ${phase} ${run + 1}  ${server.name.padEnd(8)} ${result.deliveredPerSecond} /s, ${result.cpuMsPerMessage} ms CPU`,
        );
        runs.push(result);
      }
  };
  for (const server of servers) await passOn(server, fast, 'warm', options.messages);
  await rounds('alone');
  for (const server of servers) await load(server, 'slow', SLOW_MESSAGES, 'slow.test');
  await sleep(2_000);
  await rounds('beside');
  return { runs, verdict: verdict(runs) };
}

async function startBoth(options: QueueBenchOptions, fast: Sink, slow: Sink, teardown: Teardown): Promise<Server[]> {
  const routes = { 'fast.test': `smtp:[127.0.0.1]:${fast.port}`, 'slow.test': `smtp:[127.0.0.1]:${slow.port}` };
  const table = Object.entries(routes).map(([domain, hop]) => `{${domain} = ${hop}}`);
  const transport_maps = `inline:{${table.join(', ')}}`;
  return [
    await PostfixServer.start(
      {
        checks: 'off',
        mailboxes: 1,
        services: ['smtp unix - - n - - smtp'],
        settings: { mynetworks: '127.0.0.0/8', transport_maps },
      },
      teardown,
    ),
    await Buzon.start(
      { checks: 'off', mailboxes: 1, workers: options.workers, settings: { mynetworks: ['127.0.0.0/8'], transport_maps } },
      teardown,
    ),
  ];
}

const setOf = (name: string, count: number, domain: string): MessageSet =>
  new MessageSet(name, count, SIZE, new Map(Array.from({ length: 20 }, (_, i) => [`u${i}@${domain}`, ''])));

async function load(server: Server, name: string, count: number, domain: string): Promise<void> {
  const messages = setOf(name, count, domain);
  await sendAll({ port: server.smtpPort, messages, connections: 20, perConnection: 10, startTls: false });
}

/** From the first connection until the next hop has all. */
async function passOn(
  server: Server,
  sink: Sink,
  name: string,
  count: number,
): Promise<Pick<QueueRun, 'deliveredPerSecond' | 'cpuMsPerMessage'>> {
  await sleep(PAUSE_MS);
  const before = { taken: await sink.taken(), at: performance.now(), cpu: server.accounting.usedMs() };
  await load(server, name, count, 'fast.test');
  const until = before.at + DELIVERED_WITHIN_MS;
  while ((await sink.taken()) < before.taken + count) {
    if (performance.now() > until)
      throw new Error(
        `${server.name} passed on ${(await sink.taken()) - before.taken} of ${count}:\n${(await server.log()).slice(-2000)}`,
      );
    await sleep(POLL_MS);
  }
  const seconds = (performance.now() - before.at) / 1000;
  await sleep(PAUSE_MS);
  return {
    deliveredPerSecond: rounded(count / seconds, 1),
    cpuMsPerMessage: rounded((server.accounting.usedMs() - before.cpu) / count, 3),
  };
}

function verdict(runs: readonly QueueRun[]): unknown {
  const of = (server: string, phase: QueueRun['phase'], figure: 'deliveredPerSecond' | 'cpuMsPerMessage'): number =>
    rounded(median(runs.filter((run) => run.server === server && run.phase === phase).map((run) => run[figure])), 2);
  const names = [...new Set(runs.map(({ server }) => server))];
  const table = names.map((server) => {
    const alone = of(server, 'alone', 'deliveredPerSecond');
    const beside = of(server, 'beside', 'deliveredPerSecond');
    return { server, alone, beside, lost: rounded(1 - beside / alone, 3), cpu: of(server, 'alone', 'cpuMsPerMessage') };
  });
  console.log(
    `\nDelivered a second, medians. Gate: at least Postfix's; a slow next hop takes at most ${MAY_LOSE * 100} % of it.`,
  );
  printRows([
    ['', 'alone', 'beside a slow one', 'lost', 'CPU ms/message'],
    ...table.map(({ server, alone, beside, lost, cpu }) => [
      server,
      alone.toFixed(0),
      beside.toFixed(0),
      `${(lost * 100).toFixed(0)} %`,
      cpu.toFixed(2),
    ]),
  ]);
  const ours = table.find(({ server }) => server === 'Buzon');
  const theirs = table.find(({ server }) => server === 'Postfix');
  const rate = rounded((ours?.alone ?? 0) / (theirs?.alone ?? 1), 3);
  console.log(`  Buzon / Postfix: ${rate}`);
  return { table, rate, gate: rate >= 1 && (ours?.lost ?? 1) <= MAY_LOSE };
}

/** queue-sink.ts in a process of its own. */
class Sink implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  private constructor(child: ChildProcess, lines: Interface, port: number) {
    this.#child = child;
    this.#lines = lines;
    this.port = port;
  }
  static async start(delayMs: number): Promise<Sink> {
    const child = spawn(process.execPath, [join(PROJECT, 'bench', 'queue-sink.ts'), String(delayMs)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    return new Sink(child, lines, Number(await next(lines)));
  }
  /** Messages taken so far. */
  async taken(): Promise<number> {
    const answer = next(this.#lines);
    this.#child.stdin?.write('\n');
    return Number(await answer);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin?.end();
    await ended;
  }
}

const next = (lines: Interface): Promise<string> => new Promise((resolve) => lines.once('line', resolve));
