// The server in the foreground: until SIGTERM or SIGINT; SIGHUP reloads.
import { chown, stat } from 'node:fs/promises';
import { reloadSettings, type Settings } from '../config/settings.ts';
import { createLogger, isLogged, type Logger, type LogLevel } from '../lib/logger.ts';
import { LogOutput } from '../worker/log-output.ts';
import { mailIdentity, MailServer } from '../worker/mail-server.ts';

/** A second signal this soon is the same one again: a terminal's Ctrl-C reaches the whole group, and npm and the launcher pass it on. */
const SAME_SIGNAL_MS = 1_000;

/** Serves until a signal ends it. @throws MailError config when it cannot start */
export async function runServer(
  file: string,
  settings: Settings,
  onReady?: (server: MailServer) => void | Promise<void>,
): Promise<void> {
  const log = await ServerLog.open(settings);
  const ended = untilSignal();
  let server: MailServer | undefined;
  // From now on, not from the start's end: a SIGHUP without a handler would end the process.
  const onHangUp = (): void => {
    if (server) void reload(file, server, log);
  };
  process.on('SIGHUP', onHangUp);
  try {
    server = new MailServer(settings, { logger: log.logger, dropPrivileges: true });
    await server.start();
    await onReady?.(server);
    await ended;
    await server.stop();
  } finally {
    process.off('SIGHUP', onHangUp);
    await log.close();
  }
}

/** The settings' log; a reload may change all of it. */
class ServerLog {
  readonly #output: LogOutput;
  #least: LogLevel;
  readonly logger: Logger;

  private constructor(output: LogOutput, least: LogLevel) {
    this.#output = output;
    this.#least = least;
    this.logger = createLogger((level, ...event) => {
      if (isLogged(level, this.#least)) output.sink(level, ...event);
    }, 'debug');
  }

  /** Opened as whoever started the server. A file that root makes is given to whom it serves as, who opens it again after a rotation. */
  static async open(settings: Settings): Promise<ServerLog> {
    const { file, format, level } = settings.log;
    const isNew = file !== undefined && process.getuid?.() === 0 && !(await stat(file).catch(() => undefined));
    const output = await LogOutput.open({
      format,
      ...(file === undefined ? {} : { file }),
      postfix: { hostname: settings.hostname.split('.')[0] ?? settings.hostname, syslogName: 'buzon', pid: process.pid },
    });
    if (isNew) {
      const { uid, gid } = await mailIdentity(settings);
      await chown(file, uid, gid);
    }
    return new ServerLog(output, level);
  }

  /** Takes the file anew, be it another or the same name after logrotate. A file that cannot be opened changes nothing, and is told. */
  async reopen({ file, format, level }: Settings['log']): Promise<void> {
    this.#least = level;
    try {
      await this.#output.reopen({ format, ...(file === undefined ? {} : { file }) });
    } catch (error) {
      this.logger.error('log.reopen-failed', { error: error instanceof Error ? error.message : String(error) });
    }
  }
  close(): Promise<void> {
    return this.#output.close();
  }
}

const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const stop = (): void => {
        resolve();
        // Later a second one ends the process at once, for those who will not wait for messages in flight.
        setTimeout(() => process.off(signal, stop), SAME_SIGNAL_MS).unref();
      };
      process.on(signal, stop);
    }
  });

/** New settings when they are good; the old ones, and an alarm in the log, when not. What only a start takes over stays as it is. */
async function reload(file: string, server: MailServer, log: ServerLog): Promise<void> {
  const { logger } = log;
  try {
    const { settings, changed, needRestart } = await reloadSettings(file, server.settings);
    await log.reopen(settings.log);
    if (needRestart.length > 0) logger.warn('settings.need-restart', { names: needRestart });
    const kept = Object.fromEntries(needRestart.map((name) => [name, server.settings[name]]));
    await server.reload({ ...settings, ...kept });
    logger.info('settings.reloaded', { changed: changed.filter((name) => !needRestart.includes(name)) });
  } catch (error) {
    // logrotate's signal must work with settings that do not.
    await log.reopen(server.settings.log);
    logger.error('settings.reload-failed', { error: error instanceof Error ? error.message : String(error) });
  }
}
