// `buzon domain add DOMAIN`.
import { openDomainList } from '../../config/domain-list.ts';
import { looksLikeMap } from '../../config/map-spec.ts';
import { MailError } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';
import { readDomain } from '../user/address.ts';
import type { AccountContext } from '../user/context.ts';
import { withName } from '../user/table-text.ts';
import { addEntry, editableTable } from '../user/tables.ts';
import { changeConfigText } from '../user/text-file.ts';
import { changeSettingsDomains } from './settings-file.ts';

export async function addDomain(context: AccountContext, text: string): Promise<number> {
  const { io, settings } = context;
  const domain = readDomain(text);
  if (await context.domains.has(domain))
    throw new MailError('config', 'DOMAIN_EXISTS', `${domain} is one of virtual_mailbox_domains already`);
  for (const name of ['mydestination', 'virtual_alias_domains'] as const) {
    const list = openDomainList(settings[name], { logger: silentLogger });
    const taken = await list.has(domain);
    list.close();
    if (taken)
      throw new MailError(
        'config',
        'DOMAIN_TAKEN',
        `${domain} is in ${name}: a domain is of one kind only; take it out there first`,
      );
  }
  const entry = settings.virtual_mailbox_domains.find((one) => one.startsWith('/') || (looksLikeMap(one) && editableTable(one)));
  if (entry === undefined) {
    await changeSettingsDomains(context, { add: domain });
    io.out(`${domain} is added to virtual_mailbox_domains in ${context.file}\n`);
    context.say(['a running server takes it over with "buzon reload"']);
    return 0;
  }
  const table = entry.startsWith('/') ? undefined : editableTable(entry);
  if (table) context.say(await addEntry(table, domain, 'OK'));
  else await changeConfigText(entry, 0o644, (before = '') => withName(before, domain));
  io.out(`${domain} is added to ${entry}\n`);
  return 0;
}
