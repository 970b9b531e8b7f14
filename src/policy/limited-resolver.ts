// What one message may cost in DNS: a number of questions and a time for all of them together. Past either, everything asked is a temporary failure.
import type { Resolver } from '../dns/resolver.ts';
import type { Clock } from '../lib/clock.ts';
import { MailError } from '../lib/errors.ts';

export interface DnsBudget {
  /** Questions; the same one asked again is answered again, and does not count. */
  readonly queries: number;
  /** Milliseconds from now. */
  readonly timeout: number;
}

export interface LimitedResolver {
  readonly resolver: Resolver;
  /** Ends the waiting for time: to be called when nothing will be asked any more. */
  close(): void;
}

export function limitedResolver(inner: Resolver, { queries, timeout }: DnsBudget, clock: Clock): LimitedResolver {
  let left = queries;
  let stop = (): void => undefined;
  const late = new Promise<never>((_, reject) => {
    stop = clock.after(timeout, () => reject(temporary('DNS_TIMEOUT', `${timeout} ms for one message are over`)));
  });
  late.catch(() => undefined);
  const known = new Map<string, Promise<unknown>>();
  const ask = <T>(type: keyof Resolver, name: string, look: () => Promise<T>): Promise<T> => {
    const key = `${type} ${name.toLowerCase()}`;
    const before = known.get(key) as Promise<T> | undefined;
    if (before) return before;
    const answer =
      left-- > 0 ? Promise.race([look(), late]) : Promise.reject<T>(temporary('DNS_LIMIT', `over ${queries} for one message`));
    answer.catch(() => undefined);
    known.set(key, answer);
    return answer;
  };
  return {
    resolver: {
      mx: (name) => ask('mx', name, () => inner.mx(name)),
      a: (name) => ask('a', name, () => inner.a(name)),
      aaaa: (name) => ask('aaaa', name, () => inner.aaaa(name)),
      txt: (name) => ask('txt', name, () => inner.txt(name)),
      ptr: (address) => ask('ptr', address, () => inner.ptr(address)),
      exists: (name) => ask('exists', name, () => inner.exists(name)),
    },
    close: () => stop(),
  };
}

const temporary = (code: string, detail: string): MailError =>
  new MailError('temporary', code, 'Temporary DNS failure', { detail });
