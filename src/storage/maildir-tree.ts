// An account's Maildir++ tree on disk: which mailboxes there are, and how folders are made, moved and removed so that a crash leaves none half-made
// and a synced answer is true. Changes are one at a time: their order is the caller's.
import { chmod, mkdir, readdir, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';
import type { ChangeFeed } from './change-feed.ts';
import { exists, isMissing, syncFolder } from './files.ts';
import type { NameMaker } from './maildir-name.ts';
import { checkPath, folderOf, INBOX, isInbox, pathKey, pathOf } from './mailbox-names.ts';
import type { MailboxPath } from './types.ts';

const FOLDER_MODE = 0o750;
/** Folders over a Maildir that the first delivery may have made: the home's domain and what holds it. */
const LEVELS_ABOVE = 2;

/** A mailbox on disk: its name as decoded, and its folder as it is called. */
export interface Existing {
  readonly path: MailboxPath;
  readonly folder: string;
}

export class MaildirTree {
  readonly #maildir: string;
  readonly #names: NameMaker;
  readonly #feed: ChangeFeed;
  /** The folders that hold the Maildir are on the disk for certain. */
  #synced = false;

  constructor(maildir: string, names: NameMaker, feed: ChangeFeed) {
    this.#maildir = maildir;
    this.#names = names;
    this.#feed = feed;
  }

  folder(path: MailboxPath): string {
    const name = folderOf(path);
    return name === '' ? this.#maildir : join(this.#maildir, name);
  }

  /** Mailboxes on disk by key. INBOX is always there. */
  async existing(): Promise<Map<string, Existing>> {
    const found = new Map<string, Existing>([['INBOX', { path: INBOX, folder: this.#maildir }]]);
    const entries = await readdir(this.#maildir, { withFileTypes: true }).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw toMailError(error, 'listing mailboxes');
    });
    for (const entry of entries) {
      const path = entry.isDirectory() || entry.isSymbolicLink() ? pathOf(entry.name) : undefined;
      if (path && !isInbox(path)) found.set(pathKey(path), { path, folder: join(this.#maildir, entry.name) });
    }
    return found;
  }

  /** Makes a mailbox and the levels above it. @throws MailError already-exists, cannot */
  async create(path: MailboxPath): Promise<void> {
    checkPath(path);
    const existing = await this.existing();
    if (existing.has(pathKey(path))) throw alreadyExists('The mailbox exists already');
    try {
      await this.makeMaildir();
      await this.#makeLevels(path, path.length, existing);
      await syncFolder(this.#maildir);
    } catch (error) {
      throw toMailError(error, 'creating a mailbox');
    }
  }
  async #makeLevels(path: MailboxPath, depth: number, existing: ReadonlyMap<string, Existing>): Promise<void> {
    for (let length = 1; length <= depth; length++) {
      const level = path.slice(0, length);
      if (!existing.has(pathKey(level))) await this.#makeFolder(this.folder(level));
    }
  }

  /** Made out of sight and renamed into place: a crash leaves no half mailbox. */
  async #makeFolder(folder: string): Promise<void> {
    const draft = join(this.#maildir, 'tmp', `${this.#names.unique()}.created`);
    await mkdir(draft, { mode: FOLDER_MODE });
    try {
      for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(draft, sub), { mode: FOLDER_MODE });
      await writeFile(join(draft, 'maildirfolder'), '', { mode: 0o640 });
      await syncFolder(draft);
      await rename(draft, folder);
    } catch (error) {
      await rm(draft, { recursive: true, force: true }).catch(() => undefined);
      throw error;
    }
  }

  /**
   * The account's Maildir and home on first use: mode 0750, every level synced into the one above, also what somebody else has just made and
   * may not have synced yet.
   */
  async makeMaildir(): Promise<void> {
    const maildir = this.#maildir;
    const missing: string[] = [];
    for (let at = maildir; at !== dirname(at) && !(await exists(at)); at = dirname(at)) missing.unshift(at);
    // `cur` last: who finds it finds a whole Maildir.
    for (const sub of ['tmp', 'new', 'cur']) missing.push(join(maildir, sub));
    for (const folder of missing) {
      try {
        await mkdir(folder, { mode: FOLDER_MODE });
        // The umask may have taken bits away.
        await chmod(folder, FOLDER_MODE);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    }
    await this.#syncUpwards(Math.max(LEVELS_ABOVE, missing.length - 3));
    this.#synced = true;
  }

  /** A process before this one may have died between making the folders and syncing them: once, before the first message is promised. */
  async ensureSynced(): Promise<void> {
    if (this.#synced) return;
    await this.#syncUpwards(LEVELS_ABOVE);
    this.#synced = true;
  }

  /** Syncs the Maildir and so many folders above it. */
  async #syncUpwards(levels: number): Promise<void> {
    let folder = this.#maildir;
    await syncFolder(folder);
    for (let i = 0; i < levels && folder !== dirname(folder); i++) {
      folder = dirname(folder);
      // Those above may belong to somebody else.
      await syncFolder(folder).catch((error: unknown) => {
        if (errnoOf(error) !== 'EACCES' && errnoOf(error) !== 'EPERM') throw error;
      });
    }
  }

  /** @throws MailError no-such-mailbox, cannot */
  async remove(path: MailboxPath): Promise<void> {
    const real = (await this.existing()).get(pathKey(path));
    if (!real) throw await this.#missing(path);
    try {
      await this.#removeFolder(real.folder);
    } catch (error) {
      throw toMailError(error, 'deleting a mailbox');
    }
  }

  /** First out of sight in one step, then removed: a crash leaves no half mailbox. */
  async #removeFolder(folder: string): Promise<void> {
    const grave = join(this.#maildir, 'tmp', `${this.#names.unique()}.deleted`);
    await rename(folder, grave);
    await syncFolder(this.#maildir);
    this.#feed.notify(folder);
    await rm(grave, { recursive: true, force: true });
    // What lay in it no longer counts.
    await unlink(join(this.#maildir, 'maildirsize')).catch(() => undefined);
  }

  async #missing(path: MailboxPath): Promise<MailError> {
    const key = `${pathKey(path)}\0`;
    const above = [...(await this.existing()).keys()].some((known) => known.startsWith(key));
    return above
      ? new MailError('cannot', 'NO_MAIL_HERE', 'The name only has mailboxes below it')
      : new MailError('no-such-mailbox', 'NO_MAILBOX', 'The mailbox does not exist');
  }

  /** Moves a mailbox and all below it. @throws MailError no-such-mailbox, already-exists, cannot */
  async move(from: MailboxPath, to: MailboxPath): Promise<void> {
    const existing = await this.existing();
    const prefix = `${pathKey(from)}\0`;
    if (pathKey(to).startsWith(prefix))
      throw new MailError('cannot', 'RENAME_INTO_ITSELF', 'A mailbox cannot be moved below itself');
    const moving = [...existing].filter(([key]) => key === pathKey(from) || key.startsWith(prefix));
    if (moving.length === 0) throw await this.#missing(from);
    const pairs = moving.map(([, { path, folder }]) => [folder, [...to, ...path.slice(from.length)]] as const);
    for (const [, target] of pairs) {
      checkPath(target);
      if (existing.has(pathKey(target))) throw alreadyExists('A mailbox of that name, or below it, exists already');
    }
    try {
      await this.#makeLevels(to, to.length - 1, existing);
      for (const [source, target] of pairs) {
        await rename(source, this.folder(target));
        this.#feed.notify(source);
      }
      await syncFolder(this.#maildir);
    } catch (error) {
      throw toMailError(error, 'renaming a mailbox');
    }
  }
}

const alreadyExists = (text: string): MailError => new MailError('already-exists', 'MAILBOX_EXISTS', text);
