// What the server's own queue is made of, from the settings: store, client, reports, signing. `outbound.ts` says when it begins and ends.
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../config/settings.ts';
import { secureResolver, type SecureResolver } from '../dns/secure-resolver.ts';
import { systemResolver, type Resolver } from '../dns/resolver.ts';
import { toMailError } from '../lib/errors.ts';
import { DkimSigner } from '../policy/dkim-signer.ts';
import { createDeliveryAgent } from '../queue/client/agent.ts';
import { DEFAULT_CLIENT_LIMITS, type ClientLimits, type ClientOptions } from '../queue/client/options.ts';
import { loadBounceTemplates, makeReporter } from '../queue/dsn/from-settings.ts';
import type { DsnReporter, SendReport } from '../queue/dsn/reporter.ts';
import { prepareOutgoing, prepareSevenBit, type PrepareOptions } from '../queue/prepare.ts';
import { openQueueStore } from '../queue/store/store.ts';
import { QueueThread } from '../queue/store/thread.ts';
import { MtaStsDiscovery } from '../policy/mta-sts/discovery.ts';
import { outboundTls, rootsOf } from './outbound-tls.ts';
import type { DeliveryAgent, ReportedRecipient } from '../queue/types.ts';
import type { FullReporter, QueueContext, QueueParts } from './outbound.ts';
import type { Parts } from './parts.ts';
import { perSettings } from './per-settings.ts';
import { corruptNotice, ownMailSender } from './reports.ts';

/** `resolver`: asked for MX records and addresses; the settings' servers without one. */
export function queueParts(context: QueueContext, resolver?: Resolver): QueueParts {
  const { parts, logger, clock } = context;
  const settings = (): Settings => parts().settings;
  let thread: QueueThread | undefined;
  // Made with the first job: the settings are not there yet.
  let agent: DeliveryAgent | undefined;
  const send = ownMailSender({
    router: () => parts().router,
    accept: (message) => parts().delivery.accept(message),
    logger,
  });
  return {
    warm: () => (thread ??= new QueueThread()).warm(),
    openStore: async () => {
      await loadBounceTemplates(settings());
      const { queue_directory: directory } = settings();
      return openQueueStore({ directory, logger, clock, ...(thread === undefined ? {} : { thread }) });
    },
    transports: { resolve: (recipient, sender) => parts().transports.resolve(recipient, sender) },
    agent: {
      deliver: (...job) => (agent ??= createDeliveryAgent(clientOptions(context, resolver))).deliver(...job),
      close: async () => agent?.close(),
    },
    reporter: reporter(context, send),
    prepare: (message) => prepareOutgoing(message, prepareOptions(context)),
    onCorrupt: corruptNotice({ send, hostname: () => settings().hostname, clock, logger }),
  };
}

/** Made anew for each report: a reload changes what it says. */
function reporter({ parts, logger, clock }: QueueContext, send: SendReport): FullReporter {
  const made = async (): Promise<DsnReporter> => {
    const { settings, bounceLanguages } = parts();
    const templates = await loadBounceTemplates(settings).catch((error: unknown) => {
      logger.error('queue.templates.failed', { error: toMailError(error, 'bounce_template_file').message });
      return undefined;
    });
    return makeReporter(settings, {
      languages: bounceLanguages,
      ...(templates ? { templates } : {}),
      lifetime: (sender) => (sender === '' ? settings.bounce_queue_lifetime : settings.maximal_queue_lifetime),
      delayWarning: settings.delay_warning_time,
      send,
      clock,
      logger,
    });
  };
  return {
    report: async (message, recipients, source, delay) => {
      if (parts().settings.suppress_hard_bounces) await noteFailures(parts().suppression, recipients);
      return (await made()).report(message, recipients, source, delay);
    },
    trace: async (message, recipients, source) => (await made()).trace(message, recipients, source),
    reportStored: async (message) => {
      const { trace, recipients } = message.envelope;
      if (trace !== undefined || recipients.some(({ notify }) => notify?.includes('SUCCESS')))
        await (await made()).reportStored(message);
    },
  };
}

