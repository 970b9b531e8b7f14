// `npm run bench -- sync-order`: a run under strace that shows for each message what was synced before its 250, by Buzon and by Postfix.
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../test/support/mail-host.ts';
import { findProgram } from '../test/support/programs.ts';
import { SmtpSender } from '../test/support/smtp-send.ts';
import { printRows } from './smtp-report.ts';
import { Buzon } from './servers/buzon.ts';
import { PostfixServer } from './servers/postfix.ts';
import type { Server } from './servers/server.ts';
import { parseTrace, Trace, type Sent } from './sync-trace.ts';
import type { Teardown } from './teardown.ts';

export interface SyncOrderOptions {
  readonly messages: number;
  readonly workers: number;
}

const MAILBOXES = 20;
/** At a time, so that messages come between each other. */
const CONNECTIONS = 4;
const CALLS = [
  ...['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'sendto', 'sendmsg'],
  ...['fsync', 'fdatasync', 'rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat'],
];

interface Finding {
  readonly server: string;
  readonly what: string;
  /** Messages of which it is true. */
  readonly count: number;
  readonly of: number;
  /** Whether it must be true of all. */
  readonly wanted: boolean;
}

/** Exit status 1 when an order that is promised does not hold for every message. */
export async function syncOrder(options: SyncOrderOptions, teardown: Teardown): Promise<unknown> {
  const mailboxes = MAILBOXES;
  const findings: Finding[] = [];
  // Queue files have names that are not used again, so that the trace tells one from another.
  const settings = { enable_long_queue_ids: 'yes' };
  const postfix = await PostfixServer.start({ checks: 'off', mailboxes, settings }, teardown);
  findings.push(...postfixFindings(...(await traced(postfix, options.messages, teardown))));
  await postfix[Symbol.asyncDispose]();
  const buzon = await Buzon.start({ checks: 'off', mailboxes, workers: options.workers }, teardown);
  findings.push(...buzonFindings(...(await traced(buzon, options.messages, teardown))));
  await buzon[Symbol.asyncDispose]();
  console.log('\nBefore the 250 was written (a sync counts when it had returned without error):');
  printRows([
    ['', 'messages', ''],
    ...findings.map(({ server, what, count, of, wanted }) => [
      `${server}: ${what}`,
      `${count} of ${of}`,
      count === of ? 'always' : wanted ? 'VIOLATED' : count === 0 ? 'never' : 'not always',
    ]),
  ]);
  // The figures are written all the same: they say what was wrong.
  if (findings.some(({ count, of, wanted }) => wanted && count !== of)) process.exitCode = 1;
  return { findings };
}

function postfixFindings(trace: Trace, sent: readonly Sent[]): Finding[] {
  const orders = sent.map((one) => trace.queued(one));
  const finding = (what: string, key: keyof (typeof orders)[number], wanted: boolean): Finding => ({
    server: 'Postfix',
    what,
    count: orders.filter((order) => order[key]).length,
    of: orders.length,
    wanted,
  });
  return [
    finding('queue file synced behind its last write', 'fileSynced', true),
    finding('queue folder synced', 'folderSynced', false),
    finding('(after the 250) mailbox file synced before it is shown in new/', 'mailboxFileSynced', true),
    finding('(after the 250) new/ synced', 'mailboxFolderSynced', false),
    finding('(after the 250) queue file removed only then', 'removedAfter', true),
  ];
}

function buzonFindings(trace: Trace, sent: readonly Sent[]): Finding[] {
  const orders = sent.map((one) => trace.delivered(one));
  const all = { server: 'Buzon', of: orders.length, wanted: true };
  return [
    {
      ...all,
      what: 'mailbox file synced behind its last write, then shown in new/',
      count: orders.filter(({ fileSynced }) => fileSynced).length,
    },
    { ...all, what: 'new/ synced after that', count: orders.filter(({ folderSynced }) => folderSynced).length },
  ];
}

/** Sends messages to a server under strace. */
async function traced(server: Server, messages: number, teardown: Teardown): Promise<[Trace, Sent[]]> {
  // Processes that are there from the start, and not only the first message's.
  await send(server, 2 * CONNECTIONS, 'warm-up');
  await server.drained();
  const strace = await Strace.attach(
    server.accounting.pids(),
    join(process.env['TMPDIR'] ?? '/tmp', `${server.name}.trace`),
    teardown,
  );
  console.log(`${server.name}: ${messages} messages over ${CONNECTIONS} connections, under strace`);
  const sent = await send(server, messages, 'm');
  await server.drained();
  await strace.end();
  return [new Trace(parseTrace(await readFile(strace.file, 'latin1'))), sent];
}

async function send(server: Server, messages: number, prefix: string): Promise<Sent[]> {
  const sent: Sent[] = [];
  const recipients = [...server.maildirs.keys()];
  let next = 0;
  const lane = async (): Promise<void> => {
    const sender = await SmtpSender.connect(server.smtpPort);
    for (let n = next++; n < messages; n = next++) {
      const from = `${prefix}-${n}@remote.test`;
      const to = [recipients[n % recipients.length] ?? ''];
      const data = `From: ${from}\r\nSubject: message ${n}\r\n\r\n${'some words of text\r\n'.repeat(200)}`;
      const reply = await sender.send({ from, to, data });
      sent.push({ sender: from, id: /queued as (\S+)/.exec(reply)?.[1] ?? '' });
    }
    await sender.quit();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return sent;
}

class Strace implements AsyncDisposable {
  readonly file: string;
  readonly #child: ChildProcess;
  #errors = '';

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.file = file;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
  }

  /** Resolves when all threads of all `pids`, and what they start from now on, are traced. */
  static async attach(pids: readonly number[], file: string, teardown: Teardown): Promise<Strace> {
    const program = (await findProgram('strace')) ?? 'strace';
    const args = ['-f', '-y', '-s', '300', '-e', `trace=${CALLS.join(',')}`, '-e', 'signal=none', '-o', file];
    const child = spawn(program, [...args, ...pids.flatMap((pid) => ['-p', String(pid)])], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    const strace = teardown.use(new Strace(child, file));
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`strace: ${strace.#errors}`);
      return pids.every((pid) => strace.#errors.includes(`Process ${pid} attached`));
    }, 'strace is attached');
    return strace;
  }

  /** Lets go of the processes, which run on, and has written everything. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGINT');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
