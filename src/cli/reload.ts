// `buzon reload`: tells the running server to take new settings, maps and certificates.
import { readFile } from 'node:fs/promises';
import { loadSettings, type Settings } from '../config/settings.ts';
import { errnoOf } from '../lib/errors.ts';
import { pidFile } from '../worker/data-folder.ts';
import type { Command } from './command.ts';
import { readOptions } from './options.ts';

const DEFAULT_SETTINGS = '/etc/buzon/buzon.yaml';

export const reload: Command = {
  name: 'reload',
  summary: 'make the running server take new settings, maps and certificates',
  usage: `usage: buzon reload [--config FILE]\n\nThe settings are checked first; FILE is ${DEFAULT_SETTINGS} unless given.`,
  async run(args, io) {
    const { options } = readOptions(args, ['--config']);
    const settings = await loadSettings(options.get('--config') ?? DEFAULT_SETTINGS);
    const signalled = await signalReload(settings);
    if (signalled !== 'done') {
      io.err(
        signalled === 'not-permitted'
          ? "buzon reload: only root and the server's own user may do that\n"
          : 'buzon reload: the server is not running\n',
      );
      return 1;
    }
    io.out('reloaded: the log tells what was taken over\n');
    return 0;
  },
};

/** SIGHUP to the server that has these settings' data_directory. */
export async function signalReload(settings: Settings): Promise<'done' | 'not-running' | 'not-permitted'> {
  const pid = Number((await readFile(pidFile(settings), 'utf8').catch(() => '')).trim());
  if (!Number.isInteger(pid) || pid < 2) return 'not-running';
  try {
    process.kill(pid, 'SIGHUP');
    return 'done';
  } catch (error) {
    return errnoOf(error) === 'EPERM' ? 'not-permitted' : 'not-running';
  }
}
