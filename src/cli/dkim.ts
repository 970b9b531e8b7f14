// `buzon dkim …`: keys for signing, in the files that OpenDKIM's opendkim-genkey makes.
import type { Command, CommandIo } from './command.ts';
import { genkey, GENKEY_USAGE } from './dkim/genkey.ts';
import { generateKey } from './dkim/keygen.ts';
import { rotate } from './dkim/rotate.ts';
import { showKeys } from './dkim/show.ts';
import { testkey, TESTKEY_USAGE } from './dkim/testkey.ts';
import { readOptions } from './options.ts';
import { DEFAULT_SETTINGS } from './user/context.ts';

const USAGE = `usage: buzon dkim keygen DOMAIN [--selector NAME] [--type rsa|ed25519] [--bits 2048] [--out FOLDER]
       buzon dkim show [DOMAIN]
       buzon dkim rotate DOMAIN [--dns-server ADDRESS]
       buzon dkim rotate --continue [--dns-server ADDRESS]
       ${GENKEY_USAGE.replace('usage: ', '')}
       ${TESTKEY_USAGE.replace('usage: ', '')}

keygen writes FOLDER/NAME.private (mode 0600) and FOLDER/NAME.txt, the TXT record as a line of a zone file, and prints that and the lines
for dkim_keys in the settings. Nothing that is there is overwritten. FOLDER is dkim/DOMAIN beside the settings file, NAME is "default", unless given.
show prints the record of each key that signs.
rotate makes new keys, RSA and Ed25519, in dkim_directory and prints their records; run again, it lets the server use them once DNS shows them, and
says when the records of the old ones may go (dkim_retire_time). --continue does that for all domains and begins nothing: for cron, daily.
genkey and testkey are opendkim-genkey and opendkim-testkey with their options and exit statuses (genkey overwrites nothing and makes no key below
1024 bits; without -d and -s testkey asks for all keys of the settings).
show, keygen and rotate take --config FILE; FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 when done, 1 for a refusal or a fault, 2 for wrong arguments.`;

export const dkimCommand: Command = {
  name: 'dkim',
  summary: 'make and show keys that outgoing mail is signed with',
  usage: USAGE,
  async run(args, io) {
    const [verb = '', ...more] = args;
    if (verb === 'genkey') return genkey(more, io);
    if (verb === 'testkey') return testkey(more, io);
    if (verb === 'rotate') return runRotate(more, io);
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

async function runRotate(args: readonly string[], io: CommandIo): Promise<number> {
  const { options, flags, rest } = readOptions(args, ['--config', '--dns-server'], ['--continue']);
  const [domain] = rest;
  if (rest.length > 1 || flags.has('--continue') === (domain !== undefined)) {
    io.err(`${USAGE}\n`);
    return 2;
  }
  const config = options.get('--config') ?? DEFAULT_SETTINGS;
  return rotate({ config, ...(domain === undefined ? {} : { domain }), dnsServer: options.get('--dns-server') }, io);
}
