// `buzon COMMAND …`: finds the command and runs it. Commands are imported only when called, so that `buzon help` starts fast.
import { MailError } from '../lib/errors.ts';
import { processTerminal, readerWatch } from './process-output.ts';
import type { Command, CommandIo } from './command.ts';

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serve,
  check: async () => (await import('./check.ts')).checkCommand,
  user: async () => (await import('./user.ts')).userCommand,
  domain: async () => (await import('./domain.ts')).domainCommand,
  dkim: async () => (await import('./dkim.ts')).dkimCommand,
  postmap: async () => (await import('./postmap.ts')).postmapCommand,
  verify: async () => (await import('./verify.ts')).verifyCommand,
  suppress: async () => (await import('./suppress.ts')).suppressCommand,
  queue: async () => (await import('./queue.ts')).queueCommand,
  mailq: async () => (await import('./queue/mailq.ts')).mailqCommand,
  postqueue: async () => (await import('./queue/postqueue.ts')).postqueueCommand,
  postsuper: async () => (await import('./queue/postsuper.ts')).postsuperCommand,
  postcat: async () => (await import('./queue/postcat.ts')).postcatCommand,
  reload: async () => (await import('./reload.ts')).reload,
  health: async () => (await import('./health.ts')).healthCommand,
  sendmail: async () => (await import('./sendmail.ts')).sendmailCommand,
  newaliases: async () => (await import('./newaliases.ts')).newaliasesCommand,
  postconf: async () => (await import('./postconf.ts')).postconfCommand,
  mail: async () => (await import('./mail.ts')).mailCommand,
  frm: async () => (await import('./frm.ts')).frmCommand,
  messages: async () => (await import('./messages.ts')).messagesCommand,
  movemail: async () => (await import('./movemail.ts')).movemailCommand,
  'install-tools': async () => (await import('./install-tools.ts')).installToolsCommand,
};

/** The process's own streams. */
export function processIo(): CommandIo {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    ...(process.stdin.isTTY ? { askSecret: async (prompt: string) => (await import('./terminal.ts')).askSecret(prompt) } : {}),
    ...readerWatch(),
    ...(process.stdin.isTTY && process.stdout.isTTY ? { terminal: processTerminal() } : {}),
    env: process.env,
    cwd: process.cwd(),
  };
}

/** Runs one command; gives its exit status. Errors are said in one line on `io.err`. */
export async function runCommand(args: readonly string[], io: CommandIo = processIo()): Promise<number> {
  const [name = 'help', ...rest] = args;
  if (name === 'help' || name === '--help' || name === '-h') return help(rest[0], io);
  if (name === 'version' || name === '--version') {
    io.out(`buzon ${await version()}\n`);
    return 0;
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!load) {
    io.err(`buzon: there is no command "${name}"; "buzon help" lists them\n`);
    return 2;
  }
  // A server whose log nobody reads must say so.
  if (name !== 'serve') io.endWithReader?.();
  const command = await load();
  if (rest.includes('--help')) {
    io.out(command.usage + '\n');
    return 0;
  }
  const instead = command.instead?.(rest);
  if (instead) return runCommand(instead, io);
  try {
    return await command.run(rest, io);
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    io.err(`buzon ${name}: ${error.message}\n`);
    return error.code === 'BAD_ARGUMENTS' ? 2 : 1;
  }
}

async function help(name: string | undefined, io: CommandIo): Promise<number> {
  const one = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (one) {
    io.out((await one()).usage + '\n');
    return 0;
  }
  const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
  io.out('usage: buzon COMMAND [arguments]\n\n');
  for (const { name: n, summary } of commands) io.out(`  ${n.padEnd(10)} ${summary}\n`);
  io.out('\n"buzon help COMMAND" tells more; docs/settings.md lists the settings.\n');
  return 0;
}

async function version(): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const manifest: unknown = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  return String((manifest as { version?: unknown }).version);
}
