// `buzon dkim testkey`: opendkim-testkey(8). Asks DNS for the record of each key and says whether what the key signs holds with it.
import type { KeyObject } from 'node:crypto';
import { resolve } from 'node:path';
import { readPemFile } from '../../config/certificates.ts';
import { loadSettings } from '../../config/settings.ts';
import { systemResolver, type Resolver } from '../../dns/resolver.ts';
import { MailError } from '../../lib/errors.ts';
import { loadDkimKey } from '../../policy/dkim-keys.ts';
import { signingKeyFiles } from '../../policy/signing-sources.ts';
import { examinePublished } from '../../policy/dkim-published.ts';
import { textReader } from '../../policy/opendkim/conf.ts';
import { loadOpenDkim } from '../../policy/opendkim/load.ts';
import type { CommandIo } from '../command.ts';
import { getopt, UsageError } from '../getopt.ts';
import { EX_CONFIG, EX_UNAVAILABLE, EX_USAGE } from '../sysexits.ts';
import { DEFAULT_SETTINGS } from '../user/context.ts';

export const TESTKEY_USAGE = `usage: buzon dkim testkey [-d DOMAIN -s SELECTOR [-k KEYFILE]] [-x OPENDKIM.CONF] [-v] [--config FILE] [--dns-server ADDRESS]`;

const SPEC = {
  short: 'd:k:s:vx:',
  long: { config: 'config', 'dns-server': 'dns-server' },
  longWithValue: ['config', 'dns-server'],
};

interface Wanted {
  readonly domain: string;
  readonly selector: string;
  readonly file?: string;
}

/** 0 when all hold; 64 for wrong arguments, 69 where DNS or the record does not fit, 78 for keys and settings that cannot be. */
export async function testkey(args: readonly string[], io: CommandIo): Promise<number> {
  const say = (text: string): void => io.err(`buzon dkim testkey: ${text}\n`);
  try {
    const { options, rest } = getopt(args, SPEC);
    const value = (name: string): string | undefined => options.findLast((option) => option.name === name)?.value;
    const verbose = options.filter(({ name }) => name === 'v').length;
    if (rest.length > 0) throw new UsageError(`${rest[0]} is no option`);
    const keys = await wanted(value, io);
    const servers = value('dns-server') === undefined ? await serversOf(value('config'), io) : [value('dns-server') ?? ''];
    const resolver = systemResolver({ servers });
    let status = 0;
    for (const key of keys) status = Math.max(status, await testOne(key, resolver, verbose, say));
    return status;
  } catch (error) {
    if (error instanceof UsageError) {
      say(error.message);
      io.err(`${TESTKEY_USAGE}\n`);
      return EX_USAGE;
    }
    if (!(error instanceof MailError)) throw error;
    say(error.message);
    return EX_CONFIG;
  }
}

/** The settings' own name servers, where there are settings. */
async function serversOf(config: string | undefined, io: CommandIo): Promise<readonly string[]> {
  try {
    return (await loadSettings(resolve(io.cwd, config ?? DEFAULT_SETTINGS))).dns.servers;
  } catch (error) {
    if (config === undefined && error instanceof MailError) return [];
    throw error;
  }
}

async function wanted(value: (name: string) => string | undefined, io: CommandIo): Promise<readonly Wanted[]> {
  const [domain, selector, file, conf] = ['d', 's', 'k', 'x'].map(value);
  if (domain !== undefined && selector !== undefined)
    return [{ domain, selector, ...(file === undefined ? {} : { file: resolve(io.cwd, file) }) }];
  if (domain !== undefined || selector !== undefined || file !== undefined)
    throw new UsageError('-d and -s belong together, -k behind them');
  const settings = conf === undefined ? await loadSettings(resolve(io.cwd, value('config') ?? DEFAULT_SETTINGS)) : undefined;
  const found = settings
    ? await signingKeyFiles(settings)
    : (await loadOpenDkim(resolve(io.cwd, conf ?? ''), textReader(readPemFile))).keys;
  const keys = found.filter((key) => key.domain !== '%');
  if (keys.length === 0) throw new MailError('config', 'NO_KEYS', 'there is no key to test; name one with -d and -s');
  return keys;
}

async function testOne(
  { domain, selector, file }: Wanted,
  resolver: Resolver,
  verbose: number,
  say: (text: string) => void,
): Promise<number> {
  const name = `${selector}._domainkey.${domain}`;
  let key: KeyObject | undefined;
  try {
    if (file !== undefined) ({ key } = await loadDkimKey({ domain, selector, file }));
    if (file !== undefined && verbose > 0) say(`key loaded from ${file}`);
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    say(error.message);
    return EX_CONFIG;
  }
  if (verbose > 0) say(`checking key '${name}'`);
  try {
    const { problem, testing } = examinePublished(await resolver.txt(name), key);
    if (problem !== undefined) say(`'${name}' ${problem}`);
    else if (verbose > 0) say(`'${name}' key OK${testing ? ' (in test mode, t=y)' : ''}`);
    return problem === undefined ? 0 : EX_UNAVAILABLE;
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    say(`'${name}' query failed (${error.detail || error.message})`);
    return EX_UNAVAILABLE;
  }
}
