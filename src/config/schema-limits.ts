// The limits of buzon.yaml: what a peer may use up. Postfix's and Dovecot's names where they have one.
import { field } from './field.ts';
import { readInteger, readSize, readTime } from './values.ts';

function count(description: string, standard: number, min: number, max: number, restart?: boolean) {
  return field({ type: 'count', description, default: standard, example: standard, restart }, (value) =>
    readInteger(value, min, max),
  );
}

function time(description: string, standard: string, minMs: number, maxMs: number) {
  return field({ type: 'time', description, default: standard, example: standard }, (value) => readTime(value, minMs, maxMs));
}

const HOUR = 3_600_000;

export function limitFields() {
  return {
    client_limit: count(
      'Connections of all protocols together that one process serves; above it a client gets 421 or BYE. Kept below the limit of open files in any case.',
      5000,
      1,
      1_000_000,
    ),
    smtpd_client_connection_count_limit: count(
      'SMTP connections from one address at a time; 421 4.7.0 above it. 0 for no limit.',
      50,
      0,
      1_000_000,
    ),
    imap_client_connection_count_limit: count(
      'IMAP connections from one address at a time; BYE above it. 0 for no limit.',
      200,
      0,
      1_000_000,
    ),
    mail_max_userip_connections: count(
      'IMAP connections of one user from one address at a time. 0 for no limit.',
      20,
      0,
      1_000_000,
    ),
    smtpd_recipient_limit: count(
      'Recipients of one message; 452 4.5.3 to more (RFC 5321 4.5.3.1.8 wants at least 100).',
      1000,
      100,
      100_000,
    ),
    smtpd_timeout: time('A deadline for each complete command of an SMTP client; 421 4.4.2 after it.', '300s', 1000, HOUR),
    smtpd_min_data_rate: count(
      'Bytes a second that a message must come in with, on the whole; 421 4.4.2 to a slower client.',
      500,
      1,
      1_000_000,
    ),
    line_length_limit: field(
      {
        type: 'size',
        description: 'The longest SMTP command line; 500 5.5.2 to a longer one. At least the 512 of RFC 5321 4.5.3.1.4.',
        default: 2048,
        example: 2048,
      },
      (value) => readSize(value, 512, 65536),
    ),
    hopcount_limit: count('Received headers that a message may have; 554 5.4.0 to more: it goes in a circle.', 50, 10, 1000),
    smtpd_hard_error_limit: count('Errors of an SMTP client before it is disconnected with 421 4.7.0.', 20, 1, 10_000),
    virtual_alias_expansion_limit: count('Addresses that one recipient may become through aliases.', 1000, 1, 100_000),
    virtual_alias_recursion_limit: count('How deep aliases may lead to aliases.', 1000, 1, 100_000),
    imap_max_line_length: field(
      {
        type: 'size',
        description: 'The longest IMAP command line after log-in (8 KB before it), literals aside; BAD and BYE to a longer one.',
        default: '64k',
        example: '64k',
      },
      (value) => readSize(value, 8192, 2 ** 24),
    ),
    imap_idle_notify_interval: time('How often a client that idles hears that the connection lives.', '2m', 10_000, HOUR),
    auth_failure_delay: time(
      'How long the answer to a first wrong password waits; it grows to 15 s with each more.',
      '2s',
      0,
      15_000,
    ),
    auth_failure_limit: count('Wrong passwords from one IPv4 address or IPv6 /64 before it is disconnected.', 10, 1, 10_000),
    shutdown_timeout: time('How long a stop waits for messages in flight.', '30s', 0, HOUR),
  };
}
