// One message from standard input into the maildrop.
import { randomBytes } from 'node:crypto';
import { Drop } from '../../maildrop/drop.ts';
import { MAX_DROP_RECIPIENTS, type DropEnvelope } from '../../maildrop/format.ts';
import type { ToolSettings } from '../../maildrop/tool-settings.ts';
import type { CommandIo } from '../command.ts';
import { EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_USAGE, Fatal } from '../sysexits.ts';
import { readRecipients, readSender } from './addresses.ts';
import { MessageHeader } from './header.ts';
import { inPieces, inputLines } from './input.ts';
import type { LocalUser } from './local-user.ts';
import type { SendmailOptions } from './options.ts';

const MAX_HEADER = 1024 * 1024;

export interface Submission {
  readonly options: SendmailOptions;
  readonly settings: ToolSettings;
  /** Who calls; undefined for a uid without a name. */
  readonly user: LocalUser | undefined;
  readonly now: number;
}

/** @throws Fatal, MailError: nothing was submitted then */
export async function submit(submission: Submission, io: CommandIo): Promise<void> {
  const { options, settings } = submission;
  const limit = settings.messageSizeLimit === 0 ? Infinity : settings.messageSizeLimit;
  const tooLarge = (): Fatal => new Fatal(EX_UNAVAILABLE, `message is larger than message_size_limit (${limit} bytes)`);
  const verify = options.mode === 'verify';
  const lines = verify ? nothing() : inputLines(io.stdin, options.dotEnds, limit, tooLarge);
  const { header, first } = verify ? { header: probeHeader(submission), first: [] } : await readHeader(lines);
  const envelope = envelopeOf(submission, header);
  const head = header.finish({
    myorigin: settings.myorigin,
    hostname: settings.hostname,
    author: authorOf(submission, envelope.sender),
    fullName: options.fullName ?? io.env['NAME'] ?? submission.user?.fullName ?? '',
    now: submission.now,
    unique: randomBytes(6).toString('hex').toUpperCase(),
  });
  const drop = await Drop.create(settings.queueDirectory, envelope);
  await whileItLasts(drop, async () => {
    await drop.write(head);
    for await (const piece of inPieces(chain(first, lines))) await drop.write(piece);
    if (drop.size > limit) throw tooLarge();
    await drop.commit();
  });
  if (envelope.trace !== undefined)
    io.out(`Mail Delivery Status Report will be mailed to <${options.sender ?? submission.user?.name ?? ''}>.\n`);
}

async function* nothing(): AsyncGenerator<Buffer> {
  // The input is left alone.
}

/** What Postfix's sendmail writes for -bv; the rest is added as to any message. */
function probeHeader({ options, settings }: Submission): MessageHeader {
  const recipients = options.recipients.flatMap((text) => readRecipients(text, settings.myorigin));
  const to = recipients.map((address) => Buffer.from(address, 'utf8').toString('latin1'));
  return new MessageHeader(['Subject: probe', `To: ${to.join(',\n\t')}`]);
}

/** Whatever ends the writing early leaves nothing behind: an error, or a signal. */
async function whileItLasts(drop: Drop, write: () => Promise<void>): Promise<void> {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const onSignal = (): void => void drop.abort().finally(() => process.exit(EX_UNAVAILABLE));
  for (const signal of signals) process.once(signal, onSignal);
  try {
    await write();
  } catch (error) {
    await drop.abort();
    throw error;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/** Lines up to the empty one, and the first of the body where none parts it from the header. */
async function readHeader(lines: AsyncGenerator<Buffer>): Promise<{ header: MessageHeader; first: Buffer[] }> {
  const fields: string[] = [];
  let bytes = 0;
  for (;;) {
    const next = await lines.next();
    const line = next.done === true ? undefined : next.value;
    if (line === undefined || line.length === 0) return { header: new MessageHeader(fields), first: [] };
    bytes += line.length + 2;
    if (bytes > MAX_HEADER) throw new Fatal(EX_DATAERR, `the header is over ${MAX_HEADER} bytes`);
    const text = line.toString('latin1');
    // What an mbox has before a message.
    if (fields.length === 0 && /^>*From /i.test(text)) continue;
    if (!MessageHeader.isLine(text, fields.length === 0)) return { header: new MessageHeader(fields), first: [line] };
    fields.push(text);
  }
}

async function* chain(first: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* first;
  yield* rest;
}

function envelopeOf({ options, settings, user }: Submission, header: MessageHeader): DropEnvelope {
  const { myorigin } = settings;
  const { notify, ret, envid, bodyType } = options;
  const given = options.fromHeader
    ? header.recipients(myorigin)
    : options.recipients.flatMap((text) => readRecipients(text, myorigin));
  const recipients = [...new Set(given)];
  if (recipients.length === 0)
    throw new Fatal(EX_USAGE, options.fromHeader ? 'No recipient addresses found in message header' : 'no recipients');
  if (recipients.length > MAX_DROP_RECIPIENTS) throw new Fatal(EX_USAGE, `more than ${MAX_DROP_RECIPIENTS} recipients`);
  if (options.sender === undefined && !user) throw new Fatal(EX_NOUSER, 'unable to find your login name; -f names a sender');
  return {
    sender: readSender(options.sender ?? user?.name ?? '', myorigin),
    recipients,
    ...(bodyType === undefined ? {} : { bodyType }),
    ...(notify === undefined ? {} : { notify }),
    ...(ret === undefined ? {} : { ret }),
    ...(envid === undefined ? {} : { envid }),
    ...(options.mode === 'verify' ? { trace: 'verify' } : options.verbose ? { trace: 'record' } : {}),
  };
}

/** Reports have no sender, but somebody who wrote them. */
const authorOf = ({ user, settings }: Submission, sender: string): string =>
  sender === '' ? `${user?.name ?? 'MAILER-DAEMON'}@${settings.myorigin}` : sender;
