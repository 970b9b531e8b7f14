// What lies in a mailbox's `new/` and `cur/`. Other programs may deliver and rename while we look: a listing taken during a rename can
// miss a file that is there. So a known message counts as gone only when two listings miss it during which nothing moved.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseName } from './maildir-name.ts';

/** Past this age a folder's mtime tells every later change; younger ones may hide a change within the same clock tick. */
const SETTLED_MS = 2_000;
const MAX_LISTINGS = 8;

export interface FoundFile {
  readonly sub: 'new' | 'cur';
  readonly name: string;
  readonly letters: string;
}

/** mtimes of the two folders, nanoseconds. */
export interface FolderStamp {
  readonly fresh: bigint;
  readonly current: bigint;
}

export interface Scan {
  readonly files: ReadonlyMap<string, FoundFile>;
  readonly stamp: FolderStamp;
  /** False when the folders may have changed unnoticed: they are to be read again next time. */
  readonly settled: boolean;
}

/** @throws ENOENT when the mailbox's folder is gone */
export async function folderStamp(folder: string): Promise<FolderStamp> {
  const [fresh, current] = await Promise.all([
    stat(join(folder, 'new'), { bigint: true }),
    stat(join(folder, 'cur'), { bigint: true }),
  ]);
  return { fresh: fresh.mtimeNs, current: current.mtimeNs };
}

export const sameStamp = (a: FolderStamp, b: FolderStamp): boolean => a.fresh === b.fresh && a.current === b.current;

/**
 * Lists the folders, as often as it takes to be sure of every one of `known`: a file that any listing finds is there; one that two listings miss
 * while nothing moved is gone. `unsure` names those that were missed each time while something always moved.
 */
export async function scanFolder(
  folder: string,
  known: Iterable<string>,
): Promise<Scan & { readonly unsure: ReadonlySet<string> }> {
  const files = new Map<string, FoundFile>();
  let missing = [...known];
  let stableMisses = 0;
  for (let listing = 1; ; listing++) {
    const before = await folderStamp(folder);
    // The system's clock, not an injected one: it is held against what the file system writes.
    const startedAt = Date.now();
    const found = await list(folder);
    const stamp = await folderStamp(folder);
    const stable = sameStamp(before, stamp);
    for (const [base, file] of found) files.set(base, file);
    missing = missing.filter((base) => !files.has(base));
    if (stable) stableMisses++;
    const certain = missing.length === 0 || stableMisses >= 2;
    if (!certain && listing < MAX_LISTINGS) continue;
    const newest = Number((stamp.fresh > stamp.current ? stamp.fresh : stamp.current) / 1_000_000n);
    return {
      files,
      stamp,
      settled: stable && certain && files.size === found.size && startedAt - newest >= SETTLED_MS,
      unsure: certain ? new Set() : new Set(missing),
    };
  }
}

async function list(folder: string): Promise<Map<string, FoundFile>> {
  const files = new Map<string, FoundFile>();
  // `new/` first: a file that moves to `cur/` in between is then seen at least once.
  for (const sub of ['new', 'cur'] as const)
    for (const name of await readdir(join(folder, sub))) {
      const parsed = parseName(name);
      if (parsed) files.set(parsed.base, { sub, name, letters: parsed.letters });
    }
  return files;
}
