// Reads a strace log (`-f -y`) for what a power cut would leave: which files have bytes, and which folders have names, that no sync has brought to
// the disk yet.
import { basename, dirname } from 'node:path';

/** The calls that are followed. */
export const ORDER_CALLS = 'openat,write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,mkdir,sendto';

export interface TracedCall {
  readonly thread: string;
  readonly name: string;
  readonly args: string;
  /** Line on which it began and on which it was over. */
  readonly from: number;
  readonly to: number;
  readonly result: string;
}

/** The calls in the order in which they were over; those that were interrupted by other threads' lines are put together. */
export function parseTrace(text: string): TracedCall[] {
  const calls: TracedCall[] = [];
  const open = new Map<string, { name: string; args: string; from: number }>();
  for (const [at, line] of text.split('\n').entries()) {
    const m = /^(\d+) +(.*)$/.exec(line);
    const [, thread = '', rest = ''] = m ?? [];
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest);
    if (resumed) {
      const begun = open.get(thread);
      open.delete(thread);
      if (begun) calls.push({ thread, ...begun, to: at, args: begun.args + (resumed[2] ?? ''), result: resultOf(rest) });
      continue;
    }
    const call = /^(\w+)\((.*)$/.exec(rest);
    if (!call) continue;
    const [, name = '', args = ''] = call;
    if (args.endsWith('<unfinished ...>')) open.set(thread, { name, args: args.slice(0, -'<unfinished ...>'.length), from: at });
    else calls.push({ thread, name, args, from: at, to: at, result: resultOf(rest) });
  }
  return calls;
}
const resultOf = (text: string): string => text.slice(text.lastIndexOf(' = ') + 3);

/** The path behind a descriptor, `27</a/b>`. */
const descriptorPath = (args: string): string => /^\d+<([^>]*)>/.exec(args)?.[1] ?? '';
const quoted = (args: string): string[] => [...args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((m) => m[1] ?? '');

const LOCK = /\.lock(\.\d+\.[0-9a-f]+)?$/;

/** What is not on the disk yet, of the files below some folders. */
export class Unsynced {
  readonly #roots: readonly string[];
  /** Path → line of its last change. */
  readonly #files = new Map<string, number>();
  readonly #folders = new Map<string, number>();
  /** Messages that got their name in `new/` or `cur/` since this was last cleared. */
  published: string[] = [];

  constructor(roots: readonly string[]) {
    this.#roots = roots;
  }
  #ours(path: string): boolean {
    return this.#roots.some((root) => path.startsWith(`${root}/`));
  }

  take(call: TracedCall): void {
    const failed = call.result.startsWith('-1');
    const path = descriptorPath(call.args);
    if (/^p?writev?(64)?$/.test(call.name) && this.#ours(path) && !LOCK.test(path)) this.#files.set(path, call.to);
    if (/sync$/.test(call.name) && !failed) this.#synced(path, call.from);
    if (failed) return;
    if (/^(rename|link)/.test(call.name)) this.#named(call);
    const [made] = quoted(call.args);
    if (call.name === 'mkdir' && made !== undefined && this.#ours(made)) this.#appeared(made, call.to);
  }
  /** A sync covers what was over before it began. */
  #synced(path: string, from: number): void {
    if ((this.#files.get(path) ?? Infinity) < from) this.#files.delete(path);
    if ((this.#folders.get(path) ?? Infinity) < from) this.#folders.delete(path);
  }
  #named({ args, to }: TracedCall): void {
    const [old = '', path = ''] = quoted(args);
    if (!this.#ours(path)) return;
    this.#appeared(path, to);
    const dirty = this.#files.get(old);
    this.#files.delete(old);
    if (dirty !== undefined) this.#files.set(path, dirty);
    if (/\/(new|cur)\/[^/]+$/.test(path)) this.published.push(path);
  }

  /** Drafts under tmp/ and locks are no promise to anybody. */
  #appeared(path: string, at: number): void {
    if (basename(dirname(path)) !== 'tmp' && !LOCK.test(path)) this.#folders.set(dirname(path), at);
  }

  /** Everything that a power cut may take now. */
  get all(): string[] {
    return [...this.#files.keys(), ...this.#folders.keys()];
  }
}
