// `buzon domain del DOMAIN`: only when it has no mailboxes left.
import { openDomainList } from '../../config/domain-list.ts';
import { looksLikeMap } from '../../config/map-spec.ts';
import { MailError } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';
import { readDomain } from '../user/address.ts';
import { domainOf, type AccountContext } from '../user/context.ts';
import { withoutName } from '../user/table-text.ts';
import { editableTable, removeEntry } from '../user/tables.ts';
import { changeConfigText } from '../user/text-file.ts';
import { changeSettingsDomains } from './settings-file.ts';

export async function deleteDomain(context: AccountContext, text: string): Promise<number> {
  const { io, settings } = context;
  const domain = readDomain(text);
  if (!(await context.domains.has(domain)))
    throw new MailError('config', 'NO_SUCH_DOMAIN', `${domain} is not one of virtual_mailbox_domains`);
  const mailboxes = (await context.accounts()).filter(([address]) => domainOf(address) === domain).length;
  if (mailboxes > 0)
    throw new MailError(
      'config',
      'DOMAIN_IN_USE',
      `${domain} has ${mailboxes} mailbox${mailboxes === 1 ? '' : 'es'}: remove ${mailboxes === 1 ? 'it' : 'them'} first ("buzon user list ${domain}")`,
    );
  for (const entry of settings.virtual_mailbox_domains.filter(looksLikeMap)) await removeFrom(context, entry, domain);
  if (settings.virtual_mailbox_domains.some((entry) => entry.toLowerCase() === domain)) {
    await changeSettingsDomains(context, { remove: domain });
    context.say(['a running server takes it over with "buzon reload"']);
  }
  io.out(`${domain} is removed from virtual_mailbox_domains\n`);
  return 0;
}

async function removeFrom(context: AccountContext, entry: string, domain: string): Promise<void> {
  const list = openDomainList([entry], { logger: silentLogger });
  const has = await list.has(domain);
  list.close();
  if (!has) return;
  const table = entry.startsWith('/') ? undefined : editableTable(entry);
  if (table) context.say(await removeEntry(table, domain));
  else if (entry.startsWith('/'))
    await changeConfigText(entry, 0o644, (before) => (before === undefined ? undefined : withoutName(before, domain)));
  else
    throw new MailError(
      'config',
      'NO_EDITABLE_MAP',
      `${domain} comes from ${entry}, which is no table in a file; take it out there`,
    );
}
