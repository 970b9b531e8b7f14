// What is done about what verification found: the settings' actions, each recipient's domain its own, and one answer to the client.
import type { AuthenticationAction, AuthenticationOutcome } from '../config/schema-authentication.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { fieldValue, parseFields } from '../message/headers.ts';
import type { SpfResult } from './spf/check.ts';
import { authenticationResults, authenticationWarning, claimsToBeFrom, receivedSpf } from './trace-fields.ts';
import type { AuthenticationResult, MessageVerifier, Peer, UnverifiedMessage } from './verify.ts';

export type AuthenticationActions = Readonly<Record<AuthenticationOutcome, AuthenticationAction>>;

export interface InboundAuthenticationOptions {
  readonly verifier: Pick<MessageVerifier, 'spf' | 'verify'>;
  readonly authservId: string;
  /** In Received-SPF and warnings. */
  readonly hostname: string;
  /** For recipients of a domain, lower case. */
  readonly actionsFor: (domain: string) => AuthenticationActions;
  readonly tempfail: 'accept' | 'defer';
  readonly trustedSealers: ReadonlySet<string>;
}

export interface Judgement {
  /** Fields for the head of the message, above everything. */
  readonly fields: Buffer;
  /** The header without fields that pretend to be ours. */
  readonly header: Buffer;
  /** Whether this recipient's copy goes into the mailbox for junk. */
  isJunk(recipient: string): boolean;
}

interface Wanted {
  readonly action: AuthenticationAction;
  /** Why: for the client and for the header. */
  readonly reason: string;
  readonly code: 'DMARC_REJECT' | 'SPF_REJECT' | 'DKIM_REJECT' | 'BAD_FROM';
}

const STRENGTH: readonly AuthenticationAction[] = ['accept', 'mark', 'quarantine', 'reject'];
const strength = ({ action }: Wanted): number => STRENGTH.indexOf(action);
const HEADER_LIMITS = { headerBytes: Infinity, headerFields: Infinity } as const;

export class InboundAuthentication {
  readonly #o: InboundAuthenticationOptions;

  constructor(options: InboundAuthenticationOptions) {
    this.#o = options;
  }

  /** To be asked once a recipient is there, so that nobody makes us ask DNS for nothing. Never rejects. */
  spf(peer: Peer): Promise<SpfResult> {
    return this.#o.verifier.spf(peer);
  }

