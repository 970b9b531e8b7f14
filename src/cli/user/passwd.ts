// `buzon user passwd ADDRESS`: sessions of the account end, whoever logs in next needs the new password.
import { readAddress } from './address.ts';
import type { AccountContext } from './context.ts';
import { makeHome, setPassword, withHomeLock } from './homes.ts';
import { hashPassword, readPassword, readScheme } from './secret.ts';

export async function changePassword(
  context: AccountContext,
  text: string,
  options: { readonly scheme: string | undefined; readonly passwordFromStdin: boolean },
): Promise<number> {
  const { io, settings } = context;
  const address = readAddress(text);
  const home = await context.homeOf(address);
  const scheme = readScheme(options.scheme ?? settings.new_pass_scheme);
  const stored = await hashPassword(await readPassword(io, options.passwordFromStdin), scheme);
  const place = { address, home, base: settings.virtual_mailbox_base };
  await context.inTree(async () => {
    await makeHome(place);
    await withHomeLock(home, () => setPassword(place, stored));
  });
  io.out(`the password of ${address} is changed\n`);
  return 0;
}
