// `buzon domain …`: virtual_mailbox_domains, in the file or table that the setting names, or in the settings file itself.
import type { Command } from './command.ts';
import { addDomain } from './domain/add.ts';
import { deleteDomain } from './domain/del.ts';
import { listDomains } from './domain/list.ts';
import { readOptions } from './options.ts';
import { withContext } from './user.ts';
import { DEFAULT_SETTINGS } from './user/context.ts';

const USAGE = `usage: buzon domain add DOMAIN
       buzon domain del DOMAIN
       buzon domain list

Changes virtual_mailbox_domains: the first file or table that it names, else its list in the settings file (then a reload is due).
del refuses a domain that has mailboxes. list tells each domain and how many mailboxes it has.
Each takes --config FILE; FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 when done, 1 for a refusal or a fault, 2 for wrong arguments.`;

export const domainCommand: Command = {
  name: 'domain',
  summary: 'add, remove and list the domains that have mailboxes',
  usage: USAGE,
  async run(args, io) {
    const [verb = '', ...more] = args;
    const { options, rest } = readOptions(more, ['--config']);
    const [domain = ''] = rest;
    const file = options.get('--config') ?? DEFAULT_SETTINGS;
    if (rest.length === (verb === 'list' ? 0 : 1)) {
      if (verb === 'add') return withContext('domain', file, io, (context) => addDomain(context, domain));
      if (verb === 'del') return withContext('domain', file, io, (context) => deleteDomain(context, domain));
      if (verb === 'list') return withContext('domain', file, io, listDomains);
    }
    io.err(`${USAGE}\n`);
    return 2;
  },
};
