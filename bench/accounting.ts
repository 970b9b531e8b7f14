// CPU time of one server's processes, all of them: by a control group of its own (exact, and processes that have ended still count), or, where
// none can be made, by the sum over the tree of its processes (in steps of 10 ms).
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuOf, processTree, startTime } from './proc.ts';

export interface Accounting {
  readonly kind: string;
  /** The command that starts `command` so that it is accounted for. */
  wrap(command: readonly string[]): string[];
  /** The server's first process, once it is known. */
  root(pid: number): void;
  /** CPU milliseconds so far. */
  usedMs(): number;
  pids(): number[];
  /** Ends by force what is still there. Can be called again. */
  close(): Promise<void>;
}

/** @param name unique among all that run on this machine */
export function accountFor(name: string): Accounting {
  return ControlGroup.make(name) ?? new ProcessTree();
}

const V1 = '/sys/fs/cgroup/cpuacct';
const V2 = '/sys/fs/cgroup';
const FORCE_MS = 10_000;

class ControlGroup implements Accounting {
  readonly kind: string;
  readonly #folder: string;
  readonly #usage: () => number;

  private constructor(folder: string, version: 1 | 2) {
    this.#folder = folder;
    this.kind = version === 1 ? 'control group (cpuacct)' : 'control group (v2)';
    this.#usage =
      version === 1
        ? () => Number(readFileSync(`${folder}/cpuacct.usage`, 'latin1')) / 1e6
        : () => Number(/^usage_usec (\d+)/m.exec(readFileSync(`${folder}/cpu.stat`, 'latin1'))?.[1]) / 1e3;
  }

  static make(name: string): ControlGroup | undefined {
    const version = existsSync(`${V1}/cpuacct.usage`) ? 1 : existsSync(`${V2}/cgroup.controllers`) ? 2 : undefined;
    if (version === undefined) return undefined;
    const folder = `${version === 1 ? V1 : V2}/${name}`;
    try {
      mkdirSync(folder);
      return new ControlGroup(folder, version);
    } catch {
      // Not ours to make: a container without that right.
      return undefined;
    }
  }

  wrap(command: readonly string[]): string[] {
    return ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', `${this.#folder}/cgroup.procs`, ...command];
  }
  root(): void {
    // The group knows its processes.
  }
  usedMs(): number {
    return this.#usage();
  }
  pids(): number[] {
    return readFileSync(`${this.#folder}/cgroup.procs`, 'latin1').split('\n').filter(Boolean).map(Number);
  }
  async close(): Promise<void> {
    for (const until = Date.now() + FORCE_MS; existsSync(this.#folder); await sleep(20)) {
      try {
        const left = this.pids();
        for (const pid of left) killIfThere(pid);
        if (left.length === 0) rmdirSync(this.#folder);
      } catch (error) {
        // A process that is just ending keeps the group for a moment.
        if (Date.now() > until) throw error;
      }
      if (Date.now() > until) throw new Error(`${this.#folder} cannot be removed`);
    }
  }
}

export class ProcessTree implements Accounting {
  readonly kind = 'sum over the processes (steps of 10 ms)';
  #root: number | undefined;
  /** All that were ever seen, with their start times: a daemon's children outlive it. */
  readonly #seen = new Map<number, string | undefined>();

  wrap(command: readonly string[]): string[] {
    return [...command];
  }
  root(pid: number): void {
    this.#root = pid;
  }
  usedMs(): number {
    return this.pids().reduce((sum, pid) => sum + cpuOf(pid), 0);
  }
  pids(): number[] {
    const tree = this.#root === undefined ? [] : processTree(this.#root);
    for (const pid of tree) if (!this.#seen.has(pid)) this.#seen.set(pid, startTime(pid));
    return tree;
  }
  async close(): Promise<void> {
    for (const [pid, started] of this.#seen) if (started !== undefined && startTime(pid) === started) killIfThere(pid);
    this.#seen.clear();
    this.#root = undefined;
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
