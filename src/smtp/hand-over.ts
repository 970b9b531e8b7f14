// From a message that has come in to the house that takes responsibility for it: header edited, Received added.
import type { Logger } from '../lib/logger.ts';
import { shortId } from '../lib/short-id.ts';
import { editHeader } from '../message/headers.ts';
import { prefixedSource, replaceHead } from '../message/source.ts';
import type { Client, Transaction } from './envelope.ts';
import type { IncomingMessage } from './incoming-message.ts';
import type { SmtpSessionOptions } from './options.ts';
import { prepareSubmission } from './submission.ts';
import { receivedField, type Hop } from './trace.ts';

/** Postfix's message_drop_headers: the envelope's business, or what another delivery wrote (RFC 5321 4.4: Return-Path is the last host's). */
const DROPPED = ['bcc', 'content-length', 'resent-bcc', 'return-path'];

/** As Postfix's: hexadecimal, upper case. */
export const queueId = (): string => shortId().toUpperCase();

export interface Handover {
  readonly id: string;
  readonly transaction: Transaction;
  readonly incoming: IncomingMessage;
  readonly client: Client & { readonly mechanism: string | undefined; readonly internal: boolean };
  /** What the Received field says of the way here. */
  readonly hop: Omit<Hop, 'id' | 'hostname' | 'recipient' | 'at' | 'utf8'>;
}

/** Resolves when every recipient's copy is safe. @throws MailError when it is not; the message is forgotten then, as it is in the end */
export async function handOver(message: Handover, options: SmtpSessionOptions, log: Logger): Promise<void> {
  const { id, transaction, client } = message;
  const { source, headLength, header, deliveredTo } = await message.incoming.finish();
  let refund: (() => Promise<void>) | undefined;
  try {
    const { account } = client;
    const { sender, params } = transaction;
    const addresses = transaction.recipients.map(({ address }) => address);
    const judged = await transaction.verification?.judge({ id, header, headLength, source }, addresses, log);
    const recipients = transaction.recipients.map((one) => (judged?.isJunk(one.address) ? { ...one, junk: true } : one));
    const unforged = account ? (options.authentication?.withoutForged(header) ?? header) : (judged?.header ?? header);
    const checked = account ? await prepareSubmission(unforged, account.address, options, id) : unforged;
    const edited = editHeader(checked, DROPPED, [], options.limits);
    log.info('smtp.received', {
      id,
      from: sender,
      size: source.size,
      recipients: recipients.length,
      messageId: messageIdOf(edited),
      ...(account ? { user: account.address, mechanism: client.mechanism } : {}),
    });
    refund = await transaction.meter?.charge();
    await options.accept({
      id,
      envelope: {
        sender,
        recipients,
        smtpUtf8: params.smtpUtf8,
        bodyType: params.bodyType,
        ...(params.ret === undefined ? {} : { ret: params.ret }),
        ...(params.envid === undefined ? {} : { envid: params.envid }),
        ...(params.requireTls ? { requireTls: true } : {}),
        ...(params.verp === undefined ? {} : { verp: params.verp }),
      },
      // RFC 8601 section 5: what we found out stands above what we are told.
      source: prefixedSource(
        Buffer.concat([...(judged ? [judged.fields] : []), received(message, options)]),
        replaceHead(source, headLength, edited),
      ),
      original: source,
      deliveredTo,
      ...(account ? { account: account.address } : {}),
      ...(client.trusted || client.internal ? { trusted: true } : {}),
    });
  } catch (error) {
    await refund?.().catch(() => undefined);
    throw error;
  } finally {
    await source.dispose();
  }
}

function received({ id, transaction, hop }: Handover, options: SmtpSessionOptions): Buffer {
  const [only, more] = transaction.recipients;
  const field = receivedField({
    ...hop,
    hostname: options.hostname,
    id,
    utf8: transaction.params.smtpUtf8,
    ...(only && !more ? { recipient: only.address } : {}),
    at: options.clock.now(),
  });
  return Buffer.from(field, 'utf8');
}

/** For the log. */
export const messageIdOf = (header: Buffer): string =>
  /^message-id:[ \t]*([^\r\n]{1,300})/im.exec(header.toString('latin1', 0, 65_536))?.[1]?.trim() ?? '';
