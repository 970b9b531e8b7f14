// A table that lies in a file: looked at by stat before each look-up, so that what postmap (or an editor) writes is seen at once.
// Which file: FILE.sqlite for hash: and its kin when it is there, the text otherwise; Berkeley's FILE.db is never opened.
import { statSync, type BigIntStats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { Mutex, sleep } from '../../lib/async.ts';
import type { Clock } from '../../lib/clock.ts';
import { MailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { TableFile } from '../../lib/sqlite.ts';
import { compiledName } from './compile.ts';
import { MAX_TABLE_BYTES, type TableWarning } from './text.ts';

/** What was read: gone when the next state is. */
export interface Contents {
  get(key: string): string | undefined;
  entries(): readonly (readonly [key: string, value: string])[];
  readonly warnings: readonly TableWarning[];
  close?(): void;
}

export interface FileTableOptions {
  /** The text's path. */
  readonly file: string;
  readonly spec: string;
  /** Whether FILE.sqlite is looked for. */
  readonly compiled: boolean;
  readonly parse: (bytes: Buffer) => Promise<Contents>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A changed text younger than this is looked at twice before it is believed: an editor may be in the middle of writing it. */
const YOUNG_MS = 1000;
const SETTLE_MS = 20;
/** How often a file that keeps changing is read again before the look-up fails. */
const MAX_ATTEMPTS = 50;
/** Postfix's slack before it says that a compiled table is older than its text. */
const STALE_AFTER_MS = 100_000;
const WARNINGS_LOGGED = 20;

interface Look {
  readonly compiled?: BigIntStats | undefined;
  readonly text?: BigIntStats | undefined;
}

export class FileTable {
  readonly #options: FileTableOptions;
  readonly #loading = new Mutex();
  #contents: Contents | undefined;
  #state = '';
  #staleSaid = '';
  #berkeleySaid = false;

  constructor(options: FileTableOptions) {
    this.#options = options;
  }

  /** What the file holds now. @throws MailError temporary `MAP_UNREADABLE` */
  async contents(): Promise<Contents> {
    for (;;) {
      const { compiled, text } = this.#look();
      const state = stateOf(compiled ?? text);
      if (compiled && text) this.#sayStale(compiled, text);
      if (this.#contents && state === this.#state) return this.#contents;
      await this.#loading.run(async () => {
        if (!this.#contents || this.#state !== state) await this.#load(compiled !== undefined, state);
      });
      if (this.#contents && this.#state === state) return this.#contents;
    }
  }

  close(): void {
    this.#drop();
  }

  /** A look-up that has just been given the old contents still asks them in this turn of the loop. */
  #drop(): void {
    const old = this.#contents;
    this.#contents = undefined;
    setImmediate(() => old?.close?.());
  }

  /** What is at the paths now. Synchronous: two system calls on a path that no peer chooses cost a twentieth of a way through libuv's threads. */
  #look(): Look {
    const { file, compiled } = this.#options;
    try {
      const first = compiled ? statOrNothing(compiledName(file)) : undefined;
      const second = statOrNothing(file);
      if (!first && !second) throw new Error('no such file');
      return { compiled: first, text: second };
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  async #load(compiled: boolean, state: string): Promise<void> {
    const fresh = compiled ? this.#openCompiled() : await this.#readText();
    this.#drop();
    this.#contents = fresh.contents;
    this.#state = fresh.state ?? state;
    for (const { line, text, ignored } of fresh.contents.warnings.slice(0, WARNINGS_LOGGED))
      this.#options.logger.warn('map.line', { map: this.#options.spec, line, warning: text, ignored });
  }

  #openCompiled(): { contents: Contents; state?: string } {
    try {
      const table = new TableFile(compiledName(this.#options.file));
      return {
        contents: { get: (key) => table.get(key), entries: () => table.entries(), warnings: [], close: () => table.close() },
      };
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  async #readText(): Promise<{ contents: Contents; state: string }> {
    const { file, parse, clock } = this.#options;
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const before = await stat(file, { bigint: true });
        if (before.size > BigInt(MAX_TABLE_BYTES)) throw new Error(`over ${MAX_TABLE_BYTES} bytes`);
        if (this.#contents && Math.abs(clock.now() - Number(before.mtimeMs)) < YOUNG_MS) await sleep(SETTLE_MS);
        const bytes = await readFile(file);
        const after = await stat(file, { bigint: true });
        if (stateOf(before) !== stateOf(after)) continue;
        const contents = await parse(bytes);
        this.#sayBerkeley();
        return { contents, state: stateOf(after) };
      }
      throw new Error('it keeps changing');
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  #sayStale(compiled: BigIntStats, text: BigIntStats): void {
    const { file, spec, logger, clock } = this.#options;
    const said = `${compiled.mtimeNs}/${text.mtimeNs}`;
    if (text.mtimeNs <= compiled.mtimeNs || this.#staleSaid === said || Number(text.mtimeMs) > clock.now() - STALE_AFTER_MS)
      return;
    this.#staleSaid = said;
    logger.warn('map.stale', { map: spec, warning: `database ${compiledName(file)} is older than source file ${file}` });
  }

  #sayBerkeley(): void {
    const { file, spec, logger, compiled } = this.#options;
    if (!compiled || this.#berkeleySaid || !statOrNothing(`${file}.db`)) return;
    this.#berkeleySaid = true;
    logger.warn('map.berkeley', {
      map: spec,
      warning: `${file}.db is left to Postfix; reading ${file}: run "buzon postmap ${file}"`,
    });
  }

  #unreadable(error: unknown): MailError {
    if (error instanceof MailError) return error;
    const detail = `${this.#options.spec}: ${(error as Error).message}`;
    return new MailError('temporary', 'MAP_UNREADABLE', 'Temporary lookup failure', { detail, cause: error });
  }
}

/** Changes whenever the file does. */
function stateOf(stats: BigIntStats | undefined): string {
  return stats ? `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}` : '';
}

const statOrNothing = (file: string): BigIntStats | undefined => statSync(file, { bigint: true, throwIfNoEntry: false });
