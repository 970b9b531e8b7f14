// The server in the foreground: until SIGTERM or SIGINT; SIGHUP reloads.
import { reloadSettings, type Settings } from '../config/settings.ts';
import type { BoundAddress } from '../worker/listeners.ts';
import { MailServer } from '../worker/mail-server.ts';
import { noteToolSettings, prepareMaildrop } from '../worker/maildrop.ts';
import { mailIdentity } from '../worker/privileges.ts';
import { ServerLog } from '../worker/server-log.ts';
import { inheritedSockets, notifySystemd } from '../worker/systemd.ts';
import { Supervisor } from '../worker/supervisor.ts';

/** A second signal this soon is the same one again: a terminal's Ctrl-C reaches the whole group, and npm and the launcher pass it on. */
const SAME_SIGNAL_MS = 1_000;

/** A server in this process, or the supervisor of one in several. */
interface Running {
  readonly settings: Settings;
  readonly addresses: readonly BoundAddress[];
  start(): Promise<void>;
  reload(settings: Settings): Promise<void>;
  stop(): Promise<void>;
}

/** Serves until a signal ends it. @throws MailError config when it cannot start */
export async function runServer(
  file: string,
  settings: Settings,
  onReady?: (server: Pick<Running, 'addresses'>) => void | Promise<void>,
): Promise<void> {
  const log = await ServerLog.open(settings);
  const ended = untilSignal();
  let server: Running | undefined;
  // From now on, not from the start's end: a SIGHUP without a handler would end the process.
  const onHangUp = (): void => {
    if (server) void reload(file, server, log);
  };
  process.on('SIGHUP', onHangUp);
  try {
    const inherited = inheritedSockets(process.env, process.pid);
    server =
      settings.workers === 0
        ? new MailServer(settings, { logger: log.logger, dropPrivileges: true, inherited })
        : new Supervisor({ settings, logger: log.logger, inherited });
    await prepareMaildrop(settings, file, await mailIdentity(settings));
    await server.start();
    await notifySystemd(process.env, '--ready');
    await onReady?.(server);
    await ended;
    void notifySystemd(process.env, 'STOPPING=1');
    await server.stop();
  } finally {
    process.off('SIGHUP', onHangUp);
    await log.close();
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
async function reload(file: string, server: Running, log: ServerLog): Promise<void> {
  const { logger } = log;
  await notifySystemd(process.env, 'RELOADING=1');
  try {
    const { settings, changed, needRestart } = await reloadSettings(file, server.settings);
    await log.reopen(settings.log);
    if (needRestart.length > 0) logger.warn('settings.need-restart', { names: needRestart });
    const kept = Object.fromEntries(needRestart.map((name) => [name, server.settings[name]]));
    const taken = { ...settings, ...kept };
    await server.reload(taken);
    // The settings count by now, whether or not programs of the host can be told.
    await noteToolSettings(taken, file).catch((error: unknown) =>
      logger.warn('settings.tools-failed', { error: error instanceof Error ? error.message : String(error) }),
    );
    logger.info('settings.reloaded', { changed: changed.filter((name) => !needRestart.includes(name)) });
  } catch (error) {
    // logrotate's signal must work with settings that do not.
    await log.reopen(server.settings.log);
    logger.error('settings.reload-failed', { error: error instanceof Error ? error.message : String(error) });
  } finally {
    await notifySystemd(process.env, '--ready');
  }
}
