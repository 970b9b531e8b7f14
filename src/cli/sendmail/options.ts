// Arguments of sendmail(1), as Postfix's sendmail reads them.
import { NOTIFY_WORDS, type NotifyWord } from '../../maildrop/format.ts';
import { getopt, UsageError, type GivenOption } from '../getopt.ts';
import { EX_USAGE, Fatal } from '../sysexits.ts';

export type SendmailMode = 'send' | 'smtp' | 'verify' | 'list' | 'flush' | 'aliases';

export interface SendmailOptions {
  readonly mode: SendmailMode;
  /** -t: recipients are those of the header. */
  readonly fromHeader: boolean;
  /** A line of nothing but a dot ends the message (without -i, -oi). */
  readonly dotEnds: boolean;
  /** -f, -r: as given. */
  readonly sender?: string;
  /** -F. */
  readonly fullName?: string;
  /** -C: the settings file or its folder. */
  readonly config?: string;
  readonly bodyType?: '7BIT' | '8BITMIME';
  readonly notify?: readonly NotifyWord[];
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  /** -v: a report of the first delivery attempt. */
  readonly verbose?: boolean;
  readonly recipients: readonly string[];
}

/** Of Postfix; -d of older programs is accepted. -q and -V need not have their argument. */
const LETTERS = 'A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q::tvxd::';

type Draft = { -readonly [K in keyof SendmailOptions]: SendmailOptions[K] };

/** @throws Fatal EX_USAGE */
export function readSendmailOptions(args: readonly string[]): SendmailOptions {
  const { options, rest } = parse(args);
  const draft: Draft = { mode: 'send', fromHeader: false, dotEnds: true, recipients: rest };
  for (const option of options) apply(draft, option);
  if (draft.mode === 'verify' && draft.fromHeader) throw new Fatal(EX_USAGE, '-t option cannot be used with -bv');
  if (draft.mode === 'send' && draft.fromHeader && rest.length > 0)
    throw new Fatal(EX_USAGE, 'cannot handle command-line recipients with -t');
  if ((draft.mode === 'send' && !draft.fromHeader && rest.length === 0) || (draft.mode === 'verify' && rest.length === 0))
    throw new Fatal(EX_USAGE, 'Recipient addresses must be specified on the command line or via the -t option');
  return draft;
}

function parse(args: readonly string[]): ReturnType<typeof getopt> {
  try {
    return getopt(args, { short: LETTERS });
  } catch (error) {
    if (error instanceof UsageError) throw new Fatal(EX_USAGE, `usage: sendmail [options]: ${error.message}`);
    throw error;
  }
}

function apply(draft: Draft, { name, value = '' }: GivenOption): void {
  switch (name) {
    case 'b':
      return void (draft.mode = modeOf(value));
    case 'q':
      // `-q15m` is for a daemon that is not this program.
      return void (draft.mode = 'flush');
    case 'I':
      return void (draft.mode = 'aliases');
    case 't':
      return void (draft.fromHeader = true);
    case 'i':
      return void (draft.dotEnds = false);
    case 'f':
    case 'r':
      return void (draft.sender = value);
    case 'F':
      return void (draft.fullName = value);
    case 'C':
      return void (draft.config = value);
    case 'B':
      return void (draft.bodyType = word(value, ['7BIT', '8BITMIME'] as const, 'B'));
    case 'N':
      return void (draft.notify = notifyOf(value));
    case 'R':
      return void (draft.ret = word(value, ['FULL', 'HDRS'] as const, 'R'));
    case 'V':
      return void (draft.envid = envidOf(value));
    case 'v':
      return void (draft.verbose = true);
    case 'o':
      return oldOption(draft, value);
  }
}

/** `-oi`; others (`-oem`, `-odb`) change nothing here. */
function oldOption(draft: Draft, value: string): void {
  if (value === 'i') draft.dotEnds = false;
  else if (value === '7') draft.bodyType = '7BIT';
  else if (value === '8') draft.bodyType = '8BITMIME';
}

function modeOf(value: string): SendmailMode {
  switch (value) {
    case 'm':
      return 'send';
    case 's':
      return 'smtp';
    case 'v':
      return 'verify';
    case 'p':
      return 'list';
    case 'i':
      return 'aliases';
    case 'd':
    case 'l':
      throw new Fatal(EX_USAGE, `-b${value}: the server is started by "buzon serve"`);
    default:
      throw new Fatal(EX_USAGE, `unsupported: -b${value}`);
  }
}

function word<T extends string>(value: string, words: readonly T[], letter: string): T {
  const found = words.find((one) => one === value.toUpperCase());
  if (found === undefined) throw new Fatal(EX_USAGE, `-${letter} requires one of: ${words.join(', ')}`);
  return found;
}

function notifyOf(value: string): NotifyWord[] {
  const words = [...new Set(value.split(',').map((one) => word(one.trim(), NOTIFY_WORDS, 'N')))];
  // RFC 3461 section 4.1.
  if (words.includes('NEVER') && words.length > 1) throw new Fatal(EX_USAGE, '-N: "never" cannot stand with others');
  return words;
}

function envidOf(value: string): string {
  if (value.length <= 100 && /^[\x20-\x7e]+$/.test(value)) return value;
  throw new Fatal(EX_USAGE, '-V requires an envelope id of at most 100 printable characters');
}
