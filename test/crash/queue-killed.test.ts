// The queue under faults: the process that adds a message is killed before its Nth file system call, for every N until one goes through; its syncs fail; the
// disk is full; and the order of its calls is looked at. CI walks the calls that change something; CRASH_ALL=1 all of them (long).
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { inspect } from '../../src/queue/store/adopt.ts';
import { folderOf } from '../../src/queue/store/queue-file.ts';
import { parseTrace, type TracedCall } from '../support/call-order.ts';
import { ALL_STEPS, numberedMessage } from '../support/crash.ts';
import { requireProgram } from '../support/programs.ts';
import { QueueChild } from '../support/queue-child.ts';
import { bodyOf, openQueue, type TestQueue } from '../support/queue-store.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { Strace } from '../support/traced-host.ts';

/** Two writes of the file. */
const BYTES = 300_000;
const MOST_STEPS = 60;
const FILE_CALLS = ALL_STEPS
  ? ['mkdir', 'openat', 'pwrite64', 'pwritev', 'fdatasync', 'fsync', 'close']
  : ['mkdir', 'pwrite64', 'pwritev', 'fdatasync', 'fsync'];
const LOG_CALLS = ALL_STEPS ? ['pwrite64', 'fdatasync', 'fsync'] : ['fdatasync', 'fsync'];

interface Added {
  /** Empty when the process was killed. */
  readonly answer: string;
  readonly calls: readonly TracedCall[];
  readonly isDead: boolean;
}

/** A queue, and a process that adds to it while its calls are tampered with. */
class Bench {
  readonly queue: TestQueue;
  readonly traces: string;
  readonly #strace: string;
  #child: QueueChild | undefined;

