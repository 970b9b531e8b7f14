// `buzon user add ADDRESS`: home, passwd and shadow first; with the line in the map the account begins.
import { MailError } from '../../lib/errors.ts';
import { readSize, ValueError } from '../../config/values.ts';
import { readAddress } from './address.ts';
import { domainOf, type AccountContext } from './context.ts';
import { addPasswordEntries, makeHome, withHomeLock } from './homes.ts';
import { hashPassword, readPassword, readScheme } from './secret.ts';
import { addEntry, editableTable } from './tables.ts';

export interface AddOptions {
  readonly scheme: string | undefined;
  readonly quota: string | undefined;
  readonly passwordFromStdin: boolean;
}

export async function addUser(context: AccountContext, text: string, options: AddOptions): Promise<number> {
  const { io, settings } = context;
  const address = readAddress(text);
  const domain = domainOf(address);
  if (!(await context.domains.has(domain)))
    throw new MailError(
      'config',
      'NO_SUCH_DOMAIN',
      `${domain} is not one of virtual_mailbox_domains; run "buzon domain add ${domain}" first`,
    );
  const exists = new MailError('config', 'USER_EXISTS', `there is a mailbox ${address} already`);
  if ((await context.mapValue(address)) !== undefined) throw exists;
  const value = `${domain}/${address.slice(0, address.lastIndexOf('@'))}/`;
  const table = settings.virtual_mailbox_maps.map(editableTable).find((one) => one !== undefined);
  if (!table)
    throw new MailError(
      'config',
      'NO_EDITABLE_MAP',
      `virtual_mailbox_maps has no table in a file that can be changed; add the line yourself: ${address}  ${value}`,
    );
  const scheme = readScheme(options.scheme ?? settings.new_pass_scheme);
  const extra = options.quota === undefined ? '' : quotaField(options.quota);
  const stored = await hashPassword(await readPassword(io, options.passwordFromStdin), scheme);
  const place = { address, home: context.homeFor(address, value), base: settings.virtual_mailbox_base };
  const notes = await context.inTree(async () => {
    await makeHome(place);
    return withHomeLock(place.home, async () => {
      if ((await context.mapValue(address)) !== undefined) throw exists;
      await addPasswordEntries(place, stored, extra);
      return addEntry(table, address, value);
    });
  });
  io.out(`${address} has a mailbox now: ${place.home}\n`);
  const [alias] = await aliasFor(context, address);
  context.say([
    ...notes,
    ...(alias === undefined ? [] : [`virtual_alias_maps sends the mail for ${address} to ${alias}, not to the mailbox`]),
  ]);
  return 0;
}

async function aliasFor(context: AccountContext, address: string): Promise<string[]> {
  for (const table of context.aliases) {
    const value = await table.get(address);
    if (
      value !== undefined &&
      !value
        .toLowerCase()
        .split(/[\s,]+/)
        .includes(address)
    )
      return [value];
  }
  return [];
}

/** `1G` as Dovecot's rule. */
function quotaField(text: string): string {
  try {
    const bytes = readSize(text);
    const plain = /^(\d+) ?([kmgt])b?$/i.exec(text);
    return `userdb_quota_rule=*:${plain ? `storage=${plain[1]}${plain[2]?.toUpperCase()}` : `bytes=${bytes}`}`;
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new MailError('config', 'BAD_QUOTA', `--quota: ${error.message}; write ${error.right}`);
  }
}
