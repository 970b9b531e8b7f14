// `buzon user show ADDRESS`: what the server makes of an account. Never a hash.
import { schemeName, unsupportedReason } from '../../auth/stored-password.ts';
import type { Account } from '../../auth/types.ts';
import type { Credentials } from '../../auth/accounts.ts';
import { readAddress } from './address.ts';
import type { AccountContext } from './context.ts';

export async function showUser(context: AccountContext, text: string): Promise<number> {
  const { io, settings } = context;
  const address = readAddress(text);
  await context.homeOf(address);
  const warnings: string[] = [];
  const accounts = context.openAccounts((event, fields) => warnings.push(`${event} ${JSON.stringify(fields)}`));
  const credentials = await context.inTree(() => accounts.credentials(address));
  if (!credentials) return 1;
  const { account } = credentials;
  const aliases = await context.aliasesOf(address);
  const lines: readonly (readonly [string, string])[] = [
    ['address', address],
    ['home', account.home],
    ['maildir', account.maildir],
    ['quota', quotaText(account.quota)],
    ['log-in', loginText(credentials, settings.default_pass_scheme)],
    ['aliases', aliases.join(', ') || 'none'],
  ];
  for (const [name, value] of lines) io.out(`${name.padEnd(9)}${value}\n`);
  context.say(warnings);
  return 0;
}

function quotaText({ bytes, messages }: Account['quota']): string {
  const parts = [...(bytes === undefined ? [] : [`${bytes} bytes`]), ...(messages === undefined ? [] : [`${messages} messages`])];
  return parts.join(', ') || 'none';
}

function loginText({ stored, locked, noPassword }: Credentials, defaultScheme: string): string {
  if (noPassword) return 'with any password (nopassword)';
  if (locked) return 'locked';
  if (stored === undefined) return 'no password: nobody can log in';
  const reason = unsupportedReason(stored, defaultScheme);
  return reason === undefined ? schemeName(stored, defaultScheme) : `nobody can log in: ${reason}`;
}
