// All accounts' mail of one server: hands out one AccountStore an account, so that its sessions share what they know.
import { hostname } from 'node:os';
import { systemClock, type Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { MaildirAccount } from './account-store.ts';
import { ChangeFeed } from './change-feed.ts';
import { IndexCaches } from './index-cache.ts';
import { NameMaker } from './maildir-name.ts';
import type { AccountStore, MailLocation } from './types.ts';

export interface MailStoreOptions {
  readonly logger: Logger;
  readonly clock?: Clock;
  /** `mail_save_crlf`; default false. */
  readonly saveCrlf?: boolean;
  /** The namespace's separator; default `.`. */
  readonly separator?: string;
  /** Stands in the names of message files; default the host's name. */
  readonly hostname?: string;
}

/** Accounts that are kept in memory without an open mailbox. */
const MAX_IDLE = 1_000;

export class MailStore {
  readonly #accounts = new Map<string, MaildirAccount>();
  readonly #options: MailStoreOptions;
  readonly #clock: Clock;
  readonly #feed: ChangeFeed;
  readonly #indexes: IndexCaches;
  readonly #names: NameMaker;

  constructor(options: MailStoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#feed = new ChangeFeed(this.#clock);
    this.#indexes = new IndexCaches(options.logger);
    this.#names = new NameMaker(options.hostname ?? hostname(), () => this.#clock.now());
  }

  account(location: MailLocation): AccountStore {
    const key = location.maildir;
    const known = this.#accounts.get(key);
    if (known && sameLimits(known.location, location)) return known;
    const account = new MaildirAccount(location, {
      options: { saveCrlf: this.#options.saveCrlf ?? false, separator: this.#options.separator ?? '.' },
      clock: this.#clock,
      names: this.#names,
      feed: this.#feed,
      index: () => this.#indexes.of(location.maildir),
    });
    this.#accounts.set(key, account);
    for (const [old, { idle }] of this.#accounts) {
      if (this.#accounts.size <= MAX_IDLE) break;
      if (idle) this.#accounts.delete(old);
    }
    return account;
  }

  /** Writes what the caches still hold and ends all watching. */
  close(): void {
    this.#feed.close();
    this.#indexes.close();
  }
}

const sameLimits = (a: MailLocation, b: MailLocation): boolean =>
  a.quota?.bytes === b.quota?.bytes && a.quota?.messages === b.quota?.messages;
