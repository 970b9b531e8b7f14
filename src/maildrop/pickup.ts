// Takes messages out of the maildrop and hands them in, as pickup(8). One process of a server does it at a time: whoever holds the lease. It runs as
// the mail owner, with no more rights than any worker, and speaks with nobody.
//
//   maildrop/NAME → renamed to pickup/ID → read, checked → routed → accepted → removed
//
// What cannot be accepted now stays in pickup/ and is tried again, later each time; what never can be goes to corrupt/.
import { watch, type FSWatcher } from 'node:fs';
import { lstat, opendir, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Semaphore } from '../lib/async.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { queueId } from '../smtp/hand-over.ts';
import type { SmtpLimits } from '../smtp/limits.ts';
import { COMPLETE_NAME, corruptFolder, maildropFolder, pickupFolder, UNFINISHED_NAME, whyForeign } from './folder.ts';
import { BadDrop } from './format.ts';
import { handIn, parseWorkName, type HandInParts, type WorkName } from './hand-in.ts';
import { readTaken } from './taken-file.ts';

/** What settings, router and delivery are now: asked for each message, so that a reload counts. */
export interface PickupParts extends Omit<HandInParts, 'now' | 'lifetime'> {
  readonly hostname: string;
  readonly limits: SmtpLimits;
}

export interface PickupOptions {
  readonly queueDirectory: string;
  readonly spoolFolder: string;
  readonly parts: () => PickupParts;
  /** Takes the place of the only process that does this; undefined while another has it. The pickup releases it. */
  readonly lease: () => { release(): void } | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds between looks at the folders, besides those that a change in them causes; default 10 s. */
  readonly interval?: number;
  /** maximal_queue_lifetime, milliseconds; default 5 days. */
  readonly lifetime?: number;
}

const INTERVAL_MS = 10_000;
const LIFETIME_MS = 5 * 86_400_000;
/** Events come in bursts. */
const SETTLE_MS = 20;
/** Handed in at a time, and looked at in one round. */
const PARALLEL = 4;
const ROUND = 1_000;
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 3_600_000;
/** No sendmail writes for so long: what is unfinished then was left behind. */
const UNFINISHED_MS = 86_400_000;
/** Files kept in corrupt/, names remembered that cannot be removed. */
const MAX_CORRUPT = 1_000;

export class MaildropPickup {
  readonly #o: PickupOptions;
  readonly #drop: string;
  readonly #work: string;
  readonly #slots = new Semaphore(PARALLEL);
  /** By name in pickup/: when it is tried again, and the pause after that. */
  readonly #waiting = new Map<string, { readonly at: number; readonly pause: number }>();
  readonly #stuck = new Set<string>();
  #lease: { release(): void } | undefined;
  #watcher: FSWatcher | undefined;
  #cancel: (() => void) | undefined;
  #round: Promise<void> | undefined;
  #again = false;
  #stopped = true;
  #gid = -1;

  constructor(options: PickupOptions) {
    this.#o = options;
    this.#drop = maildropFolder(options.queueDirectory);
    this.#work = pickupFolder(options.queueDirectory);
  }

  /** Begins; the folders are there (makeMaildrop). Never throws. */
  start(): void {
    this.#stopped = false;
    this.#look();
  }

  /** Takes nothing more; resolves when what was taken is handed in or put back. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    this.#watcher?.close();
    this.#watcher = undefined;
    await this.#round;
    this.#lease?.release();
    this.#lease = undefined;
  }

  /** Resolves when the look at the folders that is under way has ended. */
  async settled(): Promise<void> {
    await this.#round;
  }
  /** Looks at the folders now, also at what waits for its next try. Resolves when that is done. */
  async flush(): Promise<void> {
    await this.#round;
    this.#waiting.clear();
    this.#look();
    await this.#round;
  }

