// The benchmark as it is called, with few messages: figures for both servers, and nothing left behind however a run ends.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { accountFor, ProcessTree } from '../../bench/accounting.ts';
import { processTree } from '../../bench/proc.ts';
import { eventually, PROJECT } from '../support/mail-host.ts';
import { requireProgram, requireRoot, run } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

const MAIN = join(PROJECT, 'bench', 'main.ts');
const LIMIT = 120_000;

async function possible(t: TestContext, ...programs: string[]): Promise<boolean> {
  if (!requireRoot(t)) return false;
  for (const program of ['postfix', ...programs]) if ((await requireProgram(t, program)) === undefined) return false;
  return true;
}

/** Processes that name a folder, and what else a run may leave: its folder, its accounting groups. */
function leftOf(folder: string, pid: number): string[] {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((line) => line.includes(`${folder}/`) && !line.includes('bench/main.ts'));
  const groups = ['/sys/fs/cgroup/cpuacct', '/sys/fs/cgroup'].flatMap((path) => {
    try {
      return readdirSync(path).filter((name) => name.startsWith(`buzon-bench-${pid}-`));
    } catch {
      return [];
    }
  });
  return [...processes, ...readdirSync(folder).filter((name) => name.startsWith('buzon-bench-')), ...groups];
}

/** Postfix's and Buzon's users get through it. */
async function openFolder(t: TestContext): Promise<string> {
  const folder = await tempFolder(t);
  await chmod(folder, 0o755);
  return folder;
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
}
function start(t: TestContext, args: readonly string[]): Started {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = new Promise<number | null>((resolve) => child.once('exit', (status) => resolve(status)));
  // Its own way down first: killed at once, it would leave its servers.
  t.after(async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    await ended;
    clearTimeout(timer);
  });
  return { child, ended, output: () => output };
}

test('smtp: both servers are measured in turn with TLS, every message is found, figures and their circumstances are written', async (t) => {
  if (!(await possible(t))) return;
  const folder = await openFolder(t);
  const out = join(folder, 'out.json');
  const asked = ['--runs', '2', '--messages', '40', '--scenario', 'many', '--checks', 'on'];
  const bench = start(t, ['smtp', ...asked, '--dir', folder, '--out', out]);
  assert.equal(await bench.ended, 0, bench.output());
  assert.deepEqual(leftOf(folder, bench.child.pid ?? 0), []);
  const { result, machine, versions } = JSON.parse(await readFile(out, 'utf8')) as {
    machine: Record<string, unknown>;
    versions: Record<string, string>;
    result: {
      scenarios: { runs: Record<string, string | number>[]; medians: Record<string, unknown> }[];
      ratios: { rate: number; cpu: number }[];
      settings: Record<string, Record<string, string>>;
    };
  };
  const runs = result.scenarios[0]?.runs ?? [];
  assert.deepEqual(
    runs.map(({ server, run: n }) => `${n} ${server}`),
    ['1 Postfix', '1 Buzon', '2 Buzon', '2 Postfix'],
  );
  for (const one of runs) {
    assert.match(String(one['tls']), /^TLSv1\.3 /);
    assert.equal(one['messages'], 40);
    for (const figure of ['messagesPerSecond', 'cpuMsPerMessage', 'p50Ms', 'p99Ms']) assert.ok(Number(one[figure]) > 0, figure);
  }
  const [ratio] = result.ratios;
  assert.ok(ratio && ratio.rate > 0 && ratio.cpu > 0);
  assert.ok(machine['cpu'] && machine['cores'] && machine['kernel'] && machine['fileSystem']);
  assert.ok(versions['buzon'] && versions['node'] && versions['postfix']);
  assert.match(result.settings['checks on']?.['Postfix'] ?? '', /^in_flow_delay = 0$/m);
  assert.match(result.settings['checks on']?.['Buzon'] ?? '', /^virtual_mailbox_maps: hash:/m);
});

test('a run that is interrupted takes everything down and says so', async (t) => {
  if (!(await possible(t))) return;
  const folder = await openFolder(t);
  const bench = start(t, ['smtp', '--messages', '100000', '--scenario', 'many', '--dir', folder, '--out', '']);
  await eventually(async () => bench.output().includes('runs of') || bench.child.exitCode !== null, 'the first scenario', LIMIT);
  assert.notDeepEqual(leftOf(folder, bench.child.pid ?? 0), [], 'something to take down');
  bench.child.kill('SIGINT');
  bench.child.kill('SIGINT');
  assert.equal(await bench.ended, 130, bench.output());
  assert.deepEqual(leftOf(folder, bench.child.pid ?? 0), []);
});

test('a server that dies fails the run, and everything is taken down', async (t) => {
  if (!(await possible(t))) return;
  const folder = await openFolder(t);
  const bench = start(t, ['smtp', '--messages', '100000', '--scenario', 'many', '--dir', folder, '--out', '']);
  await eventually(async () => bench.output().includes('runs of') || bench.child.exitCode !== null, 'the first scenario', LIMIT);
  const pidFile = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((path) => path.endsWith('/pid/master.pid'));
  const master = Number(readFileSync(join(folder, pidFile ?? ''), 'utf8'));
  // Stopped first, so that it starts no other while they are killed.
  process.kill(master, 'SIGSTOP');
  for (const pid of processTree(master).reverse()) process.kill(pid, 'SIGKILL');
  assert.equal(await bench.ended, 1, bench.output());
  assert.match(bench.output(), /Error: /);
  assert.deepEqual(leftOf(folder, bench.child.pid ?? 0), []);
});

test('CPU time is counted for all processes, also those that have ended; what is left is ended', async (t) => {
  if (!requireRoot(t)) return;
  const burn = `${process.execPath} -e "while (process.cpuUsage().user < 300000);"`;
  for (const accounting of [new ProcessTree(), accountFor(`buzon-bench-${process.pid}-test`)]) {
    const [program = '', ...args] = accounting.wrap(['/bin/sh', '-c', `${burn}; ${burn} & sleep 600; true`]);
    const child = spawn(program, args, { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    accounting.root(child.pid ?? 0);
    await eventually(async () => accounting.usedMs() >= 600, `600 ms by ${accounting.kind}`, 60_000);
    const pids = accounting.pids();
    assert.ok(pids.includes(child.pid ?? 0));
    await accounting.close();
    await ended;
    await eventually(async () => pids.every((pid) => !alive(pid)), 'all have ended');
    await accounting.close();
  }
});
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('arguments that make no sense are refused with a usage', async () => {
  for (const args of [
    [],
    ['smtpp'],
    ['smtp', '--runs', '0'],
    ['smtp', '--scenario', 'none'],
    ['smtp', '--checks', 'maybe'],
    ['idle', '--foo'],
  ]) {
    const result = await run(process.execPath, [MAIN, ...args]);
    assert.equal(result.status, 2, args.join(' '));
    assert.match(result.stderr, /usage: npm run bench/);
  }
});
