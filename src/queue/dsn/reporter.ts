// Who is told what became of a message (RFC 3461 sections 4.1, 5.2, 6): one report for each kind of outcome, for all recipients of a job that have it and
// want to be reported. Never to `<>`, and only about mail that was accepted: what is refused in a session is its client's to tell.
import type { ReceivedMessage } from '../../delivery/types.ts';
import type { Logger } from '../../lib/logger.ts';
import { readHead, type MessageSource } from '../../message/source.ts';
import type { QueuedEnvelope, QueuedMessage, ReportedRecipient, Reporter } from '../types.ts';
import { composeReport, POSTMASTER_NOTICE } from './compose.ts';
import { returnedHeader, returnedMessage, type Returned } from './returned.ts';
import { oneLine, type Action, type ReportRecipient } from './status-fields.ts';
import type { LanguageTexts, ReportKind, ReportText } from './texts.ts';

/** A report on its way: its envelope sender is `<>`. */
export interface OutgoingReport {
  /** Queue id. */
  readonly id: string;
  readonly recipient: string;
  /** Good until `send` resolves. */
  readonly source: MessageSource;
  readonly smtpUtf8: boolean;
  readonly bodyType: '7BIT' | '8BITMIME';
}

/** Resolves when the report is accepted for delivery. @throws MailError when it is not */
export type SendReport = (report: OutgoingReport) => Promise<void>;

export interface ReporterOptions {
  readonly hostname: string;
  /** bounce_size_limit: bytes of a message that a report of failure gives back; of larger ones its header. */
  readonly sizeLimit: number;
  /** Milliseconds that a message is tried for (maximal_queue_lifetime, bounce_queue_lifetime for `<>`). */
  readonly lifetime: (sender: string) => number;
  /** Where failing reports are told of (notify_classes has 2bounce); undefined for nowhere. */
  readonly postmaster?: string;
  /** Placeholders filled in. */
  readonly texts: (kind: ReportKind, recipient: string) => Promise<{ text: ReportText; language: LanguageTexts }>;
  readonly send: SendReport;
  readonly newId: () => string;
  /** A MIME boundary that nobody can guess: letters and digits. */
  readonly newBoundary: () => string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
}

type About = Pick<QueuedMessage, 'envelope'>;

export class DsnReporter implements Reporter {
  readonly #o: ReporterOptions;

  constructor(options: ReporterOptions) {
    this.#o = options;
  }

