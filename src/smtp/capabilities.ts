// What EHLO announces (RFC 5321 section 4.1.1.1).

export interface Announced {
  /** Bytes; Number.MAX_SAFE_INTEGER for no limit. */
  readonly messageSize: number;
  readonly startTls: boolean;
  /** Of AUTH; none are announced when empty. */
  readonly mechanisms: readonly string[];
  /** The connection is encrypted. */
  readonly tls: boolean;
  /** The client may relay. */
  readonly trusted: boolean;
}

/** The lines behind the host's name. */
export function capabilities({ messageSize, startTls, mechanisms, tls, trusted }: Announced): string[] {
  return [
    'PIPELINING',
    // RFC 1870 section 3: no value where there is no limit.
    messageSize === Number.MAX_SAFE_INTEGER ? 'SIZE' : `SIZE ${messageSize}`,
    ...(startTls ? ['STARTTLS'] : []),
    ...(mechanisms.length > 0 ? [`AUTH ${mechanisms.join(' ')}`] : []),
    ...(tls ? ['REQUIRETLS'] : []),
    ...['ENHANCEDSTATUSCODES', '8BITMIME', 'DSN', 'SMTPUTF8', 'CHUNKING'],
    ...(trusted ? ['XVERP'] : []),
  ];
}
