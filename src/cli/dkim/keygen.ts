// A new key and its record.
import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { aLabels } from '../../dns/a-labels.ts';
import { readHostname, readWord } from '../../config/readers.ts';
import { isDomainName, readInteger, show, ValueError } from '../../config/values.ts';
import { MailError } from '../../lib/errors.ts';
import { dkimRecord, zoneLine } from '../../policy/dkim-record.ts';
import type { CommandIo } from '../command.ts';
import { makeFolder, newKey, writeNew } from './key-output.ts';

export interface KeygenArguments {
  readonly domain: string;
  readonly config: string;
  readonly selector: string | undefined;
  readonly type: string | undefined;
  readonly bits: string | undefined;
  readonly out: string | undefined;
}

/** @throws MailError config for arguments that cannot be, files that are there, folders that cannot be written */
export async function generateKey(given: KeygenArguments, io: CommandIo): Promise<number> {
  const { domain, selector, type, bits } = checked(given);
  const folder = resolve(io.cwd, given.out ?? join(dirname(given.config), 'dkim', domain));
  const privateKey = await newKey(type, bits);
  const record = dkimRecord(privateKey);
  const zone = zoneLine(aLabels(domain), selector, record);
  const file = join(folder, `${selector}.private`);
  await makeFolder(folder);
  await writeNew(file, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
  await writeNew(join(folder, `${selector}.txt`), zone, 0o644).catch(async (error: unknown) => {
    // A key without its record would stand in the way of the next try.
    await rm(file, { force: true });
    throw error;
  });
  io.out(`The key is in ${file}. Publish this record:\n\n${zone}\n`);
  io.out(`and then add this to the settings:\n\n${stringify({ dkim_keys: [{ domain, selector, file }] }, { lineWidth: 0 })}`);
  return 0;
}

function checked(given: KeygenArguments): { domain: string; selector: string; type: 'rsa' | 'ed25519'; bits: number } {
  try {
    const domain = readHostname(given.domain);
    const selector = (given.selector ?? 'default').toLowerCase();
    if (!isDomainName(selector)) throw new ValueError(`${show(given.selector)} is not a selector`, 'a DNS label such as default');
    const type = readWord(['rsa', 'ed25519'])(given.type ?? 'rsa');
    if (type === 'ed25519' && given.bits !== undefined) throw new ValueError('an Ed25519 key has no --bits', 'rsa, or no --bits');
    // Below 1024 nobody verifies (RFC 8301 section 3.2); over 4096 the record is too much for many name servers.
    return { domain, selector, type, bits: readInteger(given.bits ?? 2048, 1024, 4096) };
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new MailError('config', 'BAD_ARGUMENTS', `${error.message}; write ${error.right}`);
  }
}
