// A mailbox as the commands of mailutils see it: an mbox file, or a Maildir (read and changed by the server's own store, with Dovecot's files in it).
import { stat } from 'node:fs/promises';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { actAs, ownerOf, type Identity } from '../../worker/privileges.ts';
import { openMaildir } from './maildir-box.ts';
import { openMbox } from './mbox-box.ts';

export interface BoxMessage {
  /** Header as latin1, lines LF, at most 64 KB. */
  readonly header: string;
  readonly size: number;
  readonly lines: number;
  /** Milliseconds since the epoch. */
  readonly received: number;
  /** Not looked at by anybody, and not read. */
  readonly isNew: boolean;
  seen: boolean;
  answered: boolean;
  deleted: boolean;
  /** The whole message, lines LF. */
  read(): Promise<Buffer>;
}

export interface Box {
  readonly path: string;
  readonly kind: 'mbox' | 'maildir';
  readonly messages: readonly BoxMessage[];
  /** Writes what was marked: seen and answered, and deleted messages go. */
  save(): Promise<void>;
  close(): Promise<void>;
}

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

/** undefined where nothing is. */
export async function kindOf(path: string): Promise<'mbox' | 'maildir' | undefined> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) return 'mbox';
    await stat(`${path}/cur`);
    return 'maildir';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** `maildir:/path`, `mbox:/path`, `/path`. */
export const pathOfUrl = (url: string): string => url.replace(/^(?:maildir|mbox|file):(?:\/\/(?=\/))?/i, '');
