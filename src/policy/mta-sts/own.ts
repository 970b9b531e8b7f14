// The MTA-STS policies of our own domains: what the settings say, as text (RFC 8461 section 3.2: a key a line, CRLF), and the id for the record in DNS, which
// follows from the text, so that the two are never out of step.
import { createHash } from 'node:crypto';
import type { Settings } from '../../config/settings.ts';
import type { StsPolicy } from './policy.ts';

type PolicySettings = Pick<Settings, 'mta_sts_mode' | 'mta_sts_mx' | 'mta_sts_max_age' | 'mta_sts_policies'>;

export interface OwnPolicy extends StsPolicy {
  readonly text: string;
  /** Letters and digits, at most 32. */
  readonly id: string;
}

/** `domain`: one of ours, lower case. */
export function ownPolicy(settings: PolicySettings, domain: string): OwnPolicy {
  const own = settings.mta_sts_policies.find((one) => one.domain === domain);
  const mode = own?.mode ?? settings.mta_sts_mode;
  const mx = own?.mx ?? settings.mta_sts_mx;
  const maxAge = Math.floor((own?.max_age ?? settings.mta_sts_max_age) / 1000);
  const lines = ['version: STSv1', `mode: ${mode}`, ...mx.map((name) => `mx: ${name}`), `max_age: ${maxAge}`];
  const text = lines.map((line) => `${line}\r\n`).join('');
  return { mode, mx, maxAge, text, id: createHash('sha256').update(text).digest('hex').slice(0, 20) };
}

/** The record at `_mta-sts.DOMAIN` (RFC 8461 section 3.1). */
export const policyRecord = (domain: string, id: string): string => `_mta-sts.${domain}. IN TXT "v=STSv1; id=${id};"`;
