// The outbound queue on the disk: a file for each message (queue-file.ts), and queue.db, which finds them in order (schema.ts, in a thread of its own).
//
//   add: file written, synced → its folder synced → row committed → resolved; others hear of it (`wake`)
//   settle: rows changed, committed → the file's marks, or the file removed
//   a database that is missing or damaged: set aside, made anew from the files while the queue is served (adopt.ts)
import { sleep } from '../../lib/async.ts';
import type { Clock } from '../../lib/clock.ts';
import { toMailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { MessageSource } from '../../message/source.ts';
import { isMissing } from '../../storage/files.ts';
import type { FileLayout, Job, NewMessage, QueuedMessage, QueueFilter, QueueStats, QueueStore, Settlement } from '../types.ts';
import { ChangeHint } from './change-hint.ts';
import { QueueFiles } from './files.ts';
import type { ChangeKind, Cursor, FileWork, Page } from './protocol.ts';
import { isQueueId } from './queue-file.ts';
import { assemble, type RawMessages } from './rows.ts';
import { isUnknownOutcome, QueueThread } from './thread.ts';

const LOCK_TIMEOUT_MS = 10_000;
/** A small queue is whole when it is opened; a big one is served while the rest of it is being looked at. */
const RECOVERY_WAIT_MS = 1_000;
const RECOVERY_STEP_MS = 10;
/** When files that no row knows are looked for. */
const FIRST_SWEEP_MS = 60_000;
const SWEEP_MS = 300_000;

export interface QueueStoreOptions {
  /** `queue_directory`; made (0700) when it is not there. */
  readonly directory: string;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Started (`warm`) before the process gave up its rights; closed with the store. Without one it is started now. */
  readonly thread?: QueueThread;
  /** Milliseconds to wait for another process that writes, then it is MailError temporary `QUEUE_BUSY`; 10,000. */
  readonly lockTimeout?: number;
}

/** @throws MailError: temporary; config for a database of another version */
export async function openQueueStore(options: QueueStoreOptions): Promise<QueueStore> {
  const { directory, logger, thread = new QueueThread(), lockTimeout = LOCK_TIMEOUT_MS } = options;
  const files = await QueueFiles.open(directory);
  thread.use({ directory, lockTimeout }, logger);
  try {
    for (let waited = 0; (await thread.ask('open', {})).recovering && waited < RECOVERY_WAIT_MS; waited += RECOVERY_STEP_MS)
      await sleep(RECOVERY_STEP_MS);
  } catch (error) {
    await thread.close();
    throw error;
  }
  return new DiskQueue(options, files, thread);
}

class DiskQueue implements QueueStore {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #files: QueueFiles;
  readonly #thread: QueueThread;
  readonly #hint: ChangeHint;
  #cancelSweep: () => void;
  #closed = false;

  constructor({ logger, clock }: QueueStoreOptions, files: QueueFiles, thread: QueueThread) {
    this.#logger = logger;
    this.#clock = clock;
    this.#files = files;
    this.#thread = thread;
    this.#hint = new ChangeHint(files, clock);
    this.#cancelSweep = clock.after(FIRST_SWEEP_MS, () => void this.#sweep());
  }

  // ---- in

  async add(message: NewMessage): Promise<void> {
    const { envelope, source, recipients } = message;
    if (recipients.length === 0) throw new Error(`message ${envelope.id} has no recipients`);
    const places = await this.#files.write(message);
    const placed = recipients.map(({ address, destination, notify, orcpt, hold }, number) => {
      return { address, destination, notify, orcpt, hold, place: places[number] ?? 0 };
    });
    try {
      await this.#thread.ask('add', { envelope, size: source.size, recipients: placed, now: this.#clock.now() });
    } catch (error) {
      await this.#failedToAdd(envelope.id, error);
    }
    this.#hint.changed();
  }

  /** @throws the error, unless the row turns out to be there */
  async #failedToAdd(id: string, error: unknown): Promise<void> {
    try {
      if (isUnknownOutcome(error) && (await this.#thread.ask('find', { id })) !== null) return;
      await this.#files.remove(id);
    } catch (failure) {
      // It stays: whoever finds it delivers it, and the client sends it again. Twice is better than never.
      this.#warn('queue.add.uncertain', id, failure);
    }
    throw error;
  }

  #warn(event: string, id: string, error: unknown): void {
    this.#logger.warn(event, { id, error: toMailError(error, event).detail });
  }

  // ---- for the runner

  async promote(now: number, latest = Number.MAX_SAFE_INTEGER): Promise<number | undefined> {
    for (;;) {
      const { more, next } = await this.#thread.ask('promote', { now, latest });
      if (!more) return next ?? undefined;
    }
  }
  readyDestinations(after: string, limit: number, busy: ReadonlyMap<string, number> = new Map()): Promise<string[]> {
    return this.#thread.ask('ready', { after, limit, busy: [...busy] });
  }
  jobs(destination: string, limit: number, recipientsEach: number, busy: ReadonlySet<string>): Promise<Job[]> {
    return this.#thread.ask('jobs', { destination, limit, recipientsEach, busy: [...busy] });
  }
  async settle(id: string, settlements: readonly Settlement[]): Promise<boolean> {
    const work = await this.#thread.ask('settle', { id, settlements, now: this.#clock.now() });
    await this.#carryOut(work);
    return work.gone.length > 0;
  }
  async redirect(id: string, numbers: readonly number[], destination: string): Promise<void> {
    await this.#thread.ask('redirect', { id, numbers, destination });
    this.#hint.changed();
  }

  /** What has been committed, on the files: no promise hangs on it. */
  async #carryOut({ marks, gone, expired = [] }: FileWork): Promise<void> {
    for (const id of gone) await this.#files.remove(id).catch((error: unknown) => this.#warn('queue.file.failed', id, error));
    const missed = (id: string, error: unknown): void => {
      if (!isMissing(error)) this.#warn('queue.file.failed', id, error);
    };
    for (const { id, places, mark } of marks)
      await this.#files.mark(id, places, mark).catch((error: unknown) => missed(id, error));
    for (const id of expired) await this.#files.expire(id).catch((error: unknown) => missed(id, error));
  }

  open(id: string): Promise<MessageSource> {
    return this.#files.open(id, (reason) => this.#damaged(id, reason));
  }
  async #damaged(id: string, reason: string): Promise<void> {
    try {
      // It has left the queue since it was asked for: then its file has to be missing.
      if ((await this.#thread.ask('find', { id })) === null) return;
      this.#logger.error('queue.corrupt', { id, reason });
      await this.#thread.ask('holdDamaged', { id, reason: `queue file damaged: ${reason}` });
      await this.#files.setAside(id);
    } catch (error) {
      this.#warn('queue.file.failed', id, error);
    }
  }

  onChange(listener: () => void): () => void {
    return this.#hint.listen(listener);
  }

  // ---- for commands

  async *list(filter: QueueFilter): AsyncIterable<QueuedMessage> {
    const ask = (cursor: Cursor | null): Promise<Page<RawMessages>> => this.#thread.ask('page', { filter, cursor });
    let next: Promise<Page<RawMessages>> | undefined = ask(null);
    while (next) {
      const { items, cursor }: Page<RawMessages> = await next;
      // The thread looks for the next page while this one is looked at.
      next = cursor && ask(cursor);
      next?.catch(() => undefined);
      for (const message of assemble(items)) yield message;
    }
  }
  async find(id: string): Promise<QueuedMessage | undefined> {
    return isQueueId(id) ? ((await this.#thread.ask('find', { id })) ?? undefined) : undefined;
  }
  layout(id: string): Promise<FileLayout> {
    return this.#files.layout(id);
  }
  stats(): Promise<QueueStats> {
    return this.#thread.ask('stats', {});
  }

  hold(filter: QueueFilter): Promise<number> {
    return this.#change('hold', filter);
  }
  release(filter: QueueFilter): Promise<number> {
    return this.#change('release', filter);
  }
  retry(filter: QueueFilter): Promise<number> {
    return this.#change('retry', filter);
  }
  requeue(filter: QueueFilter): Promise<number> {
    return this.#change('requeue', filter);
  }
  expire(filter: QueueFilter): Promise<number> {
    return this.#change('expire', filter);
  }
  remove(filter: QueueFilter): Promise<number> {
    return this.#change('remove', filter);
  }
  async #change(kind: ChangeKind, filter: QueueFilter): Promise<number> {
    let changed = 0;
    const now = this.#clock.now();
    let cursor: Cursor | undefined;
    do {
      const page: Page<{ changed: number } & FileWork> = await this.#thread.ask('change', {
        kind,
        filter,
        cursor: cursor ?? null,
        now,
      });
      changed += page.items.changed;
      await this.#carryOut(page.items);
      if (page.items.changed > 0) this.#hint.changed();
      cursor = page.cursor;
    } while (cursor);
    return changed;
  }

  // ---- the rest

  async #sweep(): Promise<void> {
    await this.#thread
      .ask('sweep', { now: this.#clock.now() }, true)
      .catch(
        (error: unknown) =>
          this.#closed || this.#logger.warn('queue.sweep.failed', { error: toMailError(error, 'sweep').detail }),
      );
    if (!this.#closed) this.#cancelSweep = this.#clock.after(SWEEP_MS, () => void this.#sweep());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelSweep();
    await this.#hint.close();
    await this.#thread.close();
  }
}
