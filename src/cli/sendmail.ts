// `sendmail` (sendmail(1) of Postfix): takes a message from a local program and leaves it in the maildrop, whether or not the server runs. Its caller is who
// sends; it needs no rights but those to make a file there (maildrop/folder.ts).
import { MailError } from '../lib/errors.ts';
import { findToolSettings } from '../maildrop/tool-settings.ts';
import type { Command, CommandIo } from './command.ts';
import { localUser } from './sendmail/local-user.ts';
import { readSendmailOptions, type SendmailOptions } from './sendmail/options.ts';
import { serveSmtp } from './sendmail/smtp.ts';
import { submit } from './sendmail/submit.ts';
import { EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, Fatal } from './sysexits.ts';

const USAGE = `usage: sendmail [options] [recipient ...]
  -t              recipients are those of the header (To, Cc, Bcc; Bcc is removed)
  -i, -oi         a line of nothing but a dot does not end the message
  -f, -r ADDRESS  envelope sender; default the caller
  -F NAME         full name for a From field that is missing
  -N WORDS, -R WORD, -V ID   notices wanted (never, or success,failure,delay), how much they hold (full, hdrs), their envelope id
  -B 7BIT|8BITMIME   body type
  -bm             sends a message (the default); -bs speaks SMTP
  -bv             sends nothing: a report of what would become of each recipient is mailed to the sender; -v sends, and reports on the first try
  -bp             lists the queue (mailq); -q sends what waits (postqueue -f); -bi, -I newaliases
  -C FILE         settings file or its folder
  others of Postfix's are accepted and change nothing
Ends as sysexits(3) says: 0 when the message is safe, 64 wrong arguments, 65 a bad address, 67 no such user, 69 refused, 75 try again, 78 wrong settings.`;

export const sendmailCommand: Command = {
  name: 'sendmail',
  summary: 'take a message from a local program',
  usage: USAGE,
  instead: (args) => {
    try {
      return otherCommand(readSendmailOptions(args));
    } catch {
      // run() says what is wrong.
      return undefined;
    }
  },
  async run(args, io) {
    try {
      return await perform(readSendmailOptions(args), io);
    } catch (error) {
      const { status, text } = verdict(error);
      io.err(`sendmail: fatal: ${text}\n`);
      return status;
    }
  },
};

function otherCommand({ mode, config }: SendmailOptions): string[] | undefined {
  switch (mode) {
    case 'list':
      return ['mailq', ...(config === undefined ? [] : ['-C', config])];
    case 'flush':
      return ['postqueue', '-f', ...(config === undefined ? [] : ['-c', config])];
    case 'aliases':
      return ['newaliases', ...(config === undefined ? [] : ['-C', config])];
    case 'send':
    case 'smtp':
    case 'verify':
      return undefined;
  }
}

async function perform(options: SendmailOptions, io: CommandIo): Promise<number> {
  const settings = await findToolSettings({
    env: io.env,
    cwd: io.cwd,
    ...(options.config === undefined ? {} : { given: options.config }),
  });
  if (options.mode === 'smtp') await serveSmtp(settings, io);
  else await submit({ options, settings, user: await localUser(process.getuid?.() ?? 0), now: Date.now() }, io);
  return 0;
}

/** Whatever is not known to be wrong for good may work later: callers keep the message then. */
function verdict(error: unknown): { status: number; text: string } {
  if (error instanceof Fatal) return { status: error.status, text: error.message };
  if (!(error instanceof MailError)) return { status: EX_TEMPFAIL, text: error instanceof Error ? error.message : String(error) };
  if (error.code === 'NO_MAILDROP') return { status: EX_TEMPFAIL, text: error.message };
  return {
    status: error.kind === 'config' ? EX_CONFIG : error.kind === 'too-large' ? EX_UNAVAILABLE : EX_TEMPFAIL,
    text: error.message,
  };
}
