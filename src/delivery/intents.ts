// What is being delivered to several mailboxes at once. Mailboxes are written one after another: when the server dies in between, the client (which
// had no 250) sends the message again, and only those that have not got it may get it. So before the first of several deliveries is made
// visible, a file says where each copy waits. After a crash (or a failure) it is settled: a copy that waits no more was delivered, which is written
// down before the others are removed; who was delivered to is known until the client has been told that all were.
//
//   <data_directory>/deliveries/<key>: {"delivered": [account …], "waiting": {account: path under tmp/ …}}
//
// Several processes deliver. Whoever holds the place of a key among the counters is at its message: nobody else delivers it or settles its file
// meanwhile, and a process that dies leaves its places. What others left is seen by the folder's time of change.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KeyedMutex, sleep } from '../lib/async.ts';
import { ownCounters, takePlace, type Counters } from '../lib/counters.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { MessageSource } from '../message/source.ts';
import { exists, removeIfThere, syncFolder } from '../storage/files.ts';

/** Senders give up after five days at most (RFC 5321 4.5.4.1). */
const KEPT_MS = 6 * 86_400_000;
/** Past this age a missing copy proves nothing: other programs clear tmp/ after 36 hours (maildir(5)). */
const PROOF_MS = 24 * 3_600_000;
/** Past this age a folder's mtime tells every later change; younger ones may hide one within the same clock tick. */
const SETTLED_MS = 2_000;
/** How long a message waits for another process that delivers the same one; then its client is to send it again. */
const WAIT_MS = 2_000;
const WAIT_STEP_MS = 50;
/** The counters' scope: one place a key. */
const SCOPE = 'delivery';

interface Intent {
  /** Accounts that have their copy, synced. */
  readonly delivered: readonly string[];
  /** Account → path of its copy under `tmp/`. */
  readonly waiting: Readonly<Record<string, string>>;
}

export class Intents {
  readonly #folder: string;
  readonly #now: () => number;
  readonly #log: Logger;
  readonly #counters: Counters;
  readonly #locks = new KeyedMutex();
  /** What the folder held when it was last read, while its mtime (nanoseconds) is still this one. */
  #seen: { readonly mtime: bigint; readonly any: boolean } | undefined;
  #recovered: Promise<void> | undefined;

  /** `counters`: those that all processes with this folder share. */
  constructor(dataFolder: string, now: () => number, logger: Logger, counters: Counters = ownCounters()) {
    this.#folder = join(dataFolder, 'deliveries');
    this.#now = now;
    this.#log = logger;
    this.#counters = counters;
  }

  /** What tells a message that is sent again: its sender and its bytes. */
  async key(sender: string, original: MessageSource): Promise<string> {
    const hash = createHash('sha256').update(sender).update('\0');
    for await (const chunk of original.chunks()) hash.update(chunk);
    return hash.digest('hex');
  }

