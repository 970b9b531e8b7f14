// `dovecot-uidvalidity` in the account's Maildir: the highest UIDVALIDITY given to any of its mailboxes, as eight hexadecimal digits, and
// again in the name of the empty file `dovecot-uidvalidity.<hex>`. A new mailbox gets a higher one, so that a name used again is never
// mistaken for the mailbox that had it before.
import { open, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, readIfThere, replaceFile } from './files.ts';

const FILE = 'dovecot-uidvalidity';

/** The next UIDVALIDITY: the clock in seconds, or one above the last (and above `above`) when the clock is behind. Synced before it resolves. */
export async function nextUidValidity(maildir: string, now: () => number, above = 0): Promise<number> {
  const names = (await readdir(maildir)).filter((name) => /^dovecot-uidvalidity\.[0-9a-f]{8}$/.test(name));
  const text = (await readIfThere(join(maildir, FILE)))?.toString('latin1').trim() ?? '';
  const used = [...names.map((name) => name.slice(FILE.length + 1)), text].map((hex) =>
    /^[0-9a-f]{8}$/.test(hex) ? Number.parseInt(hex, 16) : 0,
  );
  const next = Math.max(Math.floor(now() / 1000), above + 1, ...used.map((value) => value + 1));
  const hex = next.toString(16).padStart(8, '0');
  const [old] = names.sort().reverse();
  if (old === undefined) await (await open(join(maildir, `${FILE}.${hex}`), 'a', 0o640)).close();
  else {
    await rename(join(maildir, old), join(maildir, `${FILE}.${hex}`)).catch((error: unknown) => {
      // Another program was first: its number stands there.
      if (!isMissing(error)) throw error;
    });
  }
  await replaceFile(join(maildir, FILE), hex, 0o640);
  return next;
}
