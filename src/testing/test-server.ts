// A mail server for the tests of other programs: the real one, in the test's own process, on loopback ports, with a folder of its own. What it
// accepts is kept in memory for the test to look at, beside being delivered to the users' mailboxes; mail to outside goes nowhere else.
import { stat } from 'node:fs/promises';
import type { OutboundQueue } from '../delivery/types.ts';
import { staticResolver, type Resolver } from '../dns/resolver.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { requireNode } from '../launcher.ts';
import { createLogger, type LogSink } from '../lib/logger.ts';
import type { AccountStore } from '../storage/types.ts';
import { MailServer } from '../worker/mail-server.ts';
import { Failures } from './failures.ts';
import { makeHost, removeHost, type TestHost } from './host.ts';
import { capture, Inbox } from './inbox.ts';
import { plainHashing } from './plain-hashing.ts';
import type { Failure, MessageFilter, TestEndpoint, TestMessage, TestServerOptions } from './types.ts';

const HOST = '127.0.0.1';
/** Milliseconds that waitForMessage waits when it is not told otherwise. */
const DEFAULT_TIMEOUT = 5_000;

/** Takes all; `messages()` shows it. */
const caughtHere: OutboundQueue = { available: true, enqueue: async () => undefined };

/**
 * Starts a test server; it listens when this resolves. Any number of them can run in one process.
 * @throws TypeError for options that cannot be; MailError config for settings that are wrong; Error on a Node.js older than 22.19
 */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  requireNode();
  const host = await makeHost(options);
  try {
    const inbox = new Inbox();
    const failures = new Failures();
    const clock: Clock = options.clock ? clockOf(options.clock) : systemClock;
    const server = new MailServer(host.settings, {
      clock,
      logger: createLogger(logOf(inbox, options.log), options.log ? 'debug' : 'info', () => clock.now()),
      resolver: resolverOf(options.dns),
      queue: caughtHere,
      hashing: plainHashing,
      onStage: (stage) => failures.take(stage),
      onAccepted: async (message) => inbox.add(await capture(message, clock.now())),
    });
    await server.start();
    return new TestServer({ host, server, inbox, failures, users: { ...options.users } });
  } catch (error) {
    await removeHost(host.folder);
    throw error;
  }
}

/** What it was not told does not exist: nothing waits for the real DNS. */
const resolverOf = (dns: TestServerOptions['dns'] = {}): Resolver => (isResolver(dns) ? dns : staticResolver(dns));
const isResolver = (dns: NonNullable<TestServerOptions['dns']>): dns is Resolver => typeof dns['ptr'] === 'function';

/** Only what time it is: timers that a test has stopped would hold up the server's own work. */
const clockOf = (given: { now(): number }): Clock => ({
  now: () => given.now(),
  after: (ms, fn) => systemClock.after(ms, fn),
});

/** The caller's own log, and what a test that waits in vain wants to know. */
function logOf(inbox: Inbox, sink: LogSink | undefined): LogSink {
  return (level, event, fields, at) => {
    if (event === 'smtp.reject') {
      const to = fields['to'] === undefined ? '' : ` to <${String(fields['to'])}>`;
      inbox.refused(`${String(fields['stage'])} from <${String(fields['from'] ?? '')}>${to}: ${String(fields['reply'])}`);
    }
    sink?.(level, event, fields, at);
  };
}

interface TestServerParts {
  readonly host: TestHost;
  readonly server: MailServer;
  readonly inbox: Inbox;
  readonly failures: Failures;
  readonly users: Readonly<Record<string, string>>;
}

