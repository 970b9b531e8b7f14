// What the server's own queue is made of, from the settings: store, client, reports, signing. `outbound.ts` says when it begins and ends.
import { networkInterfaces } from 'node:os';
import type { Settings } from '../config/settings.ts';
import { systemResolver, type Resolver } from '../dns/resolver.ts';
import { createDeliveryAgent } from '../queue/client/agent.ts';
import { DEFAULT_CLIENT_LIMITS, type ClientLimits, type ClientOptions } from '../queue/client/options.ts';
import { openQueueStore } from '../queue/store/store.ts';
import { QueueThread } from '../queue/store/thread.ts';
import type { DeliveryAgent } from '../queue/types.ts';
import type { QueueContext, QueueParts } from './outbound.ts';

/** `resolver`: asked for MX records and addresses; the settings' servers without one. */
export function queueParts(context: QueueContext, resolver?: Resolver): QueueParts {
  const { parts, logger, clock } = context;
  const settings = (): Settings => parts().settings;
  let thread: QueueThread | undefined;
  // Made with the first job: the settings are not there yet.
  let agent: DeliveryAgent | undefined;
  return {
    warm: () => (thread ??= new QueueThread()).warm(),
    openStore: () =>
      openQueueStore({ directory: settings().queue_directory, logger, clock, ...(thread === undefined ? {} : { thread }) }),
    transports: { resolve: (recipient, sender) => parts().transports.resolve(recipient, sender) },
    agent: {
      deliver: (...job) => (agent ??= createDeliveryAgent(clientOptions(context, resolver))).deliver(...job),
      close: async () => agent?.close(),
    },
    reporter: { report: () => Promise.resolve() },
  };
}

/** As the settings are when each is asked for: a reload changes them. */
function clientOptions({ parts, logger, clock }: QueueContext, resolver: Resolver | undefined): ClientOptions {
  const settings = (): Settings => parts().settings;
  return {
    get limits() {
      return clientLimits(settings());
    },
    get hostname() {
      return settings().hostname;
    },
    get heloName() {
      return settings().smtp_helo_name ?? settings().hostname;
    },
    get resolver() {
      const { dns } = settings();
      return resolver ?? systemResolver({ servers: dns.servers, timeout: dns.timeout, clock });
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
    tlsPolicy: () => ({ level: settings().smtp_tls_security_level }),
    credentials: async (hop, sender) => {
      const found = await parts().credentials(hop, sender);
      return found && { user: found.user, password: found.pass };
    },
    bindAddress: async (sender, family) => {
      const { ipv4, ipv6 } = await parts().bindAddresses(sender);
      return family === 6 ? ipv6 : ipv4;
    },
  };
}

function clientLimits(settings: Settings): ClientLimits {
  const given = Object.keys(DEFAULT_CLIENT_LIMITS).filter((name) => name in settings);
  return { ...DEFAULT_CLIENT_LIMITS, ...Object.fromEntries(given.map((name) => [name, settings[name as keyof Settings]])) };
}

/** Mail that would come back here: an address that we listen on (inet_interfaces). Loopback is whoever listens there, on his own port. */
function isOwnAddress(address: string, { listeners }: Settings): boolean {
  const smtp = listeners.filter(({ protocol, port }) => protocol === 'smtp' && port === 25).map((listener) => listener.address);
  if (smtp.includes(address)) return true;
  const any = smtp.includes(address.includes(':') ? '::' : '0.0.0.0');
  return any && Object.values(networkInterfaces()).some((all) => all?.some((own) => own.address === address));
}
