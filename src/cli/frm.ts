// `frm` (GNU mailutils'): whom the messages of mailboxes are from, and what about.
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { getopt, UsageError } from './getopt.ts';
import { openBox } from './mail/box.ts';
import { type BoxMessage } from './mail/box-types.ts';
import { fieldOf, personOf } from './mail/summary.ts';
import { mailboxFor } from './mail/where.ts';
import { EX_USAGE } from './sysexits.ts';

const USAGE = `usage: frm [-lnQqSt] [-f FIELD] [-s new|unread|old|read] [MAILBOX ...]
A line for each message: who it is from, a tab, its subject. MAILBOX is an mbox file, a Maildir or an address of the server; one's own without it.
  -f FIELD   that field instead of both     -l   whom it is to, too        -n   numbers
  -s STATUS  only these messages            -t   subjects in a column      -S   a summary of counts
  -q         says whether there is unread mail; ends with 0 for new, 1 for read, 2 for no messages
  -Q         lists nothing`;

const STATUS = ['new', 'unread', 'old', 'read'] as const;

interface Wishes {
  readonly field?: string;
  readonly to: boolean;
  readonly numbers: boolean;
  readonly quiet: boolean;
  readonly query: boolean;
  readonly summary: boolean;
  readonly align: boolean;
  readonly status?: (typeof STATUS)[number];
}

export const frmCommand: Command = {
  name: 'frm',
  summary: 'list senders and subjects of a mailbox',
  usage: USAGE,
  async run(args, io) {
    try {
      const long = {
        field: 'f',
        to: 'l',
        number: 'n',
        Quiet: 'Q',
        query: 'q',
        summary: 'S',
        status: 's',
        align: 't',
        debug: 'd',
      };
      const { options, rest } = getopt(args, { short: 'df:lnQqSs:t', long });
      const last = (name: string): string | undefined => options.findLast((option) => option.name === name)?.value;
      const has = (name: string): boolean => options.some((option) => option.name === name);
      const field = last('f');
      const status = statusOf(last('s'));
      const wishes: Wishes = {
        to: has('l'),
        numbers: has('n'),
        quiet: has('Q') || has('q'),
        query: has('q'),
        summary: has('S'),
        align: has('t'),
        ...(field === undefined ? {} : { field }),
        ...(status === undefined ? {} : { status }),
      };
      let worst = 0;
      for (const name of rest.length > 0 ? rest : [undefined])
        worst = Math.max(worst, await list(await mailboxFor(name, io), wishes, io));
      return has('q') ? worst : 0;
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof MailError || errnoOf(error) !== undefined)) throw error;
      io.err(`frm: ${(error as Error).message}\n`);
      return error instanceof UsageError ? EX_USAGE : 1;
    }
  },
};

/** Any unambiguous beginning. @throws UsageError */
function statusOf(text: string | undefined): Wishes['status'] {
  if (text === undefined) return undefined;
  const [found, more] = STATUS.filter((word) => word.startsWith(text.toLowerCase()));
  if (found === undefined || more !== undefined || text === '') throw new UsageError(`invalid attribute name: ${text}`);
  return found;
}

function isWanted({ isNew, seen }: BoxMessage, status: Wishes['status']): boolean {
  if (status === undefined) return true;
  if (status === 'read') return seen;
  return status === 'new' ? isNew && !seen : !seen && !isNew;
}

async function list(path: string, wishes: Wishes, io: CommandIo): Promise<number> {
  const box = await openBox(path);
  try {
    const { messages } = box;
    for (const [i, message] of messages.entries())
      if (!wishes.quiet && isWanted(message, wishes.status)) io.out(`${lineOf(message, i + 1, wishes)}\n`);
    if (wishes.summary) io.out(`${counts(messages)}\n`);
    const unread = messages.some(({ seen }) => !seen);
    if (wishes.query && messages.length > 0)
      io.out(unread ? 'There are new messages in that folder.\n' : 'There are messages in that folder.\n');
    return messages.length === 0 ? 2 : unread ? 0 : 1;
  } finally {
    await box.close();
  }
}

function lineOf(message: BoxMessage, number: number, { field, to, numbers, align }: Wishes): string {
  const prefix = numbers ? `${String(number).padStart(4)}:\t` : '';
  if (field !== undefined) return prefix + fieldOf(message, field);
  const from = personOf(message, 'from');
  return `${prefix}${to ? `(${personOf(message, 'to')})\t` : ''}${align ? from.slice(0, 20).padEnd(20) : from}\t${fieldOf(message, 'subject')}`;
}

function counts(messages: readonly BoxMessage[]): string {
  const of = (wanted: (message: BoxMessage) => boolean, word: string): string[] => {
    const n = messages.filter(wanted).length;
    return n === 0 ? [] : [`${n} ${word} ${n === 1 ? 'message' : 'messages'}`];
  };
  const parts = [
    ...of((message) => isWanted(message, 'new'), 'new'),
    ...of((message) => isWanted(message, 'old'), 'unread'),
    ...of((message) => isWanted(message, 'read'), 'read'),
  ];
  return `Folder contains ${parts.length === 0 ? 'no messages' : parts.join(', ')}.`;
}
