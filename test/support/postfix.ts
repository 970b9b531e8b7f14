// Debian's Postfix with a configuration and a queue of its own: smtpd on a loopback port, virtual(8) delivering into a tree like
// the guide's from a Berkeley vmailbox.db. Needs root, as Postfix does.
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, freePorts, TREE_OWNER } from './mail-host.ts';
import { run } from './programs.ts';

export interface PostfixOptions {
  readonly directory: string;
  readonly base: string;
  readonly domains: readonly string[];
  /** The vmailbox text; `postmap` is run on it. */
  readonly vmailbox: string;
  /** More lines of main.cf and master.cf. */
  readonly main?: readonly string[];
  readonly services?: readonly string[];
}

export class Postfix {
  readonly config: string;
  readonly port: number;
  readonly #directory: string;
  #running = false;

  private constructor(directory: string, port: number) {
    this.#directory = directory;
    this.port = port;
    this.config = join(directory, 'etc');
  }

  static async create(options: PostfixOptions): Promise<Postfix> {
    const directory = join(options.directory, 'postfix');
    const [port = 0] = await freePorts(1);
    const postfix = new Postfix(directory, port);
    for (const sub of ['etc', 'queue', 'lib']) await mkdir(join(directory, sub), { recursive: true });
    await chmod(directory, 0o755);
    await run('/bin/chown', ['postfix', join(directory, 'lib')]);
    const owner = TREE_OWNER ?? { uid: 0, gid: 0 };
    await writeFile(
      join(postfix.config, 'main.cf'),
      `compatibility_level = 3.6
myhostname = mail.example.test
mydestination =
queue_directory = ${directory}/queue
data_directory = ${directory}/lib
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = ${directory}/maillog
maillog_file_prefixes = ${directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = ${options.domains.join(' ')}
virtual_mailbox_base = ${options.base}
virtual_mailbox_maps = hash:${options.vmailbox}
virtual_minimum_uid = 1
virtual_uid_maps = static:${owner.uid}
virtual_gid_maps = static:${owner.gid}
smtpd_recipient_restrictions = permit_mynetworks,reject
smtpd_relay_restrictions = permit_mynetworks,reject
${(options.main ?? []).join('\n')}
`,
    );
    await writeFile(
      join(postfix.config, 'master.cf'),
      [
        `127.0.0.1:${port} inet n - n - - smtpd`,
        'cleanup unix n - n - 0 cleanup',
        'qmgr unix n - n 300 1 qmgr',
        'rewrite unix - - n - - trivial-rewrite',
        'bounce unix - - n - 0 bounce',
        'defer unix - - n - 0 bounce',
        'trace unix - - n - 0 bounce',
        'error unix - - n - - error',
        'retry unix - - n - - error',
        'virtual unix - n n - - virtual',
        'showq unix n - n - - showq',
        'proxymap unix - - n - - proxymap',
        'anvil unix - - n - 1 anvil',
        'postlog unix-dgram n - n - 1 postlogd',
        ...(options.services ?? []),
        '',
      ].join('\n'),
    );
    await postfix.postmap(options.vmailbox);
    return postfix;
  }

  async postmap(file: string): Promise<void> {
    const result = await run('/usr/sbin/postmap', ['-c', this.config, `hash:${file}`]);
    if (result.status !== 0) throw new Error(`postmap: ${result.stderr}`);
  }

  async start(): Promise<void> {
    const result = await run('/usr/sbin/postfix', ['-c', this.config, 'start']);
    if (result.status !== 0) throw new Error(`postfix start: ${result.stderr}${result.stdout}${await this.log()}`);
    this.#running = true;
  }

  async log(): Promise<string> {
    return readFile(join(this.#directory, 'maillog'), 'utf8').catch(() => '');
  }

  /** Resolves when nothing waits in the queue any more. */
  async drained(): Promise<void> {
    await eventually(
      async () => (await run('/usr/sbin/postqueue', ['-c', this.config, '-p'])).stdout.includes('Mail queue is empty'),
      'Postfix has delivered',
      30_000,
    );
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    await run('/usr/sbin/postfix', ['-c', this.config, 'stop']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
