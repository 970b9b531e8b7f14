// Asking for a secret on a terminal: what is typed does not appear.
import { StringDecoder } from 'node:string_decoder';
import type { ReadStream } from 'node:tty';
import { MailError } from '../lib/errors.ts';

const INTERRUPT = '\u0003';
const END = '\u0004';
const KILL_LINE = '\u0015';

/** Reads a line without echo; what was typed behind it stays for the next question. @throws MailError config `CANCELLED` (Ctrl-C, Ctrl-D) */
export async function askSecret(
  prompt: string,
  input: ReadStream = process.stdin,
  output: { write(text: string): unknown } = process.stderr,
): Promise<string> {
  input.setRawMode(true);
  output.write(prompt);
  try {
    return await readLine(input);
  } finally {
    input.setRawMode(false);
    input.pause();
    output.write('\n');
  }
}

function readLine(input: ReadStream): Promise<string> {
  return new Promise((resolve, reject) => {
    const decoder = new StringDecoder('utf8');
    let typed: string[] = [];
    const finish = (settle: () => void, rest: string): void => {
      input.off('data', onData).off('end', onEnd);
      input.pause();
      if (rest !== '') input.unshift(Buffer.from(rest));
      settle();
    };
    const cancel = (): void => reject(new MailError('config', 'CANCELLED', 'nothing was changed'));
    const onEnd = (): void => finish(cancel, '');
    const onData = (bytes: Buffer): void => {
      const chars = [...decoder.write(bytes)];
      for (const [i, char] of chars.entries()) {
        const rest = chars.slice(i + 1).join('');
        if (char === '\r' || char === '\n') return finish(() => resolve(typed.join('')), rest);
        if (char === INTERRUPT || (char === END && typed.length === 0)) return finish(cancel, rest);
        if (char === '\u007f' || char === '\b') typed.pop();
        else if (char === KILL_LINE) typed = [];
        else if (char >= ' ') typed.push(char);
      }
    };
    input.on('data', onData).on('end', onEnd);
    input.resume();
  });
}
