// APPEND (RFC 3501 section 6.3.11), APPENDUID (RFC 4315 section 3). The message has been read by the session's reader.
import { MailError } from '../../lib/errors.ts';
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import { BadSyntax } from '../syntax/scanner.ts';

export async function append(session: Session): Promise<Answer> {
  const { appended, store } = session;
  if (!appended || !store) throw new BadSyntax('Expected a mailbox and a message');
  const { prefix, source } = appended;
  try {
    const message = {
      source,
      flags: prefix.flags,
      ...(prefix.internalDate === undefined ? {} : { internalDate: prefix.internalDate }),
    };
    const { uidValidity, uids } = await store.append(prefix.path, [message]);
    await session.look();
    return ok('Append completed', uids.length > 0 ? `APPENDUID ${uidValidity} ${uids.join(',')}` : undefined);
  } catch (error) {
    if (error instanceof MailError && error.kind === 'no-such-mailbox') return no('The mailbox does not exist', 'TRYCREATE');
    throw error;
  }
}
