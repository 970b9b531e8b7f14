// Programs of the host that a test talks to. With CI=true an absent one fails the test; elsewhere the test is skipped and says so.
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import type { TestContext } from 'node:test';

const DIRECTORIES = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin', '/usr/local/sbin'];

/** Absolute path of a program, or undefined. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const directory of DIRECTORIES) {
    const path = `${directory}/${name}`;
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next folder.
    }
  }
  return undefined;
}

/** The program's path; undefined after marking the test skipped. @throws in CI, when it is absent */
export async function requireProgram(t: TestContext, name: string): Promise<string | undefined> {
  const path = await findProgram(name);
  if (path === undefined) {
    if (process.env['CI'] === 'true') throw new Error(`${name} is not installed, and CI needs it`);
    t.skip(`${name} is not installed`);
  }
  return path;
}

/** Whether a test that needs root can run; skips it otherwise. @throws in CI, which runs as root */
export function requireRoot(t: TestContext): boolean {
  if (process.getuid?.() === 0) return true;
  if (process.env['CI'] === 'true') throw new Error('CI runs as root, and this test needs that');
  t.skip('needs root');
  return false;
}

export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end (at most `timeoutMs`, default 60 s) with `input` on its standard input. */
export function run(
  program: string,
  args: readonly string[],
  options: {
    input?: string | Buffer;
    env?: NodeJS.ProcessEnv;
    cwd?: string;
    timeoutMs?: number;
    uid?: number;
    gid?: number;
  } = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? 60_000,
      killSignal: 'SIGKILL',
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    // A daemon that went to the background may keep our pipes: after the program's end its output is waited for a moment only.
    child.on('exit', (status) => {
      const timer = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        resolve({ status, stdout, stderr });
      }, 500);
      child.on('close', () => {
        clearTimeout(timer);
        resolve({ status, stdout, stderr });
      });
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
  });
}
