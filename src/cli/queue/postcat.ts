// `postcat` (postcat(1)): a waiting message with its envelope, in the form in which Postfix shows its queue files.
import { basename } from 'node:path';
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import type { FileLayout, QueuedMessage, QueuedRecipient } from '../../queue/types.ts';
import type { Command, CommandIo } from '../command.ts';
import { fatal, isRefusal, shownQueueOf } from './drop-in.ts';
import { settingsFileFor } from '../settings-file.ts';
import { readFlags } from './getopt.ts';
import { MessageText } from './message-text.ts';
import type { CommandQueue } from './command-queue.ts';
import { withQueue, type WithQueue } from './open.ts';
import { asctime } from './showq.ts';
import { printable } from './text.ts';

const SYNOPSIS =
  'postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]';
const USAGE = `usage: postcat [-bdehoqrv] [-c FILE] ID ...
  Shows messages of the queue: -e the envelope, -h the header, -b the body; all of these unless one is given. Lines end in LF.
  -q is implied: a file's name counts as the id that it ends in. -v names each record. -c FILE is the settings file or its folder.
  -d  before each record the type that it has in Postfix's files, in decimal; -o where it stands: bytes from the beginning of our file
      (whose envelope is one line, at which all its records stand). -r changes nothing: records always come in the order of the file.
  -s (skip to an offset) is refused.`;

/** dsn_mask(3). */
const NOTIFY_BITS = { NEVER: 1, SUCCESS: 2, FAILURE: 4, DELAY: 8 } as const;
const RET_BITS = { FULL: 1, HDRS: 2 } as const;
/** deliver_request(3): USR_VRFY, RECORD. */
const TRACE_BITS = { verify: 512, record: 1024 } as const;

interface Parts {
  readonly envelope: boolean;
  readonly header: boolean;
  readonly body: boolean;
  readonly verbose: boolean;
  /** -o, -d. */
  readonly offsets: boolean;
  readonly types: boolean;
}

/** What stands before a record at `at` (bytes) of Postfix's type, a letter. */
type Label = (at: number, type: string) => string;
/** rec_type(3): message size, time, attribute, sender, recipient, message, its lines, what was extracted, end. */
const TYPE = {
  size: 'C',
  time: 'T',
  attribute: 'A',
  sender: 'S',
  recipient: 'R',
  message: 'M',
  text: 'N',
  extracted: 'X',
  end: 'E',
} as const;

/** The command on a queue that `open` opens. */
export function makePostcat(open: WithQueue): Command {
  return {
    name: 'postcat',
    summary: 'show a message of the queue, as Postfix’s command does',
    usage: USAGE,
    async run(args, io) {
      const read = readFlags(args, 'bc:dehoqrs:v');
      if (typeof read === 'string') io.err(`postcat: ${read}\n`);
      if (typeof read === 'string' || read.rest.length === 0) return fatal(io, 'postcat', `usage: ${SYNOPSIS}`, 1);
      const given = new Set(read.flags.map(([flag]) => flag));
      if (given.has('s')) return fatal(io, 'postcat', "-s is not supported: these files have no records of Postfix's kind", 1);
      const config = read.flags.findLast(([flag]) => flag === 'c')?.[1];
      return show(open, await settingsFileFor(config, io), read.rest, partsOf(given), io);
    },
  };
}

export const postcatCommand = makePostcat(withQueue);

function partsOf(given: ReadonlySet<string>): Parts {
  const all = !['b', 'e', 'h'].some((flag) => given.has(flag));
  const has = (flag: string): boolean => all || given.has(flag);
  return {
    envelope: has('e'),
    header: has('h'),
    body: has('b'),
    verbose: given.has('v'),
    offsets: given.has('o'),
    types: given.has('d'),
  };
}

async function show(open: WithQueue, file: string, names: readonly string[], parts: Parts, io: CommandIo): Promise<number> {
  const [first = ''] = names;
  try {
    return await open(file, io, async (queue) => {
      for (const name of names) {
        const id = basename(name).toUpperCase();
        if (!/^[0-9A-Z]{1,64}$/.test(id)) return fatal(io, 'postcat', `bad mail queue ID: ${printable(name)}`, 1);
        const message = await queue.find(id);
        if (!message) return fatal(io, 'postcat', `open queue file ${printable(name)}: No such file or directory`, 1);
        await showMessage(queue, message, parts, io);
      }
      return 0;
    });
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    return fatal(io, 'postcat', isRefusal(error) ? `open queue file ${first}: Permission denied` : error.message, 1);
  }
}

