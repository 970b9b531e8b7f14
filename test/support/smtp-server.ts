// Receiving and submission in the test's process: real sockets, sessions and routing; messages are kept in memory, accounts are given.
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { LookupTable } from '../../src/config/lookup.ts';
import { ownCounters } from '../../src/lib/counters.ts';
import { AddressRouter, type RouterOptions } from '../../src/delivery/router.ts';
import type { MailEnvelope, OutboundQueue, ReceivedMessage } from '../../src/delivery/types.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { createLogger, type LogFields, type Logger } from '../../src/lib/logger.ts';
import { noQueue } from '../../src/queue/no-queue.ts';
import { DEFAULT_SMTP_LIMITS, type SmtpLimits } from '../../src/smtp/limits.ts';
import type { SmtpSessionOptions } from '../../src/smtp/options.ts';
import { SmtpService } from '../../src/smtp/server.ts';
import { makeSelfSigned } from './certificate.ts';
import { FakeAuthenticator, type LoggedEvent } from './imap-server.ts';

type Map_ = Readonly<Record<string, string>>;

export interface SmtpTestOptions {
  readonly limits?: Partial<SmtpLimits>;
  readonly clock?: Clock;
  /** Certificates by the name that a client asks for; the first is the default. Absent: no TLS. */
  readonly certificates?: Readonly<Record<string, SecureContext>>;
  readonly tlsLevel?: SmtpSessionOptions['tlsLevel'];
  readonly bareNewline?: SmtpSessionOptions['bareNewline'];
  /** What every peer's address is said to be (`192.0.2.1` makes them strangers), or the addresses of one after another. */
  readonly remoteAddress?: string | readonly string[];
  /** Whether peers are in mynetworks. */
  readonly trusted?: boolean;
  readonly mechanisms?: readonly string[];
  readonly mailboxes?: Map_;
  readonly virtualAliases?: Map_;
  readonly aliases?: Map_;
  readonly postmaster?: string;
  readonly queue?: OutboundQueue;
  readonly onStage?: SmtpSessionOptions['onStage'];
  readonly checkMailbox?: SmtpSessionOptions['checkMailbox'];
  /** Over those of the test's router. */
  readonly routes?: Partial<RouterOptions>;
  readonly meter?: SmtpSessionOptions['meter'];
  readonly authentication?: SmtpSessionOptions['authentication'];
  /** Instead of keeping messages in memory. */
  readonly accept?: SmtpSessionOptions['accept'];
}

/** A message that was accepted. */
export interface KeptMessage {
  readonly id: string;
  readonly envelope: MailEnvelope;
  /** With our Received field; read as UTF-8. */
  readonly text: string;
  readonly account?: string;
  readonly deliveredTo: readonly string[];
}

export class SmtpTestServer {
  readonly folder: string;
  readonly events: LoggedEvent[];
  readonly messages: KeptMessage[];
  readonly auth: FakeAuthenticator;
  readonly smtp: SmtpService;
  readonly submission: SmtpService;
  /** Ports of receiving, of submission, and of submission with implicit TLS. */
  readonly port: number;
  readonly submissionPort: number;
  readonly submissionsPort: number;
  readonly #listeners: readonly Server[];

  private constructor(
    parts: Pick<SmtpTestServer, 'folder' | 'events' | 'messages' | 'auth' | 'smtp' | 'submission'>,
    listeners: Server[],
  ) {
    this.folder = parts.folder;
    this.events = parts.events;
    this.messages = parts.messages;
    this.auth = parts.auth;
    this.smtp = parts.smtp;
    this.submission = parts.submission;
    this.#listeners = listeners;
    [this.port, this.submissionPort, this.submissionsPort] = listeners.map(
      (listener) => (listener.address() as AddressInfo).port,
    ) as [number, number, number];
  }

