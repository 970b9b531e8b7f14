// `newaliases`: Postfix's compiles /etc/aliases. Here the text itself is read, at once when it changes, so that there is nothing to compile: the command says
// what is wrong with it.
import { openAliases } from '../config/maps/table.ts';
import { loadSettings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import type { Command } from './command.ts';
import { getopt, UsageError } from './getopt.ts';
import { EX_CONFIG, EX_USAGE } from './sysexits.ts';
import { settingsFileFor } from './settings-file.ts';

export const newaliasesCommand: Command = {
  name: 'newaliases',
  summary: 'read alias_maps and say what is wrong with them',
  usage: `usage: newaliases [-C FILE]
The tables of alias_maps are read as text whenever they change: nothing needs to be compiled. Lines that cannot be read are said.
FILE is the settings file or its folder. Ends with 0 when every table can be read.`,
  async run(args, io) {
    try {
      const { options } = getopt(args, { short: 'C:c:v' });
      const given = options.find(({ name }) => name !== 'v')?.value;
      const settings = await loadSettings(await settingsFileFor(given, io));
      let status = 0;
      for (const spec of settings.alias_maps) {
        const table = openAliases(spec, { logger: silentLogger });
        try {
          for (const { line, text } of await table.load()) io.err(`newaliases: warning: ${spec}, line ${line}: ${text}\n`);
        } catch (error) {
          io.err(`newaliases: fatal: ${spec}: ${error instanceof Error ? error.message : String(error)}\n`);
          status = 1;
        } finally {
          table.close();
        }
      }
      return status;
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof MailError)) throw error;
      io.err(`newaliases: fatal: ${error.message}\n`);
      return error instanceof UsageError ? EX_USAGE : EX_CONFIG;
    }
  },
};
