// A mail store over a temporary folder, for tests that need no server.
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { silentLogger } from '../../src/lib/logger.ts';
import { memorySource, type MessageSource } from '../../src/message/source.ts';
import { MailStore, type MailStoreOptions } from '../../src/storage/mail-store.ts';
import type { AccountStore, QuotaLimits, Uid } from '../../src/storage/types.ts';
import { tempFolder } from './temp-folder.ts';

export const sourceOf = (text: string): MessageSource => memorySource(Buffer.from(text, 'latin1'));
export const uid = (n: number): Uid => n as Uid;

export interface TestStore {
  readonly mail: MailStore;
  readonly account: AccountStore;
  readonly maildir: string;
  /** A store of another process: nothing known. */
  again(): AccountStore;
  /** Names in a folder of the Maildir, sorted. */
  names(...folder: string[]): Promise<string[]>;
  text(...file: string[]): Promise<string>;
}

export async function makeStore(
  t: TestContext,
  options: Partial<MailStoreOptions> = {},
  quota: QuotaLimits = {},
): Promise<TestStore> {
  const folder = await tempFolder(t);
  const maildir = join(folder, 'example.test', 'ana');
  const location = { address: 'ana@example.test', maildir, quota };
  const open: MailStore[] = [];
  const make = (): MailStore => {
    const mail = new MailStore({ logger: silentLogger, hostname: 'mx', ...options });
    open.push(mail);
    return mail;
  };
  t.after(() => open.forEach((mail) => mail.close()));
  const mail = make();
  return {
    mail,
    account: mail.account(location),
    maildir,
    again: () => make().account(location),
    names: async (...path) => (await readdir(join(maildir, ...path)).catch(() => [])).sort(),
    text: (...path) => readFile(join(maildir, ...path), 'latin1'),
  };
}
