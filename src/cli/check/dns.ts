// What DNS says of the domains: MX, addresses and their names, SPF, DKIM, DMARC, MTA-STS. Asked through the Resolver, nothing is sent.
import type { Resolver } from '../../dns/resolver.ts';
import { MailError } from '../../lib/errors.ts';
import { virtualDomains, type Report, type World } from './finding.ts';
import { policyRecord } from '../../policy/mta-sts/own.ts';
import { policyId } from '../../policy/mta-sts/policy.ts';
import { checkPolicyMx, type CheckedPolicy } from './mta-sts.ts';
import { spfAllows } from './spf.ts';

/** A host without DNS waits for this many answers, not for five a domain. */
const MAX_SILENT = 3;

export async function checkDns(
  world: World,
  policies: ReadonlyMap<string, CheckedPolicy>,
  resolver: Resolver,
  report: Report,
): Promise<void> {
  const { hostname, dkim_selector: selector } = world.settings;
  let silent = 0;
  const ask = async (subject: string, check: () => Promise<void>): Promise<void> => {
    if (silent >= MAX_SILENT) return;
    try {
      await check();
      silent = 0;
    } catch (error) {
      if (!(error instanceof MailError) || error.kind !== 'temporary') throw error;
      report.warn('DNS_FAILED', subject, `DNS gave no answer (${error.detail || error.message})`, 'another try later');
      if (++silent === MAX_SILENT)
        report.warn(
          'DNS_SILENT',
          'dns',
          `${MAX_SILENT} questions in a row went unanswered: the rest is not asked`,
          'a name server that answers, in /etc/resolv.conf or dns: {servers: …}',
        );
    }
  };
  let addresses: readonly string[] = [];
  await ask(hostname, async () => void (addresses = await checkHost(hostname, resolver, report)));
  for (const domain of virtualDomains(world)) {
    await ask(domain, () => checkMx(domain, hostname, policies.get(domain)?.mx, resolver, report));
    await ask(domain, () => checkSpf(domain, hostname, addresses, resolver, report));
    await ask(domain, () => checkDkim(domain, selector, resolver, report));
    await ask(domain, () => checkDmarc(domain, resolver, report));
    await ask(domain, () => checkStsRecord(domain, policies.get(domain), resolver, report));
  }
}

/** The host's addresses, each of which should lead back to its name: many receivers refuse mail otherwise. */
async function checkHost(hostname: string, resolver: Resolver, report: Report): Promise<string[]> {
  const addresses = [...(await resolver.a(hostname)), ...(await resolver.aaaa(hostname))];
  if (addresses.length === 0)
    report.error('HOST_NO_ADDRESS', hostname, 'the hostname has no address in DNS', `an A record for ${hostname}`);
  for (const address of addresses) {
    const names = await resolver.ptr(address);
    if (!names.includes(hostname))
      report.warn(
        'PTR_MISMATCH',
        address,
        names.length > 0 ? `its PTR record says ${names.join(', ')}` : 'it has no PTR record',
        `${hostname} in its PTR record (set by who gave you the address)`,
      );
  }
  return addresses;
}

async function checkMx(
  domain: string,
  hostname: string,
  policy: readonly string[] | undefined,
  resolver: Resolver,
  report: Report,
): Promise<void> {
  const exchanges = (await resolver.mx(domain)).map(({ exchange }) => exchange);
  const right = `${domain}. IN MX 10 ${hostname}.`;
  if (exchanges.length === 0) report.error('MX_MISSING', domain, 'it has no MX record', right);
  else if (!exchanges.includes(hostname))
    report.error('MX_ELSEWHERE', domain, `its MX is ${exchanges.join(', ')} and not this host`, right);
  if (policy) checkPolicyMx(domain, policy, exchanges, report);
}

async function checkSpf(
  domain: string,
  hostname: string,
  addresses: readonly string[],
  resolver: Resolver,
  report: Report,
): Promise<void> {
  const records = (await resolver.txt(domain)).filter((text) => /^v=spf1(\s|$)/i.test(text));
  const [record] = records;
  if (record === undefined) {
    report.warn('SPF_MISSING', domain, 'it has no SPF record', `${domain}. IN TXT "v=spf1 mx -all"`);
    return;
  }
  if (records.length > 1)
    report.error('SPF_TWICE', domain, 'it has more than one SPF record: receivers take that for an error', 'one record');
  for (const address of addresses)
    if ((await spfAllows(record, domain, address, resolver)) === 'no')
      report.error(
        'SPF_HOST_MISSING',
        domain,
        `its SPF record does not allow this host (${address}): "${record}"`,
        `a:${hostname} or mx in it, before its "all"`,
      );
}

