// Failed log-ins by address: IPv4 whole, IPv6 by /64. Every failure makes the next answer slower, too many end the connection; an address
// from which somebody has just logged in is never locked out. The table is bounded: the oldest are forgotten first.
import { isIPv6 } from 'node:net';
import { ipv6Bytes, unmapped } from '../config/networks.ts';

export interface ThrottleOptions {
  /** Milliseconds that the first failure's answer waits; each further one twice as long, up to `maxDelay`. 0 for none. */
  readonly delay: number;
  readonly maxDelay: number;
  /** Failures after which the address is sent away. */
  readonly limit: number;
  /** Milliseconds after which failures are forgotten. */
  readonly forget: number;
  readonly now: () => number;
}

/** What a log-in asks; another process may keep the table, then the answers are promises. */
export interface LoginThrottle {
  isBlocked(address: string): boolean | Promise<boolean>;
  /** Notes a failure; gives the milliseconds that its answer is to take. */
  failed(address: string): number | Promise<number>;
  succeeded(address: string): void;
}

export const DEFAULT_THROTTLE = { delay: 2_000, maxDelay: 15_000, limit: 10, forget: 900_000 } as const;

/** Addresses remembered. */
const MAX_BLOCKS = 50_000;

interface Block {
  failures: number;
  lastFailure: number;
  lastSuccess: number;
}

export class Throttle implements LoginThrottle {
  readonly #o: ThrottleOptions;
  #blocks = new Map<string, Block>();

  constructor(options: ThrottleOptions) {
    this.#o = options;
  }

  #block(address: string): Block | undefined {
    const block = this.#blocks.get(blockOf(address));
    const age = block ? this.#o.now() - Math.max(block.lastFailure, block.lastSuccess) : 0;
    // A clock that was put back must not lock anybody out for longer.
    if (age > this.#o.forget || age < 0) {
      this.#blocks.delete(blockOf(address));
      return undefined;
    }
    return block;
  }

  /** Takes over what another knows of addresses. */
  inherit(other: Throttle): void {
    this.#blocks = other.#blocks;
  }

  /** Too many failures, and no success lately. */
  isBlocked(address: string): boolean {
    const block = this.#block(address);
    return block !== undefined && block.failures >= this.#o.limit && !this.#recentlyGood(block);
  }
  #recentlyGood(block: Block): boolean {
    return block.lastSuccess > 0 && this.#o.now() - block.lastSuccess < this.#o.forget;
  }

  /** Notes a failure; gives the milliseconds that its answer is to take. */
  failed(address: string): number {
    const key = blockOf(address);
    const block = this.#block(address) ?? { failures: 0, lastFailure: 0, lastSuccess: 0 };
    block.failures++;
    block.lastFailure = this.#o.now();
    this.#blocks.delete(key);
    this.#blocks.set(key, block);
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= MAX_BLOCKS) break;
      this.#blocks.delete(oldest);
    }
    return Math.min(this.#o.delay * 2 ** Math.min(block.failures - 1, 20), this.#o.maxDelay);
  }

  succeeded(address: string): void {
    const key = blockOf(address);
    this.#blocks.delete(key);
    this.#blocks.set(key, { failures: 0, lastFailure: 0, lastSuccess: this.#o.now() });
  }
}

/** `192.0.2.1`, or the /64 of an IPv6 address. */
export function blockOf(address: string): string {
  const plain = unmapped(address);
  if (!isIPv6(plain)) return plain;
  return `${Buffer.from(ipv6Bytes(plain).slice(0, 8)).toString('hex')}::/64`;
}
