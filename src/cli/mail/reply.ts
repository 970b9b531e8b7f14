// Whom a reply goes to, and what it says of the message it answers (RFC 5322 sections 3.6.2, 3.6.4).
import { formatMailbox } from '../../message/address-spec.ts';
import { parseAddressList } from '../../message/addresses.ts';
import { decodeWords } from '../../message/encoded-words.ts';
import { rawField } from './summary.ts';

const LIMITS = { addressBytes: 10_000, addresses: 200 };

export interface Reply {
  readonly recipients: readonly string[];
  readonly subject: string;
  /** In-Reply-To and References, where there is something to refer to. */
  readonly fields: readonly string[];
}

/** `header` in latin1; with `toAll` also those of To and Cc. */
export function replyTo(header: string, toAll: boolean): Reply {
  const addresses = (name: string): string[] =>
    parseAddressList(rawField(header, name), LIMITS).flatMap(({ mailbox, host }) =>
      mailbox === null || host === null ? [] : [formatMailbox(mailbox, host === 'MISSING_DOMAIN' ? '' : host)],
    );
  const author = addresses('reply-to').length > 0 ? addresses('reply-to') : addresses('from');
  const recipients = [...new Set([...author, ...(toAll ? [...addresses('to'), ...addresses('cc')] : [])])];
  const was = decodeWords(rawField(header, 'subject')).replace(/[\x00-\x1f\x7f]/g, ' ');
  const id = /<[^<>\s]{1,500}>/.exec(rawField(header, 'message-id'))?.[0];
  const before = rawField(header, 'references').match(/<[^<>\s]{1,500}>/g) ?? [];
  return {
    recipients,
    subject: /^re:/i.test(was) ? was : `Re: ${was}`,
    fields: id === undefined ? [] : [`In-Reply-To: ${id}`, `References: ${[...before.slice(-20), id].join(' ')}`],
  };
}
