// What is listened on: the setting's entries with their addresses and ports filled in.
import { isIPv4 } from 'node:net';
import { MAIL_PROTOCOLS, type PROTOCOLS } from './schema-network.ts';

type ListenerProtocol = (typeof PROTOCOLS)[number];

export interface Listener {
  readonly protocol: ListenerProtocol;
  /** An IP address. `::` stands for IPv6 only; IPv4 has its own entry. */
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
}

const PORTS: Record<ListenerProtocol, number> = {
  smtp: 25,
  submission: 587,
  submissions: 465,
  imap: 143,
  imaps: 993,
  http: 80,
  https: 443,
};

interface ListenerEntry {
  readonly protocol: ListenerProtocol;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

/** One listener for each entry and address; two on the same address and port are a problem. */
export function expandListeners(
  entries: readonly ListenerEntry[] | undefined,
  interfaces: readonly string[],
  protocols: readonly ('ipv4' | 'ipv6')[],
): { listeners: Listener[]; problems: { index: number; text: string }[] } {
  const listeners: Listener[] = [];
  const problems: { index: number; text: string }[] = [];
  const taken = new Set<string>();
  const all: readonly ListenerEntry[] = entries ?? MAIL_PROTOCOLS.map((protocol) => ({ protocol }));
  for (const [index, { protocol, address, port = PORTS[protocol] }] of all.entries()) {
    const addresses =
      address === undefined ? interfaces.filter((one) => protocols.includes(isIPv4(one) ? 'ipv4' : 'ipv6')) : [address];
    for (const one of addresses) {
      const place = `${one} port ${port}`;
      if (port !== 0 && taken.has(place))
        problems.push({ index, text: `${place} is taken by another listener; write another port or address` });
      taken.add(place);
      listeners.push({ protocol, address: one, port });
    }
  }
  return { listeners, problems };
}
