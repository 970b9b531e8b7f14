// What is wrong in OpenDKIM's files, each with its line, all told at once.
import { MailError } from '../../lib/errors.ts';

/** A place in a file; lines count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

export class Problems {
  readonly #found: string[] = [];

  add({ file, line }: Place, text: string, right: string): void {
    this.#found.push(`${file}:${line}: ${text}; write ${right}`);
  }
  /** @throws MailError config `OPENDKIM_INVALID` that lists every problem, when there is one */
  stop(): void {
    if (this.#found.length > 0) throw new MailError('config', 'OPENDKIM_INVALID', this.#found.join('\n'));
  }
}
