// Addresses that could not be reached a moment ago. A host with several loses a connect time-out to each dead one again with every message; so those
// that are known for it stand behind the others of their preference. Nobody is left out because of it: they are tried when the others have failed.
import type { Clock } from '../../lib/clock.ts';
import type { Peer } from './connect.ts';

/** Beyond, those noted least lately are forgotten. */
const REMEMBERED = 5_000;

export class DeadAddresses {
  readonly #clock: Clock;
  readonly #forgetAfter: () => number;
  /** By address and port; when it was tried last. Least lately noted first. */
  readonly #noted = new Map<string, number>();

  /** `forgetAfter`: milliseconds; minimal_backoff_time, which is also how long the scheduler takes a whole destination for dead. */
  constructor(clock: Clock, forgetAfter: () => number) {
    this.#clock = clock;
    this.#forgetAfter = forgetAfter;
  }

  note({ at }: Peer): void {
    if (!('address' in at)) return;
    const key = keyOf(at.address, at.port);
    this.#noted.delete(key);
    this.#noted.set(key, this.#clock.now());
    const [oldest] = this.#noted.keys();
    if (oldest !== undefined && this.#noted.size > REMEMBERED) this.#noted.delete(oldest);
  }
  /** It answered. */
  forget({ at }: Peer): void {
    if ('address' in at) this.#noted.delete(keyOf(at.address, at.port));
  }

  has(address: string, port: number): boolean {
    const noted = this.#noted.get(keyOf(address, port));
    if (noted === undefined) return false;
    // A clock that was set back says nothing of its age.
    const age = this.#clock.now() - noted;
    return age >= 0 && age < this.#forgetAfter();
  }
}

const keyOf = (address: string, port: number): string => `${address} ${port}`;
