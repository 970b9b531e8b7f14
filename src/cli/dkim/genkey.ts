// `buzon dkim genkey`: opendkim-genkey(8) with its options, files and record.
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readSelector } from '../../config/readers.ts';
import { readInteger, ValueError } from '../../config/values.ts';
import { MailError } from '../../lib/errors.ts';
import { dkimRecord } from '../../policy/dkim-record.ts';
import type { CommandIo } from '../command.ts';
import { getopt, UsageError, type GivenOption } from '../getopt.ts';
import { newKey, writeNew } from './key-output.ts';

export const GENKEY_USAGE = `usage: buzon dkim genkey [-a] [-b BITS] [-d DOMAIN] [-D FOLDER] [-h ALGORITHMS] [-n NOTE] [-r] [-s SELECTOR] [-S] [-t] [-v]`;

const SPEC = {
  short: 'ab:d:D:h:n:rs:Stv',
  long: {
    'append-domain': 'a',
    bits: 'b',
    domain: 'd',
    directory: 'D',
    'hash-algorithms': 'h',
    note: 'n',
    restrict: 'r',
    selector: 's',
    nosubdomains: 'S',
    subdomains: 'subdomains',
    testmode: 't',
    verbose: 'v',
  },
} as const;

/** 0 when done, 1 for options that cannot be, as opendkim-genkey. @throws MailError config for files that cannot be written */
export async function genkey(args: readonly string[], io: CommandIo): Promise<number> {
  const given = read(args);
  if (typeof given === 'string') {
    io.err(`buzon dkim genkey: ${given}\n${GENKEY_USAGE}\n`);
    return 1;
  }
  const folder = resolve(io.cwd, given.value('D') ?? '.');
  if (!(await stat(folder).catch(() => undefined))?.isDirectory())
    throw new MailError('config', 'CANNOT_WRITE', `${folder} is no folder; make it first`);
  const { selector } = given;
  const key = await newKey('rsa', given.bits);
  await writeNew(join(folder, `${selector}.private`), key.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
  await writeNew(join(folder, `${selector}.txt`), recordFile(given, dkimRecord(key).replace(/^.*p=/, '')), 0o600);
  if (given.has('v')) io.err(`buzon dkim genkey: wrote ${selector}.private and ${selector}.txt in ${folder}\n`);
  return 0;
}

interface Given {
  readonly bits: number;
  readonly selector: string;
  readonly has: (name: string) => boolean;
  readonly value: (name: string) => string | undefined;
}

/** Text where they cannot be. */
function read(args: readonly string[]): Given | string {
  try {
    const { options, rest } = getopt(args, SPEC);
    const last = (name: string): GivenOption | undefined => options.findLast((option) => option.name === name);
    if (rest.length > 0) return `${rest[0]} is no option`;
    for (const name of ['d', 'n', 'h']) {
      const value = last(name)?.value ?? '';
      if (!/^[^\x00-\x1f\x7f"\\;]*$/.test(value))
        return `-${name}: quotes, semicolons and control characters cannot be in a record`;
    }
    return {
      bits: readInteger(last('b')?.value ?? '2048', 1024, 16_384),
      selector: readSelector(last('s')?.value ?? 'default'),
      has: (name) => last(name) !== undefined,
      value: (name) => last(name)?.value,
    };
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    if (error instanceof ValueError) return `${error.message}; write ${error.right}`;
    throw error;
  }
}

/** To the byte what opendkim-genkey writes for this key. */
function recordFile({ selector, has, value }: Given, publicKey: string): string {
  const domain = value('d') ?? 'localhost';
  const flags = [...(has('t') ? ['y'] : []), ...(has('S') && !has('subdomains') ? ['s'] : [])].join(':');
  const note = value('n');
  const tags =
    (note === undefined ? '' : ` n=\\"${note}\\";`) +
    ` h=${value('h') ?? 'sha256'}; k=rsa; ` +
    (flags === '' ? '' : `t=${flags}; `) +
    (has('r') ? 's=email; ' : '');
  const strings = [`v=DKIM1;${tags}`, ...(`p=${publicKey}`.match(/^.{1,252}|.{1,250}/g) ?? [])];
  const name = `${selector}._domainkey${has('a') ? `.${domain}.` : ''}`;
  return `${name}\tIN\tTXT\t( ${strings.map((text) => `"${text}"`).join('\n\t  ')} )  ; ----- DKIM key ${selector} for ${domain}\n`;
}
