// IMAP and submission in the test's process over real passwd and shadow files: peers may come from any address, and waits are a hundredth as
// long as they ask for and are noted.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { stringify } from 'yaml';
import { createHashing, type Hashing } from '../../src/auth/hashing.ts';
import { parseSettings, type Settings } from '../../src/config/settings.ts';
import { ImapServer } from '../../src/imap/server.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { createLogger } from '../../src/lib/logger.ts';
import { ownCounters } from '../../src/lib/counters.ts';
import { Intents } from '../../src/delivery/intents.ts';
import { noQueue } from '../../src/queue/no-queue.ts';
import { SmtpService } from '../../src/smtp/server.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import { imapLimits, smtpLimits } from '../../src/worker/limits.ts';
import { Parts } from '../../src/worker/parts.ts';
import { ImapClient } from './imap-script.ts';

/** Time that passes a hundred times as fast for whoever waits. */
export class FastClock implements Clock {
  /** Every wait asked for, in milliseconds. */
  readonly waits: number[] = [];
  now(): number {
    return Date.now();
  }
  after(ms: number, fn: () => void): () => void {
    this.waits.push(ms);
    const timer = setTimeout(fn, ms / 100);
    return () => clearTimeout(timer);
  }
}

export interface LoginHostOptions {
  /** Address → stored password. */
  readonly users: Readonly<Record<string, string>>;
  readonly settings?: Readonly<Record<string, unknown>>;
}

export const SERVICES = ['imap', 'submission'] as const;
export type Service = (typeof SERVICES)[number];

export class LoginHost {
  readonly folder: string;
  readonly settings: Settings;
  readonly clock = new FastClock();
  /** The whole log, a line an event. */
  log = '';
  /** Where peers seem to come from. */
  remote: string | undefined;
  #parts: Parts;
  readonly #hashing: Hashing = createHashing();
  readonly #mail: MailStore;
  readonly #imap: ImapServer;
  readonly #submission: SmtpService;
  readonly #listeners: Server[] = [];
  readonly #clients: ImapClient[] = [];

  private constructor(folder: string, settings: Settings) {
    this.folder = folder;
    this.settings = settings;
    const logger = createLogger(
      (level, event, fields) => void (this.log += `${JSON.stringify({ level, event, ...fields })}\n`),
      'debug',
    );
    this.#mail = new MailStore({ logger, separator: '.' });
    this.#parts = this.#makeParts();
    const live = (): Parts => this.#parts;
    const common = { hostname: settings.hostname, spoolFolder: join(folder, 'spool'), clock: systemClock, logger };
    this.#imap = new ImapServer({
      counters: ownCounters(),
      ...common,
      namespace: settings.namespace,
      limits: imapLimits(settings),
      get authenticator() {
        return live().authenticator;
      },
      accountStore: ({ address, maildir, quota }) => this.#mail.account({ address, maildir, quota }),
    });
    this.#submission = new SmtpService({
      counters: ownCounters(),
      ...common,
      service: 'submission',
      limits: smtpLimits(settings),
      get router() {
        return live().router;
      },
      get authenticator() {
        return live().authenticator;
      },
      queue: noQueue,
      accept: (message) => live().delivery.accept(message),
      isTrusted: () => false,
      tlsLevel: 'none',
      bareNewline: 'reject',
    });
  }

  #makeParts(): Parts {
    const logger = createLogger(
      (level, event, fields) => void (this.log += `${JSON.stringify({ level, event, ...fields })}\n`),
      'debug',
    );
    return new Parts(this.settings, {
      logger,
      clock: this.clock,
      hashing: this.#hashing,
      queue: noQueue,
      intents: new Intents(this.settings.data_directory, () => this.clock.now(), logger),
      storeOf: (location) => this.#mail.account(location),
    });
  }

  /** As a reload does it. */
  reload(): void {
    const old = this.#parts;
    const parts = this.#makeParts();
    parts.authenticator.inherit(old.authenticator);
    this.#parts = parts;
    old.close();
  }

  static async start(t: TestContext, options: LoginHostOptions): Promise<LoginHost> {
    const folder = await mkdtemp(join(tmpdir(), 'buzon-login-'));
    t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
    const domains = [...new Set(Object.keys(options.users).map((address) => address.split('@')[1] ?? ''))];
    const settings = parseSettings(
      stringify({
        hostname: 'mail.example.test',
        virtual_mailbox_domains: domains,
        virtual_mailbox_base: join(folder, 'vhosts'),
        virtual_mailbox_maps: `texthash:${join(folder, 'vmailbox')}`,
        data_directory: folder,
        ...options.settings,
      }),
      join(folder, 'buzon.yaml'),
    );
    for (const [address, stored] of Object.entries(options.users)) await writeUser(folder, address, stored);
    await writeMap(folder, Object.keys(options.users));
    await mkdir(join(folder, 'spool'));
    const host = new LoginHost(folder, settings);
    t.after(() => host.#stop());
    await host.#listen();
    return host;
  }

  async #listen(): Promise<void> {
    for (const service of SERVICES) {
      const listener = createServer((socket) => {
        if (this.remote !== undefined) Object.defineProperty(socket, 'remoteAddress', { value: this.remote });
        if (service === 'imap') void this.#imap.serve(socket, false);
        else void this.#submission.serve(socket, false);
      });
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      this.#listeners.push(listener);
    }
  }

  home(address: string): string {
    return homeOf(this.folder, address);
  }
  setUser(address: string, stored: string): Promise<void> {
    return writeUser(this.folder, address, stored);
  }
  setMap(addresses: readonly string[]): Promise<void> {
    return writeMap(this.folder, addresses);
  }

  /** A connection that has been greeted. */
  async connect(service: Service): Promise<LoginClient> {
    const listener = this.#listeners[SERVICES.indexOf(service)];
    const client = await ImapClient.connect((listener?.address() as AddressInfo).port);
    this.#clients.push(client);
    const login = new LoginClient(client, service);
    await login.greeted();
    return login;
  }

  async #stop(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await Promise.all([this.#imap.close(200), this.#submission.close(200)]);
    await Promise.all(this.#listeners.map((listener) => new Promise((resolve) => listener.close(resolve))));
    this.#parts.close();
    this.#mail.close();
    await this.#hashing.close();
  }
}

