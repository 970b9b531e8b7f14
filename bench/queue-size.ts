// `npm run bench -- queue-size`: a server with very many messages in its queue: how long it takes to start, and a command to list them; how much memory it
// has beyond that of a server without any; how long its database takes to be made anew.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/lib/clock.ts';
import { silentLogger } from '../src/lib/logger.ts';
import { openQueueStore } from '../src/queue/store/store.ts';
import { fillQueue } from '../test/support/full-queue.ts';
import { MailHost, PROJECT } from '../test/support/mail-host.ts';
import { memoryOf } from '../test/support/process-memory.ts';
import { run } from '../test/support/programs.ts';
import { printRows } from './smtp-report.ts';
import { median, rounded } from './statistics.ts';
import type { Teardown } from './teardown.ts';

export interface QueueSizeOptions {
  readonly runs: number;
  readonly messages: number;
}

const START_LIMIT_MS = 2_000;
const LIST_LIMIT_MS = 1_000;
const REBUILT_WITHIN_MS = 600_000;
const MB = 1_048_576;

export async function queueSizeBench({ runs, messages }: QueueSizeOptions, teardown: Teardown): Promise<unknown> {
  const host = teardown.use(await MailHost.create());
  const directory = join(host.directory, 'queue');
  const empty = await started(host);
  await host.stop();
  for (const name of await readdir(directory)) if (name.startsWith('queue.db')) await rm(join(directory, name));
  fillQueue({
    directory,
    count: messages,
    route: (n) => ({ address: `u${n}@held.test`, destination: 'hold:', hold: 'held by the transport table' }),
  });
  const rebuilt = await rebuild(host, messages);
  const figures = {
    starts: [] as number[],
    stores: [] as number[],
    lists: [] as number[],
    summaries: [] as number[],
    beyondMb: [] as number[],
  };
  for (let n = 0; n < runs; n++) {
    const full = await started(host);
    figures.starts.push(full.ms);
    figures.stores.push(await listStore(directory, messages));
    figures.lists.push(await timeOf(host, ['list'], messages));
    figures.summaries.push(await timeOf(host, ['stats', '--json'], 1));
    figures.beyondMb.push(rounded(((await memoryOf(host.pid ?? 0, 'VmHWM')) - empty.memory) / MB, 1));
    await host.stop();
  }
  report(messages, rebuilt, figures);
  return { messages, emptyStartMs: empty.ms, rebuiltMs: rebuilt, ...figures };
}

async function started(host: MailHost): Promise<{ ms: number; memory: number }> {
  const began = performance.now();
  await host.start();
  return { ms: Math.round(performance.now() - began), memory: await memoryOf(host.pid ?? 0, 'VmHWM') };
}

const queueCommand = (host: MailHost, args: readonly string[]): Promise<{ stdout: string }> =>
  run(process.execPath, [join(PROJECT, 'dist', 'bin', 'buzon.js'), 'queue', ...args, '--config', host.settingsFile], {
    cwd: '/',
  });

/** Milliseconds of the whole command, its process included. @throws when it does not say at least so many lines */
async function timeOf(host: MailHost, args: readonly string[], lines: number): Promise<number> {
  const began = performance.now();
  const { stdout } = await queueCommand(host, args);
  const ms = Math.round(performance.now() - began);
  if (stdout.trimEnd().split('\n').length < lines) throw new Error(`queue ${args.join(' ')} said ${stdout.slice(0, 500)}`);
  return ms;
}

/** Milliseconds that a program which is running takes to have all of them. */
async function listStore(directory: string, messages: number): Promise<number> {
  const store = await openQueueStore({ directory, logger: silentLogger, clock: systemClock });
  try {
    const began = performance.now();
    let found = 0;
    for await (const message of store.list({})) found += message.recipients.length;
    if (found !== messages) throw new Error(`${found} of ${messages} were listed`);
    return Math.round(performance.now() - began);
  } finally {
    await store.close();
  }
}

async function rebuild(host: MailHost, messages: number): Promise<number> {
  const began = performance.now();
  await host.start();
  for (;;) {
    const stats = JSON.parse((await queueCommand(host, ['stats', '--json'])).stdout) as { messages: number };
    if (stats.messages === messages) break;
    if (performance.now() - began > REBUILT_WITHIN_MS) throw new Error(`only ${stats.messages} of ${messages} were taken up`);
    await sleep(500);
  }
  await host.stop();
  return Math.round(performance.now() - began);
}

function report(
  messages: number,
  rebuiltMs: number,
  { starts, stores, lists, summaries, beyondMb }: Record<'starts' | 'stores' | 'lists' | 'summaries' | 'beyondMb', number[]>,
): void {
  const row = (name: string, values: readonly number[], unit: string, limit: string): string[] => {
    return [name, `${median(values)} ${unit}`, `${Math.min(...values)}–${Math.max(...values)}`, limit];
  };
  console.log(`\n${messages} messages in the queue (database made anew from their files in ${rounded(rebuiltMs / 1000, 1)} s)`);
  printRows([
    ['', 'median', 'min–max', 'gate'],
    row('server started', starts, 'ms', `${START_LIMIT_MS} ms`),
    row('all of them listed', stores, 'ms', `${LIST_LIMIT_MS} ms`),
    row('buzon queue list, as a process', lists, 'ms', ''),
    row('buzon queue stats, as a process', summaries, 'ms', ''),
    row('memory beyond that with none', beyondMb, 'MB', 'flat'),
  ]);
}
