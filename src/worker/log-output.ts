// Where log lines go: standard output or a file. A file is appended to, and opened anew on reload, as logrotate expects.
// Lines are gathered for some milliseconds and written in order, so that logging never blocks a session and costs a call for many; what is left
// at exit is written synchronously.
import { closeSync, openSync, writeSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { sleep } from '../lib/async.ts';
import { jsonLine, type LogSink } from '../lib/logger.ts';
import { postfixLines, type PostfixLogOptions } from './postfix-log.ts';

export type LogFormat = 'json' | 'postfix';

export interface LogOutputOptions {
  readonly format: LogFormat;
  /** Absolute path; standard output when undefined. */
  readonly file?: string;
  readonly postfix: PostfixLogOptions;
  /** Bytes that may wait for a slow disk before lines are dropped (and counted); default 8 MiB. */
  readonly maxPending?: number;
}

const GATHER_MS = 5;

/** One output for all loggers of a server. `close` writes what is left. */
export class LogOutput {
  #options: LogOutputOptions;
  readonly #maxPending: number;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #file: FileHandle | undefined;
  #writing: Promise<void> | undefined;

  private constructor(options: LogOutputOptions, file: FileHandle | undefined) {
    this.#options = options;
    this.#maxPending = options.maxPending ?? 8 * 1024 * 1024;
    this.#file = file;
  }

  /** @throws the file system's error when the file cannot be opened for appending */
  static async open(options: LogOutputOptions): Promise<LogOutput> {
    return new LogOutput(options, options.file === undefined ? undefined : await openLog(options.file));
  }

  readonly sink: LogSink = (level, event, fields, at) => {
    if (this.#options.format === 'json') this.#push(jsonLine(level, event, fields, at));
    else for (const line of postfixLines(level, event, fields, at, this.#options.postfix)) this.#push(line);
  };

  #push(line: string): void {
    if (this.#pendingBytes > this.#maxPending) {
      this.#dropped++;
      return;
    }
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    await sleep(GATHER_MS);
    try {
      while (this.#pending.length > 0) {
        const text = this.#take();
        if (this.#file) await this.#file.appendFile(text);
        else await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
      }
    } catch (error) {
      process.stderr.write(`buzon: cannot write the log: ${error instanceof Error ? error.message : String(error)}\n`);
    } finally {
      this.#writing = undefined;
    }
  }

  #take(): string {
    let text = this.#pending.join('');
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#dropped > 0) {
      const at = Date.now();
      text += jsonLine('error', 'log.dropped', { lines: this.#dropped }, at);
      this.#dropped = 0;
    }
    return text;
  }

  /** Opens the file anew (after logrotate has renamed it), or another one as the settings now say. Keeps the old one when that fails. */
  async reopen(change: Pick<LogOutputOptions, 'format' | 'file'> = this.#options): Promise<void> {
    const fresh = change.file === undefined ? undefined : await openLog(change.file);
    await this.#writing;
    const old = this.#file;
    this.#file = fresh;
    const { maxPending, postfix } = this.#options;
    this.#options = {
      format: change.format,
      ...(change.file === undefined ? {} : { file: change.file }),
      postfix,
      ...(maxPending === undefined ? {} : { maxPending }),
    };
    await old?.close();
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file?.close();
    this.#file = undefined;
    if (this.#pending.length > 0) this.#writeRest();
  }

  /** Lines that came during the close itself. */
  #writeRest(): void {
    const text = this.#take();
    if (this.#options.file === undefined) return void process.stdout.write(text);
    const fd = openSync(this.#options.file, 'a', 0o640);
    writeSync(fd, text);
    closeSync(fd);
  }
}

const openLog = (file: string): Promise<FileHandle> => open(file, 'a', 0o640);
