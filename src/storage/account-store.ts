// An account's mailboxes in its Maildir++ tree, and the ways in for messages: local delivery and APPEND.
import { chmod, mkdir, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Mutex } from '../lib/async.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';
import type { MessageSource } from '../message/source.ts';
import type { ChangeFeed } from './change-feed.ts';
import { isMissing, syncFolder } from './files.ts';
import type { AccountIndex } from './index-cache.ts';
import { joinName, type NameMaker } from './maildir-name.ts';
import { checkPath, folderOf, INBOX, isInbox, pathKey, pathOf, specialUseOf } from './mailbox-names.ts';
import { FolderMailbox, type AccountContext } from './mailbox.ts';
import { publish, writeTemporary, type TemporaryFile } from './message-file.ts';
import { Quota } from './quota.ts';
import { SubscriptionFile } from './subscriptions.ts';
import type {
  AccountStore,
  AppendMessage,
  AppendResult,
  DeliveredMessage,
  Mailbox,
  MailboxListEntry,
  MailboxPath,
  MailboxStatus,
  MailLocation,
  PreparedDelivery,
  QuotaUsage,
} from './types.ts';
import { nextUidValidity } from './uid-validity.ts';

const FOLDER_MODE = 0o750;

export interface StoreOptions {
  /** `mail_save_crlf`. */
  readonly saveCrlf: boolean;
  /** The namespace's hierarchy separator. */
  readonly separator: string;
}

export interface StoreParts {
  readonly options: StoreOptions;
  readonly clock: Clock;
  readonly names: NameMaker;
  readonly feed: ChangeFeed;
  readonly index: () => AccountIndex;
}

/** A mailbox on disk: its name as decoded, and its folder as it is called. */
interface Existing {
  readonly path: MailboxPath;
  readonly folder: string;
}

/** The two names a message gets: where it is published and under which base name. */
interface Published {
  readonly path: string;
  readonly base: string;
}

export class MaildirAccount implements AccountStore {
  readonly location: MailLocation;
  readonly #parts: StoreParts;
  readonly #context: AccountContext;
  readonly #subscriptions: SubscriptionFile;
  readonly #mailboxes = new Map<string, FolderMailbox>();
  /** The folders that hold the Maildir are on the disk for certain. */
  #synced = false;
  /** One change of the tree at a time. */
  readonly #tree = new Mutex();

  constructor(location: MailLocation, parts: StoreParts) {
    this.location = location;
    this.#parts = parts;
    this.#subscriptions = new SubscriptionFile(location.maildir, parts.options.separator);
    const validity = new Mutex();
    const now = (): number => parts.clock.now();
    const quota = new Quota(location.maildir, location.quota ?? {}, now);
    this.#context = {
      now,
      names: parts.names,
      feed: parts.feed,
      quota,
      get index() {
        return parts.index();
      },
      open: (path) => this.#open(path),
      nextUidValidity: (above) => validity.run(() => nextUidValidity(location.maildir, now, above)),
      release: (mailbox) => {
        if (mailbox.opened <= 0 && this.#mailboxes.get(mailbox.folder) === mailbox) this.#mailboxes.delete(mailbox.folder);
      },
    };
  }

  /** True while no session has a mailbox of it open. */
  get idle(): boolean {
    return this.#mailboxes.size === 0;
  }

