// `npm run bench -- smtp|sync-order|idle|queue|queue-size [options]`: measures Buzon beside Debian's Postfix and Dovecot on this machine. See README.md here.
import { mkdirSync, writeFileSync } from 'node:fs';
import { chmod, mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { PROJECT } from '../test/support/mail-host.ts';
import { findProgram } from '../test/support/programs.ts';
import { idleBench } from './idle.ts';
import { isInMemory, machine, versions } from './machine.ts';
import { queueBench } from './queue.ts';
import { queueSizeBench } from './queue-size.ts';
import { SCENARIOS, smtpBench } from './smtp.ts';
import { ratios, summary } from './smtp-report.ts';
import { syncOrder } from './sync-order.ts';
import { Teardown } from './teardown.ts';

const USAGE = `usage: npm run bench -- COMMAND [options]
  smtp         messages a second until stored, CPU for each, time to the 250: Buzon beside Postfix → virtual(8)
    --runs N         measured runs of each server in each scenario, in turn (5)
    --messages N     messages of a run of the first scenario; others take a half or a quarter (4000)
    --scenario NAME  only this one, can be repeated: ${SCENARIOS.map(({ name }) => name).join(', ')}
    --checks WHICH   off, on, or both (both)
    --flow-delay     a third server: Postfix with its default in_flow_delay of 1 s (0 in the others)
  sync-order   by strace: what is synced before each 250
    --messages N     (300)
  idle         from the 250 to * EXISTS in an IDLE session that another worker serves, beside Postfix + Dovecot
    --messages N     (300)
  queue        messages a second passed on to a fast next hop, alone and beside a slow one
    --runs N, --messages N  (5, 1000)
  queue-size   how long a server with very many queued messages takes to start, and to list them; its memory
    --runs N, --messages N  (5, 100000)
all:
    --workers N      Buzon's workers (one for each core)
    --dir FOLDER     where mailboxes, queues and logs lie while it runs (the folder for temporary files)
    --out FILE       raw figures as JSON (bench/results/COMMAND-DATE.json); none with an empty name
`;

const OPTIONS = {
  runs: { type: 'string', default: '5' },
  messages: { type: 'string' },
  workers: { type: 'string', default: String(availableParallelism()) },
  scenario: { type: 'string', multiple: true, default: [] },
  checks: { type: 'string', default: 'both' },
  'flow-delay': { type: 'boolean', default: false },
  dir: { type: 'string', default: tmpdir() },
  out: { type: 'string' },
  help: { type: 'boolean', default: false },
} satisfies ParseArgsOptionsConfig;

type Command = (typeof COMMANDS)[number];
const COMMANDS = ['smtp', 'sync-order', 'idle', 'queue', 'queue-size'] as const;
const MESSAGES: Readonly<Record<Command, number>> = {
  smtp: 4000,
  'sync-order': 300,
  idle: 300,
  queue: 1000,
  'queue-size': 100_000,
};
const PROGRAMS: Readonly<Record<Command, readonly string[]>> = {
  smtp: ['postfix', 'openssl'],
  'sync-order': ['postfix', 'openssl', 'strace'],
  idle: ['postfix', 'dovecot', 'openssl'],
  queue: ['postfix', 'openssl'],
  'queue-size': ['openssl'],
};

class UsageError extends Error {}

function readArguments(args: readonly string[]) {
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  const command = COMMANDS.find((name) => name === positionals[0]);
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  if (!command || positionals.length > 1) throw new UsageError('which command?');
  const unknown = values.scenario.find((name) => !SCENARIOS.some((s) => s.name === name));
  if (unknown !== undefined) throw new UsageError(`no scenario ${unknown}`);
  if (!['off', 'on', 'both'].includes(values.checks)) throw new UsageError(`--checks ${values.checks}: off, on or both`);
  return {
    command,
    runs: count('runs', values.runs),
    messages: count('messages', values.messages ?? String(MESSAGES[command])),
    workers: count('workers', values.workers),
    scenarios: values.scenario,
    checks: values.checks === 'both' ? (['off', 'on'] as const) : ([values.checks as 'off' | 'on'] as const),
    flowDelay: values['flow-delay'],
    dir: values.dir,
    out: values.out,
  };
}

function count(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`--${name} ${text}: a whole number from 1`);
  return value;
}

async function perform(options: ReturnType<typeof readArguments>, teardown: Teardown): Promise<unknown> {
  switch (options.command) {
    case 'smtp': {
      const result = await smtpBench(options, teardown);
      return {
        ...result,
        scenarios: result.scenarios.map((s) => ({ ...s, medians: summary(s) })),
        ratios: result.scenarios.map(ratios),
      };
    }
    case 'sync-order':
      return syncOrder(options, teardown);
    case 'idle':
      return idleBench(options, teardown);
    case 'queue':
      return queueBench(options, teardown);
    case 'queue-size':
      return queueSizeBench(options, teardown);
  }
}

async function main(options: ReturnType<typeof readArguments>, teardown: Teardown): Promise<void> {
  if (process.getuid?.() !== 0) throw new UsageError('needs root, as Postfix does and as a server on port 25 is started');
  for (const program of PROGRAMS[options.command])
    if (!(await findProgram(program))) throw new UsageError(`${program} is not installed`);
  const folder = await workFolder(options.dir, teardown);
  const where = machine(folder);
  if (isInMemory(where.fileSystem))
    console.log(`NOTE: ${options.dir} is in memory: syncing costs nothing there. --dir names another folder.`);
  const which = await versions({ withDovecot: options.command === 'idle' });
  console.log(`${where.cpu}, ${where.cores} cores, ${where.memoryMiB} MiB, Linux ${where.kernel}, ${where.fileSystem}`);
  console.log(
    Object.entries(which)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
  const date = new Date().toISOString();
  const { dir: _, out, ...asked } = options;
  const result = await perform(options, teardown);
  if (out === '') return;
  const file = out ?? join(PROJECT, 'bench', 'results', `${options.command}-${date.slice(0, 19).replace(/[:T]/g, '-')}.json`);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(
    file,
    `${JSON.stringify({ benchmark: options.command, date, options: asked, machine: where, versions: which, result }, null, 1)}\n`,
  );
  console.log(`\nraw figures: ${file}`);
}

/** One folder for everything, which goes last. */
async function workFolder(dir: string, teardown: Teardown): Promise<string> {
  const parent = await realpath(dir).catch(() => {
    throw new UsageError(`--dir ${dir}: no such folder`);
  });
  for (let path = parent; path !== '/'; path = dirname(path))
    if (((await stat(path)).mode & 0o001) === 0)
      throw new UsageError(`--dir ${dir}: the servers' users must get through ${path} (chmod o+x)`);
  const folder = await mkdtemp(join(parent, 'buzon-bench-'));
  teardown.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  await chmod(folder, 0o755);
  // Mail hosts and certificates are made in the folder for temporary files.
  process.env['TMPDIR'] = folder;
  return folder;
}

const teardown = new Teardown();
try {
  await main(readArguments(process.argv.slice(2)), teardown);
} catch (error) {
  if (teardown.interrupted === undefined) {
    console.error(error instanceof UsageError ? `${error.message}\n${USAGE}`.trimStart() : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}
await teardown.end();
process.exit(teardown.interrupted ?? process.exitCode);