function homeOf(folder: string, address: string): string {
  const [user = '', domain = ''] = address.split('@');
  return join(folder, 'vhosts', domain, user);
}
async function writeUser(folder: string, address: string, stored: string): Promise<void> {
  const home = homeOf(folder, address);
  const [user = ''] = address.split('@');
  await mkdir(home, { recursive: true, mode: 0o750 });
  await writeFile(join(home, 'passwd'), `${user}:x:5000:5000::${home}:/usr/sbin/nologin\n`);
  await writeFile(join(home, 'shadow'), `${user}:${stored}:19000:0:99999:7:::\n`);
}
async function writeMap(folder: string, addresses: readonly string[]): Promise<void> {
  const lines = addresses.map((address) => `${address}  ${address.split('@')[1]}/${address.split('@')[0]}/\n`);
  await writeFile(join(folder, 'vmailbox'), lines.join(''));
}

/** One connection, in the words of either service. */
export class LoginClient {
  readonly client: ImapClient;
  readonly service: Service;
  #tag = 0;

  constructor(client: ImapClient, service: Service) {
    this.client = client;
    this.service = service;
  }

  async greeted(): Promise<void> {
    await this.client.response();
    if (this.service === 'submission') await this.ask('EHLO client.example.test');
  }

  /** Sends a command (IMAP: the tag is put in front) and gives the answer's last line, without the tag. */
  async ask(text: string): Promise<string> {
    const tag = `t${++this.#tag}`;
    this.client.line(this.service === 'imap' ? `${tag} ${text}` : text);
    return this.answer(tag);
  }
  /** What ends an answer: the tagged line, a continuation request, BYE; the last line of an SMTP reply. */
  async answer(tag = `t${this.#tag}`): Promise<string> {
    for (;;) {
      const line = await this.client.response();
      if (this.service === 'submission') {
        if (/^\d{3}( |$)/.test(line)) return line;
      } else if (line.startsWith(`${tag} `)) return line.slice(tag.length + 1);
      else if (/^\+|^\* BYE/.test(line)) return line;
    }
  }
  /** Logs in with PLAIN. */
  logIn(user: string, password: string): Promise<string> {
    const response = Buffer.from(`\0${user}\0${password}`).toString('base64');
    return this.ask(`${this.service === 'imap' ? 'AUTHENTICATE' : 'AUTH'} PLAIN ${response}`);
  }
  /** Starts a mechanism; gives what follows `+ ` or `334 `, decoded, or the whole answer. */
  async start(mechanism: string, initial?: string): Promise<string> {
    const words = [mechanism, ...(initial === undefined ? [] : [Buffer.from(initial).toString('base64') || '='])];
    return this.#decoded(await this.ask(`${this.service === 'imap' ? 'AUTHENTICATE' : 'AUTH'} ${words.join(' ')}`));
  }
  async respond(text: string): Promise<string> {
    this.client.line(Buffer.from(text).toString('base64'));
    return this.#decoded(await this.answer());
  }
  #decoded(line: string): string {
    const challenge = /^(?:\+|334) ?(.*)$/.exec(line)?.[1];
    return challenge === undefined ? line : Buffer.from(challenge, 'base64').toString();
  }
}

/** What each service says. */
export const ANSWERS = {
  imap: { ok: /^OK \[CAPABILITY /, failed: 'NO [AUTHENTICATIONFAILED] Authentication failed', end: /^\* BYE / },
  submission: {
    ok: /^235 2\.7\.0 /,
    failed: '535 5.7.8 Error: authentication failed',
    end: /^421 4\.7\.0 mail\.example\.test |^421 4\.7\.0 Error: /,
  },
} as const;
