// `buzon queue retry|hold|release|requeue|delete`: what an administrator does to waiting messages.
import { MailError } from '../../lib/errors.ts';
import type { QueueFilter } from '../../queue/types.ts';
import { isEverything } from './filter.ts';
import type { Listing } from './list.ts';
import { count } from './text.ts';

export type Change = 'retry' | 'hold' | 'release' | 'requeue' | 'expire' | 'delete';

const DONE: Readonly<Record<Change, string>> = {
  retry: 'to be tried now',
  hold: 'held',
  release: 'released',
  requeue: 'queued anew',
  expire: 'to be returned to their senders',
  delete: 'deleted',
};

/** @throws MailError config `BAD_ARGUMENTS` when everything would be changed without `all`; `NO_SUCH_MESSAGE` for an id that is not there */
export async function changeQueue(
  { queue, io, json }: Listing,
  change: Change,
  filter: QueueFilter,
  all: boolean,
): Promise<number> {
  if (isEverything(filter) && !all)
    throw new MailError('config', 'BAD_ARGUMENTS', `${change} without a filter or an id means every message: say --all`);
  if (!isEverything(filter) && all)
    throw new MailError('config', 'BAD_ARGUMENTS', '--all is every message: leave it out, or the filters and ids');
  const missing: string[] = [];
  for (const id of filter.ids ?? []) if (!(await queue.find(id))) missing.push(id);
  const changed = await queue[change === 'delete' ? 'remove' : change](filter);
  io.out(json ? `${JSON.stringify({ messages: changed })}\n` : `${count(changed, 'message')} ${DONE[change]}\n`);
  if (missing.length > 0) throw new MailError('config', 'NO_SUCH_MESSAGE', `not in the queue: ${missing.join(', ')}`);
  return 0;
}
