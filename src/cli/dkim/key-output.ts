// New keys, and files that are written once.
import { generateKeyPair, type KeyObject } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, MailError } from '../../lib/errors.ts';

const generate = promisify(generateKeyPair) as (
  type: string,
  options: { modulusLength?: number },
) => Promise<{ privateKey: KeyObject; publicKey: KeyObject }>;

/** A private key; `bits` for RSA. */
export const newKey = async (type: 'rsa' | 'ed25519', bits: number): Promise<KeyObject> =>
  (await generate(type, type === 'rsa' ? { modulusLength: bits } : {})).privateKey;

/** @throws MailError config `CANNOT_WRITE` */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o750 }).catch((error: unknown) => {
    throw new MailError('config', 'CANNOT_WRITE', `${folder} cannot be made (${errnoOf(error) ?? String(error)})`, {
      cause: error,
    });
  });
}

/** Synced; what is there is not overwritten. @throws MailError config `CANNOT_WRITE` */
export async function writeNew(file: string, text: string, mode: number): Promise<void> {
  try {
    await using handle = await open(file, 'wx', mode);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    const reason =
      errnoOf(error) === 'EEXIST'
        ? 'is there already: it is not overwritten'
        : `cannot be written (${errnoOf(error) ?? String(error)})`;
    throw new MailError('config', 'CANNOT_WRITE', `${file} ${reason}`, { cause: error });
  }
}
