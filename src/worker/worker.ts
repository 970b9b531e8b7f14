// One worker: binds and reads as whom it was started, gives root up, serves until it is told to stop or the supervisor is gone.
import type { Settings } from '../config/settings.ts';
import type { Answers, Order, Question, Word } from './ipc.ts';
import { MailServer } from './mail-server.ts';
import { ServerLog } from './server-log.ts';

/** An answer of the supervisor that does not come: it hangs, or is about to be gone. */
const ANSWER_MS = 30_000;

/** Takes orders from the process that forked this one. */
export function serveAsWorker(): void {
  const supervisor = new SupervisorLink();
  let worker: Worker | undefined;
  const stop = async (): Promise<void> => {
    await worker?.stop();
    process.exit(0);
  };
  // The terminal's Ctrl-C and a whole group's signals reach us too: the supervisor decides.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.once('SIGTERM', () => void stop());
  // Without a supervisor nobody counts and nobody reloads: finish and go.
  process.once('disconnect', () => {
    supervisor.lost();
    void stop();
  });
  process.on('message', (order: Order) => {
    switch (order.type) {
      case 'answer':
        return supervisor.answered(order);
      case 'start':
        return void Worker.start(order, supervisor).then(
          (started) => {
            worker = started;
            supervisor.say({ type: 'ready' });
          },
          (error: unknown) => {
            process.send?.({ type: 'failed', error: error instanceof Error ? error.message : String(error) } satisfies Word, () =>
              process.exit(1),
            );
          },
        );
      case 'stop':
        return void stop();
      case 'reload':
        return void worker?.reload(order.settings);
    }
  });
}

/** Questions to the supervisor. */
export class SupervisorLink {
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #last = 0;

  say(word: Word): void {
    if (process.connected) process.send?.(word, undefined, {}, () => undefined);
  }
  /** What no answer is waited for. */
  tell(question: Question): void {
    this.say({ type: 'ask', id: 0, question });
  }
  /** @throws when the supervisor refuses, cannot, or is gone */
  ask<K extends Question['kind']>(question: Question & { kind: K }): Promise<Answers[K]> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      if (!process.connected) return reject(new Error('the supervisor is gone'));
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error('the supervisor does not answer'));
      }, ANSWER_MS);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value as Answers[K]);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.say({ type: 'ask', id, question });
    });
  }
  /** Nobody will answer what was asked. */
  lost(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error('the supervisor is gone'));
    this.#waiting.clear();
  }
  answered({ id, value, error }: Order & { type: 'answer' }): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }
}

class Worker {
  readonly #server: MailServer;
  readonly #log: ServerLog;

  private constructor(server: MailServer, log: ServerLog) {
    this.#server = server;
    this.#log = log;
  }

  static async start({ settings, number, inherited }: Order & { type: 'start' }, supervisor: SupervisorLink): Promise<Worker> {
    const log = await ServerLog.open(settings);
    const server = new MailServer(settings, {
      logger: log.logger.child({ worker: number }),
      dropPrivileges: true,
      inherited,
      worker: {
        throttle: {
          isBlocked: (address) => supervisor.ask({ kind: 'login-blocked', address }),
          failed: (address) => supervisor.ask({ kind: 'login-failed', address }),
          succeeded: (address) => supervisor.tell({ kind: 'login-succeeded', address }),
        },
        readPem: (path) => supervisor.ask({ kind: 'pem', path }),
        admit: (scope, key, limit) => supervisor.ask({ kind: 'admit', scope, key, limit }),
        leave: (scope, key) => supervisor.tell({ kind: 'leave', scope, key }),
      },
    });
    await server.start();
    return new Worker(server, log);
  }

  async reload(settings: Settings): Promise<void> {
    await this.#log.reopen(settings.log);
    try {
      await this.#server.reload(settings);
    } catch (error) {
      this.#log.logger.error('settings.reload-failed', { error: error instanceof Error ? error.message : String(error) });
    }
  }
  async stop(): Promise<void> {
    await this.#server.stop();
    await this.#log.close();
  }
}
