// The log that the settings name, for a whole server or one worker of it.
import { chown, stat } from 'node:fs/promises';
import type { Settings } from '../config/settings.ts';
import { createLogger, isLogged, type Logger, type LogLevel } from '../lib/logger.ts';
import { LogOutput } from './log-output.ts';
import { mailIdentity } from './privileges.ts';

/** The settings' log; a reload may change all of it. */
export class ServerLog {
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
