// A whole server as a user runs it: `node dist/server.js --config …` in a process of its own, on a tree like the guide's
// (vmailbox map, a home a user with passwd and shadow), ephemeral loopback ports, everything in one temporary folder.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { makeSelfSigned } from './certificate.ts';

export const PROJECT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

export interface Ports {
  readonly smtp: number;
  readonly submission: number;
  readonly submissions: number;
  readonly imap: number;
  readonly imaps: number;
}

export interface MailHostOptions {
  /** Address → password; default ana@example.test and info@example.test. */
  readonly users?: Readonly<Record<string, string>>;
  /** Merged over the settings written. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Folder of the built program; default this project's. */
  readonly program?: string;
  /** Who starts it; default who runs the test. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  /** Prepares the tree before the start. */
  readonly prepare?: (host: MailHost) => Promise<void>;
}

/** Free loopback ports, `count` of them. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Owner of the mail tree: nobody when the test is root, so that the drop of privileges is part of every run. */
export const TREE_OWNER = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined;

export class MailHost {
  readonly directory: string;
  readonly users: Readonly<Record<string, string>>;
  readonly ports: Ports;
  /** The certificate (PEM file) that clients trust. */
  readonly ca: string;
  readonly settingsFile: string;
  #program = PROJECT;
  #runAs: MailHostOptions['runAs'];
  #child: ChildProcess | undefined;
  #output = '';

  private constructor(directory: string, users: Readonly<Record<string, string>>, ports: Ports) {
    this.directory = directory;
    this.users = users;
    this.ports = ports;
    this.ca = join(directory, 'cert.pem');
    this.settingsFile = join(directory, 'buzon.yaml');
  }

  static async create(options: MailHostOptions = {}): Promise<MailHost> {
    const directory = await mkdtemp(join(tmpdir(), 'buzon-host-'));
    await chmod(directory, 0o755);
    const [smtp = 0, submission = 0, submissions = 0, imap = 0, imaps = 0] = await freePorts(5);
    const users = options.users ?? { 'ana@example.test': 'ana-secret', 'info@example.test': 'info-secret' };
    const host = new MailHost(directory, users, { smtp, submission, submissions, imap, imaps });
    host.#program = options.program ?? PROJECT;
    host.#runAs = options.runAs;
    await host.#writeTree(options.settings ?? {});
    await options.prepare?.(host);
    return host;
  }

  get base(): string {
    return join(this.directory, 'vhosts');
  }
  /** The Maildir (and home) of an address. */
  maildir(address: string): string {
    const [user = '', domain = ''] = address.split('@');
    return join(this.base, domain, user);
  }
  /** What the server has written: its log and standard error. */
  get output(): string {
    return this.#output;
  }
  /** The same, and forgets it: a server that runs for long says much. */
  takeOutput(): string {
    const text = this.#output;
    this.#output = '';
    return text;
  }
  /** Process ids of the workers now; none when the server does not run. */
  async workers(): Promise<number[]> {
    const text = await readFile(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').catch(() => '');
    return text
      .split(' ')
      .filter((pid) => /^\d+$/.test(pid))
      .map(Number);
  }
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async #writeTree(settings: Readonly<Record<string, unknown>>): Promise<void> {
    await this.ownedFolder(this.base);
    const domains = [...new Set(Object.keys(this.users).map((address) => address.split('@')[1] ?? ''))];
    for (const domain of domains) await this.ownedFolder(join(this.base, domain));
    for (const [address, password] of Object.entries(this.users)) await this.writeAccount(address, password);
    const map = Object.keys(this.users).map((address) => `${address}  ${address.split('@')[1]}/${address.split('@')[0]}/`);
    await writeFile(join(this.directory, 'vmailbox'), map.join('\n') + '\n');
    const { cert, key } = await makeSelfSigned(['mail.example.test', ...domains, 'localhost', '127.0.0.1']);
    await writeFile(this.ca, cert);
    await writeFile(join(this.directory, 'key.pem'), key, { mode: 0o600 });
    await this.ownedFolder(join(this.directory, 'data'));
    await this.ownedFolder(join(this.directory, 'queue'));
    const listeners = Object.entries<number>({ ...this.ports }).map(([protocol, port]) => ({
      protocol,
      address: '127.0.0.1',
      port,
    }));
    await writeFile(
      this.settingsFile,
      stringify({
        hostname: 'mail.example.test',
        virtual_mailbox_domains: domains,
        virtual_mailbox_base: this.base,
        virtual_mailbox_maps: `texthash:${join(this.directory, 'vmailbox')}`,
        virtual_uid_maps: `static:${TREE_OWNER?.uid ?? process.getuid?.() ?? 0}`,
        virtual_gid_maps: `static:${TREE_OWNER?.gid ?? process.getgid?.() ?? 0}`,
        data_directory: join(this.directory, 'data'),
        queue_directory: join(this.directory, 'queue'),
        mynetworks: [],
        message_authentication: 'off',
        postmaster: Object.keys(this.users)[0],
        smtpd_tls_cert_file: this.ca,
        smtpd_tls_key_file: join(this.directory, 'key.pem'),
        auth_failure_delay: 0,
        // One process, whose system calls and end a test can follow; those that are about several say so.
        workers: 0,
        listeners,
        ...settings,
      }),
    );
  }

