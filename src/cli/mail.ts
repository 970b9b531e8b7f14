// `mail` (GNU mailutils'): sends a message from standard input, or reads a mailbox with commands from it.
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { getopt, UsageError, type GivenOption } from './getopt.ts';
import { openBox } from './mail/box.ts';
import { type Box } from './mail/box-types.ts';
import { MailReader, textLines } from './mail/reader.ts';
import { readAll, sendLetter, type Letter } from './mail/send.ts';
import { summaryLine } from './mail/summary.ts';
import { mailboxFor, mailboxOfUser } from './mail/where.ts';
import { EX_USAGE, Fatal } from './sysexits.ts';

const USAGE = `usage: mail [-s SUBJECT] [-a 'HEADER: VALUE'] [-A FILE] [-r ADDRESS] [-t] ADDRESS ...
       mail [-e | -H | -p] [-N] [-E COMMAND] [-u USER | -f [MAILBOX]]
Sends what stands on standard input; -A attaches files (--content-type, --content-name: of the next), -t takes recipients from a header that the input begins with.
Without an address it reads a mailbox: one's own, USER's (a user of the host, or an address of the server), or MAILBOX (an mbox file or a Maildir).
  -e  ends with 0 when there is mail, 1 when not; -H lists it; -p prints all of it; -N without a list at the beginning; -E runs COMMAND first
Commands, a line each on standard input:
  h   list          p LIST   print       d LIST   delete       u LIST   undelete
  s [LIST] FILE     save (mbox file or Maildir)                r, R     reply to all, to the author: text up to a line "."
  n   next          q   quit, what was deleted goes            x   exit, everything stays
LIST is numbers, ranges (1-3), * for all, $ for the last. Lines of a text that begin with ~ are text, as always where there is no terminal.`;

const LONG = {
  attach: 'A',
  append: 'a',
  exec: 'E',
  exist: 'e',
  byname: 'F',
  headers: 'H',
  ignore: 'i',
  mime: 'M',
  nosum: 'N',
  norc: 'n',
  print: 'p',
  read: 'p',
  quit: 'q',
  'return-address': 'r',
  subject: 's',
  to: 't',
  user: 'u',
  file: 'f',
  'content-type': 'content-type',
  'content-name': 'content-name',
  'content-filename': 'content-name',
  encoding: 'encoding',
  'skip-empty-attachments': 'ignored',
};

export const mailCommand: Command = {
  name: 'mail',
  summary: 'send mail from standard input, or read a mailbox',
  usage: USAGE,
  async run(args, io) {
    try {
      const { options, rest } = getopt(args, {
        short: 'A:a:E:eFHiMNnpqr:s:tu:f::',
        long: LONG,
        longWithValue: ['content-type', 'content-name', 'encoding'],
      });
      const has = (name: string): boolean => options.some((option) => option.name === name);
      const reads = has('f') || has('e') || has('H') || has('p') || (has('u') && rest.length === 0);
      if (reads || (rest.length === 0 && !has('t'))) return await read(options, rest, io);
      return await send(options, rest, io);
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof MailError || error instanceof Fatal || errnoOf(error) !== undefined))
        throw error;
      io.err(`mail: ${(error as Error).message}\n`);
      return error instanceof UsageError ? EX_USAGE : error instanceof Fatal ? error.status : 1;
    }
  },
};

async function send(options: readonly GivenOption[], rest: readonly string[], io: CommandIo): Promise<number> {
  const last = (name: string): string | undefined => options.findLast((option) => option.name === name)?.value;
  const subject = last('s');
  const sender = last('r');
  const letter: Letter = {
    recipients: rest,
    fields: options.flatMap(({ name, value }) => (name === 'a' && value !== undefined ? [value] : [])),
    files: attachments(options),
    headerInBody: options.some(({ name }) => name === 't'),
    ...(subject === undefined ? {} : { subject }),
    ...(sender === undefined ? {} : { sender }),
  };
  await sendLetter(letter, await readAll(io.stdin), io);
  return 0;
}

/** --content-type holds for all that follow, --content-name for the next one. */
function attachments(options: readonly GivenOption[]): Letter['files'] {
  const files: { path: string; type: string; name?: string }[] = [];
  let type = 'application/octet-stream';
  let shown: string | undefined;
  for (const { name, value = '' } of options) {
    if (name === 'content-type') {
      if (!/^[a-z0-9.+-]+\/[a-z0-9.+-]+$/i.test(value)) throw new UsageError(`--content-type=${value}: no media type`);
      type = value;
    } else if (name === 'content-name') shown = value;
    else if (name === 'A') {
      files.push({ path: value, type, ...(shown === undefined ? {} : { name: shown }) });
      shown = undefined;
    }
  }
  return files;
}

async function read(options: readonly GivenOption[], rest: readonly string[], io: CommandIo): Promise<number> {
  const given = (name: string): GivenOption | undefined => options.findLast((option) => option.name === name);
  const user = given('u')?.value;
  const path = user === undefined ? await mailboxFor(given('f')?.value ?? rest[0], io) : await mailboxOfUser(user, io);
  if (given('e')) return exists(path);
  const box = await openBox(path);
  try {
    return await readBox(box, options, io);
  } finally {
    await box.close();
  }
}

async function exists(path: string): Promise<number> {
  try {
    const box = await openBox(path);
    await box.close();
    return box.messages.length > 0 ? 0 : 1;
  } catch (error) {
    if (error instanceof MailError && error.code === 'NO_MAILBOX') return 1;
    throw error;
  }
}

async function readBox(box: Box, options: readonly GivenOption[], io: CommandIo): Promise<number> {
  const has = (name: string): boolean => options.some((option) => option.name === name);
  const { messages } = box;
  if (messages.length === 0) {
    io.out(`No mail in ${box.path}\n`);
    return 1;
  }
  if (has('H')) {
    for (const [i, message] of messages.entries()) io.out(`${summaryLine(message, i + 1, i === 0)}\n`);
    return 0;
  }
  const reader = new MailReader(box, textLines(io.stdin), io);
  if (has('p')) await reader.command('p *');
  else {
    if (!has('N')) {
      io.out(`"${box.path}": ${counted(messages.length)}\n`);
      reader.headers();
    }
    for (const { name, value = '' } of options) if (name === 'E') await reader.command(value);
    if (!(await reader.run())) return reader.failed ? 1 : 0;
  }
  await box.save();
  if (!has('p')) io.out(`Held ${counted(messages.filter(({ deleted }) => !deleted).length)} in ${box.path}\n`);
  return reader.failed ? 1 : 0;
}

const counted = (n: number): string => `${n} ${n === 1 ? 'message' : 'messages'}`;
