// An MTA-STS policy file as this host serves it (RFC 8461 3.2). The guide's one-line form is not one.
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../lib/errors.ts';
import type { Report, World } from './finding.ts';

const MAX_AGE = 31_557_600;

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
    const dot = exchange.indexOf('.');
    const covered = policy.some((name) => name === exchange || (name.startsWith('*.') && name.slice(1) === exchange.slice(dot)));
    if (!covered)
      report.error(
        'MTASTS_MX',
        domain,
        `its policy allows ${policy.join(', ') || 'no host'} and not its MX ${exchange}: senders that honour the policy send nothing there`,
        `mx: ${exchange}`,
      );
  }
}

export async function checkPolicies(
  { settings }: World,
  knowsDns: boolean,
  report: Report,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const { domain, file } of settings.mta_sts) {
    const policy = await checkPolicy(domain, file, report);
    if (!policy) continue;
    found.set(domain, policy);
    // With DNS, the domain's real MX are held against it instead.
    if (!knowsDns && policy.length > 0) checkPolicyMx(domain, policy, [settings.hostname], report);
  }
  return found;
}
