// Next hops as text: transport(5)'s `transport:nexthop`, in one canonical form that also names the destination in the queue.
import { isIP } from 'node:net';
import type { InetHop, NextHop } from './types.ts';

const DEFAULT_PORT = { smtp: 25, lmtp: 24 } as const;

/** A next hop that cannot be; the message says what would be right. */
export class NextHopError extends Error {}

/**
 * `smtp:example.com`, `smtp:[host]:port`, `relay:…` (as smtp), `lmtp:unix:/path`, `lmtp:host:port`, `lmtp:inet:host:port`, `discard:text`,
 * `hold:text`, `error:5.x.x text`, `retry:4.x.x text`; a next hop without a transport (`[host]:port`, as in relayhost) is smtp's. For smtp and lmtp
 * several next hops with commas or blanks between are a list (smtp(8), since Postfix 3.5; as there, a unix socket is none of it). `domain` stands in for an empty next hop (`smtp:`).
 * @throws NextHopError
 */
export function parseNextHop(text: string, domain = ''): NextHop {
  const trimmed = text.trim();
  const [, transport = 'smtp', rest = trimmed] = /^([a-z][a-z0-9_-]*):(.*)$/is.exec(trimmed) ?? [];
  switch (transport.toLowerCase()) {
    case 'smtp':
    case 'relay':
      return hosts('smtp', rest, domain);
    case 'lmtp':
      if (!rest.startsWith('unix:')) return hosts('lmtp', rest, domain);
      if (rest.startsWith('unix:/')) return { kind: 'lmtp-unix', path: rest.slice('unix:'.length) };
      throw new NextHopError(`"${trimmed}": the path of the socket must be absolute, as in lmtp:unix:/run/dovecot/lmtp`);
    case 'discard':
    case 'hold':
      return { kind: transport.toLowerCase() as 'discard' | 'hold', reason: rest.trim() };
    case 'error':
    case 'retry':
      return failing(rest.trim(), transport.toLowerCase() === 'retry' ? '4.0.0' : '5.0.0');
    default:
      // `example.com:2525` without a transport looks the same as one.
      if (/^\d{1,5}(?:[\s,]|$)/.test(rest)) return hosts('smtp', trimmed, domain);
      throw new NextHopError(
        `"${trimmed}": there is no transport "${transport}"; smtp, lmtp, relay, discard, hold, error and retry are`,
      );
  }
}

function failing(text: string, fallback: string): NextHop {
  const [, status, reason] = /^([45]\.\d{1,3}\.\d{1,3})(?:\s+(.*))?$/s.exec(text) ?? [];
  return {
    kind: 'error',
    status: status ?? fallback,
    reason: (status === undefined ? text : reason) ?? 'mail for this address is not delivered',
  };
}

function hosts(kind: 'smtp' | 'lmtp', text: string, domain: string): NextHop {
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== '');
  if (entries.length === 0 && text.includes(',')) throw new NextHopError(`"${text}" names no next hop between its commas`);
  const [first = inet(kind, '', domain), ...more] = entries.map((entry) => inet(kind, entry, domain));
  // One that stands there twice is tried once.
  const others = [...new Map(more.map((hop) => [formatNextHop(hop), hop])).values()];
  const hops = [first, ...others.filter((hop) => formatNextHop(hop) !== formatNextHop(first))];
  return hops.length === 1 ? first : { kind: 'list', hops };
}

function inet(kind: 'smtp' | 'lmtp', given: string, domain: string): InetHop {
  const text = kind === 'lmtp' ? given.replace(/^inet:/, '') : given;
  const match = /^(?:\[([^\]\s]+)\]|([^\s:[\]]*))(?::(\d{1,5}|smtp|submission|lmtp))?$/i.exec(text);
  const [, bracketed, bare, port] = match ?? [];
  const host = (bracketed?.replace(/^ipv6:/i, '') ?? bare ?? '').toLowerCase().replace(/\.$/, '') || domain;
  const number = portOf(port?.toLowerCase(), DEFAULT_PORT[kind]);
  if (!match || host === '' || number === undefined || (isIP(host) === 0 && !/^[a-z0-9._\u0080-\uffff-]+$/i.test(host)))
    throw new NextHopError(`"${text}" is no next hop; example.com, [mail.example.com]:587 or [192.0.2.1] are`);
  return { kind, host, port: number, mx: kind === 'smtp' && bracketed === undefined && isIP(host) === 0 };
}

function portOf(text: string | undefined, fallback: number): number | undefined {
  if (text === undefined) return fallback;
  const named = { smtp: 25, submission: 587, lmtp: 24 }[text];
  const port = named ?? Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** The canonical text: equal for equal next hops, read back by parseNextHop. */
export function formatNextHop(hop: NextHop): string {
  switch (hop.kind) {
    case 'smtp':
    case 'lmtp': {
      const host = hop.mx || (hop.kind === 'lmtp' && isIP(hop.host) !== 6) ? hop.host : `[${hop.host}]`;
      return `${hop.kind}:${host}${hop.port === DEFAULT_PORT[hop.kind] ? '' : `:${hop.port}`}`;
    }
    case 'list': {
      const [first, ...more] = hop.hops.map(formatNextHop);
      return [first, ...more.map((text) => text.slice(text.indexOf(':') + 1))].join(', ');
    }
    case 'lmtp-unix':
      return `lmtp:unix:${hop.path}`;
    case 'discard':
    case 'hold':
      return `${hop.kind}:${hop.reason}`;
    case 'error':
      return `error:${hop.status} ${hop.reason}`;
  }
}
