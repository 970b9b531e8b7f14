// The DNS tree walk of DMARC (RFC 9989 section 4.10): which record is for a domain, and which domain is its organizational domain.
import type { Resolver } from '../../dns/resolver.ts';
import { isDmarcRecord, parseDmarcRecord, type DmarcRecord } from './record.ts';

export interface FoundRecord {
  readonly domain: string;
  readonly record: DmarcRecord;
}

export interface Discovery {
  /** What applies to the domain: its own record, that of its organizational domain, or that of the public suffix above. */
  readonly found?: FoundRecord;
  /** Undefined where DNS failed above a record of the domain's own: that one counts all the same. */
  readonly organizational?: string;
}

/** A longer name is cut down to this many labels after the first question (section 4.10 step 4): eight questions at most. */
const MAX_LABELS = 7;

/** @throws MailError temporary where DNS fails and the policy cannot be known */
export async function discoverPolicy(domain: string, resolver: Resolver): Promise<Discovery> {
  const { records, failure } = await treeWalk(domain, resolver);
  const own = records.find((one) => one.domain === domain);
  if (failure !== undefined) {
    if (own) return { found: own };
    throw failure;
  }
  const organizational = selectOrganizational(domain, records);
  const found = own ?? records.find((one) => one.domain === organizational) ?? records.find(({ record }) => record.psd === 'y');
  return { organizational, ...(found ? { found } : {}) };
}

/** @throws MailError temporary */
export async function organizationalDomain(domain: string, resolver: Resolver): Promise<string> {
  const { records, failure } = await treeWalk(domain, resolver);
  if (failure !== undefined) throw failure;
  return selectOrganizational(domain, records);
}

/** Records from the longest name to the shortest; `failure` is what ended the walk. */
async function treeWalk(domain: string, resolver: Resolver): Promise<{ records: FoundRecord[]; failure?: Error }> {
  const records: FoundRecord[] = [];
  for (
    let labels = domain.split('.');
    labels.length > 0;
    labels = labels.length > MAX_LABELS ? labels.slice(-MAX_LABELS) : labels.slice(1)
  ) {
    const name = labels.join('.');
    let record: DmarcRecord | undefined;
    try {
      record = await recordAt(name, resolver);
    } catch (error) {
      return { records, failure: error instanceof Error ? error : new Error(String(error)) };
    }
    if (!record) continue;
    records.push({ domain: name, record });
    if (record.psd !== 'u') break;
  }
  return { records };
}

/** Several records are none (section 4.10 steps 2 and 6). */
async function recordAt(name: string, resolver: Resolver): Promise<DmarcRecord | undefined> {
  const asked = `_dmarc.${name}`;
  if (asked.length > 253 || name.split('.').some((label) => label === '' || label.length > 63)) return undefined;
  const [only, more] = (await resolver.txt(asked)).map((text) => text.trim()).filter(isDmarcRecord);
  return only === undefined || more !== undefined ? undefined : parseDmarcRecord(only);
}

/** Section 4.10.2. */
function selectOrganizational(domain: string, records: readonly FoundRecord[]): string {
  for (const { domain: at, record } of records) {
    if (record.psd === 'n') return at;
    if (record.psd === 'y' && at !== domain)
      return domain
        .split('.')
        .slice(-(at.split('.').length + 1))
        .join('.');
  }
  return records.at(-1)?.domain ?? domain;
}
