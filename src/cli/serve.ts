// `buzon serve`, and `node dist/server.js`: the server in the foreground, until SIGTERM or SIGINT. SIGHUP reloads.
import { loadSettings } from '../config/settings.ts';
import type { Command } from './command.ts';
import { runServer } from './foreground.ts';
import { readOptions } from './options.ts';

export const serve: Command = {
  name: 'serve',
  summary: 'run the server in the foreground (without settings: the demo)',
  usage: 'usage: buzon serve [--config FILE]\n\nWithout --config, a demo on loopback ports with its data in the folder demo/.',
  async run(args, io) {
    const { options, rest } = readOptions(args, ['--config']);
    if (rest.length > 0) {
      io.err(`${serve.usage}\n`);
      return 2;
    }
    const file = options.get('--config');
    if (file === undefined) {
      const { startDemo } = await import('./demo.ts');
      return startDemo(io);
    }
    await runServer(file, await loadSettings(file));
    return 0;
  },
};
