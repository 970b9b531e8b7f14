// Connections kept for the next message to the same destination or host (Postfix's scache).
import type { Clock } from '../../lib/clock.ts';
import type { Peer } from './connect.ts';
import type { ClientLimits } from './options.ts';
import type { SmtpSession } from './session.ts';

/** A session and what it was opened for. */
export interface Line {
  readonly session: SmtpSession;
  readonly peer: Peer;
  /** How the host is spoken to (TLS, log-in, bound address): equal text, same use. */
  readonly profile: string;
  /** The same for the destination, whichever host it is; undefined where a better host may be there next time. */
  readonly destination: string | undefined;
  /** Clock's time when it was opened. */
  readonly opened: number;
  /** Messages it has carried. */
  used: number;
}

interface Kept extends Line {
  readonly stopTimer: () => void;
}

/** Owns the sessions that are in it. */
export class ConnectionPool {
  readonly #limits: ClientLimits;
  readonly #clock: Clock;
  readonly #kept = new Set<Kept>();
  #closed = false;

  constructor(limits: ClientLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** A line that was kept for this destination; the taker's from now on. */
  takeFor(destination: string): Line | undefined {
    return this.#take((line) => line.destination === destination);
  }
  /** A line to this relay. */
  takeTo(relay: string, profile: string): Line | undefined {
    return this.#take((line) => line.peer.relay === relay && line.profile === profile);
  }
  #take(fits: (line: Line) => boolean): Line | undefined {
    // The one used last: the others may run out.
    for (const line of [...this.#kept].reverse()) {
      if (!fits(line)) continue;
      this.#forget(line);
      if (line.session.alive) return line;
    }
    return undefined;
  }

  /** Keeps a line, or says goodbye to it. */
  give(line: Line): void {
    const limits = this.#limits;
    const worn =
      line.used >= limits.smtp_connection_reuse_count_limit ||
      this.#clock.now() - line.opened >= limits.smtp_connection_reuse_time_limit;
    if (this.#closed || worn || limits.smtp_connection_cache_time_limit === 0 || !line.session.alive) return line.session.quit();
    const kept: Kept = {
      ...line,
      stopTimer: this.#clock.after(limits.smtp_connection_cache_time_limit, () => this.#drop(kept)),
    };
    this.#kept.add(kept);
    const [oldest] = this.#kept;
    if (oldest && this.#kept.size > limits.connection_cache_size) this.#drop(oldest);
  }

  #forget(line: Kept): void {
    line.stopTimer();
    this.#kept.delete(line);
  }
  #drop(line: Kept): void {
    this.#forget(line);
    line.session.quit();
  }

  /** Says QUIT to all; keeps none from now on. */
  close(): void {
    this.#closed = true;
    for (const line of this.#kept) this.#drop(line);
  }
}
