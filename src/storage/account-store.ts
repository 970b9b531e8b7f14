// An account's mailboxes in its Maildir++ tree, and the ways in for messages: local delivery and APPEND.
import { rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Mutex } from '../lib/async.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, MailError, toMailError } from '../lib/errors.ts';
import type { MessageSource } from '../message/source.ts';
import type { ChangeFeed } from './change-feed.ts';
import { syncFolder } from './files.ts';
import { FolderSync } from './folder-sync.ts';
import type { AccountIndex } from './index-cache.ts';
import { joinName, type NameMaker } from './maildir-name.ts';
import { checkPath, INBOX, isInbox, pathKey, specialUseOf } from './mailbox-names.ts';
import { FolderMailbox, type AccountContext } from './mailbox.ts';
import { MaildirTree } from './maildir-tree.ts';
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
  readonly #tree: MaildirTree;
  /** Messages that arrive together share the sync of `new/`. */
  readonly #arrivals = new FolderSync();
  /** One change of the tree at a time. */
  readonly #changes = new Mutex();

  constructor(location: MailLocation, parts: StoreParts) {
    this.location = location;
    this.#parts = parts;
    this.#tree = new MaildirTree(location.maildir, parts.names, parts.feed);
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

  #mailbox(path: MailboxPath): FolderMailbox {
    checkPath(path);
    return this.#mailboxIn(path, this.#tree.folder(path));
  }
  #mailboxIn(path: MailboxPath, folder: string): FolderMailbox {
    let mailbox = this.#mailboxes.get(folder);
    if (!mailbox || mailbox.gone)
      this.#mailboxes.set(folder, (mailbox = new FolderMailbox(isInbox(path) ? INBOX : path, folder, this.#context)));
    return mailbox;
  }

  // ---- the tree

  async list(): Promise<MailboxListEntry[]> {
    const existing = new Map([...(await this.#tree.existing())].map(([key, { path }]) => [key, path]));
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
    return this.#changes.run(() => this.#tree.create(path));
  }

  delete(path: MailboxPath): Promise<void> {
    return this.#changes.run(() => {
      if (isInbox(path)) throw new MailError('cannot', 'INBOX_STAYS', 'INBOX cannot be deleted');
      return this.#tree.remove(path);
    });
  }

  rename(from: MailboxPath, to: MailboxPath): Promise<void> {
    return this.#changes.run(() => {
      checkPath(to);
      return isInbox(from) ? this.#emptyInboxInto(to) : this.#tree.move(from, to);
    });
  }

  /** RFC 3501 6.3.5: INBOX stays, its messages go. */
  async #emptyInboxInto(to: MailboxPath): Promise<void> {
    await this.#tree.create(to);
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
      const known = isInbox(path) ? undefined : (await this.#tree.existing()).get(pathKey(path));
      for (let attempt = 1; ; attempt++) {
        const mailbox = known ? this.#mailboxIn(known.path, known.folder) : this.#mailbox(isInbox(path) ? INBOX : path);
        if (await this.#enter(mailbox)) return mailbox;
        // What its sessions knew is gone; another may stand in its place.
        if (attempt > 1) throw new MailError('no-such-mailbox', 'NO_MAILBOX', 'The mailbox does not exist');
        if (isInbox(path)) await this.#tree.makeMaildir();
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
      await this.#tree.ensureSynced();
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
    const folder = this.#tree.folder(path);
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
      await this.#tree.ensureSynced();
      return file;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#tree.makeMaildir();
      // Another delivery may have been first.
      if (!isInbox(path))
        await this.create(path).catch((failure: unknown) => {
          if (!(failure instanceof MailError) || failure.kind !== 'already-exists') throw failure;
        });
      return write();
    }
  }

  /** When the folder cannot be synced the message goes back to where it waited. */
  async #commitDelivery(folder: string, file: TemporaryFile): Promise<DeliveredMessage> {
    try {
      await this.#publishNew(folder, file);
      await this.#arrivals.sync(join(folder, 'new')).catch(async (error: unknown) => {
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

  /** Another process may be in the middle of making the Maildir. */
  async #publishNew(folder: string, file: TemporaryFile): Promise<void> {
    try {
      await publish(file, folder, 'new', file.baseName);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#tree.makeMaildir();
      await publish(file, folder, 'new', file.baseName);
    }
  }

  quota(): Promise<QuotaUsage> {
    return this.#context.quota.usage();
  }
}

function comparePaths(a: MailboxPath, b: MailboxPath): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = (a[i] ?? '') < (b[i] ?? '') ? -1 : (a[i] ?? '') > (b[i] ?? '') ? 1 : 0;
    if (order !== 0) return order;
  }
  return a.length - b.length;
}
