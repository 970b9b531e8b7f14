// `npm run bench -- smtp`: how fast Postfix and Buzon take in and store mail, side by side, run after run in turn.
import { setTimeout as sleep } from 'node:timers/promises';
import { MessageSet } from './messages.ts';
import { machineCpu } from './proc.ts';
import { printScenario, printTable, type ScenarioResult } from './smtp-report.ts';
import { sendAll, type LoadResult } from './smtp-load.ts';
import { Buzon } from './servers/buzon.ts';
import { PostfixServer } from './servers/postfix.ts';
import type { Checks, Server } from './servers/server.ts';
import { percentile, rounded } from './statistics.ts';
import type { Teardown } from './teardown.ts';

export interface SmtpBenchOptions {
  readonly runs: number;
  /** Of the first scenario; the others take a fixed part of it. */
  readonly messages: number;
  readonly workers: number;
  readonly checks: readonly Checks[];
  /** Names; empty for all. */
  readonly scenarios: readonly string[];
  /** Measure Postfix with its default in_flow_delay, too. */
  readonly flowDelay: boolean;
}

interface Scenario {
  readonly name: string;
  readonly what: string;
  readonly size: number;
  readonly connections: number;
  readonly perConnection: number;
  /** Part of the messages asked for. */
  readonly share: number;
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'many', what: '20 connections × 10 messages, 4 KB', size: 4096, connections: 20, perConnection: 10, share: 1 },
  { name: 'one', what: '1 connection kept, 4 KB', size: 4096, connections: 1, perConnection: Infinity, share: 1 / 4 },
  { name: 'single', what: '20 connections × 1 message, 4 KB', size: 4096, connections: 20, perConnection: 1, share: 1 / 2 },
  { name: 'large', what: '20 connections × 10 messages, 64 KB', size: 65_536, connections: 20, perConnection: 10, share: 1 / 2 },
];
const MAILBOXES = 20;
const POLL_MS = 20;
const STORED_WITHIN_MS = 120_000;
/** After the last message: what the servers still do (logs, queue files, collecting garbage) is theirs, too. */
const SETTLE_MS = 250;
/** Between two runs, so that the one's disk writes are not the other's. */
const PAUSE_MS = 250;

export interface Run {
  readonly server: string;
  readonly run: number;
  readonly messages: number;
  readonly connectionsOpened: number;
  readonly tls?: string;
  /** From the first connection until all are counted in the Maildirs. */
  readonly seconds: number;
  readonly messagesPerSecond: number;
  /** Until the last 250. */
  readonly acknowledgedPerSecond: number;
  readonly cpuMsPerMessage: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** CPU of the load itself, and of everything else on the machine but it and the server, in percent of one core. */
  readonly loadCpuPercent: number;
  readonly othersCpuPercent: number;
  readonly stolenPercent: number;
}

export interface SmtpBenchResult {
  readonly scenarios: readonly ScenarioResult[];
  readonly settings: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly cpuMeasuredBy: string;
}

export async function smtpBench(options: SmtpBenchOptions, teardown: Teardown): Promise<SmtpBenchResult> {
  const scenarios: ScenarioResult[] = [];
  const settings: Record<string, Record<string, string>> = {};
  let cpuMeasuredBy = '';
  for (const checks of options.checks) {
    const servers = await startAll(options, checks, teardown);
    cpuMeasuredBy = servers[0]?.accounting.kind ?? '';
    for (const server of servers) (settings[`checks ${checks}`] ??= {})[server.name] = await server.settings();
    for (const [i, scenario] of wanted(options).entries()) {
      const result = await runScenario(scenario, checks, servers, options, i === 0);
      scenarios.push(result);
      printScenario(result);
    }
    for (const server of servers) await server[Symbol.asyncDispose]();
  }
  printTable(scenarios);
  return { scenarios, settings, cpuMeasuredBy };
}

const wanted = ({ scenarios }: SmtpBenchOptions): readonly Scenario[] =>
  SCENARIOS.filter(({ name }) => scenarios.length === 0 || scenarios.includes(name));

async function startAll(options: SmtpBenchOptions, checks: Checks, teardown: Teardown): Promise<Server[]> {
  const servers: Server[] = [await PostfixServer.start({ checks, mailboxes: MAILBOXES }, teardown)];
  if (options.flowDelay) servers.push(await PostfixServer.start({ checks, mailboxes: MAILBOXES, flowDelay: true }, teardown));
  servers.push(await Buzon.start({ checks, mailboxes: MAILBOXES, workers: options.workers }, teardown));
  return servers;
}

