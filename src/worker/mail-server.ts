// A whole server in this process: where all parts are wired.
//
//   start: certificates → listeners bound → folders made → root given up → connections served
//   stop: no new connections → sessions say goodbye, messages in flight finish → caches written
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createHashing, type Hashing } from '../auth/hashing.ts';
import type { LoginThrottle } from '../auth/throttle.ts';
import { certificateFiles, CertificateStore, type PemFile } from '../config/certificates.ts';
import type { Listener } from '../config/listeners.ts';
import type { Settings } from '../config/settings.ts';
import { Intents } from '../delivery/intents.ts';
import type { AcceptMessage, OutboundQueue } from '../delivery/types.ts';
import { clientName } from '../dns/client-name.ts';
import type { Resolver } from '../dns/resolver.ts';
import { ImapServer } from '../imap/server.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { ownCounters, type Counters } from '../lib/counters.ts';
import { silentLogger, type Logger } from '../lib/logger.ts';
import { loadSqlite } from '../lib/sqlite.ts';
import { noQueue } from '../queue/no-queue.ts';
import { DkimKeys } from '../policy/dkim-keys.ts';
import type { SmtpSessionOptions } from '../smtp/options.ts';
import { SmtpService, type SmtpServerOptions } from '../smtp/server.ts';
import { MailStore } from '../storage/mail-store.ts';
import { DEFAULT_HTTP_LIMITS, HttpService } from '../http/service.ts';
import { ownPolicy } from '../policy/mta-sts/own.ts';
import type { AccountStore } from '../storage/types.ts';
import type { MaildropPickup } from '../maildrop/pickup.ts';
import { maildropFolder } from '../maildrop/folder.ts';
import { exists } from '../storage/files.ts';
import { LiveAuthentication } from './authentication.ts';
import { Health } from './health.ts';
import { connectionsFor, imapLimits, smtpLimits } from './limits.ts';
import { Listeners, type BoundAddress } from './listeners.ts';
import { Outbound, type QueueContext, type QueueParts } from './outbound.ts';
import { queueParts as ownQueueParts } from './queue-parts.ts';
import { dropBounce, maildropPickup, probeReport } from './maildrop.ts';
import { Parts } from './parts.ts';
import { LiveSenderRewriting } from './srs.ts';
import { DataFolder } from './data-folder.ts';
import { dropPrivileges, mailIdentity, type Identity } from './privileges.ts';
import type { InheritedSocket } from './systemd.ts';
import { serverHandshake } from './tls.ts';

/** What several processes that serve the same addresses have in common. */
export interface SharedState extends Counters {
  readonly readPem: (path: string) => Promise<PemFile>;
  readonly lastPem: (path: string) => Promise<PemFile>;
  readonly throttle: LoginThrottle;
}

export interface MailServerDeps {
  readonly logger?: Logger;
  /** For everything but the store, whose files have the system's time in any case. */
  readonly clock?: Clock;
  /** Asked for the names of clients, without one they are unknown, and for what verifies mail (a server that is the whole process has one of its own). */
  readonly resolver?: Resolver;
  /** Takes mail for other hosts instead of the server's own queue. */
  readonly queue?: OutboundQueue;
  /** Makes what the server's own queue consists of, instead of queue-parts.ts. */
  readonly queueParts?: (context: QueueContext) => QueueParts;
  /** Checks passwords instead of the threads made for it; closed with the server. */
  readonly hashing?: Hashing;
  /** Gives up root once the ports are bound: for a process that is nothing but this server (or a worker of it). */
  readonly dropPrivileges?: boolean;
  /** This is one of several processes that serve the same addresses; others read the keys for it and count what they share. */
  readonly worker?: SharedState;
  /** Listening sockets that this process got from the one that started it. */
  readonly inherited?: readonly InheritedSocket[];
  /** Asked at each stage of an SMTP session before its own checks: a reply refuses it. */
  readonly onStage?: SmtpSessionOptions['onStage'];
  /** Called with each message that was accepted, after its 250 is due. */
  readonly onAccepted?: (message: Parameters<AcceptMessage>[0]) => void | Promise<void>;
}

/** Old parts may still answer a question that was asked before a reload. */
const PARTS_LINGER_MS = 60_000;