  #folder(path: MailboxPath): string {
    const name = folderOf(path);
    return name === '' ? this.location.maildir : join(this.location.maildir, name);
  }
  #mailbox(path: MailboxPath): FolderMailbox {
    checkPath(path);
    return this.#mailboxIn(path, this.#folder(path));
  }
  #mailboxIn(path: MailboxPath, folder: string): FolderMailbox {
    let mailbox = this.#mailboxes.get(folder);
    if (!mailbox || mailbox.gone)
      this.#mailboxes.set(folder, (mailbox = new FolderMailbox(isInbox(path) ? INBOX : path, folder, this.#context)));
    return mailbox;
  }

  // ---- the tree

  /** Mailboxes on disk by key. INBOX is always there. */
  async #existing(): Promise<Map<string, Existing>> {
    const found = new Map<string, Existing>([['INBOX', { path: INBOX, folder: this.location.maildir }]]);
    const entries = await readdir(this.location.maildir, { withFileTypes: true }).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw toMailError(error, 'listing mailboxes');
    });
    for (const entry of entries) {
      const path = entry.isDirectory() || entry.isSymbolicLink() ? pathOf(entry.name) : undefined;
      if (path && !isInbox(path)) found.set(pathKey(path), { path, folder: join(this.location.maildir, entry.name) });
    }
    return found;
  }

  async list(): Promise<MailboxListEntry[]> {
    const existing = new Map([...(await this.#existing())].map(([key, { path }]) => [key, path]));
    const subscribed = new Map((await this.#subscriptions.read()).map((path) => [pathKey(path), isInbox(path) ? INBOX : path]));
    const all = new Map<string, MailboxPath>([...subscribed, ...existing]);
    const parents = new Set<string>();
    for (const path of existing.values())
      for (let depth = 1; depth < path.length; depth++) {
        const above = path.slice(0, depth);
        parents.add(pathKey(above));
        if (!all.has(pathKey(above))) all.set(pathKey(above), above);
      }
    const entries = [...all].map(([key, path]) => ({
      path,
      exists: existing.has(key),
      hasChildren: parents.has(key),
      specialUse: specialUseOf(path),
      subscribed: subscribed.has(key),
    }));
    return entries.sort((a, b) => Number(isInbox(b.path)) - Number(isInbox(a.path)) || comparePaths(a.path, b.path));
  }

  create(path: MailboxPath): Promise<void> {
    return this.#tree.run(async () => {
      checkPath(path);
      const existing = await this.#existing();
      if (existing.has(pathKey(path))) throw new MailError('already-exists', 'MAILBOX_EXISTS', 'The mailbox exists already');
      try {
        await this.#makeMaildir();
        for (let depth = 1; depth <= path.length; depth++) {
          const level = path.slice(0, depth);
          if (!existing.has(pathKey(level))) await this.#makeFolder(this.#folder(level));
        }
        await syncFolder(this.location.maildir);
      } catch (error) {
        throw toMailError(error, 'creating a mailbox');
      }
    });
  }

  /** Made out of sight and renamed into place: a crash leaves no half mailbox. */
  async #makeFolder(folder: string): Promise<void> {
    const draft = join(this.location.maildir, 'tmp', `${this.#parts.names.unique()}.created`);
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
  async #makeMaildir(): Promise<void> {
    const { maildir } = this.location;
    const missing: string[] = [];
    for (let at = maildir; at !== dirname(at) && !(await exists(at)); at = dirname(at)) missing.unshift(at);
    for (const sub of ['cur', 'new', 'tmp']) missing.push(join(maildir, sub));
    for (const folder of missing) {
      try {
        await mkdir(folder, { mode: FOLDER_MODE });
        // The umask may have taken bits away.
        await chmod(folder, FOLDER_MODE);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    }
    await this.#syncUpwards(missing.length - 3);
    this.#synced = true;
  }

  /** A process before this one may have died between making the folders and syncing them: once, before the first message is promised. */
  async #ensureSynced(): Promise<void> {
    if (this.#synced) return;
    await this.#syncUpwards(2);
    this.#synced = true;
  }

  /** Syncs the Maildir and so many folders above it. */
  async #syncUpwards(levels: number): Promise<void> {
    let folder = this.location.maildir;
    await syncFolder(folder);
    for (let i = 0; i < levels && folder !== dirname(folder); i++) {
      folder = dirname(folder);
      // Those above may belong to somebody else.
      await syncFolder(folder).catch((error: unknown) => {
        if (errnoOf(error) !== 'EACCES' && errnoOf(error) !== 'EPERM') throw error;
      });
    }
  }

  delete(path: MailboxPath): Promise<void> {
    return this.#tree.run(async () => {
      if (isInbox(path)) throw new MailError('cannot', 'INBOX_STAYS', 'INBOX cannot be deleted');
      const real = (await this.#existing()).get(pathKey(path));
      if (!real) throw await this.#missing(path);
      try {
        await this.#removeFolder(real.folder);
      } catch (error) {
        throw toMailError(error, 'deleting a mailbox');
      }
    });
  }

  /** First out of sight in one step, then removed: a crash leaves no half mailbox. */
  async #removeFolder(folder: string): Promise<void> {
    const grave = join(this.location.maildir, 'tmp', `${this.#parts.names.unique()}.deleted`);
    await rename(folder, grave);
    await syncFolder(this.location.maildir);
    this.#parts.feed.notify(folder);
    await rm(grave, { recursive: true, force: true });
    // What lay in it no longer counts.
    await unlink(join(this.location.maildir, 'maildirsize')).catch(() => undefined);
  }

  async #missing(path: MailboxPath): Promise<MailError> {
    const key = `${pathKey(path)}\0`;
    const above = [...(await this.#existing()).keys()].some((known) => known.startsWith(key));
    return above
      ? new MailError('cannot', 'NO_MAIL_HERE', 'The name only has mailboxes below it')
      : new MailError('no-such-mailbox', 'NO_MAILBOX', 'The mailbox does not exist');
  }

  rename(from: MailboxPath, to: MailboxPath): Promise<void> {
    return this.#tree.run(async () => {
      checkPath(to);
      const existing = await this.#existing();
      if (existing.has(pathKey(to))) throw new MailError('already-exists', 'MAILBOX_EXISTS', 'The mailbox exists already');
      if (isInbox(from)) return this.#emptyInboxInto(to);
      const prefix = `${pathKey(from)}\0`;
      if (pathKey(to).startsWith(prefix))
        throw new MailError('cannot', 'RENAME_INTO_ITSELF', 'A mailbox cannot be moved below itself');
      const moving = [...existing].filter(([key]) => key === pathKey(from) || key.startsWith(prefix));
      if (moving.length === 0) throw await this.#missing(from);
      const pairs = moving.map(([, { path, folder }]) => [folder, [...to, ...path.slice(from.length)]] as const);
      for (const [, target] of pairs) {
        checkPath(target);
        if (existing.has(pathKey(target)))
          throw new MailError('already-exists', 'MAILBOX_EXISTS', 'A mailbox below that name exists already');
      }
      try {
        for (let depth = 1; depth < to.length; depth++) {
          const level = to.slice(0, depth);
          if (!existing.has(pathKey(level))) await this.#makeFolder(this.#folder(level));
        }
        for (const [source, target] of pairs) {
          await rename(source, this.#folder(target));
          this.#parts.feed.notify(source);
        }
        await syncFolder(this.location.maildir);
      } catch (error) {
        throw toMailError(error, 'renaming a mailbox');
      }
    });
  }

  /** RFC 3501 6.3.5: INBOX stays, its messages go. */
  async #emptyInboxInto(to: MailboxPath): Promise<void> {
    for (let depth = 1; depth <= to.length; depth++) {
      const level = to.slice(0, depth);
      if (!(await this.#existing()).has(pathKey(level))) await this.#makeFolder(this.#folder(level));
    }
    await syncFolder(this.location.maildir);
    const inbox = await this.open(INBOX);
    try {
      await inbox.move(
        inbox.messages.map((row) => row.uid),
        to,
      );
    } finally {
      await inbox.close();
    }
  }

  subscribe(path: MailboxPath): Promise<void> {
    checkPath(path);
    return this.#subscriptions.set(path, true).catch((error: unknown) => Promise.reject(toMailError(error, 'subscribing')));
  }
  unsubscribe(path: MailboxPath): Promise<void> {
    return this.#subscriptions.set(path, false).catch((error: unknown) => Promise.reject(toMailError(error, 'unsubscribing')));
  }

  // ---- one mailbox

  async open(path: MailboxPath): Promise<Mailbox> {
    return this.#open(path);
  }

  async #open(path: MailboxPath): Promise<FolderMailbox> {
    try {
      // One that is there may have a name that could not be made here.
      const known = isInbox(path) ? undefined : (await this.#existing()).get(pathKey(path));
      for (let attempt = 1; ; attempt++) {
        const mailbox = known ? this.#mailboxIn(known.path, known.folder) : this.#mailbox(isInbox(path) ? INBOX : path);
        if (await this.#enter(mailbox)) return mailbox;
        // What its sessions knew is gone; another may stand in its place.
        if (attempt > 1) throw new MailError('no-such-mailbox', 'NO_MAILBOX', 'The mailbox does not exist');
        if (isInbox(path)) await this.#makeMaildir();
      }
    } catch (error) {
      throw toMailError(error, 'opening a mailbox');
    }
  }
  /** Counts one more who has it open; says false when it is gone. */
  async #enter(mailbox: FolderMailbox): Promise<boolean> {
    mailbox.opened++;
    try {
      await mailbox.refresh();
    } catch (error) {
      await mailbox.close();
      throw error;
    }
    if (mailbox.gone) await mailbox.close();
    return !mailbox.gone;
  }

  async status(path: MailboxPath): Promise<MailboxStatus> {
    const mailbox = await this.#open(path);
    try {
      const has = (flag: string): number => mailbox.messages.reduce((n, row) => n + (row.flags.includes(flag) ? 1 : 0), 0);
      return {
        messages: mailbox.messages.length,
        recent: mailbox.recentCount,
        unseen: mailbox.messages.length - has('\\Seen'),
        deleted: has('\\Deleted'),
        uidNext: mailbox.uidNext,
        uidValidity: mailbox.uidValidity,
        highestModSeq: mailbox.highestModSeq,
        mailboxId: mailbox.mailboxId,
      };
    } finally {
      await mailbox.close();
    }
  }

  // ---- ways in

  async append(path: MailboxPath, messages: readonly AppendMessage[]): Promise<AppendResult> {
    const mailbox = await this.#open(path);
    const temporary: TemporaryFile[] = [];
    const published: Published[] = [];
    try {
      for (const message of messages) {
        const options = { saveCrlf: this.#parts.options.saveCrlf, internalDate: message.internalDate ?? this.#context.now() };
        temporary.push(await writeTemporary(mailbox.folder, this.#parts.names.unique(), message.source, options));
      }
      const bytes = temporary.reduce((total, file) => total + file.size, 0);
      await this.#context.quota.check(bytes, temporary.length);
      const letters = await mailbox.lettersFor(messages.map(({ flags }) => ({ flags, others: '' })));
      for (const [i, file] of temporary.entries())
        published.push(await this.#publishAppended(mailbox.folder, file, letters[i] ?? ''));
      await syncFolder(join(mailbox.folder, 'cur'));
      await syncFolder(join(mailbox.folder, 'new'));
      await this.#ensureSynced();
      const uids = (await mailbox.adopt(published.map(({ base }) => base))).flatMap((uid) => uid ?? []);
      await this.#context.quota.add(bytes, temporary.length);
      return { uidValidity: mailbox.uidValidity, uids };
    } catch (error) {
      for (const { path: file } of [...temporary, ...published]) await unlink(file).catch(() => undefined);
      throw toMailError(error, 'appending');
    } finally {
      await mailbox.close();
    }
  }

  /** Without flags into `new/`, where other programs look for new mail; with flags into `cur/`. */
  async #publishAppended(folder: string, file: TemporaryFile, letters: string): Promise<Published> {
    const sub = letters === '' ? 'new' : 'cur';
    const name = letters === '' ? file.baseName : joinName(file.baseName, letters);
    await publish(file, folder, sub, name);
    return { path: join(folder, sub, name), base: file.baseName };
  }

  async deliver(path: MailboxPath, source: MessageSource): Promise<DeliveredMessage> {
    const prepared = await this.prepareDelivery(path, source);
    return prepared.commit().catch(async (error: unknown) => {
      await prepared.abort();
      throw error;
    });
  }

  async prepareDelivery(path: MailboxPath, source: MessageSource): Promise<PreparedDelivery> {
    checkPath(path);
    const folder = this.#folder(path);
    const { quota } = this.#context;
    try {
      await quota.check(0, 1);
      const file = await this.#writeDelivery(path, folder, source);
      try {
        await quota.check(file.size, 1);
      } catch (error) {
        await unlink(file.path).catch(() => undefined);
        throw error;
      }
      return {
        temporaryPath: file.path,
        commit: () => this.#commitDelivery(folder, file),
        abort: () => unlink(file.path).catch(() => undefined),
      };
    } catch (error) {
      throw toMailError(error, 'delivering');
    }
  }

  async #writeDelivery(path: MailboxPath, folder: string, source: MessageSource): Promise<TemporaryFile> {
    const write = (): Promise<TemporaryFile> =>
      writeTemporary(folder, this.#parts.names.unique(), source, { saveCrlf: this.#parts.options.saveCrlf });
    try {
      const file = await write();
      await this.#ensureSynced();
      return file;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#makeMaildir();
      if (!isInbox(path) && !(await exists(folder))) await this.create(path);
      return write();
    }
  }

  /** When the folder cannot be synced the message goes back to where it waited. */
  async #commitDelivery(folder: string, file: TemporaryFile): Promise<DeliveredMessage> {
    try {
      await publish(file, folder, 'new', file.baseName);
      await syncFolder(join(folder, 'new')).catch(async (error: unknown) => {
        await rename(join(folder, 'new', file.baseName), file.path).catch(() => undefined);
        throw error;
      });
    } catch (error) {
      throw toMailError(error, 'delivering');
    }
    await this.#context.quota.add(file.size, 1);
    this.#parts.feed.notify(folder);
    return { baseName: file.baseName, size: file.size };
  }

  quota(): Promise<QuotaUsage> {
    return this.#context.quota.usage();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function comparePaths(a: MailboxPath, b: MailboxPath): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = (a[i] ?? '') < (b[i] ?? '') ? -1 : (a[i] ?? '') > (b[i] ?? '') ? 1 : 0;
    if (order !== 0) return order;
  }
  return a.length - b.length;
}
