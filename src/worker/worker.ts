// One worker: binds and reads as whom it was started, gives root up, serves until it is told to stop or the supervisor is gone.
import { Socket } from 'node:net';
import type { PemFile } from '../config/certificates.ts';
import type { Settings } from '../config/settings.ts';
import { Channel } from './channel.ts';
import { CHANNEL_FD, type Answers, type Order, type Question, type Word } from './ipc.ts';
import { MailServer } from './mail-server.ts';
import { ServerLog } from './server-log.ts';

/** An answer of the supervisor that does not come: it hangs, or is about to be gone. */
const ANSWER_MS = 30_000;

/** An order: settings and certificates with room to spare. */
const MAX_ORDER_BYTES = 64 * 1024 * 1024;

/** Takes orders from the process that started this one. */
export function serveAsWorker(): void {
  let worker: Worker | undefined;
  const stop = async (): Promise<void> => {
    await worker?.stop();
    process.exit(0);
  };
  // The terminal's Ctrl-C and a whole group's signals reach us too: the supervisor decides.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.once('SIGTERM', () => void stop());
  const obey = (order: Order): void => {
    switch (order.type) {
      case 'answer':
        return supervisor.answered(order);
      case 'start':
        return void Worker.start(order, supervisor).then(
          (started) => {
            worker = started;
            supervisor.say({ type: 'ready' });
          },
          (error: unknown) =>
            supervisor.say({ type: 'failed', error: error instanceof Error ? error.message : String(error) }, () =>
              process.exit(1),
            ),
        );
      case 'stop':
        return void stop();
      case 'reload':
        return void worker?.reload(order.settings);
    }
  };
  const channel = new Channel(new Socket({ fd: CHANNEL_FD, readable: true, writable: true }), MAX_ORDER_BYTES, {
    message: (order) => obey(order as Order),
    // The supervisor says nothing of the kind.
    nonsense: () => undefined,
    // Without a supervisor nobody counts and nobody reloads: finish and go.
    closed: () => {
      supervisor.lost();
      void stop();
    },
  });
  const supervisor = new SupervisorLink(channel);
}

/** Questions to the supervisor. */
class SupervisorLink {
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #channel: Channel;
  #last = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  say(word: Word, said?: () => void): void {
    this.#channel.send(word, said);
  }
  /** What no answer is waited for. */
  tell(question: Question): void {
    this.say({ type: 'ask', id: 0, question });
  }
  /** @throws when the supervisor refuses, cannot, or is gone */
  ask<K extends Question['kind']>(question: Question & { kind: K }): Promise<Answers[K]> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      if (!this.#channel.isOpen) return reject(new Error('the supervisor is gone'));
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
  /** A file that only the supervisor may read; with `last`, as it was when it was last good. */
  async readPem(path: string, last = false): Promise<PemFile> {
    const { base64, ...rest } = await this.ask({ kind: 'pem', path, last });
    return { ...rest, bytes: Buffer.from(base64, 'base64') };
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
        readPem: (path) => supervisor.readPem(path),
        lastPem: (path) => supervisor.readPem(path, true),
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
