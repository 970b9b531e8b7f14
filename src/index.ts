// `buzon`: the real server as a part of another program.
//
//   const server = await createMailServer({ file: '/etc/buzon/buzon.yaml' });
//   await server.start();
//   …
//   await server.stop();
import { resolve } from 'node:path';
import { requireNode } from './launcher.ts';
import type { SettingsInput } from './config/settings-object.ts';
import type { SettingName, Settings } from './config/settings.ts';
import type { Resolver } from './dns/resolver.ts';
import type { Clock } from './lib/clock.ts';
import type { Logger, LogSink } from './lib/logger.ts';
import type { LogOutput } from './worker/log-output.ts';
import type { BoundAddress } from './worker/listeners.ts';
import type { MailServer } from './worker/mail-server.ts';

export type { SettingsInput, SettingValue } from './config/settings-object.ts';
export type { SettingName, Settings } from './config/settings.ts';
export type { MxRecord, Resolver } from './dns/resolver.ts';
export type { Clock } from './lib/clock.ts';
export { MailError, type ErrorKind } from './lib/errors.ts';
export type { LogFields, LogLevel, LogSink } from './lib/logger.ts';
export type { BoundAddress } from './worker/listeners.ts';

export interface MailServerOptions {
  /** Settings under buzon.yaml's names (docs/settings.md); `hostname` has no default. Either these or `file`. */
  readonly settings?: SettingsInput;
  /** A settings file to read. */
  readonly file?: string;
  /** Where relative paths in `settings` start; default: the process's working directory. In a file they start at its folder. */
  readonly directory?: string;
  /**
   * Gets every event of at least the level that the settings say, instead of the file (or standard output) that they name; false for no log.
   * `at` is in milliseconds since the epoch.
   */
  readonly log?: LogSink | false;
  /** Default: the system's. Files have the system's time in any case. Its `after` must call back in real time for the server to be stopped in time. */
  readonly clock?: Clock;
  /** Who is asked for the names of clients (Received) and for what verifies mail from outside; without one they are `unknown`, and nothing is verified. */
  readonly resolver?: Resolver;
  /**
   * Gives up root for the settings' user and group (or the owner of the mail tree) once the ports are bound: of the whole process and for good.
   * Default: false.
   */
  readonly dropPrivileges?: boolean;
}

/**
 * Reads the settings and makes a server of them; nothing listens before `start`. Everything heavy is loaded by the first call. Several can run in
 * one process with folders of their own. @throws MailError config that lists what is wrong; TypeError without exactly one of settings and file;
 * Error on a Node.js older than 22.19
 */
export async function createMailServer(options: MailServerOptions): Promise<BuzonServer> {
  requireNode();
  const settings = await readSettings(options);
  const log = await openLog(options.log, settings);
  try {
    const { MailServer } = await import('./worker/mail-server.ts');
    const server = new MailServer(settings, {
      logger: log.logger,
      ...(options.clock ? { clock: options.clock } : {}),
      ...(options.resolver ? { resolver: options.resolver } : {}),
      ...(options.dropPrivileges === undefined ? {} : { dropPrivileges: options.dropPrivileges }),
    });
    return new BuzonServer(options, server, log);
  } catch (error) {
    await log.output?.close();
    throw error;
  }
}

async function readSettings({ settings, file, directory }: MailServerOptions): Promise<Settings> {
  if ((settings === undefined) === (file === undefined)) throw new TypeError('createMailServer: give either settings or file');
  if (file !== undefined) return (await import('./config/settings.ts')).loadSettings(file);
  const { settingsFromObject } = await import('./config/settings-object.ts');
  return settingsFromObject(settings ?? {}, resolve(directory ?? ''));
}

interface OpenLog {
  readonly logger: Logger;
  /** Undefined where the caller takes the events. */
  readonly output?: LogOutput;
}

async function openLog(sink: LogSink | false | undefined, { hostname, log }: Settings): Promise<OpenLog> {
  const { createLogger, silentLogger } = await import('./lib/logger.ts');
  if (sink === false) return { logger: silentLogger };
  if (sink) return { logger: createLogger(sink, log.level) };
  const { LogOutput } = await import('./worker/log-output.ts');
  const output = await LogOutput.open({
    format: log.format,
    ...(log.file === undefined ? {} : { file: log.file }),
    postfix: { hostname: hostname.split('.')[0] ?? hostname, syslogName: 'buzon', pid: process.pid },
  });
  return { logger: createLogger(output.sink, log.level), output };
}

/** What a reload has done. */
export interface ReloadResult {
  readonly changed: readonly SettingName[];
  /** Changed too, but only a new server takes them over; this one keeps its old values. */
  readonly needRestart: readonly SettingName[];
}

/** A server of this process; made by `createMailServer`. Whoever made it stops it. */
export class BuzonServer {
  readonly #options: MailServerOptions;
  readonly #server: MailServer;
  readonly #log: OpenLog;
  #stopping: Promise<void> | undefined;

  /** @internal */
  constructor(options: MailServerOptions, server: MailServer, log: OpenLog) {
    this.#options = options;
    this.#server = server;
    this.#log = log;
  }

  /** What it runs with: defaults filled in, sizes in bytes, times in milliseconds, paths absolute. */
  get settings(): Settings {
    return this.#server.settings;
  }

  /** What is listened on, with the ports that were taken where the settings say 0. Empty before `start` and after `stop`. */
  get addresses(): readonly BoundAddress[] {
    return this.#server.addresses;
  }

  /** Binds the ports and serves. Call it once. @throws MailError config: what is wrong (a port that is taken, a key) and what to do; then nothing listens */
  async start(): Promise<void> {
    try {
      await this.#server.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Takes over new settings, maps and certificates while sessions go on: those given, or the file (or the object of the beginning) read again.
   * Also opens the log file anew. @throws MailError config: what is wrong; then everything stays as it was
   */
  async reload(settings?: SettingsInput): Promise<ReloadResult> {
    const source = settings ? { settings, ...pick(this.#options, 'directory') } : this.#options;
    const wanted = await readSettings(source);
    const { compareSettings } = await import('./config/settings.ts');
    const { changed, needRestart } = compareSettings(wanted, this.settings);
    const kept = Object.fromEntries(needRestart.map((name) => [name, this.settings[name]]));
    await this.#server.reload({ ...wanted, ...kept });
    await this.#log.output?.reopen();
    return { changed, needRestart };
  }

  /** Takes no more connections, lets messages in flight finish (at most shutdown_timeout), ends all sessions. Idempotent. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#server.stop().finally(() => this.#log.output?.close()));
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const pick = <T, K extends keyof T>(from: T, key: K): Pick<T, K> | object =>
  from[key] === undefined ? {} : { [key]: from[key] };
