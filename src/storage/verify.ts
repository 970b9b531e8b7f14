// Holds an account's files against each other: the messages in the tree, which UIDs its lists give them, what the index says of them. Changes
// nothing; all that it may find broken heals when the mailbox is opened, but for what the files themselves say.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../lib/clock.ts';
import { ChangeFeed } from './change-feed.ts';
import { isMissing, readIfThere } from './files.ts';
import { INDEX_FILE } from './index-cache.ts';
import { NameMaker, parseName, sizeInName } from './maildir-name.ts';
import { MaildirTree } from './maildir-tree.ts';
import { isBusy } from '../lib/sqlite.ts';
import { openCache } from './sqlite.ts';
import { parseUidlist } from './uidlist.ts';

export interface Problem {
  /** File or folder, absolute. */
  readonly path: string;
  /** What is wrong. */
  readonly text: string;
  /** What would be done about it; undefined where only a person can tell. */
  readonly repair?: string;
  readonly where: 'tree' | 'uidlist' | 'index';
}

export interface Verified {
  readonly mailboxes: number;
  readonly messages: number;
  /** Messages that have no UID yet: new mail, which gets one when somebody looks. */
  readonly fresh: number;
  readonly problems: readonly Problem[];
}

interface Found {
  readonly path: string;
  readonly base: string;
  readonly sub: 'new' | 'cur';
}

/**
 * Looks at every mailbox of an account. What was only passing (a server that runs renames files meanwhile) is not told: problems are those that
 * are there twice. @throws what the file system says
 */
export async function verifyAccount(maildir: string): Promise<Verified> {
  const first = await look(maildir);
  if (first.problems.length === 0) return first;
  const second = await look(maildir);
  const before = new Set(first.problems.map(textOf));
  return { ...second, problems: second.problems.filter((problem) => before.has(textOf(problem))) };
}
const textOf = ({ path, text }: Problem): string => `${path} ${text}`;

async function look(maildir: string): Promise<Verified> {
  const tree = new MaildirTree(maildir, new NameMaker('', Date.now), new ChangeFeed(systemClock));
  const problems: Problem[] = [];
  const all = new Set<string>();
  let messages = 0;
  let fresh = 0;
  const folders = [...(await tree.existing()).values()].map(({ folder }) => folder);
  for (const folder of folders) {
    const found = await messagesOf(folder, folder === maildir, problems);
    problems.push(...(await wrongFiles(found)));
    const bases = new Set(found.map(({ base }) => base));
    const listed = await checkUidlist(join(folder, 'dovecot-uidlist'), problems);
    for (const base of bases) {
      all.add(base);
      if (!listed?.has(base)) fresh++;
    }
    messages += bases.size;
  }
  problems.push(...checkIndex(join(maildir, INDEX_FILE), all, await isFile(join(maildir, INDEX_FILE))));
  return { mailboxes: folders.length, messages, fresh, problems };
}

async function messagesOf(folder: string, isInbox: boolean, problems: Problem[]): Promise<Found[]> {
  const found: Found[] = [];
  let missing = 0;
  for (const sub of ['new', 'cur', 'tmp'] as const) {
    let names: string[] = [];
    try {
      names = await readdir(join(folder, sub));
    } catch (error) {
      if (!isMissing(error)) throw error;
      // A home that never had mail has none of them.
      missing++;
      problems.push({
        where: 'tree',
        path: join(folder, sub),
        text: 'the folder is missing',
        ...(isInbox ? { repair: 'make it' } : {}),
      });
    }
    if (sub === 'tmp') continue;
    for (const name of names) {
      const parsed = parseName(name);
      if (parsed) found.push({ path: join(folder, sub, name), base: parsed.base, sub });
    }
  }
  if (isInbox && missing === 3) problems.splice(-3);
  return found;
}

/** Two files of one name, and files that are not as long as their names say. */
async function wrongFiles(found: readonly Found[]): Promise<Problem[]> {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const { path, base } of found) {
    if (seen.has(base)) problems.push({ where: 'tree', path, text: 'another file has the same name but for its flags' });
    seen.add(base);
    const named = sizeInName(base, 'S');
    if (named === undefined) continue;
    const size = await stat(path).then(
      (s) => s.size,
      (error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      },
    );
    if (size !== undefined && size !== named)
      problems.push({ where: 'tree', path, text: `the file has ${size} bytes, its name says ${named}` });
  }
  return problems;
}

/** The base names that have a UID; undefined when there is no usable list. */
async function checkUidlist(path: string, problems: Problem[]): Promise<ReadonlySet<string> | undefined> {
  const data = await readIfThere(path);
  // Nobody has looked yet.
  if (!data) return undefined;
  const text = data.toString('utf8');
  const say = (what: string, repair: string): number => problems.push({ where: 'uidlist', path, text: what, repair });
  const list = parseUidlist(text);
  const anew = 'write it anew under a new UIDVALIDITY';
  if (!list) {
    say('this is no uidlist', anew);
    return undefined;
  }
  if (list.broken) say('UIDs are not in order', anew);
  if (list.damaged > 0) say(`${list.damaged} bytes are no lines of a uidlist`, 'give the messages in question new UIDs');
  return new Set(list.entries.keys());
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (s) => s.isFile(),
    () => false,
  );

function checkIndex(path: string, bases: ReadonlySet<string>, there: boolean): Problem[] {
  if (!there) return [];
  const wrong = (text: string, repair: string): Problem[] => [{ where: 'index', path, text, repair }];
  try {
    const db = openCache(path);
    try {
      const [{ integrity_check: verdict } = { integrity_check: 'ok' }] = db.pragma('integrity_check(1)') as {
        integrity_check: string;
      }[];
      if (verdict !== 'ok') return wrong(`it is damaged: ${verdict.replace(/\s+/g, ' ')}`, 'make it anew');
      // A database that nobody has written to yet.
      if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'message'").get() === undefined) return [];
      const rows = db.prepare('SELECT base, wire FROM message').all() as { base: string; wire: number | null }[];
      const stale = rows.filter(({ base }) => !bases.has(base)).length;
      const other = rows.filter(({ base, wire }) => wire !== null && (sizeInName(base, 'W') ?? wire) !== wire).length;
      return [
        ...(stale > 0 ? wrong(`${stale} entries are about messages that are gone`, 'make it anew') : []),
        ...(other > 0 ? wrong(`${other} entries have another size than the file's name says`, 'make it anew') : []),
      ];
    } finally {
      db.close();
    }
  } catch (error) {
    // Another process writes, and will again be right afterwards.
    if (isBusy(error)) return [];
    return wrong(`it cannot be read: ${error instanceof Error ? error.message : String(error)}`, 'make it anew');
  }
}
