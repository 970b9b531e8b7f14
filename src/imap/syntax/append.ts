// What stands before APPEND's message (RFC 3501 section 6.3.11): mailbox, flags, date.
import { parseImapDateTime } from '../../message/date.ts';
import { nameText } from '../mailbox-name.ts';
import { readFlagList } from './flags.ts';
import { bad, type Scanner } from './scanner.ts';

export interface AppendArguments {
  /** As on the wire. */
  readonly name: string;
  readonly flags: readonly string[];
  /** Milliseconds since the epoch. */
  readonly internalDate: number | undefined;
}

/** Reads up to the message's literal, which must follow. */
export function readAppend(args: Scanner): AppendArguments {
  args.space();
  const name = nameText(args.astring());
  args.space();
  let flags: string[] = [];
  if (args.next === '(') {
    flags = readFlagList(args);
    args.space();
  }
  let internalDate: number | undefined;
  if (args.next === '"') {
    internalDate = parseImapDateTime(args.string().toString('latin1'));
    if (internalDate === undefined) throw bad('Bad date-time');
    args.space();
  }
  args.end();
  return { name, flags, internalDate };
}
