// `subscriptions` in the account's Maildir: which mailboxes a client shows. Version 1 has one name a line, levels joined by the
// namespace's separator; version 2 begins with `V\t2` and an empty line, and joins levels with tabs. Both in modified UTF-7. The file is
// written in the version it has; a new one is version 2, as Dovecot writes.
import { join } from 'node:path';
import { decodeModifiedUtf7, encodeModifiedUtf7 } from '../message/utf7.ts';
import { withDotlock } from './dotlock.ts';
import { readIfThere, replaceFile } from './files.ts';
import { pathKey } from './mailbox-names.ts';
import type { MailboxPath } from './types.ts';

const FILE_MODE = 0o640;

export interface Subscriptions {
  readonly version: 1 | 2;
  readonly paths: readonly MailboxPath[];
}

const decode = (level: string): string => decodeModifiedUtf7(level) ?? level;

/** Reads the file's text. `separator` is the namespace's (for version 1). */
export function parseSubscriptions(text: string, separator: string): Subscriptions {
  const lines = text.split('\n');
  const version = lines[0] === 'V\t2' ? 2 : 1;
  const names = lines.slice(version === 2 ? 1 : 0).filter((line) => line !== '');
  return { version, paths: names.map((name) => name.split(version === 2 ? '\t' : separator).map(decode)) };
}

export function formatSubscriptions({ version, paths }: Subscriptions, separator: string): string {
  const lines = paths.map((path) => path.map(encodeModifiedUtf7).join(version === 2 ? '\t' : separator) + '\n');
  return (version === 2 ? 'V\t2\n\n' : '') + lines.join('');
}

export class SubscriptionFile {
  readonly #path: string;
  readonly #separator: string;

  constructor(maildir: string, separator: string) {
    this.#path = join(maildir, 'subscriptions');
    this.#separator = separator;
  }

  async read(): Promise<readonly MailboxPath[]> {
    return (await this.#load()).paths;
  }
  async #load(): Promise<Subscriptions> {
    const data = await readIfThere(this.#path);
    return data ? parseSubscriptions(data.toString('utf8'), this.#separator) : { version: 2, paths: [] };
  }

  /** Subscribes or unsubscribes; does nothing when it is so already. */
  async set(path: MailboxPath, subscribed: boolean): Promise<void> {
    await withDotlock(this.#path, FILE_MODE, async () => {
      const { version, paths } = await this.#load();
      const key = pathKey(path);
      const there = paths.some((known) => pathKey(known) === key);
      if (there === subscribed) return;
      const changed = subscribed ? [...paths, path] : paths.filter((known) => pathKey(known) !== key);
      await replaceFile(this.#path, formatSubscriptions({ version, paths: changed }, this.#separator), FILE_MODE);
    });
  }
}
