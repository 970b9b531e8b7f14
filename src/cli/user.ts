// `buzon user …`: accounts, on the files that Postfix and Dovecot read: the mailbox map, and passwd and shadow in each home.
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { readOptions } from './options.ts';
import { addUser } from './user/add.ts';
import { AccountContext, DEFAULT_SETTINGS } from './user/context.ts';
import { deleteUser } from './user/del.ts';
import { listUsers } from './user/list.ts';
import { changePassword } from './user/passwd.ts';
import { showUser } from './user/show.ts';

const USAGE = `usage: buzon user add ADDRESS [--scheme NAME] [--quota SIZE] [--password-stdin]
       buzon user passwd ADDRESS [--scheme NAME] [--password-stdin]
       buzon user del ADDRESS [--purge]
       buzon user list [DOMAIN]
       buzon user show ADDRESS

A password is asked for on a terminal, and read as a line from standard input elsewhere (or with --password-stdin); it is never an
argument. It is stored as new_pass_scheme says, or as --scheme: ARGON2ID, SCRAM-SHA-256, SHA512-CRYPT, SSHA512, CRAM-MD5, PLAIN.
add writes into the passwd and shadow of the domain's folder where there are such, else into those of the home, then into the
first table of virtual_mailbox_maps. del keeps the mail unless --purge. --quota 1G becomes userdb_quota_rule.
Each takes --config FILE; FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 when done, 1 for a refusal or a fault, 2 for wrong arguments.`;

type Run = (context: AccountContext, argument: string | undefined) => Promise<number>;

export const userCommand: Command = {
  name: 'user',
  summary: 'add, change, remove and show accounts',
  usage: USAGE,
  async run(args, io) {
    const [verb = '', ...more] = args;
    const { options, flags, rest } = readOptions(more, ['--config', '--scheme', '--quota'], ['--password-stdin', '--purge']);
    const secret = { scheme: options.get('--scheme'), passwordFromStdin: flags.has('--password-stdin') };
    const verbs: Readonly<Record<string, readonly [allowed: readonly string[], argument: 'needed' | 'optional', run: Run]>> = {
      add: [
        ['--scheme', '--quota', '--password-stdin'],
        'needed',
        (context, address = '') => addUser(context, address, { ...secret, quota: options.get('--quota') }),
      ],
      passwd: [['--scheme', '--password-stdin'], 'needed', (context, address = '') => changePassword(context, address, secret)],
      del: [['--purge'], 'needed', (context, address = '') => deleteUser(context, address, flags.has('--purge'))],
      list: [[], 'optional', (context, domain) => listUsers(context, domain)],
      show: [[], 'needed', (context, address = '') => showUser(context, address)],
    };
    const found = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
    const given = [...options.keys(), ...flags].filter((name) => name !== '--config');
    const wrong =
      !found || rest.length > 1 || (found[1] === 'needed' && rest.length === 0) || given.some((name) => !found[0].includes(name));
    if (wrong) {
      io.err(`${USAGE}\n`);
      return 2;
    }
    return withContext('user', options.get('--config') ?? DEFAULT_SETTINGS, io, (context) => found[2](context, rest[0]));
  },
};

/** Opens what a command on accounts needs; errors of the file system are said in one line. */
export async function withContext(
  name: string,
  file: string,
  io: CommandIo,
  run: (context: AccountContext) => Promise<number>,
): Promise<number> {
  try {
    using context = await AccountContext.open(file, io);
    return await run(context);
  } catch (error) {
    const errno = errnoOf(error);
    if (!(error instanceof Error) || error instanceof MailError || errno === undefined || !/^E[A-Z0-9]+$/.test(errno))
      throw error;
    const hint =
      errno === 'EACCES' || errno === 'EPERM' ? ' (run it as root, or as the owner of the mail tree and the maps)' : '';
    io.err(`buzon ${name}: ${error.message}${hint}\n`);
    return 1;
  }
}
