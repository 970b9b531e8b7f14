// A command's streams in memory.
import type { CommandIo } from '../../src/cli/command.ts';

export interface CapturedIo extends CommandIo {
  stdout: string;
  stderr: string;
}

/** Collects what a command writes; `input` is what it reads. */
export function captureIo(options: { cwd?: string; input?: string; env?: Record<string, string> } = {}): CapturedIo {
  const io: CapturedIo = {
    stdout: '',
    stderr: '',
    out: (text) => void (io.stdout += typeof text === 'string' ? text : Buffer.from(text).toString('utf8')),
    err: (text) => void (io.stderr += text),
    stdin: (async function* () {
      if (options.input) yield Buffer.from(options.input);
    })(),
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
  };
  return io;
}
