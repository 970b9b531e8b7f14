// `buzon user del ADDRESS`: out of the map first (no mail, no log-in from then on), then the passwords; the mail stays unless --purge.
import { stat } from 'node:fs/promises';
import { MailError } from '../../lib/errors.ts';
import { readAddress } from './address.ts';
import type { AccountContext } from './context.ts';
import { removePasswordEntries, removeTree, withHomeLock } from './homes.ts';
import { editableTable, removeEntry } from './tables.ts';

export async function deleteUser(context: AccountContext, text: string, purge: boolean): Promise<number> {
  const { io, settings } = context;
  const address = readAddress(text);
  const home = await context.homeOf(address);
  const folders = purge ? await foldersToPurge(context, address, home) : [];
  const place = { address, home, base: settings.virtual_mailbox_base };
  const isThere = await context.inTree(() =>
    stat(home).then(
      (found) => found.isDirectory(),
      () => false,
    ),
  );
  const notes = await context.inTree(async () => {
    const work = async (): Promise<string[]> => {
      const left = await removeFromMaps(context, address);
      await removePasswordEntries(place);
      for (const folder of folders) await removeTree(folder);
      return left;
    };
    return isThere ? withHomeLock(home, work) : work();
  });
  io.out(purge ? `${address} is removed, with its mail\n` : `${address} is removed; its mail stays in ${home}\n`);
  const aliases = await context.aliasesOf(address);
  context.say([...notes, ...(aliases.length > 0 ? [`these aliases still lead to ${address}: ${aliases.join(', ')}`] : [])]);
  return 0;
}

async function removeFromMaps(context: AccountContext, address: string): Promise<string[]> {
  const notes: string[] = [];
  for (const table of context.mailboxes) {
    if ((await table.get(address)) === undefined) continue;
    const file = editableTable(table.spec);
    if (!file)
      throw new MailError(
        'config',
        'NO_EDITABLE_MAP',
        `${address} comes from ${table.spec}, which is no table in a file; take it out there`,
      );
    notes.push(...(await removeEntry(file, address)));
  }
  return notes;
}

/** Home and Maildir, when they are this account's alone. @throws MailError config `NOT_ALONE` */
async function foldersToPurge(context: AccountContext, address: string, home: string): Promise<string[]> {
  const base = context.settings.virtual_mailbox_base;
  const account = await context.inTree(() => context.openAccounts().find(address));
  const folders = [...new Set([home, account?.home ?? home, account?.maildir ?? home])];
  for (const folder of folders) {
    if (!folder.startsWith(`${base}/`))
      throw new MailError('config', 'NOT_ALONE', `${folder} is not below ${base}: remove it yourself, and run without --purge`);
    for (const [other, value] of await context.accounts()) {
      if (other === address || !value.trim().endsWith('/')) continue;
      const theirs = context.homeFor(other, value);
      if (`${theirs}/`.startsWith(`${folder}/`) || `${folder}/`.startsWith(`${theirs}/`))
        throw new MailError('config', 'NOT_ALONE', `${folder} holds the mail of ${other} too: run without --purge`);
    }
  }
  return folders;
}
