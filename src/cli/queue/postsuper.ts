// `postsuper` (postsuper(1)): deletes, holds, releases, expires and requeues messages, with Postfix's flags, output and exit statuses.
import { MailError } from '../../lib/errors.ts';
import type { QueuedMessage } from '../../queue/types.ts';
import type { Command, CommandIo } from '../command.ts';
import { fatal, isRefusal, queueNameOf, type QueueName } from './drop-in.ts';
import { settingsFileFor } from '../settings-file.ts';
import { readFlags } from './getopt.ts';
import { batches, inputLines } from './input.ts';
import type { CommandQueue } from './command-queue.ts';
import { withQueue, type WithQueue } from './open.ts';
import { printable } from './text.ts';

const SYNOPSIS =
  'postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v (verbose)] [queue...]';
const USAGE = `usage: postsuper [-psSv] [-c FILE] [-d ID|ALL|-] [-e ID|ALL|-] [-f ID|ALL|-] [-h ID|ALL|-] [-H ID|ALL|-] [-r ID|ALL|-] [queue ...]
  -d  delete; -h hold; -H release what is held; -r requeue (which also releases it)
  -e  expire: return to the sender now instead of trying once more (what is held, when it is released); -f also what is held
  ID may be given several times, - reads ids from standard input, ALL is every message of the queues named (incoming, active, deferred, hold)
  -c FILE  the settings file or its folder; -p, -s and -S are accepted: the server looks after that itself`;

/** At a time: what is in memory, and one transaction of the queue. */
const BATCH = 200;
/** Folders of Postfix that hold no message of ours. */
const EMPTY_QUEUES = ['maildrop', 'saved', 'corrupt', 'bounce', 'defer', 'trace', 'flush'];

/** A change, and what is said of it. */
interface Step {
  /** Which messages it is for unless queues are named. */
  readonly from: readonly QueueName[];
  /** Which of those. */
  readonly isFor?: (message: QueuedMessage) => boolean;
  readonly single: string;
  readonly total: string;
  readonly perform: (queue: CommandQueue, ids: readonly string[]) => Promise<unknown>;
}

const ALL: readonly QueueName[] = ['hold', 'incoming', 'deferred'];
const EXPIRE: Step = {
  from: ALL,
  isFor: ({ envelope }) => envelope.expire === undefined,
  single: 'expired',
  total: 'Force-expired',
  perform: (queue, ids) => queue.expire({ ids }),
};
const RELEASE: Step = {
  from: ['hold'],
  single: 'released from hold',
  total: 'Released from hold',
  perform: (queue, ids) => queue.release({ ids }),
};

const ACTIONS: Readonly<Record<string, readonly Step[]>> = {
  d: [{ from: ALL, single: 'removed', total: 'Deleted', perform: (queue, ids) => queue.remove({ ids }) }],
  e: [EXPIRE],
  f: [EXPIRE, RELEASE],
  r: [
    {
      from: ALL,
      single: 'requeued',
      total: 'Requeued',
      perform: async (queue, ids) => {
        await queue.release({ ids });
        await queue.requeue({ ids });
      },
    },
  ],
  h: [
    {
      from: ['incoming', 'deferred'],
      single: 'placed on hold',
      total: 'Placed on hold',
      perform: (queue, ids) => queue.hold({ ids }),
    },
  ],
  H: [RELEASE],
};

interface Request {
  /** Ids by action, in the order given. */
  readonly wanted: ReadonlyMap<string, readonly string[]>;
  /** Undefined: each action's own. */
  readonly queues: readonly QueueName[] | undefined;
  readonly config?: string;
}

/** The command on a queue that `open` opens. */
export function makePostsuper(open: WithQueue): Command {
  return {
    name: 'postsuper',
    summary: 'delete, hold, release, expire and requeue messages, as Postfix’s command does',
    usage: USAGE,
    async run(args, io) {
      const request = readRequest(args, io);
      if (typeof request === 'string') return fatal(io, 'postsuper', request, 1);
      try {
        await open(await settingsFileFor(request.config, io), io, (queue) => perform(queue, request, io));
        return 0;
      } catch (error) {
        if (!(error instanceof MailError)) throw error;
        const text = isRefusal(error) ? "use of this command is reserved for the superuser and the queue's owner" : error.message;
        return fatal(io, 'postsuper', text, 1);
      }
    },
  };
}

