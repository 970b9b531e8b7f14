// `postcat` (postcat(1)): a waiting message with its envelope, in the form in which Postfix shows its queue files.
import { basename } from 'node:path';
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import type { QueuedMessage, QueuedRecipient } from '../../queue/types.ts';
import type { Command, CommandIo } from '../command.ts';
import { fatal, isRefusal, settingsFileOf, shownQueueOf } from './drop-in.ts';
import { readFlags } from './getopt.ts';
import { MessageText } from './message-text.ts';
import type { CommandQueue } from './command-queue.ts';
import { withQueue, type WithQueue } from './open.ts';
import { asctime } from './showq.ts';
import { printable } from './text.ts';

const SYNOPSIS =
  'postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]';
const USAGE = `usage: postcat [-behqv] [-c FILE] ID ...
  Shows messages of the queue: -e the envelope, -h the header, -b the body; all of these unless one is given. Lines end in LF.
  -q is implied: a file's name counts as the id that it ends in. -v names each record. -c FILE is the settings file or its folder.
  -d, -o, -r and -s are refused: there are no records of Postfix's kind in the files.`;

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
}

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
      const refused = ['d', 'o', 'r', 's'].find((flag) => given.has(flag));
      if (refused) return fatal(io, 'postcat', `-${refused} is not supported: these files have no records of Postfix's kind`, 1);
      const config = read.flags.findLast(([flag]) => flag === 'c')?.[1];
      return show(open, await settingsFileOf(config, io), read.rest, partsOf(given), io);
    },
  };
}

export const postcatCommand = makePostcat(withQueue);

function partsOf(given: ReadonlySet<string>): Parts {
  const all = !['b', 'e', 'h'].some((flag) => given.has(flag));
  const has = (flag: string): boolean => all || given.has(flag);
  return { envelope: has('e'), header: has('h'), body: has('b'), verbose: given.has('v') };
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
  const path = `${shownQueueOf(message, queue.isRun)}/${message.envelope.id}`;
  const marker = (text: string): void => {
    if (parts.envelope) io.out(`*** ${text} ${path} ***\n`);
  };
  marker('ENVELOPE RECORDS');
  if (parts.envelope) io.out(envelopeRecords(message));
  marker('MESSAGE CONTENTS');
  if (parts.header || parts.body) {
    const source = await queue.open(message.envelope.id);
    try {
      await showContents(source, parts, io);
    } finally {
      await source.dispose();
    }
  }
  marker('HEADER EXTRACTED');
  marker('MESSAGE FILE END');
}

async function showContents(source: MessageSource, { header, body, verbose }: Parts, io: CommandIo): Promise<void> {
  const text = new MessageText((bytes) => io.out(bytes), { header, body, prefix: verbose ? 'regular_text: ' : '' });
  for await (const chunk of source.chunks()) {
    if (text.finished || io.closed?.()) return;
    text.write(chunk);
  }
  text.end();
}

function envelopeRecords({ envelope, size, recipients }: QueuedMessage): string {
  const attribute = (name: string, value: string | number | undefined): string =>
    value === undefined ? '' : `named_attribute: ${name}=${printable(String(value))}\n`;
  const sizes = [size, 0, recipients.length, 0, size, envelope.smtpUtf8 ? 3 : 0];
  return [
    `message_size: ${sizes.map((number) => String(number).padStart(15)).join(' ')}\n`,
    `message_arrival_time: ${asctime(envelope.arrived)}\n`,
    `create_time: ${asctime(envelope.arrived)}\n`,
    attribute('log_ident', envelope.id),
    attribute('envelope_id', envelope.envid),
    attribute('ret_flags', envelope.ret && RET_BITS[envelope.ret]),
    attribute('trace_flags', envelope.trace && TRACE_BITS[envelope.trace]),
    `sender: ${printable(envelope.sender)}\n`,
    attribute('encoding', envelope.bodyType === '7BIT' ? undefined : '8bit'),
    attribute('sasl_username', envelope.account),
    ...recipients.map(recipientRecords),
  ].join('');
}

function recipientRecords({ address, notify, orcpt }: QueuedRecipient): string {
  const flags = notify?.reduce((sum, word) => sum + NOTIFY_BITS[word], 0);
  return [
    flags === undefined ? '' : `named_attribute: notify_flags=${flags}\n`,
    orcpt === undefined ? '' : `named_attribute: dsn_orig_rcpt=${printable(orcpt)}\n`,
    `recipient: ${printable(address)}\n`,
  ].join('');
}
