// What a run makes (daemons, accounting groups, folders) goes again however the run ends: by itself, by an error, or by Ctrl-C.

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

export class Teardown {
  readonly #stack = new AsyncDisposableStack();
  #ending: Promise<void> | undefined;
  /** The exit status of an interrupted run; undefined while nobody interrupts. */
  interrupted: number | undefined;

  /** Takes over the process's signals: each ends everything, then the process. */
  constructor() {
    for (const [signal, number] of Object.entries(SIGNALS)) process.on(signal, () => void this.#interrupt(signal, 128 + number));
  }

  async #interrupt(signal: string, status: number): Promise<void> {
    // A terminal's Ctrl-C comes twice under npm; while all is being taken down another one changes nothing.
    if (this.#ending) return;
    this.interrupted = status;
    console.error(`\n${signal}: stopping the servers and removing the folders`);
    await this.end();
    process.exit(status);
  }

  /** Disposes `resource` at the end, those that came later first. @throws ReferenceError when the end has begun */
  use<T extends AsyncDisposable>(resource: T): T {
    return this.#stack.use(resource);
  }
  defer(action: () => void | Promise<void>): void {
    this.#stack.defer(action);
  }

  /** Resolves when all is gone; what failed on the way is told, and stops nothing else. */
  end(): Promise<void> {
    this.#ending ??= this.#stack.disposeAsync().catch((error: unknown) => {
      console.error('not everything could be taken down:', error);
      process.exitCode = 1;
    });
    return this.#ending;
  }
}
