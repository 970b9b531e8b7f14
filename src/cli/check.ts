// `buzon check`: settings, tables, certificates, the mail tree, and (with --dns) what DNS says of the domains.
import { loadSettings } from '../config/settings.ts';
import { systemResolver } from '../dns/resolver.ts';
import { MailError } from '../lib/errors.ts';
import { checkSettings } from './check/settings.ts';
import type { Command } from './command.ts';

const DEFAULT_SETTINGS = '/etc/buzon/buzon.yaml';

export const checkCommand: Command = {
  name: 'check',
  summary: 'look for mistakes in settings, tables, certificates, folders and DNS',
  usage: `usage: buzon check [--config FILE] [--dns]

Says what a start would refuse and what would go wrong later, each with a code and what to write instead.
--dns also asks for the domains' records. FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 1 when there is an error, with 0 when there are none or only warnings.`,
  run: async (args, io) => {
    let file = DEFAULT_SETTINGS;
    let dns = false;
    for (let i = 0; i < args.length; i++) {
      const arg = args[i] ?? '';
      const given = arg.startsWith('--config=') ? arg.slice('--config='.length) : arg === '--config' ? args[++i] : undefined;
      if (given !== undefined) file = given;
      else if (arg === '--dns') dns = true;
      else {
        io.err(`${checkCommand.usage}\n`);
        return 2;
      }
    }
    try {
      const settings = await loadSettings(file);
      const resolver = dns ? systemResolver(settings.dns) : undefined;
      const findings = await checkSettings(settings, { resolver });
      for (const { code, severity, subject, text, right } of findings)
        io.out(`${severity} ${code} ${subject}: ${text}; ${right.startsWith('run: ') ? right : `better: ${right}`}\n`);
      const errors = findings.filter(({ severity }) => severity === 'error').length;
      io.out(
        `${errors} error${errors === 1 ? '' : 's'}, ${findings.length - errors} warning${findings.length - errors === 1 ? '' : 's'}\n`,
      );
      return errors > 0 ? 1 : 0;
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      io.out(`${error.message.replace(/^/gm, 'error ')}\n`);
      return 1;
    }
  },
};
