// DMARC (RFC 9989): does an identifier that SPF or DKIM vouches for belong to the author's domain, and what does that domain want of a message that
// nobody vouches for. The second is asked first, of the author's DNS alone: nothing that a sender's own DNS does may keep it from being known.
import type { Resolver } from '../../dns/resolver.ts';
import { errnoOf } from '../../lib/errors.ts';
import type { Author } from '../author.ts';
import type { DmarcPolicy } from './record.ts';
import { discoverPolicy, organizationalDomain, type Discovery, type FoundRecord } from './tree-walk.ts';

export type DmarcCode = 'pass' | 'fail' | 'none' | 'temperror' | 'permerror';

export interface DmarcResult {
  readonly result: DmarcCode;
  /** The author's domain; absent where there is none. */
  readonly domain?: string;
  /** What the domain's owner wants of a message that fails, `t`, `sp` and `np` taken into account; absent where no record says. */
  readonly policy?: DmarcPolicy;
  /** `p` as published. */
  readonly published?: DmarcPolicy;
  /** Where the record is. */
  readonly policyDomain?: string;
  /** Our words: for temperror and permerror. */
  readonly reason?: string;
}

/** What the author's domain publishes. `final` is the result where identifiers do not matter. */
export type AuthorPolicy =
  | { readonly final: DmarcResult }
  | {
      readonly domain: string;
      readonly discovery: Discovery;
      readonly found: FoundRecord;
      /** Undefined where DNS does not say which of its policies applies. */
      readonly policy: DmarcPolicy | undefined;
    };

/** Domains in any case. */
export interface Identifiers {
  readonly spf?: string;
  readonly dkim: readonly string[];
}

const STRENGTH: readonly DmarcPolicy[] = ['none', 'quarantine', 'reject'];
/** One below, for `t=y` (section 4.7). */
const TESTED: Readonly<Record<DmarcPolicy, DmarcPolicy>> = { none: 'none', quarantine: 'none', reject: 'quarantine' };

/** Never rejects. */
export async function authorPolicy(author: Author, resolver: Resolver): Promise<AuthorPolicy> {
  if ('problem' in author) return { final: await withoutAuthor(author.problem, author.domains, resolver) };
  const { domain } = author;
  // A literal has no name in DNS.
  if (domain.startsWith('[')) return { final: { result: 'none', domain } };
  try {
    const discovery = await discoverPolicy(domain, resolver);
    const { found } = discovery;
    if (!found) return { final: { result: 'none', domain } };
    const policy = await policyFor(domain, found, resolver).catch(() => undefined);
    return { domain, discovery, found, policy };
  } catch (error) {
    return { final: { result: 'temperror', domain, reason: `DNS: ${errnoOf(error) ?? 'failure'}` } };
  }
}

/** The strictest that any domain named there wants (RFC 7489 section 6.6.1). */
async function withoutAuthor(reason: string, domains: readonly string[], resolver: Resolver): Promise<DmarcResult> {
  let policy: DmarcPolicy | undefined;
  for (const domain of domains) {
    const wanted = await discoverPolicy(domain, resolver)
      .then(({ found }) => found && policyFor(domain, found, resolver))
      .catch(() => undefined);
    if (wanted && STRENGTH.indexOf(wanted) > STRENGTH.indexOf(policy ?? 'none')) policy = wanted;
  }
  return { result: 'permerror', reason, ...(policy ? { policy } : {}) };
}

/** @throws MailError temporary where whether the domain exists decides, and cannot be known */
async function policyFor(domain: string, found: FoundRecord, resolver: Resolver): Promise<DmarcPolicy> {
  const { p, sp, np, testing } = found.record;
  let policy = p;
  if (found.domain !== domain) {
    policy = sp ?? p;
    if (np !== undefined && np !== policy && !(await resolver.exists(domain))) policy = np;
  }
  return testing ? TESTED[policy] : policy;
}

/** `passed`: whom SPF and DKIM vouch for; `unsure`: whom they might have, had DNS answered. Never rejects. */
export async function decideDmarc(
  author: AuthorPolicy,
  passed: Identifiers,
  unsure: Identifiers,
  resolver: Resolver,
): Promise<DmarcResult> {
  if ('final' in author) return author.final;
  const { domain, found, policy } = author;
  const about = { domain, published: found.record.p, policyDomain: found.domain, ...(policy ? { policy } : {}) };
  let failed = false;
  const aligned = async (identifiers: Identifiers): Promise<boolean> => {
    const { strictSpf, strictDkim } = found.record;
    const candidates = [
      ...(identifiers.spf === undefined ? [] : [{ name: identifiers.spf, strict: strictSpf }]),
      ...identifiers.dkim.map((name) => ({ name, strict: strictDkim })),
    ];
    for (const { name, strict } of candidates)
      try {
        const identifier = name.toLowerCase().replace(/\.$/, '');
        if (identifier === domain || (!strict && (await sameOrganization(identifier, author, resolver)))) return true;
      } catch {
        failed = true;
      }
    return false;
  };
  if (await aligned(passed)) return { result: 'pass', ...about };
  if ((await aligned(unsure)) || failed)
    return { result: 'temperror', ...about, reason: 'DNS failed for SPF, DKIM or their alignment' };
  if (policy === undefined) return { result: 'temperror', ...about, reason: 'DNS does not say whether the domain exists' };
  return { result: 'fail', ...about };
}

/** Relaxed alignment (section 4.4). @throws MailError temporary where that cannot be known */
async function sameOrganization(
  identifier: string,
  { domain, discovery }: { readonly domain: string; readonly discovery: Discovery },
  resolver: Resolver,
): Promise<boolean> {
  const { organizational } = discovery;
  if (organizational === undefined) {
    // Names without a last label in common have no organization in common either.
    if (identifier.split('.').pop() !== domain.split('.').pop()) return false;
    return (await organizationalDomain(identifier, resolver)) === (await organizationalDomain(domain, resolver));
  }
  // Only what is at or below it can have it; so no other domain's DNS is asked.
  if (identifier !== organizational && !identifier.endsWith(`.${organizational}`)) return false;
  return (await organizationalDomain(identifier, resolver)) === organizational;
}
