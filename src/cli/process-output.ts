// The process's standard output: whether somebody still reads it, and the terminal when it is one.
import { errnoOf } from '../lib/errors.ts';
import type { Terminal } from './command.ts';

/** What a shell makes of a program that SIGPIPE ended. */
const SIGPIPE_STATUS = 141;

/** Ends the process, as SIGPIPE would end another program, when its reader has gone away and nobody watches for that. */
export function endWithReader(): void {
  process.stdout.on('error', (error) => {
    if (errnoOf(error) !== 'EPIPE') throw error;
    if (process.stdout.listenerCount('error') === 1) process.exit(SIGPIPE_STATUS);
  });
}

/** Gives a function that tells whether the reader of standard output has gone away. From its first call on that is no error of the process any more. */
export function readerWatch(): () => boolean {
  let gone: boolean | undefined;
  return () => {
    if (gone !== undefined) return gone;
    process.stdout.on('error', (error) => {
      if (errnoOf(error) !== 'EPIPE') throw error;
      gone = true;
    });
    return (gone = false);
  };
}

export function processTerminal(): Terminal {
  const { stdin, stdout } = process;
  return {
    size: () => ({ columns: stdout.columns, rows: stdout.rows }),
    keys(listener) {
      const onData = (bytes: Buffer): void => listener(bytes.toString('latin1'));
      stdin.setRawMode(true);
      stdin.on('data', onData).resume();
      return () => {
        stdin.off('data', onData).pause();
        stdin.setRawMode(false);
      };
    },
  };
}
