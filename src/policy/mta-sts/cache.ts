// Policies of other domains as they were last fetched: a file each in data_directory/mta-sts, so that a restart forgets none (RFC 8461 section 3.3: a policy
// counts until its max_age is over, whatever DNS and HTTPS say meanwhile), and a bounded number of them in memory.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { namesIn, readIfThere, removeIfThere, replaceFile } from '../../storage/files.ts';
import { MAX_AGE } from './policy.ts';

const record = z.object({
  id: z.string().max(32),
  /** Milliseconds since the epoch. */
  fetched: z.number(),
  mode: z.enum(['enforce', 'testing', 'none']),
  mx: z.array(z.string()).readonly(),
  maxAge: z.number().min(0).max(MAX_AGE),
});
export type CachedPolicy = Readonly<z.output<typeof record>>;

/** One file; a policy is at most 64 KB. */
const MAX_FILE = 1_048_576;

export interface CacheOptions {
  readonly directory: string;
  readonly logger: Logger;
  /** Files at most; those longest unused go first. */
  readonly maxFiles?: number;
}

/** For one process at a time: the one that runs the queue. */
export class PolicyCache {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #maxFiles: number;
  /** Names of files, the one used last at the end. */
  #names: Promise<Set<string>> | undefined;

  constructor({ directory, logger, maxFiles = 10_000 }: CacheOptions) {
    this.#directory = directory;
    this.#logger = logger;
    this.#maxFiles = maxFiles;
  }

  /** `domain` in A-labels. Undefined also for what cannot be read. */
  async get(domain: string): Promise<CachedPolicy | undefined> {
    const file = fileOf(domain);
    try {
      const names = await this.#list();
      if (!names.has(file)) return undefined;
      const bytes = await readIfThere(join(this.#directory, file));
      if (bytes === undefined || bytes.length > MAX_FILE) return undefined;
      names.delete(file);
      names.add(file);
      return record.parse(JSON.parse(bytes.toString('utf8')));
    } catch (error) {
      this.#failed(domain, error);
      return undefined;
    }
  }

  /** Resolves when it is on the disk, or cannot be: then it is logged. */
  async put(domain: string, policy: CachedPolicy): Promise<void> {
    const file = fileOf(domain);
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o750 });
      await replaceFile(join(this.#directory, file), JSON.stringify(policy), 0o640);
      const names = await this.#list();
      names.delete(file);
      names.add(file);
      for (const oldest of names) {
        if (names.size <= this.#maxFiles) break;
        names.delete(oldest);
        await removeIfThere(join(this.#directory, oldest));
      }
    } catch (error) {
      this.#failed(domain, error);
    }
  }

  async #list(): Promise<Set<string>> {
    this.#names ??= namesIn(this.#directory).then((names) => new Set(names.filter((name) => name.endsWith(SUFFIX))));
    this.#names.catch(() => (this.#names = undefined));
    return this.#names;
  }
  #failed(domain: string, error: unknown): void {
    this.#logger.error('mta-sts.cache-failed', { domain, error: errnoOf(error) ?? String(error).slice(0, 200) });
  }
}

const SUFFIX = '.json';
/** Names of domains have neither slash nor a dot in front. */
const fileOf = (domain: string): string => `${encodeURIComponent(domain)}${SUFFIX}`;
