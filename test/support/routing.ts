// A router over tables given as objects.
import type { LookupTable } from '../../src/config/lookup.ts';
import { AddressRouter, type RouterOptions } from '../../src/delivery/router.ts';
import { captureLog, type LogEvent } from './log-capture.ts';

/** A table that remembers what it was asked. */
export function table(entries: Readonly<Record<string, string>>, whole = false): LookupTable & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    spec: 'inline:{}',
    whole,
    asked,
    get: async (key) => {
      asked.push(key);
      return Object.hasOwn(entries, key) ? entries[key] : undefined;
    },
    entries: async () => Object.entries(entries),
  };
}

export interface Routes {
  readonly mailboxes?: Readonly<Record<string, string>>;
  readonly virtual?: Readonly<Record<string, string>>;
  readonly aliases?: Readonly<Record<string, string>>;
  readonly options?: Partial<RouterOptions>;
}

const domains = (...names: string[]): { has: (domain: string) => Promise<boolean> } => ({
  has: async (domain) => names.includes(domain),
});

/** mail.example.test is the host (mydestination), example.test has mailboxes, alias.test only aliases. */
export function makeRouter({ mailboxes = {}, virtual = {}, aliases = {}, options = {} }: Routes): {
  router: AddressRouter;
  events: LogEvent[];
} {
  const { logger, events } = captureLog();
  const router = new AddressRouter({
    hostname: 'mail.example.test',
    myDestination: domains('mail.example.test', 'localhost'),
    virtualMailboxDomains: domains('example.test', 'otro.test'),
    virtualAliasDomains: domains('alias.test'),
    virtualMailboxMaps: [table(mailboxes)],
    virtualAliasMaps: [table(virtual)],
    aliasMaps: [table(aliases)],
    recipientDelimiter: '+',
    expansionLimit: 1000,
    recursionLimit: 1000,
    logger,
    ...options,
  });
  return { router, events };
}
