// Who comes next at a destination: start-time fair queueing. Each party (a log-in, or a sender) takes its recipients there in chunks, and each chunk gets a turn: the turn that
// is being served now, or the one behind the party's own last one, whichever is later. So 10,000 letters of one party have 10,000 turns in a row, and the
// letter of another comes next. Turns are given whenever recipients become ready; those that are not ready have none that counts.
import type { QueueDatabase } from './database.ts';

/** Recipients of one message that share a turn: as many as one transaction commonly takes. */
export const CHUNK = 50;

/**
 * Whose turn a message takes: its log-in, else its sender without extension. Senders that differ for each recipient (VERP, SRS) count by their domain: a
 * mailing list is one party.
 */
export function partyOf(sender: string, account: string | undefined): string {
  if (account !== undefined) return account.toLowerCase();
  const at = sender.includes('@') ? sender.lastIndexOf('@') : sender.length;
  const local = sender.slice(0, at);
  const domain = sender.slice(at).toLowerCase();
  return local.includes('=') ? domain : local.replace(/\+.*$/s, '').toLowerCase() + domain;
}

/** Gives turns within one transaction. */
export class Turns {
  readonly #db: QueueDatabase;
  /** Destination → the turn served now. */
  readonly #current = new Map<string, number>();
  /** Destination and party → its last turn. */
  readonly #last = new Map<string, number>();
  readonly #chunks = new Map<string, { turn: number; left: number }>();

  constructor(db: QueueDatabase) {
    this.#db = db;
  }

  /** The turn of one more recipient that becomes ready. */
  next(message: number, destination: string, party: string): number {
    const key = `${message}\n${destination}`;
    let chunk = this.#chunks.get(key);
    if (!chunk || chunk.left === 0) {
      chunk = { turn: this.#take(destination, party), left: CHUNK };
      this.#chunks.set(key, chunk);
    }
    chunk.left--;
    return chunk.turn;
  }

  #take(destination: string, party: string): number {
    const key = `${destination}\n${party}`;
    const last =
      this.#last.get(key) ??
      this.#one(
        `SELECT turn FROM recipient INDEXED BY recipient_party WHERE state = 'ready' AND (destination, party) >= (?, ?) AND (destination, party) <= (?, ?) ORDER BY destination DESC, party DESC, turn DESC LIMIT 1`,
        destination,
        party,
        destination,
        party,
      ) ??
      -1;
    let current = this.#current.get(destination);
    if (current === undefined) {
      current =
        this.#one(
          `SELECT turn FROM recipient INDEXED BY recipient_turn WHERE state = 'ready' AND destination BETWEEN ? AND ? ORDER BY destination, turn LIMIT 1`,
          destination,
          destination,
        ) ?? 0;
      this.#current.set(destination, current);
    }
    const turn = Math.max(current, last + 1);
    this.#last.set(key, turn);
    return turn;
  }
  #one(sql: string, ...values: string[]): number | undefined {
    return this.#db.get<{ turn: number | null }>(sql, ...values)?.turn ?? undefined;
  }
}