  #look(): void {
    if (this.#stopped) return;
    if (this.#round) {
      this.#again = true;
      return;
    }
    this.#cancel?.();
    this.#again = false;
    this.#round = this.#runRound()
      .catch((error: unknown) => this.#o.logger.error('pickup.failed', { error: textOf(error) }))
      .finally(() => {
        this.#round = undefined;
        if (!this.#stopped)
          this.#cancel = this.#o.clock.after(this.#again ? SETTLE_MS : (this.#o.interval ?? INTERVAL_MS), () => this.#look());
      });
  }

  async #runRound(): Promise<void> {
    this.#lease ??= this.#o.lease();
    if (!this.#lease) return;
    this.#gid = (await stat(this.#drop)).gid;
    this.#watch();
    const jobs: Promise<void>[] = [];
    for (const name of await this.#due()) jobs.push(this.#slots.run(() => this.#handIn(name)));
    await Promise.all(jobs);
    if (await this.#takeRound()) this.#again = true;
  }

  /** A system without room for one more watch is looked at now and then all the same. */
  #watch(): void {
    if (this.#watcher) return;
    try {
      this.#watcher = watch(this.#drop, { persistent: false }, () => this.#stir());
      this.#watcher.on('error', () => {
        this.#watcher?.close();
        this.#watcher = undefined;
      });
    } catch (error) {
      this.#o.logger.debug('pickup.unwatched', { error: textOf(error) });
    }
  }
  #stir(): void {
    if (this.#round) this.#again = true;
    else {
      this.#cancel?.();
      if (!this.#stopped) this.#cancel = this.#o.clock.after(SETTLE_MS, () => this.#look());
    }
  }

  /** Taken before, by this process or by one that is gone. */
  async #due(): Promise<string[]> {
    const names = new Set(await readdir(this.#work));
    const now = this.#o.clock.now();
    return [...names].filter((name) => {
      const work = parseWorkName(name);
      if (!work || (work.part !== undefined && names.has(`${work.id}.s`))) return false;
      return (this.#waiting.get(name)?.at ?? 0) <= now;
    });
  }

  /** Takes what is complete; true when there may be more. */
  async #takeRound(): Promise<boolean> {
    const jobs: Promise<void>[] = [];
    for await (const { name } of await opendir(this.#drop)) {
      if (this.#stopped || jobs.length >= ROUND) break;
      if (UNFINISHED_NAME.test(name)) await this.#forgetIfOld(name);
      else if (!this.#stuck.has(name)) jobs.push(this.#slots.run(() => this.#take(name)));
    }
    await Promise.all(jobs);
    return jobs.length >= ROUND;
  }

  async #forgetIfOld(name: string): Promise<void> {
    const path = join(this.#drop, name);
    const found = await lstat(path).catch(() => undefined);
    if (!found || this.#o.clock.now() - found.mtimeMs < UNFINISHED_MS) return;
    await unlink(path).catch(() => undefined);
    this.#o.logger.warn('pickup.unfinished', { file: name, uid: found.uid });
  }

  /** Never throws. */
  async #take(name: string): Promise<void> {
    if (this.#stopped) return;
    const path = join(this.#drop, name);
    try {
      const found = await lstat(path);
      const foreign = COMPLETE_NAME.test(name) ? whyForeign(found, this.#gid) : 'its name is none of sendmail’s';
      if (foreign !== undefined) return await this.#setAside(path, name, foreign);
      const id = queueId();
      await rename(path, join(this.#work, id));
      await this.#handIn(id);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.#o.logger.error('pickup.failed', { file: name, error: textOf(error) });
    }
  }

  /** Never throws. */
  async #handIn(name: string): Promise<void> {
    const work = parseWorkName(name);
    if (!work || this.#stopped) return;
    try {
      await this.#read(name, work);
      this.#waiting.delete(name);
    } catch (error) {
      if (error instanceof BadDrop) return this.#setAside(join(this.#work, name), name, error.message);
      this.#putOff(name, work, error);
    }
  }

  async #read(name: string, work: WorkName): Promise<void> {
    const { logger, clock, spoolFolder, lifetime } = this.#o;
    const parts = this.#o.parts();
    const options = {
      id: work.id,
      gid: this.#gid,
      hostname: parts.hostname,
      limits: parts.limits,
      spoolFolder,
      now: clock.now(),
    };
    const taken = await readTaken(join(this.#work, name), options, work.part !== undefined || work.splitting);
    try {
      const { envelope, uid, messageId } = taken;
      const about = { id: work.id, uid, from: envelope.sender };
      if (!this.#waiting.has(name))
        logger.info('pickup.taken', { ...about, size: taken.source.size, recipients: envelope.recipients.length, messageId });
      const how = await handIn(this.#work, work, taken, { ...parts, lifetime: lifetime ?? LIFETIME_MS, now: clock.now() });
      if (how === 'split') this.#again = true;
      else logger.info('pickup.done', about);
    } finally {
      await taken.original.dispose();
    }
  }

  #putOff(name: string, { id }: WorkName, thrown: unknown): void {
    const { clock, logger } = this.#o;
    const error = toMailError(thrown, 'handing in a message');
    const pause = this.#waiting.get(name)?.pause ?? FIRST_PAUSE_MS;
    this.#waiting.set(name, { at: clock.now() + pause, pause: Math.min(pause * 2, LONGEST_PAUSE_MS) });
    logger.warn('pickup.deferred', { id, code: error.code, error: error.message, pause });
  }

  /** Out of the way: files to corrupt/, what is none is removed. Never throws. */
  async #setAside(path: string, name: string, reason: string): Promise<void> {
    const { logger, queueDirectory } = this.#o;
    const shown = name.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
    try {
      const found = await lstat(path);
      logger.error('pickup.refused', { file: shown, uid: found.uid, reason });
      const corrupt = corruptFolder(queueDirectory);
      if (found.isDirectory()) await rmdir(path);
      else if (!found.isFile() || (await readdir(corrupt)).length >= MAX_CORRUPT) await unlink(path);
      else await rename(path, join(corrupt, parseWorkName(name) ? name : queueId()));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      logger.error('pickup.stuck', { file: shown, error: textOf(error) });
      if (this.#stuck.size < MAX_CORRUPT) this.#stuck.add(name);
    }
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
