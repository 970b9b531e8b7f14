// What is being delivered to several mailboxes at once. Mailboxes are written one after another: when the server dies in between, the client (which
// had no 250) sends the message again, and only those that have not got it may get it. So before the first of several deliveries is made
// visible, a file says where each copy waits; a copy that waits no more was delivered. The file goes when all are.
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../lib/errors.ts';
import type { MessageSource } from '../message/source.ts';

/** Senders give up after five days at most (RFC 5321 4.5.4.1). */
const KEPT_MS = 6 * 86_400_000;

/** Account → path of its copy under `tmp/`. */
type Intent = Readonly<Record<string, string>>;

export class Intents {
  readonly #folder: string;
  readonly #now: () => number;

  constructor(dataFolder: string, now: () => number) {
    this.#folder = join(dataFolder, 'deliveries');
    this.#now = now;
  }

  /** What tells a message that is sent again: its sender and its bytes. */
  async key(sender: string, original: MessageSource): Promise<string> {
    const hash = createHash('sha256').update(sender).update('\0');
    for await (const chunk of original.chunks()) hash.update(chunk);
    return hash.digest('hex');
  }

  /** Accounts that an earlier, interrupted delivery of this message reached. Copies that were left waiting are removed. */
  async alreadyDelivered(key: string): Promise<Set<string>> {
    let intent: Intent;
    try {
      intent = JSON.parse(await readFile(join(this.#folder, key), 'utf8')) as Intent;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return new Set();
      throw error;
    }
    const delivered = new Set<string>();
    for (const [account, path] of Object.entries(intent)) {
      try {
        await unlink(path);
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
        delivered.add(account);
      }
    }
    return delivered;
  }

  /** Synced before it resolves. */
  async record(key: string, intent: Intent): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = join(this.#folder, key);
    const handle = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify(intent));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.tmp`, path);
    await syncFolder(dirname(path));
  }

  async forget(key: string): Promise<void> {
    await unlink(join(this.#folder, key)).catch(() => undefined);
  }

  /** Removes what no client will send again. */
  async sweep(): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const path = join(this.#folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found && this.#now() - found.mtimeMs > KEPT_MS) await unlink(path).catch(() => undefined);
    }
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
