// Debian's Postfix as an administrator sets it up for virtual mailboxes: smtpd → cleanup → queue → virtual(8) → Maildir, hash: tables.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, MailHost } from '../../test/support/mail-host.ts';
import { Postfix } from '../../test/support/postfix.ts';
import { run } from '../../test/support/programs.ts';
import { accountFor, type Accounting } from '../accounting.ts';
import type { Teardown } from '../teardown.ts';
import { addresses, PASSWORD, SERVER_NAME, type Checks, type Server } from './server.ts';

export interface PostfixOptions {
  readonly checks: Checks;
  readonly mailboxes: number;
  /** Leave in_flow_delay at its default of 1 s; 0 without this. */
  readonly flowDelay?: boolean;
  /** More settings of main.cf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** More services of master.cf. */
  readonly services?: readonly string[];
}

const DRAIN_MS = 60_000;

export class PostfixServer implements Server {
  readonly name: string;
  readonly accounting: Accounting;
  readonly maildirs: ReadonlyMap<string, string>;
  readonly host: MailHost;
  readonly #postfix: Postfix;
  #starting: Promise<void> | undefined;

  private constructor(name: string, host: MailHost, postfix: Postfix) {
    this.name = name;
    this.host = host;
    this.#postfix = postfix;
    this.maildirs = new Map(Object.keys(host.users).map((address) => [address, host.maildir(address)]));
    this.accounting = accountFor(`buzon-bench-${process.pid}-postfix${name === 'Postfix' ? '' : '-delay'}`);
  }

  static async start(options: PostfixOptions, teardown: Teardown): Promise<PostfixServer> {
    // The same tree as Buzon's, made the same way; Buzon is not started on it.
    const host = await MailHost.create({
      users: Object.fromEntries(addresses(options.mailboxes).map((address) => [address, PASSWORD])),
    });
    const vmailbox = join(host.directory, 'vmailbox');
    const postfix = await Postfix.create({ directory: host.directory, base: host.base, domains: ['example.test'], vmailbox });
    await configure(postfix.config, { ...baseSettings, ...checkSettings(options.checks, host), ...options.settings });
    for (const service of options.services ?? []) await addService(postfix.config, service);
    if (!options.flowDelay) await configure(postfix.config, { in_flow_delay: '0' });
    const server = teardown.use(new PostfixServer(options.flowDelay ? 'Postfix, in_flow_delay=1s' : 'Postfix', host, postfix));
    await (server.#starting = server.#start());
    return server;
  }

  get smtpPort(): number {
    return this.#postfix.port;
  }
  get #queue(): string {
    return join(this.host.directory, 'postfix', 'queue');
  }

  async #start(): Promise<void> {
    const [program = '', ...args] = this.accounting.wrap(['/usr/sbin/postfix', '-c', this.#postfix.config, 'start']);
    const result = await run(program, args);
    if (result.status !== 0) throw new Error(`postfix start: ${result.stderr}${result.stdout}${await this.log()}`);
    this.accounting.root(Number(await readFile(join(this.#queue, 'pid', 'master.pid'), 'utf8')));
  }

  /** By its folders, not by postqueue, whose work would count as Postfix's. */
  async drained(): Promise<void> {
    await eventually(
      async () => {
        for (const folder of ['incoming', 'active', 'maildrop'])
          if ((await readdir(join(this.#queue, folder))).length > 0) return false;
        return true;
      },
      'Postfix’s queue is empty',
      DRAIN_MS,
    );
    const deferred = await readdir(join(this.#queue, 'deferred'), { recursive: true });
    if (deferred.some((name) => name.length > 1)) throw new Error(`Postfix deferred mail:\n${(await this.log()).slice(-2000)}`);
  }

  async settings(): Promise<string> {
    const main = await run('/usr/sbin/postconf', ['-c', this.#postfix.config, '-n']);
    const master = await run('/usr/sbin/postconf', ['-c', this.#postfix.config, '-M']);
    return `${main.stdout}\n# master.cf\n${master.stdout}`.replaceAll(this.host.directory, '$folder');
  }
  log(): Promise<string> {
    return this.#postfix.log();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const starting = this.#starting;
    this.#starting = undefined;
    if (starting) {
      // One that is just coming up is stopped, too, not missed.
      await starting.catch(() => undefined);
      this.accounting.pids();
      await run('/usr/sbin/postfix', ['-c', this.#postfix.config, 'stop']);
    }
    await this.accounting.close();
  }
}

/** Of a host that takes mail from the internet; the client is a stranger, not one of mynetworks. */
const baseSettings = {
  mynetworks: '127.0.0.2/32',
  smtpd_relay_restrictions: 'permit_mynetworks, reject_unauth_destination',
  smtpd_recipient_restrictions: '',
  recipient_delimiter: '+',
  message_size_limit: '52428800',
  virtual_mailbox_limit: '0',
  // Buzon does not look up client names either.
  smtpd_peername_lookup: 'no',
};

function checkSettings(checks: Checks, host: MailHost): Record<string, string> {
  if (checks === 'off')
    return { smtpd_tls_security_level: 'none', smtpd_forbid_bare_newline: 'no', smtpd_reject_unlisted_recipient: 'no' };
  return {
    smtpd_tls_security_level: 'may',
    smtpd_tls_cert_file: host.ca,
    smtpd_tls_key_file: join(host.directory, 'key.pem'),
    smtpd_forbid_bare_newline: 'reject',
    smtpd_reject_unlisted_recipient: 'yes',
  };
}

async function addService(config: string, service: string): Promise<void> {
  const [name = '', type = ''] = service.split(' ');
  const result = await run('/usr/sbin/postconf', ['-c', config, '-M', '-e', `${name}/${type}=${service}`]);
  if (result.status !== 0) throw new Error(`postconf -M ${service}: ${result.stderr}`);
}

async function configure(config: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const entries = Object.entries({ myhostname: SERVER_NAME, ...settings }).map(([name, value]) => `${name} = ${value}`);
  for (const args of [
    ['-e', ...entries],
    // smtpd does not offer TLS well without it.
    ['-M', '-e', 'tlsmgr/unix=tlsmgr unix - - n 1000? 1 tlsmgr'],
  ]) {
    const result = await run('/usr/sbin/postconf', ['-c', config, ...args]);
    if (result.status !== 0) throw new Error(`postconf ${args.join(' ')}: ${result.stderr}`);
  }
}
