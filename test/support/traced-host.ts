// A mail host whose server runs under strace: faults injected into its system calls, or their order written down. strace is attached once the
// server serves, so that calls are counted from there and its start is left alone.
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, type MailHost } from './mail-host.ts';

/** Calls that change the file system or bring it to the disk. */
export const FILE_CALLS = [
  'openat',
  'write',
  'pwrite64',
  'writev',
  'pwritev',
  'ftruncate',
  'fsync',
  'fdatasync',
  'close',
  'rename',
  'renameat',
  'renameat2',
  'link',
  'linkat',
  'unlink',
  'unlinkat',
  'mkdir',
  'mkdirat',
  'chmod',
  'utimensat',
] as const;

export class Strace {
  readonly file: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #errors = '';

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.file = file;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
  }

  /** Attaches to the host's server with these options; resolves when all of its threads are traced. Its output goes to `<directory>/<name>`. */
  static async attach(
    strace: string,
    host: Pick<MailHost, 'directory' | 'pid'>,
    args: readonly string[],
    name = 'strace.out',
  ): Promise<Strace> {
    const file = join(host.directory, name);
    const { pid } = host;
    if (pid === undefined) throw new Error('the server does not run');
    const child = spawn(strace, ['-f', '-o', file, ...args, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
    const attached = new Strace(child, file);
    await eventually(async () => /attached/.test(attached.#errors), 'strace is attached').catch((error: unknown) => {
      child.kill('SIGKILL');
      throw new Error(`strace: ${attached.#errors}`, { cause: error });
    });
    return attached;
  }

  /** What was written so far. */
  output(): Promise<string> {
    return readFile(this.file, 'utf8');
  }

  /** Detaches (the server goes on untraced), or has ended with the server. */
  async end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGINT');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#ended;
    clearTimeout(timer);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
