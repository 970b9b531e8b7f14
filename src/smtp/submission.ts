// What a submission server does to a header (RFC 6409 sections 6.1, 8): the author must be the user, what is missing is added, Bcc goes.
import type { Router } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import { MailError } from '../lib/errors.ts';
import { extractAddresses } from '../message/addresses.ts';
import { formatRfc5322 } from '../message/date.ts';
import { editHeader, fieldValue, parseFields } from '../message/headers.ts';
import type { SmtpLimits } from './limits.ts';

export interface SubmissionParts {
  readonly router: Router;
  readonly limits: SmtpLimits;
  readonly hostname: string;
  readonly clock: Clock;
}

/** The header to keep. @throws MailError not-permitted when From or Sender names somebody else, or From is missing */
export async function prepareSubmission(header: Buffer, account: string, parts: SubmissionParts, id: string): Promise<Buffer> {
  const fields = parseFields(header, parts.limits);
  const from = fields.filter((field) => field.name === 'from');
  if (from.length !== 1)
    throw notPermitted(from.length === 0 ? 'The From field is missing' : 'There is more than one From field');
  for (const field of fields.filter((f) => f.name === 'from' || f.name === 'sender')) {
    const addresses = extractAddresses(fieldValue(header, field, parts.limits.headerBytes));
    const label = field.name === 'from' ? 'From' : 'Sender';
    if (!addresses) throw notPermitted(`The ${label} field can be read in more than one way`);
    if (addresses.length === 0 && field.name === 'from') throw notPermitted('The From field holds no address');
    for (const { address } of addresses)
      if (!(await parts.router.maySendAs(account, address)))
        throw notPermitted(`The ${label} field is not owned by user ${account}`);
  }
  const has = (name: string): boolean => fields.some((field) => field.name === name);
  const added: string[] = [];
  if (!has('date')) added.push(`Date: ${formatRfc5322(parts.clock.now())}`);
  if (!has('message-id')) added.push(`Message-ID: <${formatId(parts.clock.now())}.${id}@${parts.hostname}>`);
  return editHeader(header, ['bcc', 'resent-bcc'], added, parts.limits);
}

const notPermitted = (text: string): MailError => new MailError('not-owner', 'FOREIGN_FROM', text);
const formatId = (at: number): string => new Date(at).toISOString().replace(/[-:TZ]|\.\d+/g, '');
