// `mailq`: the queue as sendmail's users know it (`sendmail -bp`).
import type { Command } from '../command.ts';
import { EX_USAGE, fatal } from './drop-in.ts';
import { readFlags } from './getopt.ts';
import { withQueue, type WithQueue } from './open.ts';
import { queueRequest } from './postqueue.ts';

const USAGE = `usage: mailq [-v] [-C FILE]
Lists the mail that waits, as "postqueue -p" does. FILE is the settings file or its folder.`;

/** The command on a queue that `open` opens. */
export function makeMailq(open: WithQueue): Command {
  return {
    name: 'mailq',
    summary: 'list the queue, as Postfix’s command does',
    usage: USAGE,
    run: async (args, io) => {
      const read = readFlags(args, 'c:C:v');
      if (typeof read === 'string' || read.rest.length > 0) {
        if (typeof read === 'string') io.err(`mailq: ${read}\n`);
        return fatal(io, 'mailq', 'usage: mailq [options]', EX_USAGE);
      }
      const config = read.flags.findLast(([flag]) => flag !== 'v')?.[1];
      return queueRequest(open, 'mailq', { mode: 'p', value: '', config }, io);
    },
  };
}

export const mailqCommand = makeMailq(withQueue);
