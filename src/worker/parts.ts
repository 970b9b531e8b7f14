// Everything that the settings name, opened: tables, accounts, router, authenticator, delivery. A reload makes a new set and lets the old one
// go; what sessions hold on to (the store, the caches) is made once and stays.
import { join } from 'node:path';
import { Accounts } from '../auth/accounts.ts';
import { PasswdAuthenticator } from '../auth/authenticator.ts';
import type { Hashing } from '../auth/hashing.ts';
import { DEFAULT_THROTTLE, type LoginThrottle } from '../auth/throttle.ts';
import { readPemFile, type PemFile } from '../config/certificates.ts';
import { openDomainList, type DomainList } from '../config/domain-list.ts';
import type { LookupTable } from '../config/lookup.ts';
import { openAliases, openTable, type OpenTable } from '../config/maps/table.ts';
import { networkMatcher } from '../config/networks.ts';
import { LOCAL_USERS } from '../config/schema-routing.ts';
import type { Settings } from '../config/settings.ts';
import type { Intents } from '../delivery/intents.ts';
import { withCopies } from '../delivery/copies.ts';
import { domainClasses, type DomainLists } from '../delivery/domain-class.ts';
import type { SenderRewriting } from '../delivery/forwarding.ts';
import { LocalDelivery } from '../delivery/local-delivery.ts';
import { AddressRouter } from '../delivery/router.ts';
import { suppressionFile, SuppressionList } from '../delivery/suppression.ts';
import type { AcceptMessage, OutboundQueue } from '../delivery/types.ts';
import { SendCounts } from '../delivery/send-counts.ts';
import { SendLimits } from '../delivery/send-limits.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { bindAddressFinder, type FindBindAddresses } from '../queue/bind-address.ts';
import { credentialsFinder, secretTable, secretTablePath, type FindCredentials } from '../queue/credentials.ts';
import { tlsDefaults, tlsPolicyFinder, type FindTlsPolicy } from '../queue/tls-policy.ts';
import { TransportTable } from '../queue/transports.ts';
import type { AccountStore, MailLocation } from '../storage/types.ts';