/** All servers in turn, `runs` times; who is first changes with each round. */
async function runScenario(
  scenario: Scenario,
  checks: Checks,
  servers: readonly Server[],
  options: SmtpBenchOptions,
  cold: boolean,
): Promise<ScenarioResult> {
  const messages = Math.max(1, Math.round(options.messages * scenario.share));
  console.log(`\n${scenario.what}, checks ${checks}: ${options.runs} runs of ${messages} messages each`);
  // Not measured: processes are started, code is compiled, folders are made.
  for (const server of servers) await measure(server, scenario, checks, 0, cold ? messages : Math.ceil(messages / 4));
  const runs: Run[] = [];
  for (let run = 1; run <= options.runs; run++)
    for (const server of run % 2 === 1 ? servers : servers.toReversed()) {
      await sleep(PAUSE_MS);
      const result = await measure(server, scenario, checks, run, messages);
      console.log(`  run ${run}  ${runLine(result)}`);
      runs.push(result);
    }
  return { scenario: scenario.name, what: scenario.what, checks, runs };
}

const runLine = (r: Run): string =>
  `${r.server.padEnd(24)} ${r.messagesPerSecond.toFixed(0).padStart(6)} msg/s  ${r.cpuMsPerMessage.toFixed(2).padStart(6)} ms CPU  ` +
  `250: p50 ${r.p50Ms.toFixed(1)} ms, p99 ${r.p99Ms.toFixed(1)} ms  (others: ${r.othersCpuPercent.toFixed(0)} % of a core)`;

async function measure(server: Server, scenario: Scenario, checks: Checks, run: number, count: number): Promise<Run> {
  const messages = new MessageSet(`${scenario.name}-${checks}-${run}-${count}`, count, scenario.size, server.maildirs);
  if (messages.stored() > 0) throw new Error(`${server.name}'s mailboxes are not empty before a run`);
  const { connections, perConnection } = scenario;
  const before = usage(server);
  const load = await sendAll({ port: server.smtpPort, messages, connections, perConnection, startTls: checks === 'on' });
  const acknowledged = performance.now() - before.at;
  await allStored(messages, server);
  const stored = performance.now() - before.at;
  await server.drained();
  await sleep(SETTLE_MS);
  const after = usage(server);
  await messages.collect();
  return figures(server, run, load, { acknowledged, stored }, before, after);
}

interface Usage {
  readonly at: number;
  readonly server: number;
  readonly load: number;
  readonly busy: number;
  readonly stolen: number;
}
function usage(server: Server): Usage {
  const { user, system } = process.cpuUsage();
  return { at: performance.now(), server: server.accounting.usedMs(), load: (user + system) / 1000, ...machineCpu() };
}

async function allStored(messages: MessageSet, server: Server): Promise<void> {
  for (const until = Date.now() + STORED_WITHIN_MS; messages.stored() < messages.count; await sleep(POLL_MS))
    if (Date.now() > until)
      throw new Error(`${server.name} stored ${messages.stored()} of ${messages.count}:\n${(await server.log()).slice(-2000)}`);
}

function figures(
  server: Server,
  run: number,
  { latencies, opened, tls }: LoadResult,
  took: { acknowledged: number; stored: number },
  before: Usage,
  after: Usage,
): Run {
  const messages = latencies.length;
  const percent = (cpu: number): number => rounded((100 * Math.max(0, cpu)) / (after.at - before.at), 1);
  const cpu = after.server - before.server;
  const load = after.load - before.load;
  return {
    server: server.name,
    run,
    messages,
    connectionsOpened: opened,
    ...(tls === undefined ? {} : { tls }),
    seconds: rounded(took.stored / 1000, 3),
    messagesPerSecond: rounded((1000 * messages) / took.stored, 1),
    acknowledgedPerSecond: rounded((1000 * messages) / took.acknowledged, 1),
    cpuMsPerMessage: rounded(cpu / messages, 3),
    p50Ms: rounded(percentile(latencies, 0.5), 2),
    p99Ms: rounded(percentile(latencies, 0.99), 2),
    maxMs: rounded(percentile(latencies, 1), 2),
    loadCpuPercent: percent(load),
    othersCpuPercent: percent(after.busy - before.busy - cpu - load),
    stolenPercent: percent(after.stolen - before.stolen),
  };
}
