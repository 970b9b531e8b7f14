// What commands use of the queue, and the queue where no server has made one.
import { MailError } from '../../lib/errors.ts';
import type { QueueStore } from '../../queue/types.ts';

/** What commands use of the queue. */
export type CommandQueue = Pick<
  QueueStore,
  'list' | 'find' | 'layout' | 'stats' | 'hold' | 'release' | 'retry' | 'requeue' | 'expire' | 'remove' | 'open'
> & {
  /** A server runs it: what is due is being delivered, or next. */
  readonly isRun: boolean;
};

const none = (): Promise<number> => Promise.resolve(0);

const noSuch = (id: string): MailError => new MailError('corrupt', 'NO_SUCH_MESSAGE', `there is no message ${id}`);

/** Nothing waits, nothing can be changed. */
export const emptyQueue: CommandQueue = {
  isRun: false,
  list: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve({ done: true, value: undefined }) }) }),
  find: () => Promise.resolve(undefined),
  stats: () => Promise.resolve({ messages: 0, recipients: { ready: 0, deferred: 0, held: 0 }, bytes: 0, destinations: [] }),
  hold: none,
  release: none,
  retry: none,
  requeue: none,
  expire: none,
  remove: none,
  layout: (id) => Promise.reject(noSuch(id)),
  open: (id) => Promise.reject(noSuch(id)),
};
