// `buzon queue …`: mail that waits to go out, seen and changed.
import { systemClock, type Clock } from '../lib/clock.ts';
import { MailError } from '../lib/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { readOptions, type Options } from './options.ts';
import { changeQueue, type Change } from './queue/change.ts';
import { FILTER_OPTIONS, readFilter, readQueueId } from './queue/filter.ts';
import { inputLines } from './queue/input.ts';
import { listQueue, showMessages, type Listing } from './queue/list.ts';
import type { CommandQueue } from './queue/command-queue.ts';
import { withQueue, type WithQueue } from './queue/open.ts';
import { showStats } from './queue/stats.ts';
import { runTop } from './queue/top.ts';
import { DEFAULT_SETTINGS } from './user/context.ts';

const USAGE = `usage: buzon queue list [FILTER ...] [ID ...] [--json]
       buzon queue show ID ... [--json]
       buzon queue flush
       buzon queue retry|hold|release|requeue|expire|delete FILTER ...|ID ...|--all [--json]
       buzon queue stats [--json]
       buzon queue top [--once]

Mail that waits to go out. Messages are meant by their ids (- reads them from standard input, a line each) or by filters, which must all hold:
  --sender ADDRESS                       in any case; '<>' for reports
  --older-than TIME, --newer-than TIME   since arrival: 30m, 2h, 5d
  --recipient ADDRESS, --domain DOMAIN   in any case
  --destination NEXTHOP                  as list shows it, such as smtp:example.com
  --reason TEXT                          a part of the last failure
  --state ready|deferred|held
What is changed by filters on recipients (the last four lines) is those recipients only, else whole messages.
flush tries every deferred message now, retry those that are meant. hold keeps messages until release. requeue tries what is not
held now, as if it had just come. expire returns whole messages to their senders instead of trying them once more (what is held, when it is released). delete drops them, and tells nobody. stats counts; top is a view that is drawn anew each second (q ends it; --once: one frame).
--json prints a JSON object a line. list, show: id, sender ("" for <>), arrived, size, account, messageId, envid, ret, bodyType, smtpUtf8, requireTls, expire, trace,
recipients: address, destination, state, attempts, nextAttempt, status, reason, notify, orcpt. stats: messages, recipients: ready, deferred, held;
bytes, oldest, destinations (most first): destination, recipients, status, reason. Changes: messages. Times are ISO 8601; what is not there is left out.
Each takes --config FILE; FILE is ${DEFAULT_SETTINGS} unless given. For root and the queue's owner, with the server running or not.
Ends with 0 when done, 1 for a refusal, an id that is not there or a fault, 2 for wrong arguments.`;

/** Ids of one command: what a filter may hold. */
const MAX_IDS = 10_000;
const CHANGES: readonly Change[] = ['retry', 'hold', 'release', 'requeue', 'expire', 'delete'];

type Run = (listing: Listing, options: Options, ids: readonly string[]) => Promise<number>;
interface Verb {
  readonly allowed: readonly string[];
  readonly ids: 'none' | 'some' | 'needed';
  readonly run: Run;
}

/** The command on a queue that `open` opens. */
export function makeQueueCommand(open: WithQueue, clock: Clock): Command {
  return {
    name: 'queue',
    summary: 'list, hold, retry and delete mail that waits to go out',
    usage: USAGE,
    async run(args, io) {
      const [name = '', ...more] = args;
      const options = readOptions(more, ['--config', ...FILTER_OPTIONS], ['--json', '--all', '--once']);
      const table = verbs(clock);
      const verb = Object.hasOwn(table, name) ? table[name] : undefined;
      if (!verb || !fits(verb, options)) {
        io.err(`${USAGE}\n`);
        return 2;
      }
      const ids = await readIds(options.rest, io);
      const run = (queue: CommandQueue): Promise<number> =>
        verb.run({ queue, io, json: options.flags.has('--json'), now: clock.now() }, options, ids);
      return open(options.options.get('--config') ?? DEFAULT_SETTINGS, io, run);
    },
  };
}

export const queueCommand = makeQueueCommand(withQueue, systemClock);

function verbs(clock: Clock): Readonly<Record<string, Verb>> {
  const change = (name: Change): Verb => ({
    allowed: [...FILTER_OPTIONS, '--all', '--json'],
    ids: 'some',
    run: (listing, options, ids) => changeQueue(listing, name, readFilter(options, ids, listing.now), options.flags.has('--all')),
  });
  return {
    list: {
      allowed: [...FILTER_OPTIONS, '--json'],
      ids: 'some',
      run: (listing, options, ids) => listQueue(listing, readFilter(options, ids, listing.now)),
    },
    show: { allowed: ['--json'], ids: 'needed', run: (listing, _, ids) => showMessages(listing, ids) },
    flush: { allowed: ['--json'], ids: 'none', run: (listing) => changeQueue(listing, 'retry', {}, true) },
    stats: { allowed: ['--json'], ids: 'none', run: (listing) => showStats(listing) },
    top: {
      allowed: ['--once'],
      ids: 'none',
      run: ({ queue, io }, { flags }) => runTop({ queue, io, clock }, flags.has('--once')),
    },
    ...Object.fromEntries(CHANGES.map((name) => [name, change(name)])),
  };
}

function fits({ allowed, ids }: Verb, { options, flags, rest }: Options): boolean {
  const given = [...options.keys(), ...flags].filter((name) => name !== '--config');
  if (given.some((name) => !allowed.includes(name))) return false;
  return ids === 'some' || rest.length > 0 === (ids === 'needed');
}

/** @throws MailError config `BAD_ARGUMENTS` */
async function readIds(words: readonly string[], io: CommandIo): Promise<string[]> {
  const ids: string[] = [];
  const take = (text: string): void => {
    if (ids.push(readQueueId(text)) > MAX_IDS)
      throw new MailError('config', 'BAD_ARGUMENTS', `more than ${MAX_IDS} ids at a time`);
  };
  for (const word of words) {
    if (word !== '-') take(word);
    else for await (const line of inputLines(io)) if (line.trim() !== '') take(line.trim());
  }
  // Ids that were to come and did not must never leave a filter without them.
  if (words.length > 0 && ids.length === 0) throw new MailError('config', 'BAD_ARGUMENTS', 'standard input has no queue ids');
  return [...new Set(ids)];
}
