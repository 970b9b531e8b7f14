// `buzon user list [DOMAIN]`: addresses with a mailbox, a line each, by domain and name.
import { readDomain } from './address.ts';
import { domainOf, type AccountContext } from './context.ts';

export async function listUsers(context: AccountContext, text: string | undefined): Promise<number> {
  const only = text === undefined ? undefined : readDomain(text);
  const accounts = (await context.accounts()).filter(([address]) => only === undefined || domainOf(address) === only);
  for (const [address] of accounts) context.io.out(`${address}\n`);
  if (accounts.length === 0 && only !== undefined && !(await context.domains.has(only))) {
    context.io.err(`buzon user: ${only} is not one of virtual_mailbox_domains\n`);
    return 1;
  }
  return 0;
}
