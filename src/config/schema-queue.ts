// The outbound queue and its SMTP and LMTP client, under Postfix's names and with its defaults.
import { field } from './field.ts';
import { readHostname, readWord } from './readers.ts';
import { readInteger, readTime } from './values.ts';

const SECOND = 1000;
const DAY = 86_400 * SECOND;
const HOUR = 3600 * SECOND;

function count(description: string, standard: number, min: number, max: number) {
  return field({ type: 'count', description, default: standard, example: standard }, (value) => readInteger(value, min, max));
}

function time(description: string, standard: string, minMs: number, maxMs: number) {
  return field({ type: 'time', description, default: standard, example: standard }, (value) => readTime(value, minMs, maxMs));
}

export function queueFields() {
  return { ...scheduleFields(), ...transportLimitFields(), ...clientFields(), ...clientTimeoutFields() };
}

function scheduleFields() {
  return {
    smtp_process_limit: count(
      'Deliveries under way at a time, to all destinations together. Destinations that take long to answer get at most half of them; a delivery that goes on for over five seconds is not counted any more (nine times as many may go on so).',
      100,
      1,
      10_000,
    ),
    initial_destination_concurrency: count('Deliveries at a time to a destination of which nothing is known yet.', 5, 1, 1000),
    default_destination_concurrency_limit: count(
      'Deliveries at a time to one destination at most. It grows by one with each success, and shrinks by one with each failure to reach it.',
      20,
      1,
      1000,
    ),
    default_destination_concurrency_failed_cohort_limit: count(
      'How many times as many deliveries as are allowed at a time may fail to reach a destination, one after another, before it is taken for dead for `minimal_backoff_time`. 0: never.',
      1,
      0,
      1000,
    ),
    default_destination_recipient_limit: count('Recipients of one message that are sent together.', 50, 1, 1000),
    minimal_backoff_time: time(
      'The shortest wait before a message is tried again; it waits as long again as it has waited already, and up to a fifth longer by chance. A host that greylists is tried again a first time after two minutes, or after what it says itself.',
      '300s',
      SECOND,
      DAY,
    ),
    maximal_backoff_time: time('The longest of these waits.', '4000s', SECOND, 7 * DAY),
    maximal_queue_lifetime: time(
      'When a message that cannot be delivered goes back to its sender. 0: after one try.',
      '5d',
      0,
      100 * DAY,
    ),
    bounce_queue_lifetime: time(
      'When a message from `<>` (a report) that cannot be delivered is thrown away. 0: after one try.',
      '5d',
      0,
      100 * DAY,
    ),
    delay_warning_time: time('When a sender is told that his message still waits. 0: never.', '0h', 0, 100 * DAY),
  };
}

/** Postfix's TRANSPORT_destination_… for the transports that there are: `relay:` is smtp's. */
function transportLimitFields() {
  const limit = (description: string, setting: string, [min, max, example]: readonly [number, number, number]) =>
    field({ type: 'count', description, default: `$${setting}`, example }, (value) => readInteger(value, min, max));
  const places = [1, 1000, 5] as const;
  const concurrency = (transport: string) =>
    limit(
      `\`default_destination_concurrency_limit\` for next hops of \`${transport}:\`.`,
      'default_destination_concurrency_limit',
      places,
    );
  const initial = (transport: string) =>
    limit(`\`initial_destination_concurrency\` for next hops of \`${transport}:\`.`, 'initial_destination_concurrency', places);
  const cohorts = (transport: string) =>
    limit(
      `\`default_destination_concurrency_failed_cohort_limit\` for next hops of \`${transport}:\`.`,
      'default_destination_concurrency_failed_cohort_limit',
      [0, 1000, 10],
    );
  const recipients = (transport: string) =>
    limit(
      `\`default_destination_recipient_limit\` for next hops of \`${transport}:\`. With 1 each recipient gets a copy of his own.`,
      'default_destination_recipient_limit',
      [1, 1000, 1],
    );
  return {
    smtp_initial_destination_concurrency: initial('smtp'),
    smtp_destination_concurrency_limit: concurrency('smtp'),
    smtp_destination_concurrency_failed_cohort_limit: cohorts('smtp'),
    smtp_destination_recipient_limit: recipients('smtp'),
    lmtp_initial_destination_concurrency: initial('lmtp'),
    lmtp_destination_concurrency_limit: concurrency('lmtp'),
    lmtp_destination_concurrency_failed_cohort_limit: cohorts('lmtp'),
    lmtp_destination_recipient_limit: recipients('lmtp'),
  };
}

function clientFields() {
  return {
    smtp_helo_name: field(
      { type: 'host name', description: 'The name in EHLO.', default: '$myhostname', example: 'mail.example.com' },
      readHostname,
    ),
    smtp_address_preference: field(
      { type: 'any, ipv4, ipv6', description: 'Which addresses of a host come first.', default: 'any', example: 'ipv4' },
      readWord(['any', 'ipv4', 'ipv6']),
    ),
    smtp_mx_address_limit: count('Addresses of a next hop that one try goes through; 0 for no limit.', 5, 0, 1000),
    smtp_mx_session_limit: count('Of these, with how many a session may begin; 0 for no limit.', 2, 0, 1000),
    smtp_connection_cache_time_limit: time(
      'How long a connection is kept for the next message. 0: not at all.',
      '2s',
      0,
      300 * SECOND,
    ),
    smtp_connection_reuse_count_limit: count('Messages over one connection; 0 for no limit.', 100, 0, 1_000_000),
  };
}

function clientTimeoutFields() {
  const timeout = (what: string, standard: string) => time(what, standard, SECOND, HOUR);
  return {
    smtp_connect_timeout: timeout('How long a connection to another host may take.', '30s'),
    smtp_helo_timeout: timeout('How long it may take to greet, and to answer EHLO.', '300s'),
    smtp_mail_timeout: timeout('The same for the answer to MAIL FROM.', '300s'),
    smtp_rcpt_timeout: timeout('The same for RCPT TO.', '300s'),
    smtp_data_init_timeout: timeout('The same for DATA.', '120s'),
    smtp_data_xfer_timeout: timeout('How long it may take nothing of the message.', '180s'),
    smtp_data_done_timeout: timeout('How long it may take to answer the end of the message.', '600s'),
  };
}
