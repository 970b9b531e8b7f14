// A new password: asked for twice on a terminal, else a line on standard input. Never an argument: those are seen by everybody on the host.
import { createHashing } from '../../auth/hashing.ts';
import { NEW_SCHEMES } from '../../auth/new-schemes.ts';
import { MailError } from '../../lib/errors.ts';
import type { CommandIo } from '../command.ts';

/** What a SASL exchange takes, in bytes. */
const MAX_BYTES = 512;

/** @throws MailError config `NO_PASSWORD`, `BAD_PASSWORD`, `PASSWORDS_DIFFER`, `CANCELLED` */
export async function readPassword(io: CommandIo, fromStdin: boolean): Promise<string> {
  const password = io.askSecret && !fromStdin ? await askTwice(io.askSecret) : await firstLine(io.stdin);
  if (password === '')
    throw new MailError('config', 'NO_PASSWORD', 'no password was given: write it as a line on standard input');
  if (/[\u0000-\u001f\u007f]/.test(password) || password.includes('\ufffd'))
    throw new MailError('config', 'BAD_PASSWORD', 'a password is text without control characters, in UTF-8');
  if (Buffer.byteLength(password) > MAX_BYTES)
    throw new MailError('config', 'BAD_PASSWORD', `a password has at most ${MAX_BYTES} bytes`);
  return password;
}

async function askTwice(ask: (prompt: string) => Promise<string>): Promise<string> {
  const password = await ask('New password: ');
  if (password !== '' && (await ask('Once more: ')) !== password)
    throw new MailError('config', 'PASSWORDS_DIFFER', 'the passwords are not the same: nothing was changed');
  return password;
}

async function firstLine(stdin: AsyncIterable<Buffer>): Promise<string> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stdin) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.includes(0x0a) || bytes.length > 4 * MAX_BYTES) break;
  }
  const end = bytes.indexOf(0x0a);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end).replace(/\r$/, '');
}

/** The scheme's name, checked. @throws MailError config `BAD_SCHEME` */
export function readScheme(text: string): string {
  const scheme = text.toUpperCase();
  if ((NEW_SCHEMES as readonly string[]).includes(scheme)) return scheme;
  throw new MailError('config', 'BAD_SCHEME', `new passwords are not stored as ${text}; write one of ${NEW_SCHEMES.join(', ')}`);
}

export async function hashPassword(password: string, scheme: string): Promise<string> {
  const hashing = createHashing({ threads: 1 });
  try {
    return await hashing.hash(password, scheme);
  } finally {
    await hashing.close();
  }
}
