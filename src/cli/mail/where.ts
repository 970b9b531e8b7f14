// Which mailbox a command means: a file or Maildir by its path, an account of this server by its address, a user of the host by name.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { CommandIo } from '../command.ts';
import { localUser } from '../sendmail/local-user.ts';
import { settingsFileFor } from '../settings-file.ts';
import { AccountContext } from '../user/context.ts';
import { pathOfUrl } from './box.ts';
import { kindOf } from './box-types.ts';

/** `-u USER`; an address is looked up in virtual_mailbox_maps. @throws MailError config */
export async function mailboxOfUser(user: string, io: CommandIo): Promise<string> {
  if (!user.includes('@')) return join('/var/mail', user.replaceAll('/', '_'));
  using context = await AccountContext.open(await settingsFileFor(undefined, io), io);
  const home = await context.homeOf(user.toLowerCase());
  const account = await context.inTree(() => context.openAccounts().find(user.toLowerCase()));
  return account?.maildir ?? home;
}

/** The caller's own: MAIL, else the spool file, else ~/Maildir. */
export async function ownMailbox(io: CommandIo): Promise<string> {
  const { MAIL: mail } = io.env;
  if (mail !== undefined && mail !== '') return pathOfUrl(mail);
  const spool = join('/var/mail', (await localUser(process.getuid?.() ?? 0))?.name ?? 'nobody');
  const maildir = join(io.env['HOME'] ?? homedir(), 'Maildir');
  return (await kindOf(spool)) === undefined && (await kindOf(maildir)) !== undefined ? maildir : spool;
}

/** A mailbox as an argument: a path or `maildir:…`, `mbox:…`; `%user` and `%` as in mail(1). */
export async function mailboxFor(text: string | undefined, io: CommandIo): Promise<string> {
  if (text === undefined || text === '%') return ownMailbox(io);
  if (text.startsWith('%')) return mailboxOfUser(text.slice(1), io);
  if (/^[^/]+@[^/]+$/.test(text) && (await kindOf(resolve(io.cwd, text))) === undefined) return mailboxOfUser(text, io);
  return resolve(io.cwd, pathOfUrl(text));
}