async function noteFailures(suppression: Parts['suppression'], recipients: readonly ReportedRecipient[]): Promise<void> {
  for (const { recipient, outcome } of recipients)
    if (outcome.kind === 'failed') await suppression.noteFailure(recipient.address, outcome.status, outcome.reason);
}

function prepareOptions({ parts, dkimKeys, logger, clock }: QueueContext): PrepareOptions {
  const signer = new DkimSigner({
    keys: {
      find: (domain, local) => dkimKeys()?.find(domain, local) ?? [],
      has: (domain, selector) => dkimKeys()?.has(domain, selector) ?? false,
    },
    now: () => clock.now(),
    logger,
  });
  return { signer, spoolFolder: join(parts().settings.data_directory, 'spool') };
}

/** As the settings are when each is asked for: a reload changes them. */
function clientOptions(context: QueueContext, resolver: Resolver | undefined): ClientOptions {
  const { parts, logger, clock } = context;
  const settings = (): Settings => parts().settings;
  const roots = rootsOf(settings);
  const currentResolver = (): Resolver => {
    const { dns } = settings();
    return resolver ?? systemResolver({ servers: dns.servers, timeout: dns.timeout, clock });
  };
  const policies = new MtaStsDiscovery({
    directory: join(settings().data_directory, 'mta-sts'),
    get resolver() {
      return currentResolver();
    },
    get allowPrivate() {
      return settings().smtp_mta_sts_private_addresses;
    },
    roots,
    clock,
    logger,
  });
  const dnssec: SecureResolver = {
    ask: (name, type) => {
      const { dnssec_resolver: place, dns } = settings();
      return secureResolver({ ...place, timeout: dns.timeout, clock }).ask(name, type);
    },
  };
  return {
    limits: perSettings(settings, clientLimits),
    get hostname() {
      return settings().hostname;
    },
    get heloName() {
      return settings().smtp_helo_name ?? settings().hostname;
    },
    get resolver() {
      return currentResolver();
    },
    clock,
    logger,
    random: Math.random,
    get protocols() {
      return settings().inet_protocols.map((name) => (name === 'ipv6' ? 6 : 4));
    },
    get smtp_address_preference() {
      return settings().smtp_address_preference;
    },
    smtp_balance_inet_protocols: true,
    isOwnAddress: (address) => isOwnAddress(address, settings()),
    smtp_skip_5xx_greeting: true,
    tlsPolicy: (site, host, signal) => outboundTls(parts(), { policies, dnssec, logger }, { site, host, signal }),
    roots,
    credentials: (...asked) => parts().credentials(...asked),
    bindAddress: async (sender, family) => {
      const { ipv4, ipv6 } = await parts().bindAddresses(sender);
      return family === 6 ? ipv6 : ipv4;
    },
    downgrade: (source) => prepareSevenBit(source, prepareOptions(context)),
  };
}

/** The client's limits have the settings' names; for its count of messages a connection 0 is none, for the setting it is no limit. */
export function clientLimits(settings: Settings): ClientLimits {
  const given = Object.keys(DEFAULT_CLIENT_LIMITS).filter((name) => name in settings);
  const limits = {
    ...DEFAULT_CLIENT_LIMITS,
    ...Object.fromEntries(given.map((name) => [name, settings[name as keyof Settings]])),
  };
  return { ...limits, smtp_connection_reuse_count_limit: settings.smtp_connection_reuse_count_limit || Infinity };
}

/** Mail that would come back here: an address that we listen on (inet_interfaces). Loopback is whoever listens there, on his own port. */
function isOwnAddress(address: string, { listeners }: Settings): boolean {
  const smtp = listeners.filter(({ protocol, port }) => protocol === 'smtp' && port === 25).map((listener) => listener.address);
  if (smtp.includes(address)) return true;
  const any = smtp.includes(address.includes(':') ? '::' : '0.0.0.0');
  return any && Object.values(networkInterfaces()).some((all) => all?.some((own) => own.address === address));
}