async function showMessage(queue: CommandQueue, message: QueuedMessage, parts: Parts, io: CommandIo): Promise<void> {
  const { id } = message.envelope;
  const path = `${shownQueueOf(message, queue.isRun)}/${id}`;
  const layout = parts.offsets ? await queue.layout(id) : NOWHERE;
  const label = labelOf(parts);
  const marker = (text: string, before = ''): void => {
    if (parts.envelope) io.out(`${before}*** ${text} ${path} ***\n`);
  };
  marker('ENVELOPE RECORDS');
  if (parts.envelope) io.out(envelopeRecords(message, layout, label));
  // The empty line behind the head.
  marker('MESSAGE CONTENTS', label(layout.message - 1, TYPE.message));
  if (parts.header || parts.body) {
    const source = await queue.open(id);
    try {
      await showContents(source, parts, (at) => label(layout.message + at, TYPE.text), io);
    } finally {
      await source.dispose();
    }
  }
  const end = layout.message + message.size;
  marker('HEADER EXTRACTED', label(end, TYPE.extracted));
  marker('MESSAGE FILE END', label(end, TYPE.end));
}

/** Where nobody asks for offsets. */
const NOWHERE: FileLayout = { envelope: 0, recipients: [], message: 0 };

function labelOf({ offsets, types }: Parts): Label {
  return (at, type) =>
    `${offsets ? `${String(at).padStart(9)} ` : ''}${types ? `${String(type.charCodeAt(0)).padStart(3)} ` : ''}`;
}

async function showContents(
  source: MessageSource,
  { header, body, verbose }: Parts,
  label: (at: number) => string,
  io: CommandIo,
): Promise<void> {
  const prefix = (at: number): string => `${label(at)}${verbose ? 'regular_text: ' : ''}`;
  const text = new MessageText((bytes) => io.out(bytes), { header, body, prefix });
  for await (const chunk of source.chunks()) {
    if (text.finished || io.closed?.()) return;
    text.write(chunk);
  }
  text.end();
}

function envelopeRecords({ envelope, size, recipients }: QueuedMessage, layout: FileLayout, label: Label): string {
  const record = (type: string, text: string): string => `${label(layout.envelope, type)}${text}\n`;
  const attribute = (name: string, value: string | number | undefined): string =>
    value === undefined ? '' : record(TYPE.attribute, `named_attribute: ${name}=${printable(String(value))}`);
  const sizes = [size, 0, recipients.length, 0, size, envelope.smtpUtf8 ? 3 : 0];
  return [
    `${label(0, TYPE.size)}message_size: ${sizes.map((number) => String(number).padStart(15)).join(' ')}\n`,
    record(TYPE.time, `message_arrival_time: ${asctime(envelope.arrived)}`),
    record(TYPE.attribute, `create_time: ${asctime(envelope.arrived)}`),
    attribute('log_ident', envelope.id),
    attribute('envelope_id', envelope.envid),
    attribute('ret_flags', envelope.ret && RET_BITS[envelope.ret]),
    attribute('trace_flags', envelope.trace && TRACE_BITS[envelope.trace]),
    record(TYPE.sender, `sender: ${printable(envelope.sender)}`),
    attribute('encoding', envelope.bodyType === '7BIT' ? undefined : '8bit'),
    attribute('sasl_username', envelope.account),
    ...recipients.map((recipient) =>
      recipientRecords(recipient, (type) => label(layout.recipients[recipient.number] ?? 0, type)),
    ),
  ].join('');
}

function recipientRecords({ address, notify, orcpt }: QueuedRecipient, label: (type: string) => string): string {
  const flags = notify?.reduce((sum, word) => sum + NOTIFY_BITS[word], 0);
  const attribute = label(TYPE.attribute);
  return [
    flags === undefined ? '' : `${attribute}named_attribute: notify_flags=${flags}\n`,
    orcpt === undefined ? '' : `${attribute}named_attribute: dsn_orig_rcpt=${printable(orcpt)}\n`,
    `${label(TYPE.recipient)}recipient: ${printable(address)}\n`,
  ].join('');
}