export const postsuperCommand = makePostsuper(withQueue);

async function perform(queue: CommandQueue, { wanted, queues }: Request, io: CommandIo): Promise<void> {
  for (const [flag, ids] of wanted) {
    const steps = (ACTIONS[flag] ?? []).map((step) => ({ ...step, from: queues ?? step.from, changed: 0 }));
    if (ids.includes('ALL')) await performOnAll(queue, steps);
    for await (const batch of batches(namedIds(ids, io), BATCH)) await performOnIds(queue, steps, batch, io);
    for (const { total, changed } of steps) io.err(`postsuper: ${total}: ${changed} message${changed === 1 ? '' : 's'}\n`);
  }
}

/** Counts what it changes. */
type Running = Step & { changed: number };

const isMeant = ({ from, isFor }: Step, message: QueuedMessage): boolean =>
  from.includes(queueNameOf(message)) && (isFor?.(message) ?? true);

async function run(queue: CommandQueue, step: Running, messages: readonly QueuedMessage[]): Promise<void> {
  if (messages.length > 0)
    await step.perform(
      queue,
      messages.map(({ envelope }) => envelope.id),
    );
  step.changed += messages.length;
}

/** In pages, by queue: a message that comes meanwhile may or may not be among them, as with Postfix. */
async function performOnAll(queue: CommandQueue, steps: readonly Running[]): Promise<void> {
  for await (const page of batches(queue.list({}), BATCH))
    for (const step of steps)
      await run(
        queue,
        step,
        page.filter((message) => isMeant(step, message)),
      );
}

async function performOnIds(
  queue: CommandQueue,
  steps: readonly Running[],
  words: readonly string[],
  io: CommandIo,
): Promise<void> {
  const wanted = [...new Set(words)].map((word) => [word, idOf(word)] as const);
  const found = await Promise.all(wanted.map(async ([, id]) => (id === undefined ? undefined : queue.find(id))));
  const there = found.filter((message) => message !== undefined);
  const meant = steps.map((step) => there.filter((message) => isMeant(step, message)));
  for (const [i, step] of steps.entries()) await run(queue, step, meant[i] ?? []);
  for (const [i, [word, id]] of wanted.entries()) {
    const message = found[i];
    if (id === undefined) io.err(`postsuper: warning: invalid mail queue id: ${printable(word)}\n`);
    else if (message)
      for (const [n, { single }] of steps.entries()) if (meant[n]?.includes(message)) io.err(`postsuper: ${id}: ${single}\n`);
  }
}

const idOf = (word: string): string | undefined => (/^[0-9A-Za-z]{1,64}$/.test(word) ? word.toUpperCase() : undefined);

/** `-` stands for standard input. */
async function* namedIds(words: readonly string[], io: CommandIo): AsyncGenerator<string> {
  for (const word of words) {
    if (word === '-') yield* inputLines(io);
    else if (word !== 'ALL') yield word;
  }
}

/** Gives what is wrong as text. */
function readRequest(args: readonly string[], io: CommandIo): Request | string {
  const read = readFlags(args, 'c:d:e:f:h:H:pr:sSv');
  if (typeof read === 'string') {
    io.err(`postsuper: ${read}\n`);
    return `usage: ${SYNOPSIS}`;
  }
  const queues: QueueName[] = [];
  for (const name of read.rest) {
    const ours = queueNamed(name);
    if (ours === undefined) return `invalid directory name: ${name}`;
    queues.push(...ours);
  }
  return {
    wanted: wantedOf(read.flags),
    queues: read.rest.length > 0 ? queues : undefined,
    config: read.flags.findLast(([flag]) => flag === 'c')?.[1],
  };
}

function wantedOf(flags: readonly (readonly [string, string])[]): Map<string, string[]> {
  const wanted = new Map<string, string[]>();
  for (const [flag, value] of flags) if (flag in ACTIONS) wanted.set(flag, [...(wanted.get(flag) ?? []), value]);
  return wanted;
}

function queueNamed(name: string): QueueName[] | undefined {
  if (name === 'incoming' || name === 'active') return ['incoming'];
  if (name === 'deferred' || name === 'hold') return [name];
  return EMPTY_QUEUES.includes(name) ? [] : undefined;
}
