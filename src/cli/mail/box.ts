// A mailbox as the commands of mailutils see it: an mbox file, or a Maildir (read and changed by the server's own store, with Dovecot's files in it).
import { MailError } from '../../lib/errors.ts';
import { actAs, ownerOf, type Identity } from '../../worker/privileges.ts';
import { kindOf, type Box, type BoxMessage } from './box-types.ts';
import { openMaildir } from './maildir-box.ts';
import { openMbox } from './mbox-box.ts';

/** @throws MailError no-such-mailbox, temporary */
export async function openBox(path: string): Promise<Box> {
  const { box, owner } = await asOwnerOf(path, async () => {
    const kind = await kindOf(path);
    if (kind === undefined)
      throw new MailError('no-such-mailbox', 'NO_MAILBOX', `could not open mailbox \`${path}': No such file or directory`);
    return kind === 'maildir' ? openMaildir(path) : openMbox(path);
  });
  // Root's files in somebody's mailbox would shut him out.
  const as = <T>(fn: () => Promise<T>): Promise<T> => actAs(owner, fn);
  return {
    path,
    kind: box.kind,
    messages: box.messages.map((message) => withReader(message, as)),
    save: () => as(() => box.save()),
    close: () => as(() => box.close()),
  };
}

/** The message itself (marks are set on it), read with the owner's rights. */
function withReader(message: BoxMessage, as: <T>(fn: () => Promise<T>) => Promise<T>): BoxMessage {
  const read = message.read.bind(message);
  message.read = () => as(read);
  return message;
}

async function asOwnerOf<T>(path: string, fn: () => Promise<T>): Promise<{ box: T; owner: Identity | undefined }> {
  const owner = process.geteuid?.() === 0 ? await ownerOf(path).catch(() => undefined) : undefined;
  return { box: await actAs(owner, fn), owner };
}

/** `maildir:/path`, `mbox:/path`, `/path`. */
export const pathOfUrl = (url: string): string => url.replace(/^(?:maildir|mbox|file):(?:\/\/(?=\/))?/i, '');
