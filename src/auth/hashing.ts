// Password work in threads of its own, with a bounded queue.
import type { Piscina } from 'piscina';
import { MailError } from '../lib/errors.ts';

/** Log-ins that may wait for a thread; more are told to come back (454 4.7.0). */
const MAX_QUEUE = 200;
const IDLE_MS = 30_000;

export interface Hashing {
  /** @throws MailError auth-unavailable when too many wait */
  verify(password: string, stored: string, defaultScheme: string): Promise<boolean>;
  hash(password: string, scheme: string): Promise<string>;
  close(): Promise<void>;
}

/** Threads start with the first password. Two at most: the other cores belong to the mail. */
export function createHashing(threads = 2): Hashing {
  let pool: Piscina | undefined;
  let closed = false;
  const start = async (): Promise<Piscina> => {
    const { Piscina } = await import('piscina');
    if (closed) throw new Error('closed while it was starting');
    return (pool ??= new Piscina({
      // Beside this file, compiled or not.
      filename: new URL(import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js', import.meta.url).href,
      minThreads: 0,
      maxThreads: threads,
      idleTimeout: IDLE_MS,
      maxQueue: MAX_QUEUE,
    }));
  };
  const run = async (task: unknown): Promise<unknown> => {
    try {
      return (await (pool ?? (await start())).run(task)) as unknown;
    } catch (error) {
      throw new MailError('auth-unavailable', 'HASHING_BUSY', 'Authentication is not available now, try again later', {
        cause: error,
      });
    }
  };
  return {
    verify: async (password, stored, defaultScheme) => (await run({ kind: 'verify', password, stored, defaultScheme })) === true,
    hash: async (password, scheme) => String(await run({ kind: 'hash', password, scheme })),
    close: async () => {
      closed = true;
      const closing = pool;
      pool = undefined;
      await closing?.destroy();
    },
  };
}
