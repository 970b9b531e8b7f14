// Whether a mailbox is there, without opening it: its messages are not looked at.
import type { AccountStore, MailboxListEntry, MailboxPath } from '../storage/types.ts';

const key = (path: MailboxPath): string => path.map((level) => level.normalize('NFC')).join('\0');

/** The entry of this name, of mailboxes and of levels above one. */
export async function findEntry(store: AccountStore, path: MailboxPath): Promise<MailboxListEntry | undefined> {
  const wanted = key(path);
  return (await store.list()).find((entry) => key(entry.path) === wanted);
}

/** Whether messages can be put there. INBOX always exists. */
export async function mailboxExists(store: AccountStore, path: MailboxPath): Promise<boolean> {
  if (path.length === 1 && path[0] === 'INBOX') return true;
  return (await findEntry(store, path))?.exists ?? false;
}
