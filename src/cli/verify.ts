// `buzon verify`: whether the mail tree, its uidlists and indexes agree, and on demand what can be repaired is; whether the queue's database and files do.
import { silentLogger } from '../lib/logger.ts';
import { verifyQueue } from '../queue/verify.ts';
import { renewIndex } from '../storage/index-cache.ts';
import { MailStore } from '../storage/mail-store.ts';
import { verifyAccount, type Problem, type Verified } from '../storage/verify.ts';
import type { Command } from './command.ts';
import { readOptions } from './options.ts';
import { emptyQueue } from './queue/command-queue.ts';
import { withQueue } from './queue/open.ts';
import { count } from './queue/text.ts';
import { readAddress } from './user/address.ts';
import { DEFAULT_SETTINGS, type AccountContext } from './user/context.ts';
import { withContext } from './user.ts';

export const verifyCommand: Command = {
  name: 'verify',
  summary: 'hold mailboxes, their uidlists and indexes, and the queue with its files, against each other',
  usage: `usage: buzon verify [--config FILE] [--fix] [ADDRESS ...]

Looks at every account, or at those named: are the message files as long as their names say, is each uidlist whole and in order,
is the index sound, and does it know only messages that are there. Says in a line each what is wrong and what would be done.
Without addresses it also looks at the queue: has each message that waits its file, whole and unchanged, and does queue.db know every file.
With --fix that is done, as opening the mailbox would do it; message files are never touched. What is wrong in
the queue the server mends by itself, or holds. A running server is not in the way.
FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 when all agree (or do after --fix), 1 for problems, 2 for wrong arguments.`,
  async run(args, io) {
    const { options, flags, rest } = readOptions(args, ['--config'], ['--fix']);
    return withContext('verify', options.get('--config') ?? DEFAULT_SETTINGS, io, async (context) => {
      const accounts = await verify(context, rest, flags.has('--fix'));
      return rest.length > 0 ? accounts : Math.max(accounts, await verifyItsQueue(context));
    });
  },
};

async function verify(context: AccountContext, wanted: readonly string[], fix: boolean): Promise<number> {
  const { io } = context;
  const addresses = wanted.length > 0 ? wanted.map(readAddress) : (await context.accounts()).map(([address]) => address);
  const sum = { mailboxes: 0, messages: 0, fresh: 0 };
  let problems = 0;
  for (const address of addresses) {
    // Two accounts may share a home; each is looked at by itself.
    const maildir = await maildirOf(context, address);
    let found = await context.inTree(() => verifyAccount(maildir));
    for (const problem of found.problems) io.out(`${address}: ${lineOf(problem, fix)}\n`);
    if (fix && found.problems.some(({ repair }) => repair !== undefined)) found = await fixed(context, address, maildir, found);
    problems += found.problems.length;
    for (const key of ['mailboxes', 'messages', 'fresh'] as const) sum[key] += found[key];
  }
  const verdict = problems === 0 ? 'all agree' : `${problems} ${problems === 1 ? 'problem' : 'problems'}${fix ? ' left' : ''}`;
  io.out(
    `${addresses.length} accounts, ${sum.mailboxes} mailboxes, ${sum.messages} messages (${sum.fresh} not seen by anybody yet): ${verdict}\n`,
  );
  return problems === 0 ? 0 : 1;
}

/** Says nothing where there is no queue. */
async function verifyItsQueue({ file, settings, io }: AccountContext): Promise<number> {
  return withQueue(file, io, async (queue) => {
    if (queue === emptyQueue) return 0;
    let problems = 0;
    const found = await verifyQueue(queue, settings.queue_directory, Date.now(), ({ path, text }) => {
      problems++;
      io.out(`queue: ${path}: ${text}\n`);
    });
    if (found.setAside > 0)
      io.out(
        `queue: ${count(found.setAside, 'damaged file')} in ${settings.queue_directory}/corrupt: look at them, then remove them\n`,
      );
    const verdict = problems === 0 ? 'all agree' : count(problems, 'problem');
    io.out(`queue: ${count(found.messages, 'message')}, ${count(found.recipients, 'recipient')}: ${verdict}\n`);
    return problems === 0 ? 0 : 1;
  });
}

async function maildirOf(context: AccountContext, address: string): Promise<string> {
  const home = await context.homeOf(address);
  const account = await context.inTree(() => context.openAccounts().find(address));
  return account?.maildir ?? home;
}

const lineOf = ({ path, text, repair }: Problem, fix: boolean): string =>
  `${path}: ${text}${repair === undefined ? '; only you can tell what is right' : fix ? `: repairing (${repair})` : `; --fix would ${repair}`}`;

/** Opens every mailbox, which mends its list, and throws a bad index away; gives what is found afterwards. */
async function fixed(context: AccountContext, address: string, maildir: string, { problems }: Verified): Promise<Verified> {
  return context.inTree(async () => {
    for (const { path } of problems.filter(({ where }) => where === 'index')) await renewIndex(path);
    const { mail_save_crlf: saveCrlf, namespace } = context.settings;
    const mail = new MailStore({ logger: silentLogger, saveCrlf, separator: namespace.separator });
    try {
      const account = mail.account({ address, maildir });
      for (const { path, exists } of await account.list())
        // One that cannot be opened is told again below.
        if (exists)
          await account
            .open(path)
            .then((mailbox) => mailbox.close())
            .catch(() => undefined);
    } finally {
      mail.close();
    }
    return verifyAccount(maildir);
  });
}
