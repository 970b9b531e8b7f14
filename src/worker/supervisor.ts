// The process that stays what it was started as (root, where ports below 1024 or root-only keys need it), and reads nothing that came from
// the network: it starts the workers, starts them anew when they die, reads the keys for them, counts what they share, and passes on
// reload and stop.
//
// Each worker binds the settings' addresses itself (SO_REUSEPORT), while it is still root, and gives root up before it accepts: so there is
// no message by which a worker could make this process bind or open anything that the settings do not name, and a worker that dies takes
// only its own connections along. (node:cluster's primary binds whatever a worker asks for, and its round-robin leaves connections of
// a killed worker hanging.)
import { fork, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { DEFAULT_THROTTLE, Throttle } from '../auth/throttle.ts';
import { certificateFiles, readPemFile } from '../config/certificates.ts';
import type { Listener } from '../config/listeners.ts';
import type { Settings } from '../config/settings.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { SharedCounters } from '../lib/counters.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { DataFolder } from './data-folder.ts';
import { readWord, type Order, type Question } from './ipc.ts';
import { bindError, notInherited, type BoundAddress } from './listeners.ts';
import { mailIdentity } from './privileges.ts';
import type { InheritedSocket } from './systemd.ts';

export interface SupervisorOptions {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Sockets of this process that are bound already. */
  readonly inherited?: readonly InheritedSocket[];
  /** The workers' entry; for tests. */
  readonly entry?: URL;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** A worker that lived this long died of something new. */
const HEALTHY_MS = 60_000;
const START_MS = 60_000;
/** Beyond shutdown_timeout, before a worker that does not end is killed. */
const STOP_MARGIN_MS = 5_000;

interface Worker {
  readonly number: number;
  readonly child: ChildProcess;
  readonly startedAt: number;
  ready: boolean;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #counters = new SharedCounters();
  #throttle: Throttle;
  readonly #workers = new Map<number, Worker>();
  readonly #pauses = new Map<number, number>();
  readonly #restarts = new Set<() => void>();
  #settings: Settings;
  #readable: ReadonlySet<string>;
  #stopping = false;
  #data: DataFolder | undefined;
  #keepAlive: NodeJS.Timeout | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#clock = options.clock ?? systemClock;
    this.#settings = options.settings;
    this.#readable = pemPaths(options.settings);
    this.#throttle = this.#makeThrottle(options.settings);
  }

  get #inherited(): readonly InheritedSocket[] {
    return this.#options.inherited ?? [];
  }
  get settings(): Settings {
    return this.#settings;
  }
  get pids(): number[] {
    return [...this.#workers.values()].flatMap(({ child }) => child.pid ?? []);
  }
  get addresses(): BoundAddress[] {
    return [...this.#settings.listeners];
  }

  #makeThrottle({ auth_failure_delay: delay, auth_failure_limit: limit }: Settings): Throttle {
    return new Throttle({ ...DEFAULT_THROTTLE, delay, limit, now: () => this.#clock.now() });
  }

  /** Resolves when every worker serves. @throws MailError config when an address cannot be had or a worker cannot start */
  async start(): Promise<void> {
    // Between the death of the last worker and the next one's start nothing else would hold this process.
    this.#keepAlive = setInterval(() => undefined, 0x7fff_ffff);
    try {
      this.#data = await DataFolder.take(this.#settings, await mailIdentity(this.#settings));
      const listeners: Listener[] = [];
      for (const listener of notInherited(this.#settings.listeners, this.#inherited))
        listeners.push({ ...listener, port: await freePort(listener) });
      this.#settings = { ...this.#settings, listeners };
      await Promise.all(Array.from({ length: this.#settings.workers }, (_, i) => this.#spawn(i + 1)));
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#logger.info('server.ready', {
      hostname: this.#settings.hostname,
      workers: this.#settings.workers,
      listeners: this.#settings.listeners.map(({ protocol, address, port }) => `${protocol}:${address}:${port}`),
    });
  }

  /** Starts a worker; resolves when it serves. @throws MailError config with what it said when it does not */
  #spawn(number: number): Promise<void> {
    const entry = this.#options.entry ?? new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js', import.meta.url);
    const child = fork(entry, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...this.#inherited.map(({ fd }) => fd)],
    });
    const worker: Worker = { number, child, startedAt: this.#clock.now(), ready: false };
    this.#workers.set(number, worker);
    return new Promise((resolve, reject) => {
      let reason = 'it ended before it was ready';
      const cancel = this.#clock.after(START_MS, () => child.kill('SIGKILL'));
      child.on('message', (message) => {
        // What a worker asked for before it died may come after its end: it is to hold nothing.
        if (this.#workers.get(number) !== worker) return;
        const word = readWord(message);
        if (!word) return this.#logger.error('worker.nonsense', { worker: number });
        if (word.type === 'ask') return void this.#answer(worker, word.id, word.question);
        if (word.type === 'failed') reason = word.error;
        else {
          cancel();
          worker.ready = true;
          resolve();
        }
      });
      child.on('error', (error) => (reason = error.message));
      child.once('exit', (status, signal) => {
        cancel();
        this.#died(worker, status, signal);
        if (!worker.ready) reject(new MailError('config', 'WORKER_FAILED', reason));
      });
      this.#order(worker, {
        type: 'start',
        settings: this.#settings,
        number,
        // Behind the three streams and the channel.
        inherited: this.#inherited.map(({ protocol }, i) => ({ protocol, fd: 4 + i })),
      });
    });
  }

  #died(worker: Worker, status: number | null, signal: NodeJS.Signals | null): void {
    this.#counters.forget(worker.number);
    if (this.#workers.get(worker.number) === worker) this.#workers.delete(worker.number);
    if (this.#stopping) return;
    const lived = this.#clock.now() - worker.startedAt;
    this.#logger.error('worker.died', { worker: worker.number, pid: worker.child.pid, status, signal, lived });
    // The first start's failure is the caller's to tell.
    if (!worker.ready && !this.#pauses.has(worker.number)) return;
    const pause = lived > HEALTHY_MS ? FIRST_PAUSE_MS : (this.#pauses.get(worker.number) ?? FIRST_PAUSE_MS);
    this.#pauses.set(worker.number, Math.min(pause * 2, LONGEST_PAUSE_MS));
    const cancel = this.#clock.after(pause, () => {
      this.#restarts.delete(cancel);
      void this.#spawn(worker.number).then(
        () => this.#logger.info('worker.restarted', { worker: worker.number }),
        (error: unknown) =>
          this.#logger.error('worker.failed', {
            worker: worker.number,
            error: error instanceof Error ? error.message : String(error),
          }),
      );
    });
    this.#restarts.add(cancel);
  }

  #order(worker: Worker, order: Order): void {
    if (worker.child.connected) worker.child.send(order, () => undefined);
  }

  async #answer(worker: Worker, id: number, question: Question): Promise<void> {
    switch (question.kind) {
      case 'admit': {
        const value = this.#counters.admit(worker.number, question.scope, question.key, question.limit);
        return this.#order(worker, { type: 'answer', id, value });
      }
      case 'leave':
        return this.#counters.leave(worker.number, question.scope, question.key);
      case 'login-blocked':
        return this.#order(worker, { type: 'answer', id, value: this.#throttle.isBlocked(question.address) });
      case 'login-failed':
        return this.#order(worker, { type: 'answer', id, value: this.#throttle.failed(question.address) });
      case 'login-succeeded':
        return this.#throttle.succeeded(question.address);
      case 'pem':
        return this.#order(worker, { type: 'answer', id, ...(await this.#pem(question.path)) });
    }
  }
  async #pem(path: string): Promise<{ value?: unknown; error?: string }> {
    if (!this.#readable.has(path)) {
      this.#logger.error('worker.refused', { path });
      return { error: `${path} is not in the settings` };
    }
    try {
      return { value: await readPemFile(path) };
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Hands new settings to all workers, which open their logs anew; sessions go on. */
  async reload(settings: Settings): Promise<void> {
    // What is bound stays bound: listeners are taken at a start.
    this.#settings = { ...settings, listeners: this.#settings.listeners };
    this.#readable = new Set([...this.#readable, ...pemPaths(settings)]);
    const throttle = this.#makeThrottle(settings);
    throttle.inherit(this.#throttle);
    this.#throttle = throttle;
    for (const worker of this.#workers.values()) this.#order(worker, { type: 'reload', settings: this.#settings });
  }

  /** Lets the workers finish (at most shutdown_timeout and some seconds); resolves when all are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const cancel of this.#restarts) cancel();
    await Promise.all(
      [...this.#workers.values()].map(async (worker) => {
        const { child } = worker;
        if (child.exitCode !== null || child.signalCode !== null) return;
        const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
        this.#order(worker, { type: 'stop' });
        const cancel = this.#clock.after(this.#settings.shutdown_timeout + STOP_MARGIN_MS, () => child.kill('SIGKILL'));
        await gone;
        cancel();
      }),
    );
    clearInterval(this.#keepAlive);
    await this.#data?.release();
    this.#logger.info('server.stopped', {});
  }
}

/** The files that hold certificates and keys. */
const pemPaths = (settings: Settings): ReadonlySet<string> =>
  new Set(certificateFiles(settings).flatMap(({ cert, key }) => [cert, key]));

/**
 * The listener's port, or a free one for 0. Bound for a moment without SO_REUSEPORT: the workers' own binding would share an address with
 * another program of the same user instead of failing.
 */
function freePort(listener: Listener): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(bindError(error, listener)));
    server.listen({ host: listener.address, port: listener.port, ipv6Only: listener.address === '::' }, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
