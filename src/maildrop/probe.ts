// A message that only asks (sendmail -bv): what would become of each recipient, found out without delivering anything. Mailboxes here are looked up; addresses
// outside are asked for by the queue's client, which goes as far as RCPT TO. What is known here is reported at once, the rest by the queue.
import { originalRecipient, remoteParts, targetsOf } from '../delivery/forwarding.ts';
import type { EnvelopeRecipient, OutboundQueue, ReceivedMessage } from '../delivery/types.ts';
import { toMailError } from '../lib/errors.ts';
import { replyFor } from '../smtp/reply.ts';

/** What is known of one address. */
export interface Answer {
  /** After aliases. */
  readonly address: string;
  /** The address that was asked for, where an alias led elsewhere. */
  readonly orcpt?: string;
  readonly deliverable: boolean;
  /** RFC 3463, of any class. */
  readonly status: string;
  readonly reason: string;
}

export interface ProbeParts {
  /** Whether a mailbox can take anything now. @throws MailError when it cannot */
  readonly checkMailbox: (address: string) => Promise<void>;
  readonly queue: Pick<OutboundQueue, 'enqueue'>;
  /** Resolves when the report is accepted; sends none without answers, or to `<>`. @throws MailError when it is not */
  readonly report: (message: ReceivedMessage, answers: readonly Answer[]) => Promise<void>;
}

/** Who never gets anything. */
export const refused = ({
  recipient: { address },
  status,
  reason,
}: {
  readonly recipient: Pick<EnvelopeRecipient, 'address'>;
  readonly status: string;
  readonly reason: string;
}): Answer => ({ address, deliverable: false, status, reason });

/** Of the mailboxes here that the recipients lead to, each once. */
export async function mailboxAnswers(message: ReceivedMessage, { checkMailbox }: ProbeParts): Promise<Answer[]> {
  const answers = new Map<string, Answer>();
  for (const { address, route } of message.envelope.recipients)
    for (const target of targetsOf(address, route)) {
      if (target.kind !== 'mailbox' || answers.has(target.address)) continue;
      const orcpt = target.recipient === address ? undefined : originalRecipient(address);
      const about = { address: target.recipient, ...(orcpt === undefined ? {} : { orcpt }) };
      const failure = await failureOf(() => checkMailbox(target.address));
      // As virtual(8) says it.
      answers.set(target.address, {
        ...about,
        ...(failure ?? { deliverable: true, status: '2.0.0', reason: 'delivers to maildir' }),
      });
    }
  return [...answers.values()];
}

/** Puts those outside into the queue; gives answers only when that cannot be and it is the `last` try. @throws MailError when it is to be tried again */
export async function askOutside(message: ReceivedMessage, { queue }: ProbeParts, last: boolean): Promise<Answer[]> {
  // No alias changes the sender: it is whom the report goes to.
  const recipients = remoteParts(message, '').flatMap((part) => part.recipients);
  if (recipients.length === 0) return [];
  if (!last) {
    await queue.enqueue(message, recipients);
    return [];
  }
  const failure = await failureOf(() => queue.enqueue(message, recipients));
  return failure
    ? recipients.map(({ address, orcpt }) => ({ address, ...(orcpt === undefined ? {} : { orcpt }), ...failure }))
    : [];
}

async function failureOf(check: () => Promise<void>): Promise<Pick<Answer, 'deliverable' | 'status' | 'reason'> | undefined> {
  try {
    await check();
    return undefined;
  } catch (thrown) {
    const error = toMailError(thrown, 'asking for a recipient');
    return { deliverable: false, status: replyFor(error).enhanced, reason: error.clientText };
  }
}
