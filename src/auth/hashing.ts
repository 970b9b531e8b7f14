// Password work in threads of its own, with a bounded queue.
import type { Piscina } from 'piscina';
import { MailError } from '../lib/errors.ts';
import type { ScramSecret } from './stored-password.ts';

/** Log-ins that may wait for a thread; more are told to come back (454 4.7.0). */
const MAX_QUEUE = 200;
const IDLE_MS = 30_000;

export interface Hashing {
  /** @throws MailError auth-unavailable when too many wait */
  verify(password: string, stored: string, defaultScheme: string): Promise<boolean>;
  hash(password: string, scheme: string): Promise<string>;
  /** Starts the threads: before the process gives up the rights that reading the program may need. */
  warm(): Promise<void>;
  /** The keys of RFC 5802 section 3. @throws as verify */
  scram(
    password: string,
    salt: Buffer,
    iterations: number,
    hash: 'sha1' | 'sha256',
  ): Promise<Pick<ScramSecret, 'storedKey' | 'serverKey'>>;
  close(): Promise<void>;
}

/**
 * Threads start with the first password and end when there is nothing to do, or with `keep` are started by `warm` and stay. Two at most: the other
 * cores belong to the mail.
 */
export function createHashing({ threads = 2, keep = false }: { threads?: number; keep?: boolean } = {}): Hashing {
  let pool: Piscina | undefined;
  let closed = false;
  const start = async (): Promise<Piscina> => {
    const { Piscina } = await import('piscina');
    if (closed) throw new Error('closed while it was starting');
    return (pool ??= new Piscina({
      // Beside this file, compiled or not.
      filename: new URL(import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js', import.meta.url).href,
      minThreads: keep ? threads : 0,
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
    warm: async () => {
      const started = pool ?? (await start());
      await Promise.all(
        Array.from({ length: threads }, () =>
          started.run({ kind: 'verify', password: '', stored: '{PLAIN}x', defaultScheme: 'PLAIN' }),
        ),
      );
    },
    verify: async (password, stored, defaultScheme) => (await run({ kind: 'verify', password, stored, defaultScheme })) === true,
    hash: async (password, scheme) => String(await run({ kind: 'hash', password, scheme })),
    scram: async (password, salt, iterations, hash) => {
      const keys = (await run({ kind: 'scram', password, salt, iterations, hash })) as Record<string, Uint8Array>;
      return { storedKey: Buffer.from(keys['storedKey'] ?? []), serverKey: Buffer.from(keys['serverKey'] ?? []) };
    },
    close: async () => {
      closed = true;
      const closing = pool;
      pool = undefined;
      await closing?.destroy();
    },
  };
}
