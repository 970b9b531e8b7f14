// Every setting of buzon.yaml, in the order of docs/settings.md. Names and meanings are Postfix's and Dovecot's where they have one.
import { z } from 'zod';
import { field, group } from './field.ts';
import { httpFields } from './schema-http.ts';
import { limitFields } from './schema-limits.ts';
import { reportFields } from './schema-reports.ts';
import { authenticationFields } from './schema-authentication.ts';
import { hostFields } from './schema-host.ts';
import { signingFields, tlsFields } from './schema-keys.ts';
import { networkFields } from './schema-network.ts';
import { routingFields } from './schema-routing.ts';
import { outboundTlsFields } from './schema-outbound-tls.ts';
import { queueFields } from './schema-queue.ts';
import {
  optional,
  readAddress,
  readDomainList,
  readHostname,
  readMapList,
  readPath,
  readText,
  readWord,
  readWords,
  readSelector,
} from './readers.ts';
import { readBoolean, readInteger, readSize, show, ValueError } from './values.ts';

export const MECHANISMS = ['PLAIN', 'LOGIN', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'CRAM-MD5'] as const;

/** The schema; `base` is the folder at which relative paths start (the settings file's). */
export function settingsSchema(base: string) {
  return z.strictObject({
    ...nameFields(base),
    ...mailboxFields(base),
    ...routingFields(base),
    ...reportFields(base),
    ...networkFields(),
    ...tlsFields(base),
    ...signingFields(base),
    ...authenticationFields(),
    ...httpFields(),
    ...loginFields(),
    ...limitFields(),
    ...queueFields(),
    ...outboundTlsFields(base),
    ...hostFields(base),
    ...checkFields(base),
  });
}

const DOMAINS = 'list of domains, tables, files';
const TABLES = 'list of tables';

function nameFields(base: string) {
  return {
    hostname: field(
      {
        type: 'host name',
        description:
          'The name of this host on the network: in the greeting, in Received headers, and what the MX records of the domains point to. Also accepted as `myhostname`. The only setting without a default.',
        example: 'mail.example.com',
      },
      readHostname,
    ),
    mydomain: field(
      {
        type: 'domain',
        description: 'What `$mydomain` stands for. The default is the hostname without its first label.',
        example: 'example.com',
      },
      optional(readHostname),
    ),
    mydestination: field(
      {
        type: DOMAINS,
        description:
          'Domains of the host itself: `alias_maps` says where their mail goes, and an address without an alias is refused (`local_recipient_maps`). A domain of `virtual_mailbox_domains` must not be here.',
        default: '$myhostname, localhost.$mydomain, localhost',
        example: ['$myhostname', 'localhost'],
      },
      readDomainList(base),
    ),
    alias_maps: field(
      {
        type: TABLES,
        description:
          'aliases(5) tables for `mydestination` (root, postmaster, cron): a mailbox or an address outside. `|command`, `/file` and `:include:` are refused.',
        default: [],
        example: 'hash:/etc/aliases',
      },
      readMapList(base),
    ),
    postmaster: field(
      {
        type: 'address',
        description:
          'The mailbox that gets the mail for postmaster@ and abuse@ of every domain (RFC 2142, RFC 5321 4.5.1), unless an alias or a mailbox of that name says otherwise.',
        default: 'none',
        example: 'info@example.com',
      },
      optional(readAddress),
    ),
  };
}

function mailboxFields(base: string) {
  return {
    virtual_mailbox_domains: field(
      {
        type: DOMAINS,
        description: 'Domains whose addresses have mailboxes in `virtual_mailbox_maps`.',
        default: '$virtual_mailbox_maps',
        example: ['example.com', 'example.org'],
      },
      readDomainList(base),
    ),
    virtual_mailbox_base: field(
      {
        type: 'path',
        description: 'The folder under which every mailbox lies.',
        default: '/var/mail/vhosts',
        example: '/var/mail/vhosts',
      },
      readPath(base),
    ),
    virtual_mailbox_maps: field(
      {
        type: TABLES,
        description:
          'Which address has which mailbox: `info@example.com  example.com/info/`, relative to `virtual_mailbox_base`. The trailing slash means a Maildir; mbox is not supported. Look-up order: `user+ext@domain`, `user@domain`, `@domain`.',
        default: [],
        example: 'hash:/etc/postfix/vmailbox',
      },
      readMapList(base),
    ),
    virtual_alias_domains: field(
      {
        type: DOMAINS,
        description: 'Domains that have aliases in `virtual_alias_maps` and no mailboxes.',
        default: '$virtual_alias_maps',
        example: ['example.net'],
      },
      readDomainList(base),
    ),
    virtual_alias_maps: field(
      {
        type: TABLES,
        description:
          'virtual(5) tables: which address stands for which others. Applied to all recipients, before mailboxes are looked up.',
        default: [],
        example: 'hash:/etc/postfix/virtual',
      },
      readMapList(base),
    ),
    virtual_uid_maps: field(
      {
        type: TABLES,
        description: 'Owner of the mail tree. All mailboxes have one owner; without this setting it is `user`.',
        default: [],
        example: 'static:5000',
        restart: true,
      },
      readMapList(base),
    ),
    virtual_gid_maps: field(
      {
        type: TABLES,
        description: 'Group of the mail tree. All mailboxes have one group; without this setting it is `group`.',
        default: [],
        example: 'static:5000',
        restart: true,
      },
      readMapList(base),
    ),
    recipient_delimiter: field(
      {
        type: 'characters',
        description:
          'Characters that part an address from its extension: `info+shop@example.com` is a mail for info. Empty for none.',
        default: '+',
        example: '+-',
      },
      readDelimiters,
    ),
    message_size_limit: field(
      { type: 'size', description: 'The largest message taken in, in bytes; 0 for no limit.', default: '50M', example: 52428800 },
      (value) => readSize(value),
    ),
    quota: group(
      {
        type: 'group',
        description: 'What a mailbox may hold when its `passwd` entry has no `userdb_quota_rule`.',
        example: { storage: '2G', messages: 0 },
      },
      z
        .strictObject({
          storage: field(
            { type: 'size', description: 'Bytes of a mailbox with all its folders; 0 for no limit.', default: 0, example: '2G' },
            (value) => readSize(value),
          ).prefault(0),
          messages: field(
            {
              type: 'count',
              description: 'Messages of a mailbox with all its folders; 0 for no limit.',
              default: 0,
              example: 100000,
            },
            (value) => readInteger(value, 0, 2 ** 40),
          ).prefault(0),
        })
        .prefault({}),
    ),
    mail_save_crlf: field(
      {
        type: 'boolean',
        description:
          'Store lines with CRLF. The default, LF, is what Postfix and Dovecot write; on the wire it is CRLF in any case.',
        default: 'no',
        example: 'no',
        restart: true,
      },
      readBoolean,
    ),
    namespace: group(
      { type: 'group', description: 'How IMAP names mailboxes.', example: { separator: '/', prefix: 'INBOX/' }, restart: true },
      z
        .strictObject({
          separator: field(
            { type: '. or /', description: 'What stands between the levels of a name.', default: '.', example: '/' },
            readSeparator,
          ).prefault('.'),
          prefix: field(
            { type: 'text', description: 'What stands before every name but INBOX.', default: '', example: 'INBOX.' },
            readText,
          ).prefault(''),
        })
        .prefault({}),
    ),
  };
}