  private constructor(queue: TestQueue, traces: string, strace: string) {
    this.queue = queue;
    this.traces = traces;
    this.#strace = strace;
  }
  static async start(t: TestContext): Promise<Bench | undefined> {
    const strace = await requireProgram(t, 'strace');
    if (strace === undefined) return undefined;
    const bench = new Bench(await openQueue(t), await tempFolder(t), strace);
    t.after(() => bench.#child?.end('SIGKILL'));
    return bench;
  }
  /** Its answer, and what was traced. */
  async add(
    id: string,
    options: readonly string[],
    bytes = BYTES,
  ): Promise<{ answer: string; calls: TracedCall[]; isDead: boolean }> {
    if (!this.#child || this.#child.hasEnded) {
      this.#child = await QueueChild.start(this.queue.directory);
      // What is made once is there.
      assert.equal(await this.#child.ask(`add ${id}FIRST 10`), 'done');
    }
    const { pid } = this.#child;
    const tracing = await Strace.attach(this.#strace, { directory: this.traces, pid }, ['-y', ...options]);
    const answer = await this.#child.ask(`add ${id} ${bytes}`);
    const isDead = answer === '';
    if (isDead) await this.#child.end('SIGKILL');
    await tracing.end();
    return { answer, calls: parseTrace(await tracing.output()), isDead };
  }
  get log(): string {
    return join(this.queue.directory, 'queue.db-wal');
  }
  async hasFile(id: string): Promise<boolean> {
    const names = await readdir(join(this.queue.directory, 'messages', folderOf(id))).catch((): string[] => []);
    return names.includes(id);
  }
}

test('row 1: killed before every file system call of an add: what was acknowledged is there, whole, and nothing partial ever is', async (t) => {
  const bench = await Bench.start(t);
  if (!bench) return;
  const { store, directory } = bench.queue;
  const killed: string[] = [];
  const walk = async (call: string, path: readonly string[], name: string, stride: number): Promise<void> => {
    for (let n = 1; n < MOST_STEPS; n += stride) {
      // A folder that is not there yet, as far as there are any.
      const id = `${name}${call.toUpperCase()}${n}`;
      const { answer, isDead } = await bench.add(id, [
        ...path,
        '-e',
        `trace=${call}`,
        '-e',
        `inject=${call}:signal=KILL:when=${n}`,
      ]);
      const found = await store.find(id);
      if (answer !== '') assert.ok(answer === 'done' && found, `${id}: ${answer}`);
      if (found) assert.ok((await bodyOf(store, id)) === numberedMessage(id, BYTES), `${id} is whole`);
      else if (await bench.hasFile(id)) assert.match(inspect(directory, id).kind, /^(whole|unfinished)$/, id);
      if (!isDead) return;
      killed.push(`${name} ${call} ${n}`);
    }
    assert.fail('the walk does not end');
  };
  for (const call of FILE_CALLS) await walk(call, [], 'FILE', ALL_STEPS || call !== 'pwrite64' ? 1 : 3);
  for (const call of LOG_CALLS) await walk(call, ['-P', bench.log], 'LOG', 1);
  for (const at of ['FILE pwritev 1', 'FILE fdatasync 1', 'FILE fsync 1', 'FILE pwrite64 1'])
    assert.ok(killed.includes(at), `${at} of ${killed.join(', ')}`);
  assert.ok(
    killed.some((at) => /^LOG f/.test(at)),
    killed.join(', '),
  );
  // Nothing hinders what comes.
  assert.equal((await bench.add('LAST', [])).answer, 'done');
});

test('row 3: before an add resolves, its file was synced after the last write, the folder after its name appeared, the log after its last write', async (t) => {
  const bench = await Bench.start(t);
  if (!bench) return;
  const folders = new Set<string>();
  for (let n = 0; n < 12; n++) {
    const id = `ORDER${n}`;
    const added: Added = await bench.add(
      id,
      ['-e', 'trace=openat,mkdir,write,pwrite64,pwritev,writev,fsync,fdatasync'],
      n % 2 === 0 ? BYTES : 500,
    );
    assert.equal(added.answer, 'done');
    const { calls } = added;
    const end = calls.find(({ name, args }) => name === 'write' && /"done\\n"/.test(args))?.from ?? -1;
    assert.ok(end > 0, 'the answer was seen');
    const before = calls.filter(({ to }) => to <= end);
    const on = (path: string, name: RegExp): TracedCall[] =>
      before.filter((call) => name.test(call.name) && call.args.includes(`<${path}>`));
    const synced = (path: string, since: number): boolean =>
      on(path, /sync$/).some(({ from, result }) => from > since && result.startsWith('0'));
    const folder = join(bench.queue.directory, 'messages', folderOf(id));
    const file = join(folder, id);
    const last = (list: readonly TracedCall[]): number => list.at(-1)?.to ?? -1;
    const writes = on(file, /^p?writev?(64)?$/);
    assert.equal(writes.length, n % 2 === 0 ? 2 : 1, 'bytes, then the hash; a small one at once');
    assert.ok(synced(file, last(writes)), `${id}: file`);
    const named = before.find(({ name, args }) => name === 'openat' && args.includes(`"${file}"`) && args.includes('O_CREAT'));
    assert.ok(named && synced(folder, named.to), `${id}: folder`);
    const logged = on(bench.log, /^p?write/);
    assert.ok(logged.length > 0, 'the row was seen');
    assert.ok(synced(bench.log, last(logged)), `${id}: log`);
    // The row comes last.
    const folderSync = on(folder, /^fsync$/).at(-1);
    assert.ok((folderSync?.to ?? Infinity) < (logged[0]?.from ?? 0), `${id}: the row before its file is safe`);
    const made = before.find(({ name, args }) => name === 'mkdir' && args.includes(`"${folder}"`));
    if (made?.result.startsWith('0') === true)
      assert.ok(synced(join(bench.queue.directory, 'messages'), made.to), `${id}: the folder's name`);
    folders.add(folder);
  }
  assert.ok(folders.size > 5);
});

const faults: Record<string, { readonly inject: string; readonly on: 'file' | 'log'; readonly answer: RegExp }> = {
  'row 4: EIO from the sync of a queue file': {
    inject: 'fdatasync:error=EIO:when=1',
    on: 'file',
    answer: /^failed temporary EIO/,
  },
  'row 4: EIO from the sync of its folder': { inject: 'fsync:error=EIO:when=1', on: 'file', answer: /^failed temporary EIO/ },
  'row 4: EIO from the sync of the log': {
    inject: 'fdatasync,fsync:error=EIO:when=1',
    on: 'log',
    answer: /^failed temporary SQLITE_IOERR/,
  },
  'row 45: disk full while a queue file is written': {
    inject: 'pwritev:error=ENOSPC:when=1',
    on: 'file',
    answer: /^failed disk-full/,
  },
  'row 45: disk full at the hash of a queue file': {
    inject: 'pwrite64:error=ENOSPC:when=1',
    on: 'file',
    answer: /^failed disk-full/,
  },
  'row 45: disk full when a queue file is made': {
    inject: 'openat:error=ENOSPC:when=1',
    on: 'file',
    answer: /^failed disk-full/,
  },
  'row 45: disk full at the log': { inject: 'pwrite64:error=ENOSPC:when=1+', on: 'log', answer: /^failed disk-full/ },
};

test('row 4, row 45: a sync that fails, a disk that is full: told as what they are, nothing is left behind, and all is well afterwards', async (t) => {
  const bench = await Bench.start(t);
  if (!bench) return;
  for (const [n, [name, { inject, on, answer: expected }]] of Object.entries(faults).entries()) {
    const id = `FAULT${n}`;
    await bench.add(`${id}BEFORE`, [], 10);
    const path =
      on === 'log'
        ? ['-P', bench.log]
        : [
            '-P',
            join(bench.queue.directory, 'messages', folderOf(id), id),
            '-P',
            join(bench.queue.directory, 'messages', folderOf(id)),
          ];
    const { answer, calls } = await bench.add(id, [...path, '-e', `trace=${inject.split(':')[0]}`, '-e', `inject=${inject}`]);
    assert.match(answer, expected, name);
    if (on === 'file') {
      const failed = calls.find(({ result }) => /EIO/.test(result));
      if (failed) assert.equal(calls.filter(({ args }) => args === failed.args).length, 1, `${name}: one try`);
    }
    assert.equal(await bench.hasFile(id), false, name);
    assert.equal(await bench.queue.store.find(id), undefined, name);
    assert.equal((await bench.add(id, [])).answer, 'done', name);
    assert.ok((await bodyOf(bench.queue.store, id)) === numberedMessage(id, BYTES), name);
  }
});
