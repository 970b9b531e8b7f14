// The way in for `dist/server.js` and every bin: checks the Node version before anything else is imported.
// On a Node older than the packages need (better-sqlite3 crashes it, others do not load) it hands over to the
// development dependency `node` when that is installed, and says in one line what to do when it is not.
// Only node: modules that exist since Node 16 may be imported here.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Oldest Node that every package loads on. */
export const MINIMUM_NODE = [22, 19] as const;
/** Set in the child by the old Node that started it. */
const HANDED_OVER = 'BUZON_LAUNCHED';

/** Whether `version` (as in `process.versions.node`) is new enough to run this program. */
export function nodeIsNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1]);
}

/** For programs that have the server in their own process. @throws Error on a Node that it does not run on, which might else crash */
export function requireNode(version: string = process.versions.node): void {
  if (!nodeIsNewEnough(version)) throw new Error(`buzon needs Node.js ${MINIMUM_NODE.join('.')} or newer, this is ${version}`);
}

function pinnedNode(): string | undefined {
  const exe = process.platform === 'win32' ? 'node.exe' : 'node';
  for (let dir = dirname(fileURLToPath(import.meta.url)), up = 0; up < 6; dir = dirname(dir), up++) {
    const candidate = join(dir, 'node_modules', 'node', 'bin', exe);
    if (existsSync(candidate)) return candidate;
  }
  return undefined;
}

function handOver(node: string, entry: string): void {
  const child = spawn(node, [...process.execArgv, entry, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [HANDED_OVER]: '1' },
  });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  const signals: NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'];
  for (const signal of signals) process.on(signal, passOn);
  child.on('error', (error) => {
    process.stderr.write(`buzon: cannot start ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (status, signal) => {
    for (const s of signals) process.off(s, passOn);
    process.exit(signal ? 128 + (constants.signals[signal] ?? 0) : (status ?? 1));
  });
}

/**
 * Runs `main` on a Node that is new enough: here, or in a child under the pinned Node (signals and exit status
 * are passed on, and the child ends when this process dies). `entry` is the file to run there: `import.meta.url`.
 */
export function launch(entry: string, main: () => Promise<unknown>): void {
  if (!nodeIsNewEnough(process.versions.node)) {
    const pinned = process.env[HANDED_OVER] ? undefined : pinnedNode();
    if (pinned) return handOver(pinned, fileURLToPath(entry));
    process.stderr.write(
      `buzon: Node.js ${MINIMUM_NODE.join('.')} or newer is needed, this is ${process.versions.node}: install Node.js 24, or run "npm ci" (without --ignore-scripts) in the project's folder, which brings it along\n`,
    );
    process.exitCode = 1;
    return;
  }
  if (process.env[HANDED_OVER]) {
    delete process.env[HANDED_OVER];
    // The launching process is gone: end in good order, as on SIGTERM.
    process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
    process.channel?.unref();
  }
  main().catch((error: unknown) => {
    process.stderr.write(`buzon: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