export class MailServer {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #deps: MailServerDeps;
  readonly #hashing: Hashing;
  readonly #listeners: Listeners;
  readonly #counters: Counters;
  readonly #store: MailStore;
  readonly #intents: Intents;
  readonly #health: Health;
  /** The server's own queue; undefined where `queue` is somebody else's, or none. */
  readonly #outbound: Outbound | undefined;
  readonly #queue: OutboundQueue;
  readonly #srs: LiveSenderRewriting;
  #pickup: MaildropPickup | undefined;
  #parts: Parts;
  /** Of before a reload, while they may still be asked. */
  readonly #oldParts = new Set<Parts>();
  #certificates: CertificateStore | undefined;
  #dkimKeys: DkimKeys | undefined;
  readonly #authentication: LiveAuthentication;
  #mx: SmtpService | undefined;
  #submission: SmtpService | undefined;
  #imap: ImapServer | undefined;
  #http: HttpService | undefined;
  #connections = 0;
  #maxConnections = 0;
  #data: { release(): void | Promise<void> } | undefined;
  #started = false;

  /** @throws MailError config for tables that cannot be */
  constructor(settings: Settings, deps: MailServerDeps = {}) {
    this.#deps = deps;
    this.#logger = deps.logger ?? silentLogger;
    this.#clock = deps.clock ?? systemClock;
    this.#hashing = deps.hashing ?? createHashing({ keep: deps.dropPrivileges === true });
    this.#listeners = new Listeners(deps.worker !== undefined);
    this.#counters = deps.worker ?? ownCounters();
    this.#store = new MailStore({
      logger: this.#logger,
      // The system's clock: the store holds the time against what the file system writes.
      saveCrlf: settings.mail_save_crlf,
      separator: settings.namespace.separator,
    });
    this.#intents = new Intents(settings.data_directory, () => this.#clock.now(), this.#logger, this.#counters);
    this.#health = new Health(settings, this.#logger, () => this.#clock.now());
    this.#srs = new LiveSenderRewriting(() => this.#clock.now());
    this.#authentication = new LiveAuthentication({
      resolver: deps.resolver,
      ownProcess: deps.dropPrivileges === true,
      clock: this.#clock,
      logger: this.#logger,
    });
    this.#outbound = this.#makeOutbound();
    this.#queue = deps.queue ?? this.#outbound ?? noQueue;
    this.#parts = this.#makeParts(settings);
  }

  #makeOutbound(): Outbound | undefined {
    const { queue, resolver } = this.#deps;
    if (queue) return undefined;
    const queueParts = this.#deps.queueParts ?? ((context) => ownQueueParts(context, resolver));
    const logger = this.#logger;
    const clock = this.#clock;
    return new Outbound({
      parts: queueParts({ parts: () => this.#parts, dkimKeys: () => this.#dkimKeys, logger, clock }),
      settings: () => this.settings,
      counters: this.#counters,
      clock,
      logger,
    });
  }

  #makeParts(settings: Settings): Parts {
    return new Parts(settings, {
      logger: this.#logger,
      clock: this.#clock,
      hashing: this.#hashing,
      queue: this.#queue,
      ...(this.#deps.worker ? { throttle: this.#deps.worker.throttle, readPem: this.#deps.worker.readPem } : {}),
      intents: this.#intents,
      srs: this.#srs,
      storeOf: (location) => this.#store.account(location),
    });
  }

  get settings(): Settings {
    return this.#parts.settings;
  }
  get addresses(): readonly BoundAddress[] {
    return this.#listeners.addresses;
  }
  /** An account's mail; undefined when there is no such account. @throws MailError temporary when a map or file cannot be read */
  async account(address: string): Promise<AccountStore | undefined> {
    const account = await this.#parts.accounts.find(address);
    return account && this.#store.account({ address: account.address, maildir: account.maildir, quota: account.quota });
  }

  // ---- beginning

  /** @throws MailError config: what is wrong and what to do */
  async start(): Promise<void> {
    const { settings } = this;
    this.#certificates = await CertificateStore.load({
      certificates: certificateFiles(settings),
      logger: this.#logger,
      clock: this.#clock,
      ...(this.#deps.worker ? { readPem: this.#deps.worker.readPem, lastPem: this.#deps.worker.lastPem } : {}),
    });
    this.#dkimKeys = await DkimKeys.load(settings, this.#logger, this.#deps.worker?.readPem);
    await this.#srs.load(settings, this.#deps.worker?.readPem);
    await this.#authentication.load(settings);
    const identity = this.#deps.dropPrivileges ? await mailIdentity(settings, this.#logger) : undefined;
    await this.#listeners.bind(settings.listeners, this.#deps.inherited);
    try {
      if (!this.#deps.worker) this.#data = await DataFolder.take(settings, identity, this.#deps.queue === undefined);
      if (identity) await this.#dropTo(identity);
      if (this.#deps.worker) this.#data = DataFolder.join(settings);
      await this.#recover();
      await this.#outbound?.open();
      this.#maxConnections = await connectionsFor(settings.client_limit);
      this.#makeServices();
    } catch (error) {
      await this.#outbound?.close();
      await this.#data?.release();
      await this.#listeners.close();
      throw error;
    }
    this.#certificates.watch();
    this.#listeners.open((socket, listener) => this.#connected(socket, listener));
    this.#started = true;
    this.#outbound?.run();
    await this.#startPickup();
    this.#logger.info(this.#deps.worker ? 'worker.ready' : 'server.ready', {
      hostname: settings.hostname,
      listeners: this.addresses.map(({ protocol, address, port }) => `${protocol}:${address}:${port}`),
    });
  }

  /** What would be read from the program's folder later is read now: the folder may be root's alone. */
  async #dropTo(identity: Identity): Promise<void> {
    await this.#hashing.warm();
    await this.#outbound?.warm();
    loadSqlite();
    dropPrivileges(identity);
  }

  /** What cannot be recovered now is tried again when it is needed: it holds up that message, not the start. */
  async #recover(): Promise<void> {
    await this.#intents.recover().catch((error: unknown) => {
      this.#logger.error('delivery.recovery.failed', { error: error instanceof Error ? error.message : String(error) });
    });
  }

  /** Where there is a maildrop: a server that is part of another program has none. */
  async #startPickup(): Promise<void> {
    const outbound = this.#outbound;
    if (!outbound || !(await exists(maildropFolder(this.settings.queue_directory)))) return;
    this.#pickup = maildropPickup({
      settings: () => this.settings,
      parts: () => ({
        router: this.#parts.router,
        accept: (message) => this.#accept(message),
        bounce: dropBounce(outbound.reporter, () => this.#clock.now()),
        probe: {
          checkMailbox: (address) => this.#parts.delivery.checkMailbox(address),
          queue: this.#queue,
          report: probeReport(outbound.reporter, { clock: this.#clock, logger: this.#logger }),
        },
      }),
      clock: this.#clock,
      logger: this.#logger,
    });
    this.#pickup.start();
  }

  #makeServices(): void {
    const certificates = this.#certificates;
    if (!certificates) return;
    const hasTls = certificates.certificates.length > 0;
    this.#mx = new SmtpService(this.#smtpOptions('smtp', hasTls ? certificates : undefined));
    this.#submission = new SmtpService(this.#smtpOptions('submission', hasTls ? certificates : undefined));
    // What a reload changes is looked up each time.
    const live = (): Parts => this.#parts;
    this.#imap = new ImapServer({
      get hostname() {
        return live().settings.hostname;
      },
      namespace: this.settings.namespace,
      get limits() {
        return imapLimits(live().settings);
      },
      get authenticator() {
        return live().authenticator;
      },
      accountStore: ({ address, maildir, quota }) => this.#store.account({ address, maildir, quota }),
      spoolFolder: join(this.settings.data_directory, 'spool'),
      clock: this.#clock,
      counters: this.#counters,
      logger: this.#logger,
      ...(hasTls ? { startTls: (socket) => serverHandshake(socket, certificates) } : {}),
    });
    this.#http = new HttpService({
      policyOf: async (domain) => ((await live().isVirtual(domain)) ? ownPolicy(live().settings, domain).text : undefined),
      isProxy: (address) => live().isProxy(address),
      limits: DEFAULT_HTTP_LIMITS,
      clock: this.#clock,
      counters: this.#counters,
      logger: this.#logger,
      ...(hasTls ? { startTls: (socket) => serverHandshake(socket, certificates) } : {}),
    });
  }

  #smtpOptions(service: 'smtp' | 'submission', certificates: CertificateStore | undefined): SmtpServerOptions {
    const live = (): Parts => this.#parts;
    const { onStage, resolver } = this.#deps;
    const authentication = this.#authentication;
    return {
      service,
      get hostname() {
        return live().settings.hostname;
      },
      get limits() {
        return smtpLimits(live().settings);
      },
      get router() {
        return live().router;
      },
      get authenticator() {
        return live().authenticator;
      },
      get tlsLevel() {
        return certificates ? live().settings.smtpd_tls_security_level : 'none';
      },
      get bareNewline() {
        return live().settings.smtpd_forbid_bare_newline;
      },
      get authentication() {
        return authentication.current;
      },
      queue: this.#queue,
      accept: (message) => this.#accept(message),
      isTrusted: (address) => this.#parts.isTrusted(address),
      isInternal: (address) => this.#dkimKeys?.isInternal(address) ?? false,
      meter: (account) => this.#parts.sendLimits.begin(account),
      checkMailbox: (address) => this.#parts.delivery.checkMailbox(address),
      spoolFolder: join(this.settings.data_directory, 'spool'),
      clock: this.#clock,
      counters: this.#counters,
      logger: this.#logger,
      ...(certificates ? { tls: { contextFor: (name: string | undefined) => certificates.secureContextFor(name) } } : {}),
      ...(onStage ? { onStage } : {}),
      ...(resolver ? { clientName: (address: string) => clientName(resolver, address) } : {}),
    };
  }

  async #accept(message: Parameters<AcceptMessage>[0]): Promise<void> {
    try {
      await this.#parts.accept(message);
      this.#health.good();
    } catch (error) {
      this.#health.failed(error);
      throw error;
    }
    // The source is gone once this has returned.
    await this.#outbound?.reporter.reportStored(message);
    await this.#deps.onAccepted?.(message);
  }

  #connected(socket: Socket, { protocol }: Listener): void {
    const isImap = protocol === 'imap' || protocol === 'imaps';
    const isHttp = protocol === 'http' || protocol === 'https';
    const implicitTls = protocol === 'imaps' || protocol === 'submissions' || protocol === 'https';
    if (this.#connections >= this.#maxConnections) return this.#full(socket, isImap, implicitTls || isHttp);
    this.#connections++;
    socket.once('close', () => this.#connections--);
    if (isImap) void this.#imap?.serve(socket, implicitTls);
    else if (isHttp) void this.#http?.serve(socket, implicitTls);
    else void (protocol === 'smtp' ? this.#mx : this.#submission)?.serve(socket, implicitTls);
  }

  /** Our own limit answers before the limit of open files cuts connections without a word. */
  #full(socket: Socket, isImap: boolean, implicitTls: boolean): void {
    this.#logger.warn('server.full', { connections: this.#connections });
    if (!implicitTls)
      socket.write(
        isImap
          ? '* BYE [UNAVAILABLE] Too many connections, try again later\r\n'
          : `421 4.7.0 ${this.settings.hostname} Error: too many connections\r\n`,
      );
    socket.end();
    socket.resume();
    setTimeout(() => socket.destroy(), 1_000).unref();
  }

  // ---- while it runs

  /** Takes over new settings, tables and certificates; sessions go on. @throws MailError config: then everything stays as it was */
  async reload(settings: Settings): Promise<void> {
    const parts = this.#makeParts(settings);
    const old = this.#parts;
    parts.authenticator.inherit(old.authenticator);
    this.#parts = parts;
    await this.#certificates?.reload(certificateFiles(settings));
    await this.#dkimKeys?.reload(settings);
    await this.#srs.load(settings, this.#deps.worker?.readPem);
    this.#authentication.apply(settings);
    this.#oldParts.add(old);
    setTimeout(() => this.#closeOld(old), PARTS_LINGER_MS).unref();
    if (!this.#deps.worker) this.#logger.info('server.reloaded', {});
  }

  #closeOld(parts: Parts): void {
    if (this.#oldParts.delete(parts)) parts.close();
  }

  // ---- the end

  /** Takes no more connections, lets messages in flight finish (at most shutdown_timeout), and writes what the caches hold. */
  async stop(): Promise<void> {
    if (!this.#started) return;
    this.#started = false;
    await this.#listeners.close();
    await this.#pickup?.stop();
    const grace = this.settings.shutdown_timeout;
    await Promise.all([
      this.#mx?.close(grace),
      this.#submission?.close(grace),
      this.#imap?.close(Math.min(grace, 5_000)),
      this.#http?.close(Math.min(grace, 2_000)),
      this.#outbound?.stopRunning(grace),
    ]);
    await this.#outbound?.close();
    this.#certificates?.close();
    for (const parts of this.#oldParts) this.#closeOld(parts);
    this.#parts.close();
    this.#store.close();
    await this.#hashing.close();
    this.#health.close();
    await this.#data?.release();
    this.#logger.info(this.#deps.worker ? 'worker.stopped' : 'server.stopped', {});
  }
}
