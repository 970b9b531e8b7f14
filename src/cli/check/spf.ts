// Whether an SPF record lets an address of ours send, as far as a check of one's own records can tell: where it depends on the sender, or on a record that
// is missing or goes on for too long, the answer is unknown.
import type { Resolver } from '../../dns/resolver.ts';
import { MailError } from '../../lib/errors.ts';
import { checkSpf } from '../../policy/spf/check.ts';
import { SpfSyntaxError } from '../../policy/spf/macro.ts';
import { parseSpfRecord } from '../../policy/spf/record.ts';

export type SpfAnswer = 'pass' | 'no' | 'unknown';

/** `record` is the domain's own. @throws MailError temporary when DNS gives no answer */
export async function spfAllows(record: string, domain: string, address: string, resolver: Resolver): Promise<SpfAnswer> {
  // Nobody takes it for a pass.
  if (!isWellFormed(record)) return 'no';
  // Macros may stand for the sender's name.
  if (record.includes('%')) return 'unknown';
  const sender = `postmaster@${domain}`;
  const { result, reason = '' } = await checkSpf(
    { ip: address, sender, helo: domain, receiver: domain, now: Date.now() },
    resolver,
  );
  if (result === 'temperror') throw new MailError('temporary', 'DNS_FAILED', reason);
  return result === 'pass' ? 'pass' : result === 'permerror' || result === 'none' ? 'unknown' : 'no';
}

function isWellFormed(record: string): boolean {
  try {
    parseSpfRecord(record);
    return true;
  } catch (error) {
    if (error instanceof SpfSyntaxError) return false;
    throw error;
  }
}
