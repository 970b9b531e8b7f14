// A Maildir through the server's store: UIDs, flags and the files beside them stay what IMAP clients and Dovecot expect.
import { basename, dirname } from 'node:path';
import { MailError } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';
import { LfEncoder } from '../../message/line-ends.ts';
import { headerLength } from '../../message/headers.ts';
import { INBOX, pathOf } from '../../storage/mailbox-names.ts';
import { MailStore } from '../../storage/mail-store.ts';
import type { Mailbox, MailboxPath, MessageRow, Uid } from '../../storage/types.ts';
import { kindOf, type Box, type BoxMessage } from './box-types.ts';

const MAX_HEADER = 65_536;

/** Where a folder of Maildir++ belongs: `/home/.Sent` is a mailbox of `/home`. */
export async function placeOf(path: string): Promise<{ maildir: string; mailbox: MailboxPath }> {
  const name = basename(path);
  const above = dirname(path);
  const mailbox = name.startsWith('.') && (await kindOf(above)) === 'maildir' ? pathOf(name) : undefined;
  return mailbox ? { maildir: above, mailbox } : { maildir: path, mailbox: INBOX };
}

/** @throws MailError */
export async function openMaildir(path: string): Promise<Box> {
  const store = new MailStore({ logger: silentLogger });
  try {
    const { maildir, mailbox: name } = await placeOf(path);
    const mailbox = await store.account({ address: path, maildir }).open(name);
    await mailbox.refresh();
    const recent = await mailbox.recent(false);
    const messages: BoxMessage[] = [];
    for (const row of mailbox.messages) messages.push(await messageOf(mailbox, row, recent.has(row.uid)));
    return {
      path,
      kind: 'maildir',
      messages,
      save: () => save(mailbox, messages),
      async close() {
        await mailbox.close();
        store.close();
      },
    };
  } catch (error) {
    store.close();
    throw error;
  }
}

async function messageOf(mailbox: Mailbox, { uid, flags }: MessageRow, recent: boolean): Promise<BoxMessage> {
  const head = await bytesOf(mailbox, uid, MAX_HEADER);
  const { internalDate, wireSize } = await mailbox.facts(uid);
  const content = await bytesOf(mailbox, uid);
  return {
    header: head.toString('latin1', 0, headerLength(head) ?? head.length),
    size: content.length,
    lines: wireSize - content.length,
    received: internalDate,
    isNew: recent && !flags.includes('\\Seen'),
    seen: flags.includes('\\Seen'),
    answered: flags.includes('\\Answered'),
    deleted: false,
    read: () => bytesOf(mailbox, uid),
  };
}

async function bytesOf(mailbox: Mailbox, uid: Uid, max = Infinity): Promise<Buffer> {
  const content = await mailbox.content(uid);
  try {
    const lines = new LfEncoder();
    const parts: Buffer[] = [];
    for await (const chunk of content.read(0, Math.min(max, content.size))) parts.push(Buffer.from(lines.push(chunk)));
    return Buffer.concat([...parts, lines.end()]);
  } finally {
    await content.close();
  }
}

async function save(mailbox: Mailbox, messages: readonly BoxMessage[]): Promise<void> {
  const rows = mailbox.messages;
  const uids = (wanted: (message: BoxMessage, row: MessageRow) => boolean): Uid[] =>
    rows.slice(0, messages.length).flatMap((row, i) => (messages[i] && wanted(messages[i], row) ? [row.uid] : []));
  for (const [flag, is] of [
    ['\\Seen', 'seen'],
    ['\\Answered', 'answered'],
  ] as const) {
    const changed = uids((message, row) => message[is] && !message.deleted && !row.flags.includes(flag));
    if (changed.length > 0) await mailbox.store(changed, { mode: 'add', flags: [flag] });
  }
  const gone = uids((message) => message.deleted);
  if (gone.length > 0) await mailbox.expunge(gone);
}

/** Adds messages (lines LF or CRLF) to a Maildir; makes it when it is not there. @throws MailError */
export async function addToMaildir(
  path: string,
  messages: readonly { content: Buffer; seen: boolean; received: number }[],
): Promise<void> {
  const store = new MailStore({ logger: silentLogger });
  try {
    const { maildir, mailbox } = await placeOf(path);
    const account = store.account({ address: path, maildir });
    const { memorySource } = await import('../../message/source.ts');
    await account.append(
      mailbox,
      messages.map(({ content, seen, received }) => ({
        source: memorySource(content),
        flags: seen ? ['\\Seen'] : [],
        internalDate: received,
      })),
    );
  } catch (error) {
    if (error instanceof MailError) throw error;
    throw new MailError(
      'temporary',
      'NOT_SAVED',
      `cannot write to \`${path}': ${error instanceof Error ? error.message : String(error)}`,
    );
  } finally {
    store.close();
  }
}
