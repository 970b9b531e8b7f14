// The server in the foreground: until SIGTERM or SIGINT; SIGHUP reloads.
import { reloadSettings, type Settings } from '../config/settings.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { LogOutput } from '../worker/log-output.ts';
import { MailServer } from '../worker/mail-server.ts';

/** Serves until a signal ends it. @throws MailError config when it cannot start */
export async function runServer(
  file: string,
  settings: Settings,
  onReady?: (server: MailServer) => void | Promise<void>,
): Promise<void> {
  const output = await LogOutput.open({
    format: settings.log.format,
    ...(settings.log.file === '-' ? {} : { file: settings.log.file }),
    postfix: { hostname: settings.hostname.split('.')[0] ?? settings.hostname, syslogName: 'buzon', pid: process.pid },
  });
  const logger = createLogger(output.sink, settings.log.level);
  const server = new MailServer(settings, { logger, dropPrivileges: true });
  const ended = untilSignal();
  process.on('SIGHUP', () => void reload(file, server, output, logger));
  try {
    await server.start();
    await onReady?.(server);
    await ended;
    await server.stop();
  } finally {
    await output.close();
  }
}

const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });

/** New settings when they are good; the old ones, and an alarm in the log, when not. */
async function reload(file: string, server: MailServer, output: LogOutput, logger: Logger): Promise<void> {
  try {
    await output.reopen();
    const { settings, changed, needRestart } = await reloadSettings(file, server.settings);
    if (needRestart.length > 0) logger.warn('settings.need-restart', { names: needRestart });
    await server.reload(settings);
    logger.info('settings.reloaded', { changed });
  } catch (error) {
    logger.error('settings.reload-failed', { error: error instanceof Error ? error.message : String(error) });
  }
}