  /** Settles what a crash has left behind and forgets what no client will send again; at the start, else before the first question. */
  recover(): Promise<void> {
    this.#recovered ??= this.#recover().catch((error: unknown) => {
      this.#recovered = undefined;
      throw error;
    });
    return this.#recovered;
  }
  async #recover(): Promise<void> {
    for (const key of new Set((await this.#names()).map((name) => name.replace(/\.tmp$/, '')))) {
      const leave = await takePlace(this.#counters, SCOPE, key, 1);
      // Another process is at it.
      if (!leave) continue;
      try {
        await this.#recoverOne(key);
      } finally {
        leave();
      }
    }
  }
  async #recoverOne(key: string): Promise<void> {
    const path = join(this.#folder, key);
    await unlink(`${path}.tmp`).catch(() => undefined);
    const found = await stat(path).catch(() => undefined);
    if (!found) return;
    if (this.#now() - found.mtimeMs > KEPT_MS) await unlink(path).catch(() => undefined);
    // One that cannot be settled now is asked again when its message comes again.
    else await this.settle(key).catch((error: unknown) => this.#log.error('delivery.intent.unsettled', { error: textOf(error) }));
  }
  async #names(): Promise<string[]> {
    return readdir(this.#folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  /** Whether any delivery, of whichever process, was interrupted (and its message has not come again yet) or is going on. */
  async any(): Promise<boolean> {
    await this.recover();
    // The system's clock, not an injected one: it is held against what the file system writes.
    const now = Date.now();
    const mtime = statSync(this.#folder, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
    if (mtime === undefined) return false;
    if (this.#seen?.mtime === mtime) return this.#seen.any;
    const any = (await this.#names()).length > 0;
    // An mtime in the future (the clock was set back) tells nothing either.
    this.#seen = now - Number(mtime / 1_000_000n) >= SETTLED_MS ? { mtime, any } : undefined;
    return any;
  }

  /** Runs `fn` when no other delivery of this message runs, in any process. @throws MailError temporary when one runs for long */
  exclusively<T>(key: string, fn: () => Promise<T>): Promise<T> {
    return this.#locks.run(key, async () => {
      const leave = await this.#place(key);
      try {
        return await fn();
      } finally {
        leave();
      }
    });
  }
  async #place(key: string): Promise<() => void> {
    for (let waited = 0; ; waited += WAIT_STEP_MS) {
      const leave = await takePlace(this.#counters, SCOPE, key, 1);
      if (leave) return leave;
      if (waited >= WAIT_MS)
        throw new MailError('temporary', 'IN_DELIVERY', 'The same message is being delivered, try again later');
      await sleep(WAIT_STEP_MS);
    }
  }

  /** Finds out which copies were delivered, makes that known and removes those that still wait. Gives the accounts that have theirs. */
  async settle(key: string): Promise<Set<string>> {
    const intent = await this.#read(key);
    if (!intent) return new Set();
    const waiting = Object.entries(intent.waiting);
    if (waiting.length === 0) return new Set(intent.delivered);
    const provable = this.#now() - (await stat(join(this.#folder, key))).mtimeMs < PROOF_MS;
    const delivered = new Set(intent.delivered);
    const left: string[] = [];
    for (const [account, path] of waiting) {
      if (await exists(path)) left.push(path);
      else if (provable) {
        await syncMaildir(path);
        delivered.add(account);
      }
    }
    // First what is known, then the copies: the other way round a crash would make those look delivered.
    await this.withdraw(key, delivered);
    for (const path of left) await unlink(path).catch(() => undefined);
    return delivered;
  }

  async #read(key: string): Promise<Intent | undefined> {
    const path = join(this.#folder, key);
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const intent = parseIntent(text);
    if (intent) return intent;
    this.#log.error('delivery.intent.unreadable', { file: path });
    await this.withdraw(key, new Set());
    return undefined;
  }

  /** Where the copies wait that are about to be made visible. Synced before it resolves. */
  async record(key: string, delivered: ReadonlySet<string>, waiting: Intent['waiting']): Promise<void> {
    await this.#makeFolder();
    const path = join(this.#folder, key);
    const handle = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify({ delivered: [...delivered], waiting } satisfies Intent));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.tmp`, path);
    await syncFolder(this.#folder);
  }
  async #makeFolder(): Promise<void> {
    const made = await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    if (made !== undefined) await syncFolder(dirname(made));
  }

  /** Nothing waits (any more); only these have theirs. Synced before it resolves. */
  async withdraw(key: string, delivered: ReadonlySet<string>): Promise<void> {
    if (delivered.size > 0) return this.record(key, delivered, {});
    await removeIfThere(join(this.#folder, key));
    await syncFolder(this.#folder).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }

  /** All of this message's copies for these accounts are delivered. What an earlier transaction for others left stays known. Never throws. */
  async done(key: string, earlier: ReadonlySet<string>, accounts: Iterable<string>): Promise<void> {
    const mine = new Set(accounts);
    const rest = [...earlier].filter((account) => !mine.has(account));
    try {
      await (rest.length > 0 ? this.record(key, new Set(rest), {}) : removeIfThere(join(this.#folder, key)));
    } catch (error) {
      // It costs nothing but a file: a repeat would find that all have theirs.
      this.#log.warn('delivery.intent.kept', { error: textOf(error) });
    }
  }
}

function parseIntent(text: string): Intent | undefined {
  try {
    const { delivered, waiting } = JSON.parse(text) as Partial<Intent>;
    if (!Array.isArray(delivered) || typeof waiting !== 'object' || waiting === null) return undefined;
    return Object.values(waiting).every((path) => typeof path === 'string') ? { delivered, waiting } : undefined;
  } catch {
    return undefined;
  }
}

/** The crash may have come between a rename and the folder's sync: what is called delivered is on the disk. */
async function syncMaildir(temporaryPath: string): Promise<void> {
  const maildir = dirname(dirname(temporaryPath));
  for (const sub of ['new', 'cur'])
    await syncFolder(join(maildir, sub)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
