// `buzon domain list`: each domain of virtual_mailbox_domains with the number of its mailboxes.
import { domainOf, type AccountContext } from '../user/context.ts';

export async function listDomains(context: AccountContext): Promise<number> {
  const counts = new Map<string, number>();
  for (const [address] of await context.accounts()) counts.set(domainOf(address), (counts.get(domainOf(address)) ?? 0) + 1);
  for (const domain of [...(await context.domains.names())].sort()) context.io.out(`${domain}\t${counts.get(domain) ?? 0}\n`);
  return 0;
}
