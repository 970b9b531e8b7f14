// APPEND (RFC 3501 section 6.3.11) with APPENDUID (RFC 4315). What can be refused is refused before the client sends the message; the
// message goes through a spool, so that its size is no matter of memory.
import type { MessageSource } from '../../message/source.ts';
import { Spool } from '../../message/spool.ts';
import type { MailboxPath } from '../../storage/types.ts';
import { mailboxExists } from '../existing.ts';
import type { ImapSession } from '../session.ts';
import { badReply, completionOf, no, ok, type Completion } from '../status.ts';
import { toMailError } from '../../lib/errors.ts';
import { readAppend, type AppendArguments } from '../syntax/append.ts';
import type { LiteralAnnouncement } from '../syntax/literal.ts';
import { AUTHENTICATED, type CommandHandler } from './handler.ts';

/** Why the message is not wanted, before it comes; or where it goes. */
async function decide(session: ImapSession, read: () => AppendArguments, size: number): Promise<Completion | Target> {
  try {
    const args = read();
    if (size > session.limits.appendSize) return no('The message is too large', 'TOOBIG');
    if (size === 0) return no('The message is empty', 'CANNOT');
    const path = session.path(args.name);
    if (!(await mailboxExists(session.store, path))) return no('The mailbox does not exist', 'TRYCREATE');
    const { bytes, messages, limits } = await session.store.quota();
    // On disk it may be smaller (LF for CRLF), but by no more than half: storage decides what is in between.
    if (bytes + size / 2 > (limits.bytes ?? Infinity) || messages >= (limits.messages ?? Infinity))
      return no('Quota exceeded', 'OVERQUOTA');
    return { ...args, path };
  } catch (error) {
    return completionOf(toMailError(error, 'APPEND'), true);
  }
}
interface Target extends AppendArguments {
  readonly path: MailboxPath;
}

/** Runs `take` over the literal's bytes as they come; silence ends the session. */
async function receive(session: ImapSession, size: number, take: (chunk: Buffer) => Promise<void>): Promise<void> {
  for (let left = size; left > 0;) {
    const cancel = session.deadline(session.limits.commandTimeout);
    const chunk = await session.transport.reader.some(Math.min(left, 65_536)).finally(cancel);
    left -= chunk.length;
    await take(chunk);
  }
}

/** After a refusal: what a non-synchronising literal brings is read and dropped, up to twice the limit; past that the session ends. */
async function drop(session: ImapSession, { size, nonSync }: LiteralAnnouncement): Promise<void> {
  if (!nonSync) return;
  if (size > 2 * session.limits.appendSize) return session.finish('The message is too large');
  await receive(session, size, async () => undefined);
  await session.lastLine();
}

async function spooled(session: ImapSession, size: number): Promise<MessageSource | Completion> {
  const spool = new Spool(session.options.spoolFolder);
  let failure: Completion | undefined;
  try {
    await receive(session, size, async (chunk) => {
      if (failure) return;
      try {
        await spool.write(chunk);
      } catch (error) {
        // The client goes on sending: the rest is read and dropped.
        failure = completionOf(toMailError(error, 'spooling a message'), false);
      }
    });
    const rest = await session.lastLine();
    if (rest.length > 0) failure ??= badReply('Unexpected text after the message');
  } catch (error) {
    await spool.discard();
    throw error;
  }
  if (!failure) return spool.finish();
  await spool.discard();
  return failure;
}

export const append: CommandHandler = {
  states: AUTHENTICATED,
  sync: 'known',
  tryCreate: true,
  async run(session, { args, literal }) {
    if (!literal) return badReply('Expected a mailbox and a message');
    const target = await decide(session, () => readAppend(args), literal.size);
    if ('status' in target) {
      await drop(session, literal);
      return target;
    }
    if (!literal.nonSync) await session.proceed();
    const source = await spooled(session, literal.size);
    if ('status' in source) return source;
    try {
      const message = { source, flags: target.flags, internalDate: target.internalDate };
      const { uidValidity, uids } = await session.store.append(target.path, [message]);
      return ok('Append completed', uids.length > 0 ? `APPENDUID ${uidValidity} ${uids.join(',')}` : undefined);
    } finally {
      await source.dispose();
    }
  },
};
