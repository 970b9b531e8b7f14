// The process's standard output: whether somebody still reads it, and the terminal when it is one.
import { errnoOf } from '../lib/errors.ts';
import type { CommandIo, Terminal } from './command.ts';

/** What a shell makes of a program that SIGPIPE ended. */
const SIGPIPE_STATUS = 141;

/** Whether standard output is still read, as CommandIo has it. A process that does not ask ends with its reader, as SIGPIPE would end another program. */
export function readerWatch(): Required<Pick<CommandIo, 'closed' | 'endWithReader'>> {
  let gone = false;
  let isAsked = false;
  return {
    endWithReader() {
      process.stdout.on('error', (error) => {
        if (errnoOf(error) !== 'EPIPE') throw error;
        gone = true;
        if (!isAsked) process.exit(SIGPIPE_STATUS);
      });
    },
    closed() {
      isAsked = true;
      return gone;
    },
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
