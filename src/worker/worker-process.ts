// One worker as the supervisor sees it: a child process, the channel to it, and what it was given.
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Settings } from '../config/settings.ts';
import type { Clock } from '../lib/clock.ts';
import { MailError } from '../lib/errors.ts';
import { Channel } from './channel.ts';
import { CHANNEL_FD, readWord, type Order, type Question } from './ipc.ts';
import type { InheritedSocket } from './systemd.ts';

export interface WorkerProcessOptions {
  readonly number: number;
  readonly settings: Settings;
  readonly inherited: readonly InheritedSocket[];
  readonly clock: Clock;
  /** A module; default the worker's. */
  readonly entry: URL | undefined;
  readonly asked: (id: number, question: Question) => void;
  /** It said what nobody says. */
  readonly nonsense: () => void;
  readonly exited: (how: WorkerEnd) => void;
}

export interface WorkerEnd {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it said, or what the system said of its start. */
  readonly reason?: string;
}

const START_MS = 60_000;
const LAST_WORDS_MS = 1_000;
/** A worker's message: a path or an address, and some words. */
const MAX_WORD_BYTES = 64 * 1024;
/** A worker that asks and does not listen. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;

/**
 * On a large machine V8 would first look for garbage in the old space at some 256 MB: a worker's live objects are a tenth of that, and its memory
 * would creep up for a quarter of an hour before it stays. Both in MB; what the heap may grow to is not limited by them.
 */
const HEAP = ['--initial-old-space-size=48', '--max-semi-space-size=8'];

export class WorkerProcess {
  readonly number: number;
  readonly startedAt: number;
  readonly #options: WorkerProcessOptions;
  #child: ChildProcess | undefined;
  #channel: Channel | undefined;
  #given: Settings;
  #ready = false;
  #reason: string | undefined;
  readonly #gone: Promise<void>;
  #setGone = (): void => undefined;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.number = options.number;
    this.startedAt = options.clock.now();
    this.#given = options.settings;
    this.#gone = new Promise((resolve) => (this.#setGone = resolve));
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }
  get isReady(): boolean {
    return this.#ready;
  }

  /** Starts it; resolves when it serves. @throws MailError config with what it said when it does not. Call once. */
  start(): Promise<void> {
    const cancel = this.#options.clock.after(START_MS, () => {
      this.#reason ??= `it was not ready within ${START_MS / 1000} s`;
      this.kill();
    });
    return new Promise((resolve, reject) => {
      const ready = (): void => {
        cancel();
        this.#ready = true;
        resolve();
      };
      let over = false;
      const ended = (status: number | null, signal: NodeJS.Signals | null): void => {
        if (over) return;
        over = true;
        cancel();
        this.#setGone();
        const reason = this.#reason;
        this.#options.exited({ status, signal, ...(reason === undefined ? {} : { reason }) });
        if (!this.#ready) reject(new MailError('config', 'WORKER_FAILED', reason ?? 'it ended before it was ready'));
      };
      try {
        this.#spawn(ready, ended);
      } catch (error) {
        this.#reason = error instanceof Error ? error.message : String(error);
        ended(null, null);
      }
    });
  }

  #spawn(ready: () => void, ended: (status: number | null, signal: NodeJS.Signals | null) => void): void {
    const { inherited, settings, number, clock } = this.#options;
    const child = spawn(process.execPath, [...process.execArgv, ...HEAP, entryFile(this.#options.entry)], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', ...inherited.map(({ fd }) => fd)],
    });
    this.#child = child;
    child.once('error', (error) => {
      this.#reason ??= error.message;
      // One that never was does not exit either.
      if (child.pid === undefined) ended(null, null);
    });
    // Absent when there were no descriptors left for it: then there is no child.
    const socket = child.stdio[CHANNEL_FD] as Socket | undefined;
    if (!socket) return;
    const channel = new Channel(socket, MAX_WORD_BYTES, {
      message: (message) => this.#heard(message, ready),
      nonsense: () => this.#options.nonsense(),
      // A worker that cannot be told anything is no use. One that is about to end is to tell how.
      closed: () => void clock.after(LAST_WORDS_MS, () => this.kill()),
    });
    this.#channel = channel;
    // Its last words may be read after its end; a child of its own that holds the channel is not waited for.
    child.once('exit', () => clock.after(LAST_WORDS_MS, () => channel.close()));
    child.once('close', ended);
    this.order({
      type: 'start',
      settings,
      number,
      inherited: inherited.map(({ protocol }, i) => ({ protocol, fd: CHANNEL_FD + 1 + i })),
    });
  }

  #heard(message: unknown, ready: () => void): void {
    const word = readWord(message);
    if (!word) return this.#options.nonsense();
    if (word.type === 'ask') return this.#options.asked(word.id, word.question);
    if (word.type === 'failed') this.#reason ??= word.error;
    else if (!this.#ready) {
      ready();
      // What came while it started.
      if (this.#given !== this.#options.settings) this.order({ type: 'reload', settings: this.#given });
    }
  }

  order(order: Order): void {
    this.#channel?.send(order);
    if ((this.#channel?.unsent ?? 0) > MAX_UNSENT_BYTES) this.kill();
  }
  /** Now, or as soon as it serves. */
  reload(settings: Settings): void {
    this.#given = settings;
    if (this.#ready) this.order({ type: 'reload', settings });
  }
  /** Tells it to finish, kills it after `grace` milliseconds; resolves when it is gone. */
  async stop(grace: number): Promise<void> {
    this.order({ type: 'stop' });
    const cancel = this.#options.clock.after(grace, () => this.kill());
    await this.#gone;
    cancel();
  }
  kill(): void {
    this.#child?.kill('SIGKILL');
  }
}

function entryFile(entry: URL | undefined): string {
  const own = import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js';
  return fileURLToPath(entry ?? new URL(own, import.meta.url));
}
