// `buzon health`: whether the server runs and its disk does what it is asked to; for those who watch hosts.
import { loadSettings } from '../config/settings.ts';
import { errnoOf } from '../lib/errors.ts';
import { pidFile } from '../worker/data-folder.ts';
import { runningServer, troubles } from '../worker/health.ts';
import type { Command } from './command.ts';
import { readOptions } from './options.ts';

const DEFAULT_SETTINGS = '/etc/buzon/buzon.yaml';

export const healthCommand: Command = {
  name: 'health',
  summary: 'tell whether the running server is well',
  usage: `usage: buzon health [--config FILE]

Says "good" when the server runs and the last delivery of each of its processes was not failed by the disk (an I/O error, no space left, a
read-only file system), else what is wrong. It is good again with the next delivery that the disk takes. FILE is ${DEFAULT_SETTINGS} unless given.
Ends with 0 for good, 1 for bad or not running, 2 for wrong arguments.`,
  async run(args, io) {
    const { options } = readOptions(args, ['--config']);
    const settings = await loadSettings(options.get('--config') ?? DEFAULT_SETTINGS);
    try {
      if (runningServer(pidFile(settings)) === undefined) {
        io.out('bad: the server is not running\n');
        return 1;
      }
      const found = await troubles(settings);
      for (const { pid, since, cause } of found) io.out(`bad since ${since} (process ${pid}): ${cause}\n`);
      if (found.length === 0) io.out('good\n');
      return found.length === 0 ? 0 : 1;
    } catch (error) {
      if (errnoOf(error) !== 'EACCES') throw error;
      io.err("buzon health: only root and the server's own user may look\n");
      return 1;
    }
  },
};
