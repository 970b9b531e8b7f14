// An MTA-STS policy file as this host serves it (RFC 8461 3.2). The guide's one-line form is not one.
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../lib/errors.ts';
import { ownPolicy } from '../../policy/mta-sts/own.ts';
import { allowsHost, MAX_AGE } from '../../policy/mta-sts/policy.ts';
import { virtualDomains, type Report, type World } from './finding.ts';

/** What the policy lists as `mx:`; undefined when there is none to look at. */
export async function checkPolicy(domain: string, file: string, report: Report): Promise<readonly string[] | undefined> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).slice(0, 65536);
  } catch (error) {
    report.error(
      'MTASTS_UNREADABLE',
      domain,
      `${file}: ${errnoOf(error) ?? String(error)}`,
      'the policy file that the web server serves',
    );
    return undefined;
  }
  const right = 'a line each for version: STSv1, mode: enforce, mx: NAME, max_age: 604800';
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const [only = ''] = lines;
  if (lines.length === 1 && /version:.*\b(mode|mx|max_age):/.test(only)) {
    report.error('MTASTS_ONE_LINE', domain, `${file} has everything on one line: no sender takes that for a policy`, right);
    return only.split(/\s+(?=\w+:)/).flatMap((part) => (part.startsWith('mx:') ? [part.slice(3).trim().toLowerCase()] : []));
  }
  const fields = lines.map((line) => /^\s*([\w-]+)\s*:\s*(.*?)\s*$/.exec(line)).filter((match) => match !== null);
  const values = (name: string): string[] => fields.filter(([, key]) => key === name).map(([, , value = '']) => value);
  const mode = values('mode')[0];
  const age = Number(values('max_age')[0] ?? NaN);
  if (values('version')[0] !== 'STSv1') report.error('MTASTS_VERSION', domain, `${file} has no version: STSv1`, right);
  if (mode !== 'enforce' && mode !== 'testing' && mode !== 'none')
    report.error('MTASTS_MODE', domain, `${file} has no mode of enforce, testing or none`, right);
  if (!(Number.isInteger(age) && age >= 0 && age <= MAX_AGE))
    report.error('MTASTS_MAX_AGE', domain, `${file} has no max_age from 0 to ${MAX_AGE}`, right);
  if (values('mx').length === 0 && mode !== 'none') report.error('MTASTS_MX', domain, `${file} names no mx`, right);
  return values('mx').map((name) => name.toLowerCase().replace(/\.$/, ''));
}

/** Each MX of the domain must be in the policy, else senders that honour it send nothing (RFC 8461 4.1). */
export function checkPolicyMx(domain: string, policy: readonly string[], exchanges: readonly string[], report: Report): void {
  for (const exchange of exchanges) {
    if (!allowsHost({ mx: policy }, exchange))
      report.error(
        'MTASTS_MX',
        domain,
        `its policy allows ${policy.join(', ') || 'no host'} and not its MX ${exchange}: senders that honour the policy send nothing there`,
        `mx: ${exchange}`,
      );
  }
}

/** What a check knows of a domain's policy. */
export interface CheckedPolicy {
  /** Undefined where it names none on purpose. */
  readonly mx: readonly string[] | undefined;
  /** Of the policy that this server serves: the record's id. */
  readonly id?: string;
}

/** Policies that another web server serves, from their files, and those that this one does. */
export async function checkPolicies(
  world: World,
  knowsDns: boolean,
  report: Report,
): Promise<ReadonlyMap<string, CheckedPolicy>> {
  const { settings } = world;
  const found = new Map<string, CheckedPolicy>();
  for (const { domain, file } of settings.mta_sts) {
    const mx = await checkPolicy(domain, file, report);
    if (mx) found.set(domain, { mx });
  }
  if (settings.listeners.some(({ protocol }) => protocol === 'https' || protocol === 'http'))
    for (const domain of virtualDomains(world).filter((one) => !found.has(one))) {
      const { mode, mx, id } = ownPolicy(settings, domain);
      found.set(domain, { mx: mode === 'none' ? undefined : mx, id });
    }
  // With DNS, the domain's real MX are held against it instead.
  if (!knowsDns)
    for (const [domain, { mx }] of found) if (mx && mx.length > 0) checkPolicyMx(domain, mx, [settings.hostname], report);
  for (const { domain } of settings.mta_sts_policies)
    if (!virtualDomains(world).includes(domain))
      report.warn(
        'MTASTS_NO_DOMAIN',
        domain,
        'it is in mta_sts_policies and is no virtual domain: nothing is served for it',
        'a domain of virtual_mailbox_domains or virtual_alias_domains',
      );
  return found;
}