export interface PartsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly queue: OutboundQueue;
  /** Reads files with passwords that only root may; without it they are opened. */
  readonly readPem?: (path: string) => Promise<PemFile>;
  /** For mail that aliases send outside; without it their senders stay as they are. */
  readonly srs?: SenderRewriting;
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
  /** Takes what clients send: with the copies that the settings add. Reports of our own go to `delivery` itself. */
  readonly accept: AcceptMessage;
  readonly transports: TransportTable;
  /** For the client: log-ins at next hops, and addresses to send from. */
  readonly credentials: FindCredentials;
  readonly bindAddresses: FindBindAddresses;
  /** Whether a domain is a virtual one, with mailboxes or aliases. @throws MailError temporary when a table cannot be read */
  readonly isVirtual: (domain: string) => Promise<boolean>;
  /** smtp_tls_policy_maps. */
  readonly tlsPolicy: FindTlsPolicy;
  readonly suppression: SuppressionList;
  /** bounce_languages. */
  readonly bounceLanguages: readonly OpenTable[];
  readonly sendLimits: SendLimits;
  readonly isTrusted: (address: string) => boolean;
  /** http_proxy_networks. */
  readonly isProxy: (address: string) => boolean;
  readonly #open: { close(): void }[] = [];

  constructor(settings: Settings, deps: PartsDeps) {
    this.settings = settings;
    const { logger, clock, srs } = deps;
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
    const lists: DomainLists = {
      myDestination: domains(settings.mydestination),
      virtualMailboxDomains: domains(settings.virtual_mailbox_domains),
      virtualAliasDomains: domains(settings.virtual_alias_domains),
      relayDomains: domains(settings.relay_domains),
    };
    const classOf = domainClasses(lists);
    this.isVirtual = async (domain) => ['mailbox', 'alias'].includes(await classOf(domain));
    const recipientDelimiter = settings.recipient_delimiter;
    this.transports = new TransportTable({
      classOf,
      transportMaps: tables(settings.transport_maps),
      senderDependentRelayhostMaps: tables(settings.sender_dependent_relayhost_maps),
      senderDependentDefaultTransportMaps: tables(settings.sender_dependent_default_transport_maps),
      relayhost: settings.relayhost,
      defaultTransport: settings.default_transport,
      relayTransport: settings.relay_transport,
      virtualTransport: settings.virtual_transport,
      returnsMail: (address) => this.router.returnsMail(address),
      recipientDelimiter,
      logger,
    });
    this.credentials = credentialsFinder({
      maps: settings.smtp_sasl_password_maps.map((spec) => {
        const path = secretTablePath(spec);
        if (path !== undefined) return secretTable(path, deps.readPem ?? readPemFile, () => clock.now());
        return this.#keep(openTable(spec, { logger, clock }));
      }),
      senderDependent: settings.smtp_sender_dependent_authentication,
      recipientDelimiter,
    });
    this.bindAddresses = bindAddressFinder(tables(settings.smtp_bind_address_maps), {
      ...(settings.smtp_bind_address === undefined ? {} : { ipv4: settings.smtp_bind_address }),
      ...(settings.smtp_bind_address6 === undefined ? {} : { ipv6: settings.smtp_bind_address6 }),
    });
    this.tlsPolicy = tlsPolicyFinder({
      maps: tables(settings.smtp_tls_policy_maps),
      defaults: tlsDefaults(settings),
      logger,
    });
    this.bounceLanguages = tables(settings.bounce_languages);
    this.suppression = new SuppressionList({
      file: suppressionFile(settings),
      maps: tables(settings.suppression_maps),
      recipientDelimiter,
      now: () => clock.now(),
    });
    const aliasMaps = tables(settings.alias_maps, openAliases);
    this.router = new AddressRouter({
      ...lists,
      hostname: settings.hostname,
      virtualMailboxMaps: mailboxMaps,
      virtualAliasMaps: tables(settings.virtual_alias_maps),
      aliasMaps,
      ...this.#localRecipients(aliasMaps, tables),
      relayRecipientMaps: tables(settings.relay_recipient_maps),
      senderLoginMaps: tables(settings.smtpd_sender_login_maps),
      transport: (address) => this.transports.handling(address),
      ...(srs ? { originalSender: (address: string) => srs.original(address) } : {}),
      suppressed: (address) => this.suppression.find(address),
      recipientDelimiter,
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
      ...(srs ? { forwardSender: (sender: string) => this.#forwardSender(sender, srs) } : {}),
      verpDelimiters: settings.default_verp_delimiters,
      logger,
      now: () => clock.now(),
    });
    this.accept = withCopies(this.delivery.accept, {
      router: this.router,
      classOf,
      checkMailbox: (address) => this.delivery.checkMailbox(address),
      ...(settings.always_bcc === undefined ? {} : { alwaysBcc: settings.always_bcc }),
      senderBccMaps: tables(settings.sender_bcc_maps),
      recipientBccMaps: tables(settings.recipient_bcc_maps),
      recipientDelimiter,
      logger,
    });
    this.sendLimits = new SendLimits({
      counts: this.#keep(new SendCounts(join(settings.data_directory, 'send-counts.sqlite'), () => clock.now())),
      limits: settings.account_send_limits,
      maps: tables(settings.account_send_limit_maps),
      logger,
    });
    this.isTrusted = networkMatcher(settings.mynetworks);
    this.isProxy = networkMatcher(settings.http_proxy_networks);
  }

  /** Nothing where local_recipient_maps name what alias_maps do, as their default does. */
  #localRecipients(
    aliasMaps: readonly OpenTable[],
    tables: (specs: readonly string[]) => readonly OpenTable[],
  ): { localRecipientMaps?: readonly LookupTable[] } {
    const { local_recipient_maps: specs, alias_maps: aliases } = this.settings;
    const isUsual = (spec: string): boolean => spec === LOCAL_USERS || aliases.includes(spec);
    if (specs.length > 0 && specs.every(isUsual)) return {};
    // Users of this host have their mail where alias_maps say, and no other.
    return { localRecipientMaps: [...(specs.some(isUsual) ? aliasMaps : []), ...tables(specs.filter((spec) => !isUsual(spec)))] };
  }

  /** Our own domains' senders are ours to use. */
  async #forwardSender(sender: string, srs: SenderRewriting): Promise<string> {
    return (await this.router.isLocalDomain(sender.slice(sender.lastIndexOf('@') + 1).toLowerCase()))
      ? sender
      : srs.forward(sender);
  }

  #keep<T extends { close(): void }>(part: T): T {
    this.#open.push(part);
    return part;
  }
  close(): void {
    for (const part of this.#open) part.close();
  }
}