async function checkDkim(domain: string, selector: string, resolver: Resolver, report: Report): Promise<void> {
  const name = `${selector}._domainkey.${domain}`;
  const [record] = await resolver.txt(name);
  if (record === undefined) {
    const [misplaced] = await resolver.txt(`${selector}._domain_key.${domain}`);
    if (misplaced !== undefined)
      report.error(
        'DKIM_DOMAIN_KEY',
        domain,
        `the key is at ${selector}._domain_key.${domain}, where nobody looks for it (RFC 6376 3.6.2.1)`,
        `the record at ${name}`,
      );
    else report.warn('DKIM_MISSING', domain, `there is no DKIM key at ${name}`, `${name}. IN TXT "v=DKIM1; k=rsa; p=…"`);
    return;
  }
  const key = /(?:^|;)\s*p\s*=\s*([^;]*)/.exec(record)?.[1]?.replace(/\s+/g, '');
  if (key === undefined || !/^[A-Za-z0-9+/]{32,}={0,2}$/.test(key))
    report.error(
      'DKIM_NO_KEY',
      domain,
      `${name} holds no public key`,
      'p= with the public key in base64, in one line without spaces',
    );
}

async function checkDmarc(domain: string, resolver: Resolver, report: Report): Promise<void> {
  const records = (await resolver.txt(`_dmarc.${domain}`)).filter((text) => /^v\s*=\s*DMARC1\b/i.test(text));
  const [record] = records;
  const right = `_dmarc.${domain}. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@${domain}"`;
  if (record === undefined) {
    report.warn('DMARC_MISSING', domain, 'it has no DMARC record', right);
    return;
  }
  if (records.length > 1)
    report.error('DMARC_TWICE', domain, 'it has more than one DMARC record: receivers ignore all', 'one record');
  const tags = new Map(
    record
      .split(';')
      .map((tag) => [tag.split('=')[0]?.trim().toLowerCase() ?? '', tag.split('=').slice(1).join('=').trim()] as const),
  );
  if (!/^(none|quarantine|reject)$/i.test(tags.get('p') ?? ''))
    report.error('DMARC_POLICY', domain, 'its DMARC record has no p=none, quarantine or reject', right);
  for (const tag of ['rua', 'ruf']) {
    const uris = tags.get(tag);
    if (uris !== undefined && !uris.split(',').every((uri) => /^(mailto:[^@\s]+@[^@\s]+|https:\S+)$/i.test(uri.trim())))
      report.error(
        'DMARC_EMPTY_URI',
        domain,
        `${tag}=${uris} names no mailbox: reports go nowhere`,
        `${tag}=mailto:postmaster@${domain}, or no ${tag} at all`,
      );
  }
}

/** RFC 8461 3.1: `v=STSv1; id=` with 1 to 32 letters and digits. */
async function checkStsRecord(
  domain: string,
  policy: CheckedPolicy | undefined,
  resolver: Resolver,
  report: Report,
): Promise<void> {
  const records = (await resolver.txt(`_mta-sts.${domain}`)).filter((text) => /^v\s*=\s*STSv1/i.test(text));
  const [record] = records;
  const right = policyRecord(domain, policy?.id ?? '20260101000000Z');
  if (record === undefined) {
    if (policy)
      report.warn('MTASTS_NO_RECORD', domain, 'there is a policy and no _mta-sts record: nobody asks for the policy', right);
    return;
  }
  const id = policyId(records);
  if (id === undefined)
    report.error('MTASTS_RECORD', domain, `its _mta-sts record is not of the form that senders read: "${record}"`, right);
  else if (policy?.id !== undefined && policy.id !== id)
    report.error(
      'MTASTS_ID',
      domain,
      `its _mta-sts record says id=${id}, of another policy: senders do not ask for this one`,
      right,
    );
  if ((await resolver.a(`mta-sts.${domain}`)).length === 0 && (await resolver.aaaa(`mta-sts.${domain}`)).length === 0)
    report.error(
      'MTASTS_NO_HOST',
      domain,
      `mta-sts.${domain}, where senders fetch the policy, has no address`,
      `an A record for mta-sts.${domain}`,
    );
}
