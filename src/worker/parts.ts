// Everything that the settings name, opened: tables, accounts, router, authenticator, delivery. A reload makes a new set and lets the old one
// go; what sessions hold on to (the store, the caches) is made once and stays.
import { Accounts } from '../auth/accounts.ts';
import { PasswdAuthenticator } from '../auth/authenticator.ts';
import type { Hashing } from '../auth/hashing.ts';
import { DEFAULT_THROTTLE, type LoginThrottle } from '../auth/throttle.ts';
import { openDomainList, type DomainList } from '../config/domain-list.ts';
import { openAliases, openTable, type OpenTable } from '../config/maps/table.ts';
import { networkMatcher } from '../config/networks.ts';
import type { Settings } from '../config/settings.ts';
import type { Intents } from '../delivery/intents.ts';
import { LocalDelivery } from '../delivery/local-delivery.ts';
import { AddressRouter } from '../delivery/router.ts';
import type { OutboundQueue } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { AccountStore, MailLocation } from '../storage/types.ts';

export interface PartsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly queue: OutboundQueue;
  /** Of all processes of the server; undefined when this is the only one. */
  readonly throttle?: LoginThrottle;
  readonly intents: Intents;
  readonly storeOf: (location: MailLocation) => AccountStore;
}

export class Parts {
  readonly settings: Settings;
  readonly accounts: Accounts;
  readonly authenticator: PasswdAuthenticator;
  readonly router: AddressRouter;
  readonly delivery: LocalDelivery;
  readonly isTrusted: (address: string) => boolean;
  readonly #open: { close(): void }[] = [];

  constructor(settings: Settings, deps: PartsDeps) {
    this.settings = settings;
    const { logger, clock } = deps;
    const tables = (specs: readonly string[], how: typeof openTable = openTable): OpenTable[] =>
      specs.map((spec) => this.#keep(how(spec, { logger, clock })));
    const domains = (entries: readonly string[]): DomainList => this.#keep(openDomainList(entries, { logger, clock }));
    const mailboxMaps = tables(settings.virtual_mailbox_maps);
    const { storage, messages } = settings.quota;
    this.accounts = new Accounts({
      maps: mailboxMaps,
      base: settings.virtual_mailbox_base,
      quota: { ...(storage > 0 ? { bytes: storage } : {}), ...(messages > 0 ? { messages } : {}) },
      logger,
    });
    this.authenticator = this.#keep(
      new PasswdAuthenticator({
        accounts: this.accounts,
        hashing: deps.hashing,
        mechanisms: settings.auth_mechanisms,
        plaintextNeedsTls: settings.disable_plaintext_auth,
        ...(settings.auth_default_realm === undefined ? {} : { realm: settings.auth_default_realm }),
        defaultScheme: settings.default_pass_scheme,
        hostname: settings.hostname,
        ...(deps.throttle ? { sharedThrottle: deps.throttle } : {}),
        throttle: { ...DEFAULT_THROTTLE, delay: settings.auth_failure_delay, limit: settings.auth_failure_limit },
        clock,
        logger,
      }),
    );
    this.router = new AddressRouter({
      hostname: settings.hostname,
      myDestination: domains(settings.mydestination),
      virtualMailboxDomains: domains(settings.virtual_mailbox_domains),
      virtualAliasDomains: domains(settings.virtual_alias_domains),
      virtualMailboxMaps: mailboxMaps,
      virtualAliasMaps: tables(settings.virtual_alias_maps),
      aliasMaps: tables(settings.alias_maps, openAliases),
      recipientDelimiter: settings.recipient_delimiter,
      ...(settings.postmaster === undefined ? {} : { postmaster: settings.postmaster }),
      expansionLimit: settings.virtual_alias_expansion_limit,
      recursionLimit: settings.virtual_alias_recursion_limit,
      logger,
    });
    this.delivery = new LocalDelivery({
      directory: this.accounts,
      storeOf: deps.storeOf,
      queue: deps.queue,
      intents: deps.intents,
      logger,
      now: () => clock.now(),
    });
    this.isTrusted = networkMatcher(settings.mynetworks);
  }

  #keep<T extends { close(): void }>(part: T): T {
    this.#open.push(part);
    return part;
  }
  close(): void {
    for (const part of this.#open) part.close();
  }
}