  /** Up and listening; ended when the test ends. */
  static async start(t: TestContext, options: SmtpTestOptions = {}): Promise<SmtpTestServer> {
    const folder = await mkdtemp(join(tmpdir(), 'buzon-smtp-'));
    const events: LoggedEvent[] = [];
    const messages: KeptMessage[] = [];
    const logger = createLogger((_level, event, fields: LogFields) => void events.push({ event, ...fields }), 'debug');
    const auth = new FakeAuthenticator(folder, options.mechanisms ? { mechanisms: options.mechanisms } : {});
    const shared = sessionOptions(folder, options, { logger, auth, messages });
    const smtp = new SmtpService({ ...shared, service: 'smtp' });
    const submission = new SmtpService({ ...shared, service: 'submission' });
    const sockets = new Set<Socket>();
    let peers = 0;
    const listeners = [smtp, submission, submission].map((service, i) =>
      createServer({ noDelay: true }, (socket) => {
        sockets.add(socket.once('close', () => sockets.delete(socket)));
        const { remoteAddress } = options;
        const value = typeof remoteAddress === 'string' ? remoteAddress : remoteAddress?.[peers++ % remoteAddress.length];
        if (value !== undefined) Object.defineProperty(socket, 'remoteAddress', { value });
        void service.serve(socket, i === 2);
      }),
    );
    for (const listener of listeners) await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const server = new SmtpTestServer({ folder, events, messages, auth, smtp, submission }, listeners);
    t.after(async () => {
      await server.stop();
      // Also where the server, which is what is tested, has not done it.
      for (const socket of sockets) socket.destroy();
    });
    return server;
  }

  /** Logged events of this name. */
  logged(event: string): LoggedEvent[] {
    return this.events.filter((found) => found.event === event);
  }
  async stop(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    await Promise.all([this.smtp.close(200), this.submission.close(200)]);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function sessionOptions(
  folder: string,
  options: SmtpTestOptions,
  parts: { logger: Logger; auth: FakeAuthenticator; messages: KeptMessage[] },
): Omit<ConstructorParameters<typeof SmtpService>[0], 'service'> {
  const { certificates } = options;
  const [first] = Object.values(certificates ?? {});
  return {
    hostname: 'mail.example.test',
    limits: { ...DEFAULT_SMTP_LIMITS, ...options.limits },
    router: new AddressRouter({ ...routes(options), ...options.routes, logger: parts.logger }),
    queue: options.queue ?? noQueue,
    authenticator: parts.auth,
    spoolFolder: join(folder, 'spool'),
    clock: options.clock ?? systemClock,
    counters: ownCounters(),
    logger: parts.logger,
    isTrusted: () => options.trusted ?? false,
    tlsLevel: options.tlsLevel ?? (first ? 'may' : 'none'),
    bareNewline: options.bareNewline ?? 'reject',
    accept: options.accept ?? (async (message) => void parts.messages.push(await keep(message))),
    ...(first ? { tls: { contextFor: (name: string | undefined) => certificates?.[name ?? ''] ?? first } } : {}),
    ...(options.onStage ? { onStage: options.onStage } : {}),
    ...(options.meter ? { meter: options.meter } : {}),
    authentication: options.authentication,
    ...(options.checkMailbox ? { checkMailbox: options.checkMailbox } : {}),
  };
}

/** Domains example.test (mailboxes), alias.test (aliases only) and mail.example.test (the host itself). */
function routes(options: SmtpTestOptions): Omit<RouterOptions, 'logger'> {
  const domains = (...names: string[]): RouterOptions['myDestination'] => ({ has: async (name) => names.includes(name) });
  return {
    hostname: 'mail.example.test',
    myDestination: domains('mail.example.test', 'localhost'),
    virtualMailboxDomains: domains('example.test', 'two.test'),
    virtualAliasDomains: domains('alias.test'),
    virtualMailboxMaps: [
      table(
        options.mailboxes ?? {
          'ana@example.test': 'example.test/ana/',
          'info@example.test': 'example.test/info/',
          '"a b"@example.test': 'example.test/a b/',
          'ñandú@example.test': 'example.test/n/',
        },
      ),
    ],
    virtualAliasMaps: [table(options.virtualAliases ?? {})],
    aliasMaps: [table(options.aliases ?? {})],
    recipientDelimiter: '+',
    expansionLimit: 1000,
    recursionLimit: 1000,
    postmaster: options.postmaster ?? 'ana@example.test',
  };
}

function table(entries: Map_): LookupTable {
  const map = new Map(Object.entries(entries));
  return { spec: 'inline:test', whole: false, get: async (key) => map.get(key), entries: async () => [...map] };
}

async function keep(message: ReceivedMessage): Promise<KeptMessage> {
  const chunks: Buffer[] = [];
  for await (const chunk of message.source.chunks()) chunks.push(chunk);
  const { id, envelope, account, deliveredTo } = message;
  return {
    id,
    envelope,
    deliveredTo,
    text: Buffer.concat(chunks).toString('utf8'),
    ...(account === undefined ? {} : { account }),
  };
}

/** A certificate of its own for each of these names. */
export async function certificatesFor(...names: readonly string[]): Promise<Record<string, SecureContext>> {
  const pairs = await Promise.all(names.map(async (name) => [name, createSecureContext(await makeSelfSigned([name]))] as const));
  return Object.fromEntries(pairs);
}
