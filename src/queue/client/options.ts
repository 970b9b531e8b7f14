// What the client is told of the house: limits with Postfix's names, and the questions it asks.
import type { SecureContextOptions, SecureVersion } from 'node:tls';
import type { Resolver } from '../../dns/resolver.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/logger.ts';
import type { MessageSource } from '../../message/source.ts';
import type { Tlsa } from '../../policy/dane/tlsa.ts';
import type { Credentials } from '../credentials.ts';
import type { InetHop, NextHop } from '../types.ts';
import type { SessionTimeouts } from './session.ts';

/** Times in milliseconds. */
export interface ClientLimits extends SessionTimeouts {
  readonly smtp_connect_timeout: number;
  /** Addresses that one delivery tries, and sessions that it has. */
  readonly smtp_mx_address_limit: number;
  readonly smtp_mx_session_limit: number;
  /** How long a connection waits for the next message, and how many it carries; 0 keeps none. */
  readonly smtp_connection_cache_time_limit: number;
  readonly smtp_connection_reuse_count_limit: number;
  /** How long a connection lives at most. */
  readonly smtp_connection_reuse_time_limit: number;
  /** Connections that wait, in all. */
  readonly connection_cache_size: number;
  /** A delivery ends after this long, and so much longer as the message takes at smtp_min_data_rate (bytes a second). */
  readonly delivery_deadline: number;
  readonly smtp_min_data_rate: number;
  /** How long an address at which nobody answered stands behind others. */
  readonly minimal_backoff_time: number;
}

/** Postfix's own, but for connection_cache_size and delivery_deadline, which it lacks. */
export const DEFAULT_CLIENT_LIMITS: ClientLimits = {
  smtp_connect_timeout: 30_000,
  smtp_helo_timeout: 300_000,
  smtp_starttls_timeout: 300_000,
  smtp_mail_timeout: 300_000,
  smtp_rcpt_timeout: 300_000,
  smtp_data_init_timeout: 120_000,
  smtp_data_xfer_timeout: 180_000,
  smtp_data_done_timeout: 600_000,
  smtp_rset_timeout: 20_000,
  smtp_mx_address_limit: 5,
  smtp_mx_session_limit: 2,
  smtp_connection_cache_time_limit: 2_000,
  smtp_connection_reuse_count_limit: 100,
  smtp_connection_reuse_time_limit: 300_000,
  connection_cache_size: 200,
  delivery_deadline: 3_600_000,
  smtp_min_data_rate: 500,
  minimal_backoff_time: 300_000,
};

export type TlsLevel = 'none' | 'may' | 'encrypt' | 'dane' | 'fingerprint' | 'verify' | 'secure';

/**
 * How a host must be spoken to: `verify` wants the host's name in a certificate that a root vouches for, `secure` the destination's (or `names`),
 * `fingerprint` one of the certificates or keys that are listed, whoever signed it, `dane` one that the host’s TLSA records name.
 */
export interface TlsRules {
  readonly level: TlsLevel;
  /**
   * smtp_tls_verify_cert_match, smtp_tls_secure_cert_match: names of which the certificate must have one. `hostname`, `nexthop`, `dot-nexthop` stand
   * for what they say; a leading dot takes any name below.
   */
  readonly names?: readonly string[];
  /** Of certificates or public keys: lower-case hex digits. */
  readonly fingerprints?: readonly string[];
  /** With `dane`: the host's records, and the name that TLS asks for. */
  readonly tlsa?: readonly Tlsa[];
  readonly tlsaBase?: string;
  /** smtp_tls_fingerprint_digest. */
  readonly digest?: string;
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
  /** OpenSSL's list of cipher suites up to TLS 1.2. */
  readonly ciphers?: string;
  /** An MTA-STS policy that is only tried out: what keeps it from being met before TLS is looked at, or empty. It is logged, nothing else. */
  readonly testing?: string;
}

/** The host is not spoken to at all; mail for it waits. */
export interface TlsRefusal {
  readonly level: 'refused';
  readonly status: string;
  readonly reason: string;
}
export type TlsPolicy = TlsRules | TlsRefusal;

export interface ClientOptions {
  /** As they are now: a reload changes them. */
  readonly limits: () => ClientLimits;
  /** smtp_helo_name; also what an MX record that leads back here says. */
  readonly hostname: string;
  /** smtp_helo_name where it differs. */
  readonly heloName?: string;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly logger: Logger;
  /** From 0 up to (not including) 1. */
  readonly random: () => number;
  /** inet_protocols. */
  readonly protocols: readonly (4 | 6)[];
  readonly smtp_address_preference: 'any' | 'ipv4' | 'ipv6';
  readonly smtp_balance_inet_protocols: boolean;
  /** Whether the server itself has this address (inet_interfaces, proxy_interfaces). */
  readonly isOwnAddress: (address: string) => boolean;
  /** smtp_skip_5xx_greeting: such a host is passed over, not believed. */
  readonly smtp_skip_5xx_greeting: boolean;
  /** `site` is the next hop, `host` the one that is spoken to; `signal` ends the wait. @throws MailError temporary */
  readonly tlsPolicy: (site: InetHop, host: string, signal: AbortSignal) => Promise<TlsPolicy> | TlsPolicy;
  /** Roots that certificates must lead to (smtp_tls_CAfile); Node's own when it gives none. @throws MailError temporary */
  readonly roots?: () => Promise<SecureContextOptions['ca'] | undefined>;
  /** smtp_sasl_password_maps. @throws MailError temporary */
  readonly credentials?: (
    hop: NextHop,
    sender: string,
    host: string,
  ) => Promise<Credentials | undefined> | Credentials | undefined;
  /** Sends passwords also where the connection is not encrypted. */
  readonly authInClear?: boolean;
  /** smtp_bind_address for mail of this sender (empty for `<>`). @throws MailError temporary */
  readonly bindAddress?: (sender: string, family: 4 | 6) => Promise<string | undefined> | string | undefined;
  /** A message without 8-bit bytes that says the same (RFC 6152 section 3); disposed of here. Undefined when that cannot be. */
  readonly downgrade?: (source: MessageSource) => Promise<MessageSource | undefined>;
}
