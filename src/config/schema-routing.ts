// Settings of routing: where mail goes next, who may send as what and how much. Postfix's names where it has one.
import { z } from 'zod';
import { field, group } from './field.ts';
import { optional, readAddress, readDomainList, readIpAddress, readMapList, readText } from './readers.ts';
import { readBoolean, readInteger, readList, show, ValueError } from './values.ts';

const TABLES = 'list of tables';
const tables = (base: string, description: string, example: string) =>
  field({ type: TABLES, description, default: [], example }, readMapList(base));

export function routingFields(base: string) {
  return {
    ...localFields(base),
    ...relayFields(base),
    ...transportFields(base),
    ...clientFields(base),
    ...copyFields(base),
    ...senderFields(base),
  };
}

/** The one table of type unix: that there is: getpwnam(3)'s. */
export const LOCAL_USERS = 'unix:passwd.byname';

function localFields(base: string) {
  const read = readMapList(base);
  return {
    local_recipient_maps: field(
      {
        type: TABLES,
        description:
          'The addresses of `mydestination` that are taken (what stands beside them does not matter); others are refused with 550 5.1.1. Asked for `user+ext@domain`, `user@domain`, `user+ext`, `user`, `@domain`. `unix:passwd.byname` and the tables of `alias_maps` mean everybody to whom `alias_maps` give somewhere to go: a user of this host has no other mailbox. An address that is taken and has no alias is returned to its sender; so are all of them when this is empty, which makes it a source of backscatter.',
        default: `proxy:${LOCAL_USERS} $alias_maps`,
        example: 'hash:/etc/postfix/local_recipients $alias_maps',
      },
      (value) => readList(value).flatMap((entry) => (entry.replace(/^proxy:/, '') === LOCAL_USERS ? LOCAL_USERS : read([entry]))),
    ),
  };
}

function relayFields(base: string) {
  return {
    relay_domains: field(
      {
        type: 'list of domains, tables, files',
        description:
          'Domains, with all below them, for which mail is taken from anybody and handed on: this host is their backup MX or stands before their server.',
        default: [],
        example: ['example.net'],
      },
      readDomainList(base),
    ),
    relay_recipient_maps: tables(
      base,
      'The addresses of `relay_domains` (what stands beside them does not matter); others are refused with 550 5.1.1. Without it every address is taken, and mail that the next host refuses has to be returned to senders that may be forged.',
      'hash:/etc/postfix/relay_recipients',
    ),
  };
}

function transportFields(base: string) {
  return {
    transport_maps: tables(
      base,
      'transport(5) tables: `example.net  smtp:[mail.example.net]:2525`. Asked for `user+ext@domain`, `user@domain`, `domain`, `.domain` of each domain above, `*`. Transports: `smtp:`, `lmtp:`, `lmtp:unix:/path`, `relay:`, `discard:`, `hold:`, `error:5.1.1 text` (an address of this host is refused so), `retry:`, `virtual:` (the mailboxes here). `:` changes nothing. `smtp:` and `lmtp:` take several hosts (`smtp:[a.example.net], [b.example.net]:587`): the next is tried where one cannot be reached or puts mail off.',
      'hash:/etc/postfix/transport',
    ),
    relayhost: field(
      {
        type: 'next hop',
        description:
          'The host that all mail to outside goes through: `[mail.example.net]:587`, or a domain whose MX are meant. Several are tried in their order: `[a.example.net]:587, [b.example.net]`.',
        default: 'none',
        example: '[mail.example.net]:587',
      },
      (value) => optional(readText)(value) ?? '',
    ),
    sender_dependent_relayhost_maps: tables(
      base,
      'A `relayhost` by sender: `user@domain`, `@domain`, `<>`. The value `DUNNO` means `relayhost`.',
      'hash:/etc/postfix/sender_relay',
    ),
    default_transport: transport('Transport for mail to outside.', 'smtp', 'smtp'),
    sender_dependent_default_transport_maps: tables(
      base,
      'A `default_transport` by sender, for mail to outside: `user@domain`, `@domain`, `<>`, as in `@example.org  smtp:[mail.example.org]:587`. Without a next hop of its own, `relayhost` stays. The value `DUNNO` means `default_transport`; `transport_maps` come before it.',
      'hash:/etc/postfix/sender_transport',
    ),
    relay_transport: transport('Transport for mail to `relay_domains`.', 'relay', 'smtp:[10.0.0.7]'),
    virtual_transport: transport(
      'Transport for `virtual_mailbox_domains`: `virtual` is this server’s own mailboxes; `lmtp:unix:/path` or `lmtp:host:port` another store.',
      'virtual',
      'lmtp:unix:/run/dovecot/lmtp',
    ),
  };
}

function transport(description: string, standard: string, example: string) {
  return field({ type: 'transport:nexthop', description, default: standard, example }, (value) => {
    const text = readText(value);
    if (/^[a-z][a-z0-9_-]*(:.*)?$/.test(text)) return text;
    throw new ValueError(`${show(value)} is no transport`, 'a transport with its next hop, such as smtp:[mail.example.net]:25');
  });
}

