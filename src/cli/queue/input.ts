// Queue ids from standard input: one a line, or the first word of each.
import { MailError } from '../../lib/errors.ts';
import type { CommandIo } from '../command.ts';

/** Bytes of one line. */
const MAX_LINE = 1_024;

/** Lines as they come, without line ends. @throws MailError config for a line that is no id by its length alone */
export async function* inputLines(io: CommandIo): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of io.stdin) {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE) throw new MailError('config', 'BAD_ARGUMENTS', 'standard input has no queue ids');
    for (const line of lines) yield line.replace(/\r$/, '');
  }
  if (rest !== '') yield rest;
}

/** `size` at a time. */
export async function* batches<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
