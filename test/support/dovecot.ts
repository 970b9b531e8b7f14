// Debian's Dovecot with a configuration of its own: serves a tree like the guide's (per-home passwd and shadow) over IMAPS on a
// loopback port. Needs root, as Dovecot does.
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, freePorts, TREE_OWNER } from './mail-host.ts';
import { run } from './programs.ts';

export interface DovecotOptions {
  /** Holds its configuration, sockets and log. */
  readonly directory: string;
  /** virtual_mailbox_base. */
  readonly base: string;
  readonly cert: string;
  readonly key: string;
}

export class Dovecot {
  readonly config: string;
  readonly ports: { readonly imap: number; readonly imaps: number };
  readonly #directory: string;
  #running = false;

  private constructor(directory: string, ports: { imap: number; imaps: number }) {
    this.#directory = directory;
    this.ports = ports;
    this.config = join(directory, 'dovecot.conf');
  }

  /** Writes the configuration; starts nothing. */
  static async create(options: DovecotOptions): Promise<Dovecot> {
    const directory = join(options.directory, 'dovecot');
    await mkdir(directory, { recursive: true });
    await chmod(directory, 0o755);
    const [imap = 0, imaps = 0] = await freePorts(2);
    const dovecot = new Dovecot(directory, { imap, imaps });
    const owner = TREE_OWNER ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    await writeFile(
      dovecot.config,
      `base_dir = ${directory}/run
instance_name = ${directory.replaceAll('/', '_')}
log_path = ${directory}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <${options.cert}
ssl_key = <${options.key}
auth_mechanisms = plain login
first_valid_uid = 1
mail_uid = ${owner.uid}
mail_gid = ${owner.gid}
mail_location = maildir:~/
namespace inbox {
  inbox = yes
  separator = .
}
passdb {
  driver = passwd-file
  args = username_format=%n ${options.base}/%d/%n/shadow
}
userdb {
  driver = static
  args = uid=${owner.uid} gid=${owner.gid} home=${options.base}/%d/%n
}
service auth {
  user = root
}
service imap-login {
  inet_listener imap {
    port = ${imap}
  }
  inet_listener imaps {
    port = ${imaps}
    ssl = yes
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
`,
    );
    return dovecot;
  }

  async start(): Promise<void> {
    const result = await run('/usr/sbin/dovecot', ['-c', this.config]);
    if (result.status !== 0) throw new Error(`dovecot: ${result.stderr}${result.stdout}`);
    this.#running = true;
    const { createConnection } = await import('node:net');
    await eventually(
      () =>
        new Promise<boolean>((resolve) => {
          const socket = createConnection({ port: this.ports.imaps, host: '127.0.0.1' });
          socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
          socket.once('connect', () => socket.destroy());
        }),
      'Dovecot accepts connections',
    );
  }

  /** Runs doveadm with this configuration; gives its output. @throws when it fails */
  async doveadm(...args: string[]): Promise<string> {
    const result = await run('/usr/bin/doveadm', ['-c', this.config, ...args]);
    if (result.status !== 0) throw new Error(`doveadm ${args.join(' ')}: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  async log(): Promise<string> {
    return readFile(join(this.#directory, 'log'), 'utf8').catch(() => '');
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    await run('/usr/bin/doveadm', ['-c', this.config, 'stop']);
    const pidFile = join(this.#directory, 'run', 'master.pid');
    await eventually(async () => (await readFile(pidFile).catch(() => undefined)) === undefined, 'Dovecot has stopped');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
