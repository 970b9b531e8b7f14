// `buzon …` in the test's process.
import { runCommand } from '../../src/cli/main.ts';
import { captureIo } from './command-io.ts';
import type { MailHost } from './mail-host.ts';

export interface BuzonResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command with the host's settings; `input` is its standard input. */
export async function buzon(host: Pick<MailHost, 'settingsFile'>, args: readonly string[], input = ''): Promise<BuzonResult> {
  const io = captureIo({ input });
  const status = await runCommand([...args, '--config', host.settingsFile], io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}
