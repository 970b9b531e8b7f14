// Buzon as it is installed: `node dist/server.js` with a settings file, as root, workers without root.
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, MailHost, PROJECT } from '../../test/support/mail-host.ts';
import { run } from '../../test/support/programs.ts';
import { accountFor, type Accounting } from '../accounting.ts';
import { listenersOn } from '../proc.ts';
import type { Teardown } from '../teardown.ts';
import { addresses, PASSWORD, type Checks, type Server } from './server.ts';

export interface BuzonOptions {
  readonly checks: Checks;
  readonly workers: number;
  readonly mailboxes: number;
  /** More settings. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

const START_MS = 60_000;
const STOP_MS = 40_000;

export class Buzon implements Server {
  readonly name = 'Buzon';
  readonly accounting: Accounting;
  readonly maildirs: ReadonlyMap<string, string>;
  readonly #host: MailHost;
  #child: ChildProcess | undefined;

  private constructor(host: MailHost) {
    this.#host = host;
    this.maildirs = new Map(Object.keys(host.users).map((address) => [address, host.maildir(address)]));
    this.accounting = accountFor(`buzon-bench-${process.pid}-buzon`);
  }

  static async start({ checks, workers, mailboxes, settings = {} }: BuzonOptions, teardown: Teardown): Promise<Buzon> {
    const host = await MailHost.create({
      users: Object.fromEntries(addresses(mailboxes).map((address) => [address, PASSWORD])),
      settings: {
        workers,
        virtual_mailbox_maps: 'hash:vmailbox',
        message_size_limit: '50M',
        smtpd_tls_security_level: checks === 'on' ? 'may' : 'none',
        smtpd_forbid_bare_newline: checks === 'on' ? 'reject' : 'no',
        log: { file: 'mail.log', format: 'postfix', level: 'info' },
        ...settings,
      },
    });
    const compiled = await run(process.execPath, [
      join(PROJECT, 'dist/bin/buzon.js'),
      'postmap',
      join(host.directory, 'vmailbox'),
    ]);
    if (compiled.status !== 0) throw new Error(`buzon postmap: ${compiled.stderr}`);
    const server = teardown.use(new Buzon(host));
    await server.#run(workers);
    return server;
  }

  get smtpPort(): number {
    return this.#host.ports.smtp;
  }
  get imapPort(): number {
    return this.#host.ports.imap;
  }

  async #run(workers: number): Promise<void> {
    const entry = join(PROJECT, 'dist', 'server.js');
    const [program = '', ...args] = this.accounting.wrap([process.execPath, entry, '--config', this.#host.settingsFile]);
    let output = '';
    // A session of its own: a terminal's Ctrl-C is for us alone, and we stop it in order.
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    this.accounting.root(child.pid ?? 0);
    await eventually(
      async () => {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`Buzon has ended: ${output}${await this.log()}`);
        return listenersOn(this.imapPort) === Math.max(1, workers) && listenersOn(this.smtpPort) === Math.max(1, workers);
      },
      'Buzon listens in every worker',
      START_MS,
    );
  }

  /** A 250 means stored. */
  async drained(): Promise<void> {}

  async settings(): Promise<string> {
    return (await readFile(this.#host.settingsFile, 'utf8')).replaceAll(this.#host.directory, '$folder');
  }
  log(): Promise<string> {
    return readFile(join(this.#host.directory, 'mail.log'), 'utf8').catch(() => '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      this.accounting.pids();
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    await this.accounting.close();
  }
}