/** A running test server; made by `startTestServer`. Whoever started it stops it: `await using server = await startTestServer()`. */
export class TestServer {
  readonly #parts: TestServerParts;
  #stopping: Promise<void> | undefined;
  /** Mail from other hosts and from programs that do not log in (port 25's part). */
  readonly smtp: TestEndpoint;
  /** Mail from users who log in, with STARTTLS (587) and with TLS first (465). */
  readonly submission: TestEndpoint;
  readonly submissions: TestEndpoint;
  /** Mail read by its users, with STARTTLS (143) and with TLS first (993). */
  readonly imap: TestEndpoint;
  readonly imaps: TestEndpoint;
  /** As they were given: passwords by address. */
  readonly users: Readonly<Record<string, string>>;
  /** The server's self-signed certificate (PEM), for `localhost`, `127.0.0.1`, `::1` and its hostname: `tls: { ca: server.ca }`. */
  readonly ca: string;
  /** A file with the same, for `NODE_EXTRA_CA_CERTS`, `curl --cacert` and the like. Goes with the server. */
  readonly caFile: string;

  /** @internal */
  constructor(parts: TestServerParts) {
    this.#parts = parts;
    const endpoint = (protocol: string, secure = false): TestEndpoint => {
      const port = parts.server.addresses.find((one) => one.protocol === protocol)?.port ?? 0;
      return { host: HOST, port, secure };
    };
    this.smtp = endpoint('smtp');
    this.submission = endpoint('submission');
    this.submissions = endpoint('submissions', true);
    this.imap = endpoint('imap');
    this.imaps = endpoint('imaps', true);
    this.users = parts.users;
    this.ca = parts.host.ca;
    this.caFile = parts.host.caFile;
  }

  /** Its name in greetings and Received fields. */
  get hostname(): string {
    return this.#parts.host.settings.hostname;
  }

  /** Everything accepted over SMTP since the start or the last `reset`, in that order. A message is here before its sender has the 250. */
  messages(): readonly TestMessage[] {
    return this.#parts.inbox.messages;
  }

  /**
   * The first message that fits: one that has arrived already, or the next that does. Waits at most `timeout` milliseconds, default 5,000.
   * @throws WaitTimeoutError whose text lists what did arrive and what was refused; what `filter` throws; Error when the server is stopped
   */
  waitForMessage(filter: MessageFilter = {}, { timeout = DEFAULT_TIMEOUT }: { timeout?: number } = {}): Promise<TestMessage> {
    return this.#parts.inbox.wait(filter, timeout);
  }

  /**
   * The next client that gets to `stage` is refused with `code`, once; clients after it go on. Called again, the failures come one after the
   * other. @throws TypeError, RangeError for what no server could answer
   */
  failNext(failure: Failure): void {
    this.#parts.failures.add(failure);
  }

  /**
   * Forgets messages and failures that are still to come, and empties the users' mailboxes: INBOX's messages are expunged, other mailboxes and
   * subscriptions are gone. Connections stay. What is still being sent while it runs may be there afterwards.
   */
  async reset(): Promise<void> {
    const { server, inbox, failures } = this.#parts;
    failures.clear();
    for (const address of Object.keys(this.users)) {
      const account = await server.account(address);
      if (account) await emptyAccount(account);
    }
    inbox.clear();
  }

  /** Stops listening, ends all connections and removes the folder. Idempotent; `messages()` stays readable. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }
  async #stop(): Promise<void> {
    const { server, inbox, host } = this.#parts;
    inbox.close();
    try {
      await server.stop();
    } finally {
      await removeHost(host.folder);
    }
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Through the store, so that sessions which have a mailbox open see what happens to it. */
async function emptyAccount(account: AccountStore): Promise<void> {
  const used = await stat(account.location.maildir).catch(() => undefined);
  if (!used) return;
  for (const { path, exists, subscribed } of await account.list()) {
    if (subscribed) await account.unsubscribe(path);
    if (!exists) continue;
    if (path.length > 1 || path[0] !== 'INBOX') await account.delete(path);
    else await emptyInbox(account);
  }
}

async function emptyInbox(account: AccountStore): Promise<void> {
  const inbox = await account.open(['INBOX']);
  try {
    if (inbox.messages.length > 0) await inbox.expunge(inbox.messages.map(({ uid }) => uid));
  } finally {
    await inbox.close();
  }
}
