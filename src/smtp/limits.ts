/** Everything a peer can make long, many or slow, in one place. Times are milliseconds. */
export interface SmtpLimits {
  /** Bytes of a command line with its CRLF: RFC 5321 4.5.3.1.4 says 512, extensions add to it (RELIABILITY row 20). */
  readonly line: number;
  /** message_size_limit. */
  readonly messageSize: number;
  /** smtpd_recipient_limit. */
  readonly recipients: number;
  /** smtpd_recipient_overshoot_limit: recipients over that limit that are no errors of the client's. */
  readonly recipientOvershoot: number;
  /** Bytes and fields of a message's header. */
  readonly headerBytes: number;
  readonly headerFields: number;
  /** hopcount_limit: Received fields. */
  readonly hops: number;
  /** smtpd_hard_error_limit: wrong commands before 421. */
  readonly errors: number;
  /** smtpd_timeout: between commands, and for a client that does not read. */
  readonly commandTimeout: number;
  /** All of one message's data; more for big ones (at least `dataRate` bytes a second). */
  readonly dataTimeout: number;
  readonly dataRate: number;
  /** One command line from its first byte to its last. */
  readonly lineTimeout: number;
  /** The handshake of TLS. */
  readonly handshakeTimeout: number;
  /** A whole session. */
  readonly sessionTimeout: number;
  /** smtpd_client_connection_count_limit (IPv6: of one /64), and connections in all. */
  readonly connectionsPerAddress: number;
  readonly connections: number;
}

export const DEFAULT_SMTP_LIMITS: SmtpLimits = {
  line: 2_048,
  messageSize: 52_428_800,
  recipients: 1_000,
  recipientOvershoot: 1_000,
  headerBytes: 1_048_576,
  headerFields: 10_000,
  hops: 50,
  errors: 20,
  commandTimeout: 300_000,
  dataTimeout: 600_000,
  dataRate: 10_240,
  lineTimeout: 60_000,
  handshakeTimeout: 30_000,
  sessionTimeout: 3_600_000,
  connectionsPerAddress: 50,
  connections: 1_000,
};
