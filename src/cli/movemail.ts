// `movemail` (GNU mailutils'): moves the messages of one mailbox to the end of another; mbox files and Maildirs, either way.
//
//   all messages added to the target and synced → removed from the source: what ends it in between leaves them in both, never in neither
import { errnoOf, MailError } from '../lib/errors.ts';
import { actAs, ownerOf } from '../worker/privileges.ts';
import type { Command, CommandIo } from './command.ts';
import { getopt, UsageError, type Arguments } from './getopt.ts';
import { openBox, pathOfUrl } from './mail/box.ts';
import { kindOf } from './mail/box-types.ts';
import { addToMaildir } from './mail/maildir-box.ts';
import { addToMbox } from './mail/mbox-box.ts';
import { mailboxFor } from './mail/where.ts';
import { EX_USAGE } from './sysexits.ts';

const USAGE = `usage: movemail [-p] [-r] [-v] [--max-messages=N] FROM TO
Moves all messages. FROM and TO are mbox files, Maildirs (maildir:/path makes one) or addresses of the server.
  -p   keeps them in FROM     -r   newest first     -v   says what it does
Files are locked by FILE.lock while they are changed.`;

export const movemailCommand: Command = {
  name: 'movemail',
  summary: 'move messages from one mailbox to another',
  usage: USAGE,
  async run(args, io) {
    try {
      const given = getopt(args, {
        short: 'pP:rvmu',
        long: {
          preserve: 'p',
          'keep-messages': 'p',
          owner: 'P',
          reverse: 'r',
          verbose: 'v',
          'max-messages': 'max',
          'ignore-errors': 'ignored',
          onerror: 'onerror',
          emacs: 'ignored',
          uidl: 'u',
          'progress-meter': 'm',
          notify: 'ignored',
        },
        longWithValue: ['max', 'onerror'],
      });
      if (given.rest.length !== 2) throw new UsageError('two mailboxes are needed: from and to');
      return await move(given, io);
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof MailError || errnoOf(error) !== undefined)) throw error;
      io.err(`movemail: ${(error as Error).message}\n`);
      return error instanceof UsageError ? EX_USAGE : 1;
    }
  },
};

async function move({ options, rest: [from = '', to = ''] }: Arguments, io: CommandIo): Promise<number> {
  const has = (name: string): boolean => options.some((option) => option.name === name);
  const most = Number(options.find(({ name }) => name === 'max')?.value ?? Infinity);
  if (Number.isNaN(most)) throw new UsageError('--max-messages needs a number');
  const box = await openBox(await mailboxFor(from, io));
  try {
    const chosen = box.messages.slice(0, most);
    if (has('r')) chosen.reverse();
    const all = [];
    for (const message of chosen) all.push({ content: await message.read(), seen: message.seen, received: message.received });
    const target = await mailboxFor(to, io);
    if (all.length > 0) await add(target, /^maildir:/i.test(to), all);
    if (has('v')) io.out(`moved ${all.length} messages from ${box.path} to ${pathOfUrl(target)}\n`);
    if (has('p')) return 0;
    for (const message of chosen) message.deleted = true;
    await box.save();
    return 0;
  } finally {
    await box.close();
  }
}

async function add(target: string, makeMaildir: boolean, all: Parameters<typeof addToMaildir>[1]): Promise<void> {
  const kind = (await kindOf(target)) ?? (makeMaildir ? 'maildir' : 'mbox');
  const owner = process.geteuid?.() === 0 ? await ownerOf(target).catch(() => undefined) : undefined;
  await actAs(owner, () => (kind === 'maildir' ? addToMaildir(target, all) : addToMbox(target, all)));
}