  /** @throws MailError not-permitted `SPF_REJECT` where the recipient's domain wants that of a fail: only then it waits for the result */
  async checkRecipient(recipient: string, peer: Peer, spf: Promise<SpfResult>): Promise<void> {
    if (this.#o.actionsFor(domainOf(recipient)).spf_fail !== 'reject') return;
    const result = await spf;
    if (result.result === 'fail') throw refusal({ action: 'reject', reason: spfReason(result, peer), code: 'SPF_REJECT' });
  }

  /**
   * Verifies a message that has come in. @throws MailError not-permitted where all recipients' domains want it refused, temporary `AUTHENTICATION_TEMPFAIL`
   * where the settings want that of failing DNS, and as the message's source does
   */
  async judge(
    message: UnverifiedMessage & { readonly id: string },
    peer: Peer,
    spf: Promise<SpfResult>,
    recipients: readonly string[],
    log: Logger,
  ): Promise<Judgement> {
    const { verifier, hostname, authservId, tempfail } = this.#o;
    const result = await verifier.verify(message, spf);
    const overridden = this.#vouchedByArc(result);
    const wanted = new Map(recipients.map((recipient) => [recipient, this.#wanted(recipient, result, peer, overridden)]));
    const all = [...wanted.values()];
    const [strongest] = [...all].sort((a, b) => strength(b) - strength(a));
    const refused = all.length > 0 && all.every(({ action }) => action === 'reject') ? strongest : undefined;
    const deferred = tempfail === 'defer' && isUndecided(result);
    // What one recipient wants refused and another does not can only be put aside.
    const junk = new Set([...wanted].flatMap(([recipient, { action }]) => (STRENGTH.indexOf(action) >= 2 ? recipient : [])));
    const disposition = refused ? 'reject' : junk.size > 0 ? 'quarantine' : 'none';
    log.info('smtp.authentication', {
      id: message.id,
      ...logFields(result),
      action: refused ? 'reject' : deferred ? 'defer' : junk.size > 0 ? 'quarantine' : (strongest?.action ?? 'accept'),
      ...(overridden ? { override: 'arc' } : {}),
    });
    if (refused) throw refusal(refused);
    if (deferred)
      throw new MailError(
        'temporary',
        'AUTHENTICATION_TEMPFAIL',
        'The sender cannot be verified now, since DNS fails, try again later',
      );
    const marked = strongest && strength(strongest) >= 1 ? authenticationWarning(hostname, strongest.reason) : '';
    const fields = authenticationResults(authservId, result, disposition) + receivedSpf(hostname, result.spf, peer) + marked;
    return {
      fields: Buffer.from(fields, 'latin1'),
      header: withoutForged(message.header, authservId),
      isJunk: (recipient) => junk.has(recipient),
    };
  }

  /** For what our own users send: they are not verified, and may not say that they were (RFC 8601 section 5). */
  withoutForged(header: Buffer): Buffer {
    return withoutForged(header, this.#o.authservId);
  }

  /** RFC 8617 section 7.2.1: only where everybody who handled the message on its way is known to be honest. */
  #vouchedByArc({ arc, dmarc }: AuthenticationResult): boolean {
    const { trustedSealers } = this.#o;
    if (arc.result !== 'pass' || dmarc.result !== 'fail' || !arc.sealers?.every((sealer) => trustedSealers.has(sealer)))
      return false;
    return arc.dmarc?.result === 'pass' && arc.dmarc.domain === dmarc.domain;
  }

  #wanted(recipient: string, result: AuthenticationResult, peer: Peer, overridden: boolean): Wanted {
    const actions = this.#o.actionsFor(domainOf(recipient));
    const none: Wanted = { action: 'accept', reason: '', code: 'DMARC_REJECT' };
    if (overridden) return none;
    return [...complaints(result, peer)]
      .map(({ outcome, ...rest }): Wanted => ({ action: actions[outcome], ...rest }))
      .reduce((worst, one) => (strength(one) > strength(worst) ? one : worst), none);
  }
}

type Complaint = Omit<Wanted, 'action'> & { readonly outcome: AuthenticationOutcome };

function* complaints({ spf, dkim, dmarc }: AuthenticationResult, peer: Peer): Iterable<Complaint> {
  if (dmarc.result === 'pass') return;
  const bad = dmarc.result === 'permerror';
  const whose = bad ? `the message has ${dmarc.reason ?? 'no author'}` : `DMARC of ${dmarc.domain ?? ''} fails, and asks for`;
  if (bad) yield { outcome: 'dmarc_bad_from', reason: whose, code: 'BAD_FROM' };
  if (bad || dmarc.result === 'fail') {
    const reason = (policy: string): string => (bad ? whose : `${whose} ${policy}`);
    if (dmarc.policy === 'reject') yield { outcome: 'dmarc_reject', reason: reason('rejection'), code: 'DMARC_REJECT' };
    if (dmarc.policy === 'quarantine') yield { outcome: 'dmarc_quarantine', reason: reason('quarantine'), code: 'DMARC_REJECT' };
  }
  if (spf.result === 'fail') yield { outcome: 'spf_fail', reason: spfReason(spf, peer), code: 'SPF_REJECT' };
  const [broken] = dkim.filter(({ result }) => result === 'fail');
  if (broken && !dkim.some(({ result }) => result === 'pass'))
    yield {
      outcome: 'dkim_fail',
      reason: `the DKIM signature of ${broken.domain ?? 'its sender'} is broken`,
      code: 'DKIM_REJECT',
    };
}

/** RFC 7208 section 8.4: what the domain's owner says is not ours. */
const spfReason = ({ domain, explanation }: SpfResult, { ip }: Peer): string =>
  `SPF of ${domain} does not allow ${ip} to send${explanation === undefined ? '' : `; ${domain} explained: ${explanation}`}`;

const refusal = ({ code, reason }: Wanted): MailError => new MailError('not-permitted', code, `Message refused: ${reason}`);

const isUndecided = ({ spf, dmarc }: AuthenticationResult): boolean =>
  dmarc.result === 'temperror' || (spf.result === 'temperror' && dmarc.result !== 'pass');

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1).toLowerCase();

function logFields({ spf, dkim, dmarc, arc }: AuthenticationResult): Record<string, string | readonly string[]> {
  return {
    spf: spf.result,
    dkim: dkim.map(({ result, domain }) => `${result}:${domain ?? ''}`),
    dmarc: dmarc.result,
    ...(arc.result === 'none' ? {} : { arc: arc.result }),
    ...(dmarc.domain === undefined ? {} : { author: dmarc.domain }),
    ...(dmarc.policy === undefined ? {} : { policy: dmarc.policy }),
  };
}

/** RFC 8601 section 5. */
function withoutForged(header: Buffer, authservId: string): Buffer {
  const parts: Buffer[] = [];
  let kept = 0;
  for (const field of parseFields(header, HEADER_LIMITS)) {
    const { name, valueStart, end } = field;
    // All of it: blanks may stand before what counts.
    if (name !== 'authentication-results' || !claimsToBeFrom(fieldValue(header, field, end - valueStart), authservId)) continue;
    parts.push(header.subarray(kept, field.start));
    kept = field.end;
  }
  return kept === 0 ? header : Buffer.concat([...parts, header.subarray(kept)]);
}
