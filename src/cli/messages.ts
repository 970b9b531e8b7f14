// `messages` (GNU mailutils'): how many messages mailboxes hold.
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Command } from './command.ts';
import { getopt, UsageError } from './getopt.ts';
import { openBox } from './mail/box.ts';
import { mailboxFor } from './mail/where.ts';
import { EX_USAGE } from './sysexits.ts';

export const messagesCommand: Command = {
  name: 'messages',
  summary: 'count the messages of mailboxes',
  usage: `usage: messages [-q] [MAILBOX ...]
MAILBOX is an mbox file, a Maildir or an address of the server; one's own without it. -q prints the numbers only.
Ends with 1 when one of them cannot be opened.`,
  async run(args, io) {
    let status = 0;
    try {
      const { options, rest } = getopt(args, { short: 'qs', long: { quiet: 'q', silent: 'q' } });
      for (const name of rest.length > 0 ? rest : [undefined]) {
        try {
          const path = await mailboxFor(name, io);
          const box = await openBox(path);
          await box.close();
          io.out(options.length > 0 ? `${box.messages.length}\n` : `Number of messages in ${path}: ${box.messages.length}\n`);
        } catch (error) {
          if (!(error instanceof MailError) && errnoOf(error) === undefined) throw error;
          io.err(`messages: ${(error as Error).message}\n`);
          status = 1;
        }
      }
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      io.err(`messages: ${error.message}\n`);
      return EX_USAGE;
    }
    return status;
  },
};