function clientFields(base: string) {
  return {
    smtp_sasl_password_maps: tables(
      base,
      '`[mail.example.net]:587  user:password` for next hops that want a log-in; looked up by the name of the host that is spoken to (the MX of a domain, `mail.example.net`), then the next hop as it is written, then with its port and without. Nobody but root may read the file (mode 0600).',
      'hash:/etc/postfix/sasl_passwd',
    ),
    smtp_sender_dependent_authentication: field(
      {
        type: 'boolean',
        description: 'Look up the sender (`user@domain`, `@domain`) in `smtp_sasl_password_maps` first.',
        default: 'no',
        example: 'yes',
      },
      readBoolean,
    ),
    smtp_bind_address: field(
      { type: 'IP address', description: 'IPv4 address that mail is sent from.', default: 'none', example: '192.0.2.1' },
      optional(readFamily(4)),
    ),
    smtp_bind_address6: field(
      { type: 'IP address', description: 'IPv6 address that mail is sent from.', default: 'none', example: '2001:db8::1' },
      optional(readFamily(6)),
    ),
    smtp_bind_address_maps: tables(
      base,
      'Addresses that mail is sent from by the domain of the envelope sender: `example.org  192.0.2.2 2001:db8::2`.',
      'inline:{ {example.org = 192.0.2.2} }',
    ),
  };
}

function readFamily(family: 4 | 6): (value: unknown) => string {
  return (value) => {
    const address = readIpAddress(value);
    if (address.includes(':') === (family === 6)) return address;
    throw new ValueError(`${show(value)} is not an IPv${family} address`, family === 4 ? '192.0.2.1' : '2001:db8::1');
  };
}

function copyFields(base: string) {
  return {
    always_bcc: field(
      {
        type: 'address',
        description: 'Gets a copy of each message that is taken in; its sender never hears of it.',
        default: 'none',
        example: 'archive@example.com',
      },
      optional(readAddress),
    ),
    sender_bcc_maps: tables(
      base,
      'One address that gets a copy, by envelope sender: `user+ext@domain`, `user@domain`, `@domain`.',
      'hash:/etc/postfix/sender_bcc',
    ),
    recipient_bcc_maps: tables(base, 'The same by envelope recipient.', 'hash:/etc/postfix/recipient_bcc'),
  };
}

const LIMITS = {
  messages_per_hour: 'Messages in an hour.',
  messages_per_day: 'Messages in 24 hours.',
  recipients_per_hour: 'Recipients in an hour.',
  recipients_per_day: 'Recipients in 24 hours.',
  new_recipients_per_hour: 'Recipients in an hour to whom the account has not written in the last 90 days.',
  new_recipients_per_day: 'The same in 24 hours.',
} as const;

function limit(name: keyof typeof LIMITS) {
  return field({ type: 'count', description: `${LIMITS[name]} 0 for no limit.`, default: 0, example: 200 }, (value) =>
    readInteger(value, 0, 1_000_000_000),
  ).prefault(0);
}

function senderFields(base: string) {
  return {
    smtpd_sender_login_maps: tables(
      base,
      'More senders that log-ins may use, beside their own address and aliases that lead to them: `sales@example.com  ana@example.com, eva@example.com`. Asked for `user+ext@domain`, `user@domain`, `@domain`.',
      'hash:/etc/postfix/sender_login',
    ),
    account_send_limits: group(
      {
        type: 'group',
        description:
          'How much a logged-in account may send: 450 4.7.1 to more, and an alarm (`send-limit.reached`) in the log, once for each hour or day. Counted in `data_directory` for all workers together.',
        example: { messages_per_hour: 200, new_recipients_per_day: 500 },
      },
      z
        .strictObject({
          messages_per_hour: limit('messages_per_hour'),
          messages_per_day: limit('messages_per_day'),
          recipients_per_hour: limit('recipients_per_hour'),
          recipients_per_day: limit('recipients_per_day'),
          new_recipients_per_hour: limit('new_recipients_per_hour'),
          new_recipients_per_day: limit('new_recipients_per_day'),
        })
        .prefault({}),
    ),
    account_send_limit_maps: tables(
      base,
      'Other limits for an account (`user@domain`, `@domain`): `news@example.com  recipients_per_day=50000 messages_per_hour=0`, or `unlimited`. What is not named is as in `account_send_limits`.',
      'hash:/etc/buzon/send_limits',
    ),
    suppression_maps: tables(
      base,
      'Addresses outside (`user@domain`, `@domain`) that this host does not write to; 550 5.7.1 to who tries. `buzon suppress` keeps a list of its own beside them.',
      'hash:/etc/buzon/suppressed',
    ),
    suppress_hard_bounces: field(
      {
        type: 'boolean',
        description: 'Put an address on the suppression list whose host says that it does not exist (5.1.1 and the like).',
        default: 'no',
        example: 'yes',
      },
      readBoolean,
    ),
  };
}
