// `postqueue` (postqueue(1)): lists and flushes the queue, with Postfix's flags, output and exit statuses.
import { isDomainName } from '../../config/values.ts';
import { MailError } from '../../lib/errors.ts';
import type { Command, CommandIo } from '../command.ts';
import { EX_NOPERM, EX_UNAVAILABLE, fatal, isRefusal, whoIAm } from './drop-in.ts';
import { settingsFileFor } from '../settings-file.ts';
import { readFlags } from './getopt.ts';
import type { CommandQueue } from './command-queue.ts';
import { withQueue, type WithQueue } from './open.ts';
import { printJson, printTraditional } from './showq.ts';

const SYNOPSIS = 'postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site';
const USAGE = `usage: ${SYNOPSIS}
  -p       list the queue, as mailq does; -j as JSON, an object a line
  -f       try all deferred mail now; -i ID that message, -s SITE what is for recipients of that domain
  -c FILE  the settings file or its folder; -v is accepted
Behind an id stands * for what is being delivered or next, ! for what is held, # for what is to be returned to its sender. What is due is in
"active" while a server runs the queue, and in "incoming" while none does.`;
const MODES = 'fijps';

interface Request {
  readonly mode: string;
  readonly value: string;
  readonly config?: string;
}

/** The command on a queue that `open` opens. */
export function makePostqueue(open: WithQueue): Command {
  return {
    name: 'postqueue',
    summary: 'list and flush the queue, as Postfix’s command does',
    usage: USAGE,
    async run(args, io) {
      const request = readRequest(args);
      if (typeof request !== 'string') return queueRequest(open, 'postqueue', request, io);
      if (request !== '') io.err(`postqueue: ${request}\n`);
      return fatal(io, 'postqueue', `usage: ${SYNOPSIS}`, EX_UNAVAILABLE);
    },
  };
}

export const postqueueCommand = makePostqueue(withQueue);

/** Does what one flag of postqueue asks for; `name` is the command that speaks. Also mailq's and sendmail's way (-bp: `p`, -q: `f`). */
export async function queueRequest(open: WithQueue, name: string, request: Request, io: CommandIo): Promise<number> {
  const reading = request.mode === 'p' || request.mode === 'j';
  const wrong = wrongValue(request);
  if (wrong !== undefined) return fatal(io, name, wrong, EX_UNAVAILABLE);
  try {
    await open(await settingsFileFor(request.config, io), io, (queue) => perform(queue, request, io));
    return 0;
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    if (isRefusal(error))
      return fatal(io, name, `${whoIAm()} is not allowed to ${reading ? 'view' : 'flush'} the mail queue`, EX_NOPERM);
    const what = reading ? 'Queue report unavailable' : 'Cannot flush mail queue';
    return fatal(io, name, `${what} - ${error.message}`, EX_UNAVAILABLE);
  }
}

async function perform(queue: CommandQueue, { mode, value }: Request, io: CommandIo): Promise<void> {
  if (mode === 'p') await printTraditional(queue, io);
  else if (mode === 'j') await printJson(queue, io);
  else if (mode === 'i') await queue.retry({ ids: [value.toUpperCase()] });
  else if (mode === 's') await queue.retry({ domain: value.toLowerCase() });
  else await queue.retry({});
}

function wrongValue({ mode, value }: Request): string | undefined {
  if (mode === 'i' && !/^[0-9A-Za-z]{1,64}$/.test(value)) return `Cannot flush queue ID - invalid name: "${value}"`;
  if (mode === 's' && !isDomainName(value) && !/^\[[0-9A-Za-z.:]{1,64}\]$/.test(value))
    return `Cannot flush mail queue - invalid destination: "${value}"`;
  return undefined;
}

/** As Postfix: exactly one mode, no other arguments. Gives what is wrong as text, empty where only the usage is to be said. */
function readRequest(args: readonly string[]): Request | string {
  const read = readFlags(args, 'c:fi:jps:v');
  if (typeof read === 'string') return read;
  const modes = read.flags.filter(([flag]) => MODES.includes(flag));
  const [mode, second] = modes;
  if (!mode || second || read.rest.length > 0) return '';
  return { mode: mode[0], value: mode[1], config: read.flags.findLast(([flag]) => flag === 'c')?.[1] };
}
