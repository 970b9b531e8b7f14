// `buzon suppress`: addresses outside that this host does not write to.
import { resolve } from 'node:path';
import { loadSettings } from '../config/settings.ts';
import { suppressionFile, SuppressionList } from '../delivery/suppression.ts';
import { silentLogger } from '../lib/logger.ts';
import { parseMailbox } from '../message/address-spec.ts';
import { actAs, mailIdentity } from '../worker/privileges.ts';
import type { Command, CommandIo } from './command.ts';
import { DEFAULT_SETTINGS } from './user/context.ts';

const USAGE = `usage: buzon suppress [--config FILE] list
       buzon suppress [--config FILE] add ADDRESS [REASON]
       buzon suppress [--config FILE] remove ADDRESS

The server does not write to a suppressed address outside: who tries is told 550 5.7.1. ADDRESS is user@domain, or @domain for all of it.
The list is the file "suppressed" in data_directory; suppression_maps of the settings count as well and are not shown.
FILE is ${DEFAULT_SETTINGS} unless given. Ends with 1 when nothing was changed.`;

interface Request {
  readonly file: string;
  readonly verb: string;
  readonly address: string;
  readonly reason: string;
}

export const suppressCommand: Command = {
  name: 'suppress',
  summary: 'keep the list of addresses that are not written to',
  usage: USAGE,
  run: async (args, io) => {
    const request = parse(args);
    if (request) return runOn(request, io);
    io.err(`${USAGE}\n`);
    return 2;
  },
};

function parse(args: readonly string[]): Request | undefined {
  const rest = [...args];
  let file = DEFAULT_SETTINGS;
  const at = rest.findIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  if (at >= 0) {
    const [option = '', value] = rest.slice(at, at + 2);
    const inline = option.startsWith('--config=');
    file = inline ? option.slice('--config='.length) : (value ?? '');
    rest.splice(at, inline ? 1 : 2);
  }
  const [verb = '', address = '', ...words] = rest;
  const complete =
    verb === 'list' ? rest.length === 1 : verb === 'add' ? rest.length >= 2 : verb === 'remove' && rest.length === 2;
  return complete && file !== '' ? { file, verb, address, reason: words.join(' ') } : undefined;
}

async function runOn({ file, verb, address, reason }: Request, io: CommandIo): Promise<number> {
  const settings = await loadSettings(resolve(io.cwd, file));
  const list = new SuppressionList({
    file: suppressionFile(settings),
    maps: [],
    recipientDelimiter: settings.recipient_delimiter,
    now: () => Date.now(),
  });
  if (verb === 'list') {
    for (const entry of await list.list()) io.out(`${entry.address}  ${entry.reason}\n`);
    return 0;
  }
  const mailbox = parseMailbox(address.startsWith('@') ? `x${address}` : address);
  if (!mailbox || mailbox.domain === '') {
    io.err(`buzon suppress: "${address}" is no address; write user@domain or @domain\n`);
    return 2;
  }
  const owner = process.geteuid?.() === 0 ? await mailIdentity(settings, silentLogger) : undefined;
  const key = address.startsWith('@') ? `@${mailbox.domain}` : mailbox.address;
  const changed = await actAs(owner, () => (verb === 'add' ? list.add(key, reason || 'by hand') : list.remove(key)));
  if (!changed) io.err(`buzon suppress: ${key} is ${verb === 'add' ? 'on the list already' : 'not on the list'}\n`);
  return changed ? 0 : 1;
}
