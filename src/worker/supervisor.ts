// The process that stays what it was started as (root, where ports below 1024 or root-only keys need it), and reads nothing that came from
// the network: it starts the workers, starts them anew when they die, reads the keys for them, counts what they share, and passes on
// reload and stop.
//
// Each worker binds the settings' addresses itself (SO_REUSEPORT), while it is still root, and gives root up before it accepts: so there is
// no message by which a worker could make this process bind or open anything that the settings do not name, and a worker that dies takes
// only its own connections along. (node:cluster's primary binds whatever a worker asks for, and its round-robin leaves connections of
// a killed worker hanging.)
import { createServer, type AddressInfo } from 'node:net';
import { DEFAULT_THROTTLE, Throttle } from '../auth/throttle.ts';
import type { Listener } from '../config/listeners.ts';
import type { Settings } from '../config/settings.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { SharedCounters } from '../lib/counters.ts';
import type { Logger } from '../lib/logger.ts';
import { DataFolder } from './data-folder.ts';
import type { Answers, Question, SentPem } from './ipc.ts';
import { KeyFiles } from './key-files.ts';
import { bindError, notInherited, type BoundAddress } from './listeners.ts';
import { mailIdentity } from './privileges.ts';
import type { InheritedSocket } from './systemd.ts';
import { WorkerProcess, type WorkerEnd } from './worker-process.ts';

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
/** Beyond shutdown_timeout, before a worker that does not end is killed. */
const STOP_MARGIN_MS = 5_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #counters = new SharedCounters();
  readonly #keys: KeyFiles;
  #throttle: Throttle;
  readonly #workers = new Map<number, WorkerProcess>();
  readonly #pauses = new Map<number, number>();
  readonly #restarts = new Set<() => void>();
  #settings: Settings;
  #stopping = false;
  #data: DataFolder | undefined;
  #keepAlive: NodeJS.Timeout | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#clock = options.clock ?? systemClock;
    this.#settings = options.settings;
    this.#keys = new KeyFiles(options.settings);
    this.#throttle = this.#makeThrottle(options.settings);
  }

  get #inherited(): readonly InheritedSocket[] {
    return this.#options.inherited ?? [];
  }
  get settings(): Settings {
    return this.#settings;
  }
  get pids(): number[] {
    return [...this.#workers.values()].flatMap(({ pid }) => pid ?? []);
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
      await this.#keys.reload(this.#settings);
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
    const worker: WorkerProcess = new WorkerProcess({
      number,
      settings: this.#settings,
      inherited: this.#inherited,
      clock: this.#clock,
      entry: this.#options.entry,
      asked: (id, question) => void this.#answer(worker, id, question),
      nonsense: () => this.#logger.error('worker.nonsense', { worker: number }),
      exited: (end) => this.#died(worker, end),
    });
    this.#workers.set(number, worker);
    return worker.start();
  }

  #died(worker: WorkerProcess, end: WorkerEnd): void {
    this.#counters.forget(worker.number);
    if (this.#workers.get(worker.number) === worker) this.#workers.delete(worker.number);
    if (this.#stopping) return;
    const lived = this.#clock.now() - worker.startedAt;
    this.#logger.error('worker.died', { worker: worker.number, pid: worker.pid, ...end, lived });
    // The first start's failure is the caller's to tell.
    if (!worker.isReady && !this.#pauses.has(worker.number)) return;
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

  async #answer(worker: WorkerProcess, id: number, question: Question): Promise<void> {
    const answer = <K extends Question['kind']>(_kind: K, value: Answers[K]): void => worker.order({ type: 'answer', id, value });
    switch (question.kind) {
      case 'admit':
        // What a dead worker still had to say takes no place that nobody frees.
        if (this.#workers.get(worker.number) !== worker) return;
        return answer('admit', this.#counters.admit(worker.number, question.scope, question.key, question.limit));
      case 'leave':
        return this.#counters.leave(worker.number, question.scope, question.key);
      case 'login-blocked':
        return answer('login-blocked', this.#throttle.isBlocked(question.address));
      case 'login-failed':
        return answer('login-failed', this.#throttle.failed(question.address));
      case 'login-succeeded':
        return this.#throttle.succeeded(question.address);
      case 'pem':
        try {
          return answer('pem', await this.#pem(worker, question));
        } catch (error) {
          return worker.order({ type: 'answer', id, error: error instanceof Error ? error.message : String(error) });
        }
    }
  }
  /** @throws MailError config when the settings do not name the file, or it cannot be read */
  async #pem(worker: WorkerProcess, { path, last }: Question & { kind: 'pem' }): Promise<SentPem> {
    if (!this.#keys.isNamed(path)) this.#logger.error('worker.refused', { worker: worker.number, path });
    const { bytes, ...rest } = last ? this.#keys.lastGood(path) : await this.#keys.read(path);
    return { ...rest, base64: bytes.toString('base64') };
  }

  /** Hands new settings to all workers, which open their logs anew; sessions go on. */
  async reload(settings: Settings): Promise<void> {
    await this.#keys.reload(settings);
    // What is bound stays bound: listeners are taken at a start.
    this.#settings = { ...settings, listeners: this.#settings.listeners };
    const throttle = this.#makeThrottle(settings);
    throttle.inherit(this.#throttle);
    this.#throttle = throttle;
    for (const worker of this.#workers.values()) worker.reload(this.#settings);
  }

  /** Lets the workers finish (at most shutdown_timeout and some seconds); resolves when all are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const cancel of this.#restarts) cancel();
    const grace = this.#settings.shutdown_timeout + STOP_MARGIN_MS;
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop(grace)));
    clearInterval(this.#keepAlive);
    await this.#data?.release();
    this.#logger.info('server.stopped', {});
  }
}

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
