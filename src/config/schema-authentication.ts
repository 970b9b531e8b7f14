// Whether and how mail from outside is verified (SPF, DKIM, DMARC, ARC), and what comes of it: OpenDMARC's words where it has one.
import { z } from 'zod';
import { field, group } from './field.ts';
import { readHostname, readWord } from './readers.ts';
import { readList, readTime, show, ValueError } from './values.ts';

export const ACTIONS = ['accept', 'mark', 'quarantine', 'reject'] as const;
export type AuthenticationAction = (typeof ACTIONS)[number];

/** Outcomes that something can be done about; each is a setting of that name. */
export const OUTCOMES = ['spf_fail', 'dkim_fail', 'dmarc_reject', 'dmarc_quarantine', 'dmarc_bad_from'] as const;
export type AuthenticationOutcome = (typeof OUTCOMES)[number];

const DESCRIPTIONS: Readonly<Record<AuthenticationOutcome, string>> = {
  spf_fail:
    'What happens to a message whose SPF result is `fail` when DMARC does not vouch for it: `accept` only writes it down, `mark` adds X-Authentication-Warning, `quarantine` delivers into the mailbox for junk, `reject` refuses at RCPT TO (550 5.7.23), before DKIM can speak for it.',
  dkim_fail:
    'The same for a message with broken DKIM signatures and none that holds. Mailing lists break signatures, and most senders mean nothing by one (RFC 6376 6.1): DMARC is what says so.',
  dmarc_reject: 'The same for a message that fails DMARC when the domain of its From asks for `p=reject` (550 5.7.1).',
  dmarc_quarantine: 'The same when that domain asks for `p=quarantine`.',
  dmarc_bad_from:
    'The same for a message that has no author, or more than one From field or domain in it: DMARC cannot be applied, and must not be got round. The policies of all domains named there count too.',
};
const DEFAULTS: Readonly<Record<AuthenticationOutcome, AuthenticationAction>> = {
  spf_fail: 'mark',
  dkim_fail: 'accept',
  dmarc_reject: 'reject',
  dmarc_quarantine: 'quarantine',
  dmarc_bad_from: 'quarantine',
};
const TYPE = ACTIONS.join(', ');

export function authenticationFields() {
  const outcome = (name: AuthenticationOutcome) =>
    field({ type: TYPE, description: DESCRIPTIONS[name], default: DEFAULTS[name], example: DEFAULTS[name] }, readWord(ACTIONS));
  const ofDomain = (name: AuthenticationOutcome) =>
    field({ type: TYPE, description: `\`${name}\` for this domain.`, example: 'mark' }, readWord(ACTIONS)).optional();
  return {
    message_authentication: field(
      {
        type: 'verify, off',
        description:
          'Whether mail that comes in on port 25 from clients outside `mynetworks` is verified with SPF, DKIM, DMARC and ARC. The result stands in Authentication-Results and Received-SPF at the head of the message; fields of that name that others wrote in our name are removed. `off` for a host that gets its mail from another filter.',
        default: 'verify',
        example: 'verify',
        restart: true,
      },
      readWord(['verify', 'off']),
    ),
    authserv_id: field(
      {
        type: 'host name',
        description: 'Who we are in Authentication-Results (OpenDMARC’s AuthservID).',
        default: '$myhostname',
        example: 'mail.example.com',
      },
      readHostname,
    ),
    message_authentication_timeout: field(
      {
        type: 'time',
        description:
          'How long DNS may hold up a message that is being verified. What is not known by then is a temporary error (`temperror`).',
        default: '5s',
        example: '5s',
      },
      (value) => readTime(value, 100, 60_000),
    ),
    message_authentication_tempfail: field(
      {
        type: 'accept, defer',
        description:
          'What happens to a message that DNS failures leave undecided: it is taken, and its header says so, or its sender is asked to try again (451 4.4.3).',
        default: 'accept',
        example: 'accept',
      },
      readWord(['accept', 'defer']),
    ),
    spf_fail: outcome('spf_fail'),
    dkim_fail: outcome('dkim_fail'),
    dmarc_reject: outcome('dmarc_reject'),
    dmarc_quarantine: outcome('dmarc_quarantine'),
    dmarc_bad_from: outcome('dmarc_bad_from'),
    message_authentication_domains: group(
      {
        type: 'list of groups',
        description:
          'The same for recipients of single domains. One message has one answer: it is refused when all its recipients’ domains want that, and goes into the mailbox for junk of those who want it refused when others do not.',
        default: [],
        example: [{ domain: 'example.com', dmarc_reject: 'quarantine' }],
      },
      z
        .array(
          z.strictObject({
            domain: field({ type: 'domain', description: 'Of the recipient.', example: 'example.com' }, readHostname),
            spf_fail: ofDomain('spf_fail'),
            dkim_fail: ofDomain('dkim_fail'),
            dmarc_reject: ofDomain('dmarc_reject'),
            dmarc_quarantine: ofDomain('dmarc_quarantine'),
            dmarc_bad_from: ofDomain('dmarc_bad_from'),
          }),
        )
        .prefault([]),
    ),
    arc_trusted_sealers: field(
      {
        type: 'list of domains',
        description:
          'Forwarders and mailing lists whose ARC seals are believed (`d=` of their seals): where all seals of a message that fails here are theirs, and the first says that DMARC passed there, it is taken. Nobody else’s seals count for anything.',
        default: [],
        example: ['lists.example.org'],
      },
      readSealers,
    ),
  };
}

function readSealers(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    try {
      return readHostname(entry);
    } catch {
      throw new ValueError(`${show(entry)} is not a domain that can seal`, 'a domain such as lists.example.org');
    }
  });
}
