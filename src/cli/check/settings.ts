// All checks of one set of settings.
import type { Settings } from '../../config/settings.ts';
import type { Resolver } from '../../dns/resolver.ts';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { checkAddresses } from './addresses.ts';
import { checkDkimKeys } from './dkim-keys.ts';
import { checkDns } from './dns.ts';
import { readWorld, Report, type Finding } from './finding.ts';
import { checkHomes } from './homes.ts';
import { checkPolicies } from './mta-sts.ts';
import { checkRouting } from './routing.ts';
import { checkTables } from './tables.ts';
import { checkTls } from './tls.ts';

export interface CheckDeps {
  /** Asked for the domains' records; without it nothing is said of DNS. */
  readonly resolver?: Resolver;
  readonly clock?: Clock;
}

/** Everything that can be told without starting. Never throws for what it finds. */
export async function checkSettings(
  settings: Settings,
  { resolver, clock = systemClock }: CheckDeps = {},
): Promise<readonly Finding[]> {
  const report = new Report();
  await checkTables(settings, report);
  const world = await readWorld(settings, clock);
  checkAddresses(world, report);
  await checkRouting(world, report);
  await checkHomes(world, report);
  await checkTls(world, report);
  await checkDkimKeys(world, report);
  const policies = await checkPolicies(world, resolver !== undefined, report);
  if (resolver) await checkDns(world, policies, resolver, report);
  return report.findings;
}
