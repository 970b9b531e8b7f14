// What every command of `buzon …` is: one file a command in this folder, listed in main.ts.

/** A terminal that is drawn on. */
export interface Terminal {
  size(): { readonly columns: number; readonly rows: number };
  /** Calls `listener` with what is typed, which does not appear meanwhile; Ctrl-C is typed too. The returned function ends that. */
  keys(listener: (typed: string) => void): () => void;
}

/** Where a command reads and writes: injected, so that tests need no process of their own. */
export interface CommandIo {
  /** Text, or bytes as they are. */
  out(text: string | Uint8Array): void;
  err(text: string): void;
  readonly stdin: AsyncIterable<Buffer>;
  /** Asks for a secret without showing it. Only where standard input is a terminal. */
  readonly askSecret?: (prompt: string) => Promise<string>;
  /** Whether nobody reads what is written any more (`… | head`): then a long listing may end. Only where that can be known. */
  readonly closed?: () => boolean;
  /** From now on the process ends when nobody reads what is written any more, unless `closed` is asked. */
  readonly endWithReader?: () => void;
  /** Only where standard input and output are a terminal. */
  readonly terminal?: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export interface Command {
  readonly name: string;
  /** One line for `buzon help`. */
  readonly summary: string;
  /** Shown for `--help` and after wrong arguments. */
  readonly usage: string;
  /** Another command that these arguments mean (`sendmail -bp` is mailq): it runs instead. */
  instead?(args: readonly string[]): readonly string[] | undefined;
  /** Gives the exit status: 0 done, 1 a refusal or fault that has been said on `err`, 2 wrong arguments. */
  run(args: readonly string[], io: CommandIo): Promise<number>;
}
