// Mail of the server's own: reports to senders, notices to the postmaster. It goes where an address of its recipient says, from `<>`.
import type { AcceptMessage, Router } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { shortId } from '../lib/short-id.ts';
import { formatRfc5322 } from '../message/date.ts';
import { memorySource, type MessageSource } from '../message/source.ts';
import type { QueuedMessage } from '../queue/types.ts';

export interface OwnMail {
  readonly recipient: string;
  /** CRLF, complete; stays the caller's. */
  readonly source: MessageSource;
  readonly smtpUtf8: boolean;
  readonly id: string;
}

export interface OwnMailDeps {
  readonly router: () => Router;
  readonly accept: AcceptMessage;
  readonly logger: Logger;
}

/**
 * Resolves when the mail is accepted for delivery, or when there is nobody who could get it (logged): nothing is sent about mail from `<>`.
 * @throws (the function) MailError when it should be tried again
 */
export function ownMailSender({ router, accept, logger }: OwnMailDeps): (mail: OwnMail) => Promise<void> {
  return async ({ recipient, source, smtpUtf8, id }) => {
    const route = await router().route(recipient);
    if (route.kind !== 'deliver' && route.kind !== 'relay') {
      logger.warn('queue.report.undeliverable', { id, to: recipient, route: route.kind });
      return;
    }
    const envelope = { sender: '', recipients: [{ address: recipient, route }], smtpUtf8, bodyType: '8BITMIME' as const };
    await accept({ id, envelope, source, original: source, deliveredTo: [], trusted: true });
  };
}

export interface CorruptNoticeDeps {
  readonly send: (mail: OwnMail) => Promise<void>;
  readonly hostname: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Messages whose notices are remembered: several jobs find the same file damaged. */
const REMEMBERED = 100;

/** Tells postmaster@hostname of a message that was set aside, once. Never rejects. */
export function corruptNotice({
  send,
  hostname,
  clock,
  logger,
}: CorruptNoticeDeps): (message: QueuedMessage, detail: string) => Promise<void> {
  const told = new Set<string>();
  return async (message, detail) => {
    const { id } = message.envelope;
    if (told.has(id)) return;
    told.add(id);
    const [oldest = id] = told;
    if (told.size > REMEMBERED) told.delete(oldest);
    const host = hostname();
    const recipient = `postmaster@${host}`;
    const text = noticeText(message, detail, host, clock.now());
    try {
      await send({ recipient, source: memorySource(Buffer.from(text, 'utf8')), smtpUtf8: false, id: shortId().toUpperCase() });
    } catch (error) {
      logger.warn('queue.notice.failed', { id, error: toMailError(error, 'notice').message });
    }
  };
}

/** Nothing in it may begin a line, or a header field, of its own. */
const plain = (text: string): string => text.replace(/[^\u0020-\u007e]+/g, '?').slice(0, 500);

function noticeText({ envelope, size, recipients }: QueuedMessage, detail: string, host: string, now: number): string {
  return [
    `From: Mail Delivery System <MAILER-DAEMON@${host}>`,
    `To: postmaster@${host}`,
    `Subject: Damaged message ${envelope.id} in the mail queue`,
    `Date: ${formatRfc5322(now)}`,
    `Message-ID: <${shortId()}.${now}@${host}>`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    `The queue file of message ${envelope.id} is damaged. The message was put on hold,`,
    'its file was set aside (folder "corrupt" of queue_directory), and nothing of it is sent.',
    '',
    `Problem: ${plain(detail)}`,
    `Sender: <${plain(envelope.sender)}>`,
    `Size: ${size} bytes`,
    ...recipients.slice(0, 50).map(({ address }) => `Recipient: <${plain(address)}>`),
    '',
    `"buzon queue show ${envelope.id}" tells more; "buzon queue delete ${envelope.id}" ends it.`,
    '',
  ].join('\r\n');
}
