// queue-process.ts as a test has it.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export class QueueChild {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }
  static async start(directory: string): Promise<QueueChild> {
    const script = join(import.meta.dirname, 'queue-process.ts');
    const child = spawn(process.execPath, [script, directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
      // One thread does its file work: strace counts the calls of each thread by itself.
      env: { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_TEST_CONTEXT: undefined },
    });
    child.stdin.on('error', () => undefined);
    const started = new QueueChild(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    if ((await started.#answer()) !== 'ready') throw new Error('the process with the queue did not start');
    return started;
  }
  get pid(): number {
    return this.#child.pid ?? 0;
  }
  async #answer(): Promise<string> {
    const next = await this.#lines.next();
    return next.done === true ? '' : next.value;
  }
  /** Its answer; empty when it ended instead. */
  async ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return this.#answer();
  }
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
  async end(signal?: NodeJS.Signals): Promise<void> {
    if (this.hasEnded) return;
    const ended = once(this.#child, 'exit');
    if (signal) this.#child.kill(signal);
    else this.#child.stdin?.write('close\n');
    await ended;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}
