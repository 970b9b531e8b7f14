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
  /** Whom it is logged in as. */
  readonly user: string | undefined;
  /** The same for the destination, whichever host it is; undefined where a better host may be there next time. */
  readonly destination: string | undefined;
  /** Clock's time when it was opened. */
  readonly opened: number;
  /** Messages it has carried. */
  used: number;
}

interface Kept extends Line {
  /** Clock's time. */
  readonly since: number;
  readonly stopTimer: () => void;
}

/** Owns the sessions that are in it. */
export class ConnectionPool {
  readonly #limits: () => ClientLimits;
  readonly #clock: Clock;
  readonly #kept = new Set<Kept>();
  #closed = false;

  /** `limits`: as they are now; a reload changes them, also for what is kept already. */
  constructor(limits: () => ClientLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Names of the hosts that lines are kept to for this destination. */
  hostsOf(destination: string): ReadonlySet<string> {
    return new Set([...this.#kept].flatMap((line) => (line.destination === destination ? [line.peer.name] : [])));
  }
  /** A line that was kept for this destination, and that suits; the taker's from now on. */
  takeFor(destination: string, suits: (line: Line) => boolean): Line | undefined {
    return this.#take((line) => line.destination === destination && suits(line));
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
      if (!line.session.alive) continue;
      if (!this.#isWorn(line) && this.#clock.now() - line.since < this.#limits().smtp_connection_cache_time_limit) return line;
      line.session.quit();
    }
    return undefined;
  }

  /** Keeps a line, or says goodbye to it. */
  give(line: Line): void {
    const limits = this.#limits();
    if (this.#closed || this.#isWorn(line) || limits.smtp_connection_cache_time_limit === 0 || !line.session.alive)
      return line.session.quit();
    const kept: Kept = {
      ...line,
      since: this.#clock.now(),
      stopTimer: this.#clock.after(limits.smtp_connection_cache_time_limit, () => this.#drop(kept)),
    };
    this.#kept.add(kept);
    for (const oldest of this.#kept) {
      if (this.#kept.size <= limits.connection_cache_size) break;
      this.#drop(oldest);
    }
  }

  #isWorn({ used, opened }: Line): boolean {
    const { smtp_connection_reuse_count_limit: messages, smtp_connection_reuse_time_limit: time } = this.#limits();
    return used >= messages || this.#clock.now() - opened >= time;
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
