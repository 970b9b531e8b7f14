// Settlements that get there: what has been delivered must leave the queue, or it is delivered again. While the store does not take them their job
// keeps its place, so that no more than smtp_process_limit of them can wait.
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { QueueStore, Settlement } from './types.ts';

export interface SettlerOptions {
  readonly store: Pick<QueueStore, 'settle'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The server stops: a few tries more. */
  readonly signal: AbortSignal;
}

const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 30_000;
const LAST_TRIES = 3;

export class Settler {
  readonly #o: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#o = options;
  }

  /** Never rejects. What cannot be settled before the end of the server is logged: those recipients are tried again. */
  async settle(id: string, settlements: readonly Settlement[]): Promise<void> {
    if (settlements.length === 0) return;
    const { store, logger, signal } = this.#o;
    let lastTries = LAST_TRIES;
    for (let wait = AGAIN_MS; ; wait = Math.min(wait * 2, AGAIN_MAX_MS)) {
      try {
        if (await store.settle(id, settlements)) logger.info('queue.removed', { id });
        return;
      } catch (error) {
        const { detail, code } = toMailError(error, 'settle');
        if (signal.aborted && --lastTries <= 0) {
          const done = settlements.filter(({ kind }) => kind === 'done').map(({ number }) => String(number));
          logger.error('queue.unsettled', { id, done, error: detail || code });
          return;
        }
        logger.warn('queue.settle.failed', { id, error: detail || code, again: wait });
      }
      await this.#pause(signal.aborted ? AGAIN_MS : wait);
    }
  }

  /** Ends early when the server stops. */
  #pause(ms: number): Promise<void> {
    const { clock, signal } = this.#o;
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const cancel = clock.after(ms, end);
      if (!signal.aborted) signal.addEventListener('abort', end, { once: true });
    });
  }
}
