// `buzon …` in a process of its own, from the sources.
import { join } from 'node:path';
import { PROJECT, type MailHost } from './mail-host.ts';
import { run, type RunResult } from './programs.ts';

const ENTRY = join(PROJECT, 'src', 'bin', 'buzon.ts');

/** Runs a command with the host's settings, as another user where one is given. */
export function spawnBuzon(
  host: Pick<MailHost, 'settingsFile'>,
  args: readonly string[],
  input = '',
  as: { uid?: number; gid?: number } = {},
): Promise<RunResult> {
  return run(process.execPath, [ENTRY, ...args, '--config', host.settingsFile], { input, cwd: '/', ...as });
}