  /** A folder of the tree, mode 0750, with the tree's owner. */
  async ownedFolder(path: string): Promise<void> {
    await mkdir(path, { recursive: true, mode: 0o750 });
    if (TREE_OWNER) await chown(path, TREE_OWNER.uid, TREE_OWNER.gid);
  }
  async ownedFile(path: string, text: string, mode = 0o640): Promise<void> {
    await writeFile(path, text, { mode });
    if (TREE_OWNER) await chown(path, TREE_OWNER.uid, TREE_OWNER.gid);
  }

  async writeAccount(address: string, password: string): Promise<void> {
    const home = this.maildir(address);
    const user = address.split('@')[0] ?? '';
    await this.ownedFolder(home);
    await this.ownedFile(join(home, 'passwd'), `${user}:x:5000:5000::${home}:/usr/sbin/nologin\n`);
    await this.ownedFile(join(home, 'shadow'), `${user}:{PLAIN}${password}:19000:0:99999:7:::\n`, 0o600);
  }

  /** Starts the server and waits (at most 20 s) until it accepts connections. @throws with its output when it ends instead */
  async start(): Promise<void> {
    const entry = join(this.#program, 'dist', 'server.js');
    if (!existsSync(entry)) throw new Error('dist/server.js is missing: npm run build');
    this.#output = '';
    const child = spawn(process.execPath, [entry, '--config', this.settingsFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...this.#runAs,
    });
    this.#child = child;
    const ready = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the server did not get ready: ${this.#output}`)), 20_000);
      const take = (text: string): void => {
        this.#output += text;
        if (this.#output.includes('server.ready')) {
          clearTimeout(timer);
          resolve();
        }
      };
      child.stdout.setEncoding('utf8').on('data', take);
      child.stderr.setEncoding('utf8').on('data', take);
      child.once('exit', (status, signal) => {
        clearTimeout(timer);
        reject(new Error(`the server ended with ${status ?? signal}: ${this.#output}`));
      });
    });
    await ready;
  }

  /** Whether the server still runs, a moment after something that may have ended it. */
  async isRunning(): Promise<boolean> {
    const child = this.#child;
    if (!child) return false;
    for (let i = 0; i < 20 && child.exitCode === null && child.signalCode === null; i++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    return child.exitCode === null && child.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Ends the server with a signal and gives its exit status; kills it after 20 s. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    this.#child = undefined;
    const ended = new Promise<number | null>((resolve) => child.once('exit', (status) => resolve(status)));
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
    child.kill(signal);
    const status = await ended;
    clearTimeout(timer);
    return status;
  }

  /** Names in a folder of an account's Maildir, sorted; empty when it is not there. */
  async names(address: string, ...folder: string[]): Promise<string[]> {
    try {
      return (await readdir(join(this.maildir(address), ...folder))).sort();
    } catch {
      return [];
    }
  }
  /** Names in a folder of the data directory, sorted; empty when it is not there. */
  async dataNames(...folder: string[]): Promise<string[]> {
    return (await readdir(join(this.directory, 'data', ...folder)).catch(() => [])).sort();
  }
  /** All messages of INBOX on disk, as text. */
  async inbox(address: string): Promise<string[]> {
    const texts: string[] = [];
    for (const folder of ['new', 'cur'])
      for (const name of await this.names(address, folder))
        texts.push(await readFile(join(this.maildir(address), folder, name), 'latin1'));
    return texts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A host that is up. Use with `await using`. */
export async function startMailHost(options: MailHostOptions = {}): Promise<MailHost> {
  const host = await MailHost.create(options);
  try {
    await host.start();
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
  return host;
}

/** Tries `condition` every 50 ms until it gives a value, for at most `timeoutMs`. @throws when it does not */
export async function eventually<T>(
  condition: () => Promise<T | undefined | false>,
  what: string,
  timeoutMs = 10_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