  /** @throws MailError when a report was not accepted: those before it may have been, and come again the next time */
  async report(message: About, recipients: readonly ReportedRecipient[], source: MessageSource, delay: boolean): Promise<void> {
    const { sender } = message.envelope;
    const failed = recipients.filter(isFailureWanted).map((one) => this.#describe(message.envelope, one, 'failed'));
    if (sender === '') return this.#doubleBounce(message, failed, source);
    const delayed = delay ? recipients.filter(isDelayWanted).map((one) => this.#describe(message.envelope, one, 'delayed')) : [];
    const done = recipients.filter(isSuccessWanted).map((one) => this.#describe(message.envelope, one, successAction(one)));
    if (failed.length > 0) await this.#send('failure', sender, message, failed, await this.#returned(message.envelope, source));
    if (delayed.length > 0) await this.#send('delay', sender, message, delayed, await returnedHeader(source));
    if (done.length > 0) await this.#send('success', sender, message, done, await returnedHeader(source));
  }

  /** @throws MailError when it was not accepted */
  async trace(message: About, recipients: readonly ReportedRecipient[], source: MessageSource): Promise<void> {
    const { envelope } = message;
    // Copies that the settings add want no report: their addresses are nobody's business.
    const wanted = recipients.filter((one) => asked(one, 'NEVER') !== true);
    if (envelope.sender === '' || wanted.length === 0) return;
    const described = wanted.map((one) => this.#describe(envelope, one, traceAction(envelope, one)));
    await this.#send('verify', envelope.sender, message, described, await returnedHeader(source));
  }

  /** After mail for mailboxes here was stored: the success that NOTIFY or sendmail -v asked for. Never throws: the message is safe, and may not come again for this. */
  async reportStored({ id, envelope, source }: ReceivedMessage): Promise<void> {
    const wanted = envelope.recipients.filter(
      ({ notify, route }) =>
        (notify?.includes('SUCCESS') || (envelope.trace !== undefined && !notify?.includes('NEVER'))) &&
        route.kind === 'deliver' &&
        route.targets.some((t) => t.kind === 'mailbox'),
    );
    if (envelope.sender === '' || wanted.length === 0) return;
    const about = { envelope: { ...envelope, id, arrived: this.#o.now() } };
    const recipients = wanted.map(({ address, orcpt, route }): ReportRecipient => {
      const expanded = route.kind === 'deliver' && route.targets.length > 1;
      const common = { address, ...(orcpt === undefined ? {} : { orcpt }), status: '2.0.0', lastAttempt: this.#o.now() };
      return { ...common, action: expanded ? 'expanded' : 'delivered', reason: 'stored in the mailbox' };
    });
    const kind = envelope.trace === undefined ? 'success' : 'verify';
    await returnedHeader(source)
      .then((returned) => this.#send(kind, envelope.sender, about, recipients, returned))
      .catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        this.#o.logger.warn('queue.report-failed', { id, to: envelope.sender, reason });
      });
  }

  #describe({ arrived, sender }: QueuedEnvelope, { recipient, outcome }: ReportedRecipient, action: Action): ReportRecipient {
    const { address, orcpt } = recipient;
    const common = { address, ...(orcpt === undefined ? {} : { orcpt }), action, lastAttempt: this.#o.now() };
    if (outcome.kind === 'delivered') {
      const remote = hostOf(outcome.relay);
      return {
        ...common,
        status: outcome.status,
        reason: `delivery via ${outcome.relay}: ${outcome.reply}`,
        ...(remote === undefined ? {} : { remote }),
        // Nobody speaks SMTP but hosts.
        ...(outcome.reply === '' || remote === undefined ? {} : { reply: outcome.reply }),
      };
    }
    const { status, reason, remote, reply } = outcome;
    return {
      ...common,
      status: classed(status, action),
      reason,
      ...(remote === undefined ? {} : { remote }),
      ...(reply === undefined ? {} : { reply }),
      ...(action === 'delayed' ? { retryUntil: arrived + this.#o.lifetime(sender) } : {}),
    };
  }

  /** RFC 3461 section 4.3: RET says how much of a message that failed comes back; a limit is ours. */
  #returned({ ret }: QueuedEnvelope, source: MessageSource): Promise<Returned> {
    return ret === 'HDRS' || source.size > this.#o.sizeLimit ? returnedHeader(source) : returnedMessage(source);
  }

  async #send(
    kind: ReportKind,
    to: string,
    { envelope }: About,
    recipients: readonly ReportRecipient[],
    returned: Returned,
  ): Promise<void> {
    const { hostname, send, logger, now } = this.#o;
    const id = this.#o.newId();
    const { text, language } = await this.#o.texts(kind, to);
    const boundary = this.#o.newBoundary();
    const composed = composeReport({
      id,
      kind,
      hostname,
      to,
      envelope,
      recipients,
      returned,
      text,
      language,
      now: now(),
      boundary,
    });
    await send({ id, recipient: to, ...composed });
    logger.info('queue.report', {
      id: envelope.id,
      as: id,
      kind,
      to,
      recipients: recipients.slice(0, 20).map(({ address }) => address),
    });
  }

  /** RFC 5321 section 4.5.5: nobody is told of a report that fails, but the postmaster who wants to know. */
  async #doubleBounce(message: About, failed: readonly ReportRecipient[], source: MessageSource): Promise<void> {
    const { logger, postmaster } = this.#o;
    if (failed.length === 0) return;
    for (const { address, status, reason } of failed)
      logger.warn('queue.double-bounce', { id: message.envelope.id, to: address, status, reason: oneLine(reason, false) });
    if (postmaster === undefined || (await isNotice(source))) return;
    await this.#send('postmaster', postmaster, message, failed, await returnedHeader(source));
  }
}

async function isNotice(source: MessageSource): Promise<boolean> {
  const head = await readHead(source, 65_536);
  return head.includes(`\r\n${POSTMASTER_NOTICE}\r\n`);
}

const asked = ({ recipient }: ReportedRecipient, what: 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY'): boolean | undefined =>
  recipient.notify?.includes(what);

const isFailureWanted = (one: ReportedRecipient): boolean => one.outcome.kind === 'failed' && asked(one, 'FAILURE') !== false;
const isDelayWanted = (one: ReportedRecipient): boolean =>
  one.outcome.kind === 'deferred' && !one.recipient.delayReported && asked(one, 'DELAY') !== false;
const isSuccessWanted = (one: ReportedRecipient): boolean =>
  one.outcome.kind === 'delivered' && !one.outcome.dsnPassedOn && asked(one, 'SUCCESS') === true;

/** RFC 3464 section 2.3.3: LMTP's answer, and throwing away, are the end of the way; SMTP's is not. */
const successAction = ({ recipient }: ReportedRecipient): Action =>
  recipient.destination.startsWith('smtp:') ? 'relayed' : 'delivered';

function traceAction({ trace }: QueuedEnvelope, one: ReportedRecipient): Action {
  const { kind } = one.outcome;
  if (trace === 'verify') return kind === 'delivered' ? 'deliverable' : 'undeliverable';
  return kind === 'delivered' ? successAction(one) : kind === 'deferred' ? 'delayed' : 'failed';
}

/** A failure for having waited too long still has the 4.x.x of its last try. */
const classed = (status: string, action: Action): string => (action === 'failed' ? status.replace(/^[24]\./, '5.') : status);

/** The name in `mx.example.com[192.0.2.1]:25`. */
function hostOf(relay: string): string | undefined {
  return /^([a-z0-9._-]{1,255})\[/i.exec(relay)?.[1];
}
