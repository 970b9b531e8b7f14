// Reads what strace wrote (-f -y) and tells whether a message was on the disk before its 250. strace writes one line for each call, or two when
// another thread's came in between; a call began where its first line is and had its effect where its last is, so that A happened before B when
// A's last line stands above B's first.

export interface Call {
  readonly name: string;
  readonly args: string;
  /** Numbers of its first and its last line. */
  readonly start: number;
  readonly end: number;
  /** It succeeded. */
  readonly ok: boolean;
}

export function parseTrace(text: string): Call[] {
  const calls: Call[] = [];
  /** Thread → its call that has not returned. */
  const pending = new Map<string, { text: string; start: number }>();
  for (const [number, line] of text.split('\n').entries()) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (rest.endsWith(' <unfinished ...>')) {
      pending.set(thread, { text: rest.slice(0, -' <unfinished ...>'.length), start: number });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const begun = resumed ? pending.get(thread) : { text: '', start: number };
    if (resumed) pending.delete(thread);
    const call = begun && callOf(begun.text + (resumed?.[1] ?? rest), begun.start, number);
    if (call) calls.push(call);
  }
  return calls;
}

function callOf(text: string, start: number, end: number): Call | undefined {
  const name = /^(\w+)\(/.exec(text)?.[1];
  const result = text.lastIndexOf(' = ');
  // A signal, or the end of a process.
  if (name === undefined || result < 0) return undefined;
  return { name, args: text.slice(name.length + 1, result), start, end, ok: /^\d/.test(text.slice(result + 3)) };
}

const WRITES = new Set(['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'sendto', 'sendmsg']);
const RENAMES = new Set(['rename', 'renameat', 'renameat2', 'link', 'linkat']);
const REMOVALS = new Set(['unlink', 'unlinkat', 'remove']);
const SYNCS = new Set(['fsync', 'fdatasync']);

/** The file that a call's first argument is open on (-y). */
const fileOf = ({ args }: Call): string => /^\d+<([^>]*)>/.exec(args)?.[1] ?? '';
const namesIn = ({ args }: Call): string[] => [...args.matchAll(/"([^"]*)"/g)].map(([, name = '']) => name);
const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
/** Infinity when there is none. */
const lastOf = (calls: readonly Call[]): number => (calls.length === 0 ? Infinity : Math.max(...calls.map(({ end }) => end)));

export interface Sent {
  /** Envelope sender, which nobody else has. */
  readonly sender: string;
  /** What the 250 called it. */
  readonly id: string;
}

/** What was seen of one message; each is a property of the order of calls, false also when a call is missing altogether. */
export interface StoredOrder {
  /** The file in the mailbox: synced behind its last write and before the rename that shows it. */
  readonly fileSynced: boolean;
  /** The folder it was renamed into: synced behind the rename. */
  readonly folderSynced: boolean;
}

export class Trace {
  readonly #writes: Call[];
  readonly #renames: Call[];
  readonly #removals: Call[];
  readonly #syncs: Call[];

  constructor(calls: readonly Call[]) {
    const of = (names: ReadonlySet<string>): Call[] => calls.filter(({ name, ok }) => ok && names.has(name));
    this.#writes = calls.filter(({ name }) => WRITES.has(name));
    this.#renames = of(RENAMES);
    this.#removals = of(REMOVALS);
    this.#syncs = of(SYNCS);
  }

  /** Line at which the 250 for a message began to be written; 0 when there is not exactly one. */
  #reply(id: string): number {
    const replies = this.#writes.filter(
      (call) => fileOf(call).startsWith('socket:') && call.args.includes(`: queued as ${id}\\r\\n`),
    );
    return replies.length === 1 ? (replies[0]?.start ?? 0) : 0;
  }

  /** First successful sync of a file that began behind line `after`; Infinity when there is none. */
  #synced(path: string, after: number): number {
    const ends = this.#syncs.filter((call) => call.start > after && fileOf(call) === path).map(({ end }) => end);
    return Math.min(Infinity, ...ends);
  }

  /** The message's way into the mailbox, all before line `until`. */
  #stored({ sender }: Sent, until: number): StoredOrder & { readonly shown: number } {
    const nowhere = { fileSynced: false, folderSynced: false, shown: Infinity };
    const first = this.#writes.find((call) => call.args.includes(`Return-Path: <${sender}>`));
    const path = first ? fileOf(first) : '';
    if (!first || !folderOf(path).endsWith('/tmp')) return nowhere;
    // virtual(8) uses a name under tmp/ again, once its file has another.
    const rename = this.#renames.find((call) => call.start > first.start && baseOf(namesIn(call)[0] ?? '') === baseOf(path));
    const target = rename && namesIn(rename)[1];
    if (!rename || target === undefined) return nowhere;
    const writes = this.#writes.filter(
      (call) =>
        (fileOf(call) === path && call.start >= first.start && call.start < rename.end) ||
        baseOf(fileOf(call)) === baseOf(target),
    );
    const synced = this.#synced(path, lastOf(writes));
    // A daemon may name it from where it stands; the folder beside tmp/ is meant.
    const folder = `${folderOf(folderOf(path))}/${baseOf(folderOf(target))}`;
    const before = rename.end < until;
    return {
      fileSynced: before && synced < rename.start,
      folderSynced: before && this.#synced(folder, rename.end) < until,
      shown: rename.end,
    };
  }

  /** A server whose 250 means: in the mailbox. */
  delivered(sent: Sent): StoredOrder {
    const { fileSynced, folderSynced } = this.#stored(sent, this.#reply(sent.id));
    return { fileSynced, folderSynced };
  }

  /** A server whose 250 means: in the queue. */
  queued(sent: Sent): StoredOrder & {
    /** The same of the mailbox, where no 250 waits for it. */
    readonly mailboxFileSynced: boolean;
    readonly mailboxFolderSynced: boolean;
    /** The queue file was removed only when the mailbox's file was synced and shown. */
    readonly removedAfter: boolean;
  } {
    const reply = this.#reply(sent.id);
    const incoming = this.#writes.filter((call) => fileOf(call).endsWith(`/incoming/${sent.id}`));
    const path = incoming[0] ? fileOf(incoming[0]) : '';
    const mailbox = this.#stored(sent, Infinity);
    const removal = this.#removals.find((call) => baseOf(namesIn(call)[0] ?? '') === sent.id);
    return {
      fileSynced: this.#synced(path, lastOf(incoming)) < reply,
      folderSynced: this.#synced(folderOf(path), incoming[0]?.start ?? Infinity) < reply,
      mailboxFileSynced: mailbox.fileSynced,
      mailboxFolderSynced: mailbox.folderSynced,
      removedAfter: removal !== undefined && mailbox.fileSynced && mailbox.shown < removal.start,
    };
  }
}