function loginFields() {
  return {
    disable_plaintext_auth: field(
      { type: 'boolean', description: 'No log-in without TLS, except over loopback.', default: 'yes', example: 'yes' },
      readBoolean,
    ),
    auth_mechanisms: field(
      {
        type: 'list of words',
        description: `SASL mechanisms offered: ${MECHANISMS.join(', ')}. SCRAM and CRAM-MD5 only when the accounts hold such secrets: a client that prefers them fails on other hashes.`,
        default: ['PLAIN', 'LOGIN'],
        example: ['PLAIN', 'LOGIN', 'SCRAM-SHA-256'],
      },
      readWords(MECHANISMS),
    ),
    auth_default_realm: field(
      { type: 'domain', description: 'The domain of a user who logs in without one.', default: 'none', example: 'example.com' },
      optional(readHostname),
    ),
    default_pass_scheme: field(
      {
        type: 'password scheme',
        description: 'Scheme of stored passwords that name none, as in Dovecot.',
        default: 'CRYPT',
        example: 'CRYPT',
      },
      readScheme,
    ),
    new_pass_scheme: field(
      {
        type: 'password scheme',
        description: 'Scheme of the passwords that `buzon user` writes: ARGON2ID, SCRAM-SHA-256, SSHA512 or PLAIN.',
        default: 'ARGON2ID',
        example: 'SCRAM-SHA-256',
      },
      readWord(['ARGON2ID', 'SCRAM-SHA-256', 'SSHA512', 'PLAIN']),
    ),
  };
}

function checkFields(base: string) {
  return {
    dkim_selector: field(
      {
        type: 'label',
        description: 'The DKIM selector of the domains: `buzon check --dns` looks for `SELECTOR._domainkey.DOMAIN`.',
        default: 'default',
        example: 'default',
      },
      readSelector,
    ),
    mta_sts: group(
      {
        type: 'list of groups',
        description:
          'MTA-STS policy files (RFC 8461) that another web server serves, for `buzon check` to look at. Those that this server serves itself need no entry.',
        default: [],
        example: [{ domain: 'example.com', file: '/var/www/mta-sts/example.com/.well-known/mta-sts.txt' }],
      },
      z
        .array(
          z.strictObject({
            domain: field({ type: 'domain', description: 'The mail domain.', example: 'example.com' }, readHostname),
            file: field(
              { type: 'path', description: 'Its mta-sts.txt.', example: '/var/www/mta-sts/example.com/.well-known/mta-sts.txt' },
              readPath(base),
            ),
          }),
        )
        .prefault([]),
    ),
  };
}

function readDelimiters(value: unknown): string {
  const text = value === null || value === undefined ? '' : readText(value);
  if (text.length <= 8 && !/[\p{L}\p{N}@\s"]/u.test(text)) return text;
  throw new ValueError(`${show(value)} is not a set of delimiters`, '+ or other punctuation, or nothing');
}

function readSeparator(value: unknown): '.' | '/' {
  if (value === '.' || value === '/') return value;
  throw new ValueError(`${show(value)} is not a separator`, '"." or "/"');
}

function readScheme(value: unknown): string {
  const text = readText(value).toUpperCase();
  if (/^[A-Z0-9-]{2,24}(\.(HEX|B64|BASE64))?$/.test(text)) return text;
  throw new ValueError(`${show(value)} is not a password scheme`, 'a name that `doveadm pw -l` lists, such as ARGON2ID');
}
