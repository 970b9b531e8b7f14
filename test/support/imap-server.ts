// An IMAP server in the test's process, over a real Maildir in a temporary folder, with accounts given.
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { TLSSocket } from 'node:tls';
import type { Account, Authenticator, LoginResult } from '../../src/auth/types.ts';
import { DEFAULT_IMAP_LIMITS, type ImapLimits } from '../../src/imap/limits.ts';
import type { Namespace } from '../../src/imap/mailbox-name.ts';
import { ownCounters } from '../../src/lib/counters.ts';
import { ImapServer } from '../../src/imap/server.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createLogger, type LogFields } from '../../src/lib/logger.ts';
import { memorySource } from '../../src/message/source.ts';
import { MailStore } from '../../src/storage/mail-store.ts';
import type { AccountStore } from '../../src/storage/types.ts';

export interface ImapTestOptions {
  readonly limits?: Partial<ImapLimits>;
  readonly namespace?: Namespace;
  readonly clock?: Clock;
  readonly quota?: Account['quota'];
  /** Key and certificate in PEM: STARTTLS and implicit TLS. */
  readonly tls?: { readonly key: string | Buffer; readonly cert: string | Buffer };
  /** What every peer's address is said to be: `192.0.2.1` makes them strangers. */
  readonly remoteAddress?: string;
  readonly mechanisms?: readonly string[];
  readonly wrapStore?: (store: AccountStore) => AccountStore;
}

export interface LoggedEvent extends LogFields {
  readonly event: string;
}

export class ImapTestServer {
  readonly folder: string;
  readonly imap: ImapServer;
  readonly mail: MailStore;
  readonly port: number;
  readonly tlsPort: number;
  readonly events: LoggedEvent[];
  readonly auth: FakeAuthenticator;
  readonly #listeners: readonly Server[];
  readonly #options: ImapTestOptions;

  private constructor(
    folder: string,
    options: ImapTestOptions,
    parts: Pick<ImapTestServer, 'imap' | 'mail' | 'events' | 'auth'>,
    listeners: Server[],
  ) {
    this.folder = folder;
    this.#options = options;
    this.imap = parts.imap;
    this.mail = parts.mail;
    this.events = parts.events;
    this.auth = parts.auth;
    this.#listeners = listeners;
    this.port = portOf(listeners[0]);
    this.tlsPort = portOf(listeners[1]);
  }

  /** Up and listening; ended when the test ends. */
  static async start(t: TestContext, options: ImapTestOptions = {}): Promise<ImapTestServer> {
    const folder = await mkdtemp(join(tmpdir(), 'buzon-imap-'));
    const events: LoggedEvent[] = [];
    const logger = createLogger((_level, event, fields) => void events.push({ event, ...fields }), 'debug');
    const mail = new MailStore({ logger, separator: options.namespace?.separator ?? '.' });
    const auth = new FakeAuthenticator(folder, options);
    const { tls } = options;
    const imap = new ImapServer({
      counters: ownCounters(),
      hostname: 'mail.example.test',
      namespace: options.namespace ?? { separator: '.', prefix: '' },
      limits: { ...DEFAULT_IMAP_LIMITS, ...options.limits },
      authenticator: auth,
      accountStore: (account) => {
        const store = mail.account({ address: account.address, maildir: account.maildir, quota: account.quota });
        return options.wrapStore?.(store) ?? store;
      },
      spoolFolder: join(folder, 'spool'),
      clock: options.clock ?? systemClock,
      logger,
      ...(tls
        ? {
            startTls: (socket) =>
              new Promise((resolve, reject) => {
                const secured = new TLSSocket(socket, { isServer: true, key: tls.key, cert: tls.cert });
                secured.once('secure', () => resolve(secured));
                secured.once('error', reject);
                secured.once('close', () => reject(new Error('closed in the handshake')));
              }),
          }
        : {}),
    });
    const listeners = [false, true].map((implicit) =>
      createServer((socket) => {
        if (options.remoteAddress) Object.defineProperty(socket, 'remoteAddress', { value: options.remoteAddress });
        void imap.serve(socket, implicit);
      }),
    );
    for (const listener of listeners) await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const server = new ImapTestServer(folder, options, { imap, mail, events, auth }, listeners);
    t.after(() => server.stop());
    return server;
  }

  store(user = 'ana@example.test'): AccountStore {
    const account = this.auth.account(user);
    return this.mail.account({ address: account.address, maildir: account.maildir, quota: this.#options.quota ?? {} });
  }
  /** Puts messages into a mailbox as local delivery does. */
  async deliver(...messages: string[]): Promise<void> {
    for (const message of messages)
      await this.store().deliver(['INBOX'], memorySource(Buffer.from(message.replaceAll(/\r?\n/g, '\r\n'), 'latin1')));
  }
  async stop(): Promise<void> {
    await this.imap.close(200);
    await Promise.all(this.#listeners.map((listener) => new Promise((resolve) => listener.close(resolve))));
    this.mail.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const portOf = (server: Server | undefined): number => (server?.address() as AddressInfo).port;

/** Passwords are `secret`; `busy` is unavailable, `storm` throttled. Accounts are made as they are named. */
export class FakeAuthenticator implements Authenticator {
  readonly #folder: string;
  readonly #options: ImapTestOptions;
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(folder: string, options: ImapTestOptions) {
    this.#folder = folder;
    this.#options = options;
  }
  account(address: string): Account {
    const home = join(this.#folder, address);
    return { address, home, maildir: home, quota: this.#options.quota ?? {} };
  }
  mechanisms({ secure }: { secure: boolean }): readonly string[] {
    return secure ? (this.#options.mechanisms ?? ['PLAIN']) : [];
  }
  start(mechanism: string, origin: { secure: boolean }): ReturnType<Authenticator['start']> {
    if (!this.mechanisms(origin).includes(mechanism)) return undefined;
    let rounds = 0;
    return {
      respond: async (response) => {
        if (mechanism === 'X-DATA' && response)
          return { result: await this.login(response.toString(), 'secret'), data: Buffer.from('server proof') };
        if (mechanism === 'X-LOOP') return { challenge: Buffer.from(`round ${++rounds}`) };
        if (!response) return { challenge: Buffer.alloc(0) };
        const [, user, password] = response.toString().split('\0');
        return user === undefined || password === undefined
          ? { malformed: 'no NUL' }
          : { result: await this.login(user, password) };
      },
    };
  }
  async login(user: string, password: string): Promise<LoginResult> {
    if (password === 'busy') return { ok: false, reason: 'unavailable' };
    if (password === 'storm') return { ok: false, reason: 'throttled' };
    if (password !== 'secret') return { ok: false, reason: 'failed' };
    return { ok: true, account: this.account(user.toLowerCase()) };
  }
  watch(account: Account, onRevoked: () => void): () => void {
    const set = this.#watchers.get(account.address) ?? new Set();
    this.#watchers.set(account.address, set.add(onRevoked));
    return () => void set.delete(onRevoked);
  }
  revoke(address: string): void {
    for (const revoked of [...(this.#watchers.get(address) ?? [])]) revoked();
  }
  /** Watches that are held. */
  get watching(): number {
    return [...this.#watchers.values()].reduce((sum, set) => sum + set.size, 0);
  }
}
