// What the crash tests share: a message sent up to its last byte while faults are injected, and what lies in the mailboxes afterwards.
import { createHash } from 'node:crypto';
import { SmtpSender } from './smtp-send.ts';
import type { MailHost } from './mail-host.ts';

/** Calls that leave another state on the disk. strace counts each of them by itself. */
export const CHANGING_CALLS = ['mkdir', 'fsync', 'rename', 'link', 'unlink'] as const;
/** Those whose absence changes nothing that a reader sees: only a run of all steps stops there. */
export const OTHER_CALLS = [
  'openat',
  'close',
  'chmod',
  'write',
  'fdatasync',
  'ftruncate',
  'utimensat',
  'statx',
  'getdents64',
] as const;
/** Every step of every walk (long). */
export const ALL_STEPS = process.env['CRASH_ALL'] === '1';

/** One thread does a server's file work: strace counts the calls of each thread by itself. Call before a host is started. */
export function oneFileThread(): void {
  process.env['UV_THREADPOOL_SIZE'] = '1';
}

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');

/** A message that can be told from all others, and that is bigger than what is written at once. */
export function numberedMessage(name: string, bytes = 300_000): string {
  const line = `${name} `.repeat(20).slice(0, 70);
  return `Message-ID: <${name}@remote.test>\r\nSubject: ${name}\r\n\r\n${`${line}\r\n`.repeat(Math.ceil(bytes / 72))}`;
}

/** A transaction whose last part, the message, is still to be sent: the server waits for it. */
export class OpenTransaction {
  readonly #sender: SmtpSender;
  private constructor(sender: SmtpSender) {
    this.#sender = sender;
  }
  static async begin(port: number, to: readonly string[]): Promise<OpenTransaction> {
    const sender = await SmtpSender.connect(port);
    await sender.command('MAIL FROM:<eva@remote.test>', '250');
    for (const address of to) await sender.command(`RCPT TO:<${address}>`, '250');
    await sender.command('DATA', '354');
    return new OpenTransaction(sender);
  }
  /** The reply's text; empty when the connection was cut before one came. */
  async finish(message: string): Promise<string> {
    const reply = await this.#sender.command(`${message}.`, '');
    if (reply.startsWith('000')) return '';
    await this.#sender.quit();
    return reply.trim();
  }
}

/** How often this message lies in an account's INBOX. @throws when a copy is there that is not whole */
export async function copiesOf(host: MailHost, address: string, message: string): Promise<number> {
  const wanted = message.replaceAll('\r\n', '\n');
  const begin = wanted.slice(0, wanted.indexOf('\n') + 1);
  let copies = 0;
  for (const text of await host.inbox(address)) {
    const at = text.indexOf(begin);
    if (at < 0) continue;
    if (sha256(text.slice(at)) !== sha256(wanted)) throw new Error(`${address} has a copy that is not whole`);
    copies++;
  }
  return copies;
}
