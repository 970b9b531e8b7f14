// Debian's opendkim in its test mode (-t): signs or verifies files without a mail server.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './programs.ts';

/** `d= s=` of each signature that it would add, in its order; and `i=` behind them where there is one. */
export async function openDkimSigns(opendkim: string, conf: string, folder: string, message: string): Promise<string[]> {
  const file = join(folder, 'message');
  await writeFile(file, message);
  const { stdout, stderr } = await run(opendkim, ['-x', conf, '-v', '-v', '-t', file]);
  // Its status is not 0 where it has nothing to do.
  if (!stderr.includes('mlfi_eoh() returned SMFIS_') && !stdout.includes('mlfi_eoh() returned SMFIS_'))
    throw new Error(`${stderr}\n${stdout}`);
  return [...stdout.matchAll(/hname='DKIM-Signature' hvalue='([^']*)'/g)].map(([, value = '']) => identifiers(value));
}

export function identifiers(value: string): string {
  const tag = (name: string): string | undefined => new RegExp(`(?:^|;)\\s*${name}=([^;\\s]*)`).exec(value)?.[1];
  const identity = tag('i');
  return `${tag('d')} ${tag('s')}${identity === undefined ? '' : ` ${identity}`}`;
}

/** What it says of a message's signatures, keys from `keys` (name and record a line). */
export async function openDkimVerifies(
  opendkim: string,
  folder: string,
  message: Buffer,
  keys: Readonly<Record<string, string>>,
): Promise<string> {
  const [file, conf, published] = ['message', 'verify.conf', 'published'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(file, message);
  await writeFile(
    published,
    Object.entries(keys)
      .map(([name, record]) => `${name} ${record}\n`)
      .join(''),
  );
  await writeFile(conf, `Mode v\nTestPublicKeys ${published}\nMinimumKeyBits 1024\nAlwaysAddARHeader yes\n`);
  const { stdout, stderr } = await run(opendkim, ['-x', conf, '-v', '-v', '-t', file]);
  return stdout + stderr;
}
