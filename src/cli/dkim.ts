// `buzon dkim …`: keys for signing, in the files that OpenDKIM's opendkim-genkey makes.
import type { Command } from './command.ts';
import { genkey, GENKEY_USAGE } from './dkim/genkey.ts';
import { generateKey } from './dkim/keygen.ts';
import { showKeys } from './dkim/show.ts';
import { testkey, TESTKEY_USAGE } from './dkim/testkey.ts';
import { readOptions } from './options.ts';
import { DEFAULT_SETTINGS } from './user/context.ts';

const USAGE = `usage: buzon dkim keygen DOMAIN [--selector NAME] [--type rsa|ed25519] [--bits 2048] [--out FOLDER]
       buzon dkim show [DOMAIN]
       ${GENKEY_USAGE.replace('usage: ', '')}
       ${TESTKEY_USAGE.replace('usage: ', '')}

keygen writes FOLDER/NAME.private (mode 0600) and FOLDER/NAME.txt, the TXT record as a line of a zone file, and prints that and the lines
for dkim_keys in the settings. Nothing that is there is overwritten. FOLDER is dkim/DOMAIN beside the settings file, NAME is "default", unless given.
show prints the record of each key in dkim_keys. genkey and testkey are opendkim-genkey and opendkim-testkey with their options and exit statuses (genkey
overwrites nothing and makes no key below 1024 bits; without -d and -s testkey asks for all keys of the settings). Show and keygen take --config FILE; FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 when done, 1 for a refusal or a fault, 2 for wrong arguments.`;

export const dkimCommand: Command = {
  name: 'dkim',
  summary: 'make and show keys that outgoing mail is signed with',
  usage: USAGE,
  async run(args, io) {
    const [verb = '', ...more] = args;
    if (verb === 'genkey') return genkey(more, io);
    if (verb === 'testkey') return testkey(more, io);
    const { options, rest } = readOptions(more, ['--config', '--selector', '--type', '--bits', '--out']);
    const config = options.get('--config') ?? DEFAULT_SETTINGS;
    const [domain] = rest;
    const only = [...options.keys()].every((name) => name === '--config');
    if (verb === 'show' && rest.length <= 1 && only) return showKeys({ config, ...(domain === undefined ? {} : { domain }) }, io);
    if (verb === 'keygen' && domain !== undefined && rest.length === 1) {
      const [selector, type, bits, out] = ['--selector', '--type', '--bits', '--out'].map((name) => options.get(name));
      return generateKey({ domain, config, selector, type, bits, out }, io);
    }
    io.err(`${USAGE}\n`);
    return 2;
  },
};
