// Every setting of buzon.yaml, in the order of docs/settings.md. Names and meanings are Postfix's and Dovecot's where they have one.
import { z } from 'zod';
import { field, group } from './field.ts';
import { limitFields } from './schema-limits.ts';
import { reportFields } from './schema-reports.ts';
import { routingFields } from './schema-routing.ts';
import { queueFields } from './schema-queue.ts';
import {
  optional,
  readAddress,
  readDomainList,
  readHostname,
  readIpAddress,
  readMapList,
  readNetworks,
  readPath,
  readText,
  readWord,
  readWords,
  readWorkers,
} from './readers.ts';
import { isDomainName, readBoolean, readInteger, readList, readSize, readTime, show, ValueError } from './values.ts';

export const PROTOCOLS = ['smtp', 'submission', 'submissions', 'imap', 'imaps'] as const;
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
    ...loginFields(),
    ...limitFields(),
    ...queueFields(),
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
          'Domains of the host itself: `alias_maps` says where their mail goes, and an address without an alias is refused. A domain of `virtual_mailbox_domains` must not be here.',
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

function networkFields() {
  return {
    mynetworks: field(
      {
        type: 'list of networks',
        description:
          'Clients that may relay to other domains without logging in. Networks in CIDR form; `!` excludes, the first that matches decides.',
        default: '127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128',
        example: ['127.0.0.0/8', '[::1]/128', '192.168.7.0/24'],
      },
      readNetworks,
    ),
    inet_protocols: field(
      {
        type: 'ipv4, ipv6',
        description: 'Which kinds of address are listened on and connected to; `all` for both.',
        default: 'all',
        example: 'ipv4',
        restart: true,
      },
      (value) => {
        const words = readWords(['all', 'ipv4', 'ipv6'])(value);
        if (words.length === 0) throw new ValueError('no protocol is left', 'all, ipv4 or ipv6');
        return words.includes('all') ? (['ipv4', 'ipv6'] as const) : words.filter((word) => word !== 'all');
      },
    ),
    inet_interfaces: field(
      {
        type: 'list of addresses',
        description: 'Addresses listened on where a listener names none: `all`, `loopback-only`, or addresses.',
        default: 'all',
        example: ['192.0.2.1', '2001:db8::1'],
        restart: true,
      },
      (value) =>
        readList(value).flatMap((entry) => {
          if (entry === 'all') return ['0.0.0.0', '::'];
          if (entry === 'loopback-only') return ['127.0.0.1', '::1'];
          return [readIpAddress(entry)];
        }),
    ),
    listeners: group(
      {
        type: 'list of groups',
        description:
          'What is listened on, any number of entries. Without this setting: smtp on 25, submission on 587, submissions on 465, imap on 143, imaps on 993.',
        default: 'smtp, submission, submissions, imap, imaps',
        example: [
          { protocol: 'smtp', port: 25 },
          { protocol: 'imaps', address: '192.0.2.1', port: 993 },
        ],
        restart: true,
      },
      z
        .array(
          z.strictObject({
            protocol: field(
              {
                type: PROTOCOLS.join(', '),
                description: '`submissions` and `imaps` speak TLS from the first byte.',
                example: 'imaps',
              },
              readWord(PROTOCOLS),
            ),
            address: field(
              {
                type: 'IP address',
                description: 'Where to listen; without it, on all of `inet_interfaces`.',
                default: 'none',
                example: '192.0.2.1',
              },
              optional(readIpAddress),
            ).optional(),
            port: field(
              {
                type: 'port',
                description: 'The default is the protocol’s own port; 0 takes a free one.',
                default: 'none',
                example: 2525,
              },
              optional((value) => readInteger(value, 0, 65535)),
            ).optional(),
          }),
        )
        .optional(),
    ),
    smtpd_forbid_bare_newline: field(
      {
        type: 'reject, normalize, no',
        description:
          'What happens to a message from outside that has a line end other than CRLF (SMTP smuggling): `reject` refuses it, `normalize` (or `yes`) makes it CRLF. Clients of `mynetworks` and logged-in users are always normalized. Only CRLF.CRLF ends a message in any case; `no` takes bare line ends as they come.',
        default: 'reject',
        example: 'normalize',
      },
      (value) => {
        const word = readWord(['reject', 'normalize', 'yes', 'no'])(value);
        return word === 'yes' ? 'normalize' : word;
      },
    ),
  };
}

function tlsFields(base: string) {
  const certificate = (what: string, example: string) =>
    field({ type: 'path', description: what, default: 'none', example }, optional(readPath(base)));
  return {
    smtpd_tls_security_level: field(
      {
        type: 'none, may, encrypt',
        description:
          'TLS on port 25: offered (`may`), demanded (`encrypt`, not for a host that takes mail from the internet), or not offered.',
        default: 'may',
        example: 'may',
      },
      readWord(['none', 'may', 'encrypt']),
    ),
    smtpd_tls_cert_file: certificate(
      'The default certificate (PEM, with its chain), for clients that ask for no name or for one that no other certificate covers.',
      '/etc/letsencrypt/live/mail.example.com/fullchain.pem',
    ),
    smtpd_tls_key_file: certificate(
      'Key of the default certificate. Nobody but root and its owner may read it.',
      '/etc/letsencrypt/live/mail.example.com/privkey.pem',
    ),
    certificates: group(
      {
        type: 'list of groups',
        description: 'Certificates by the name that a client asks for (SNI), for SMTP and IMAP.',
        default: [],
        example: [
          {
            domains: ['mail.example.org', '*.example.org'],
            cert: '/etc/buzon/example.org.pem',
            key: '/etc/buzon/example.org.key',
          },
        ],
      },
      z
        .array(
          z.strictObject({
            domains: field(
              {
                type: 'list of names',
                description:
                  'Names this certificate is for; `*.example.org` is one label deep. Without it: the names in the certificate.',
                default: [],
                example: ['mail.example.org', '*.example.org'],
              },
              readCertificateNames,
            ).prefault([]),
            cert: field(
              { type: 'path', description: 'Certificate and chain, PEM.', example: '/etc/buzon/example.org.pem' },
              readPath(base),
            ),
            key: field({ type: 'path', description: 'Its key, PEM.', example: '/etc/buzon/example.org.key' }, readPath(base)),
          }),
        )
        .prefault([]),
    ),
  };
}

function signingFields(base: string) {
  return {
    dkim_keys: group(
      {
        type: 'list of groups',
        description:
          'Private keys for signing with DKIM, RSA or Ed25519, PEM. Nobody but root and the file’s owner and group may read them (`opendkim`, for instance, may keep its own). What logged-in users and clients of `mynetworks` send is signed when its From is of that domain (of several keys, with each: RSA beside Ed25519). `buzon dkim keygen` makes one.',
        default: [],
        example: [{ domain: 'example.com', selector: 'default', file: '/etc/opendkim/keys/example.com/default.private' }],
      },
      z
        .array(
          z.strictObject({
            domain: field({ type: 'domain', description: 'The signing domain.', example: 'example.com' }, readHostname),
            selector: field(
              { type: 'label', description: 'Where its public key is: `SELECTOR._domainkey.DOMAIN`.', example: 'default' },
              readSelector,
            ),
            file: field(
              {
                type: 'path',
                description: 'The private key.',
                example: '/etc/opendkim/keys/example.com/default.private',
              },
              readPath(base),
            ),
          }),
        )
        .prefault([]),
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

function hostFields(base: string) {
  return {
    user: field(
      {
        type: 'user name or id',
        description: 'Who serves and owns the mail tree when `virtual_uid_maps` is not set.',
        default: 'vmail',
        example: 'vmail',
        restart: true,
      },
      readText,
    ),
    group: field(
      {
        type: 'group name or id',
        description: 'Group of the same, when `virtual_gid_maps` is not set.',
        default: 'vmail',
        example: 'vmail',
        restart: true,
      },
      readText,
    ),
    workers: field(
      {
        type: 'number, auto',
        description:
          'Processes that serve (`auto`: one for each core); another one watches over them and alone keeps the rights that it was started with. `0` serves everything in one process.',
        default: 'auto',
        example: 2,
        restart: true,
      },
      readWorkers,
    ).prefault('auto'),
    data_directory: field(
      {
        type: 'path',
        description: 'Small files of the server’s own, such as the record of deliveries in progress.',
        default: '/var/lib/buzon',
        example: '/var/lib/buzon',
        restart: true,
      },
      readPath(base),
    ),
    queue_directory: field(
      {
        type: 'path',
        description: 'Messages while they are taken in, and those that wait to go out.',
        default: '/var/spool/buzon',
        example: '/var/spool/buzon',
        restart: true,
      },
      readPath(base),
    ),
    log: group(
      {
        type: 'group',
        description: 'Where the log goes.',
        example: { file: '/var/log/mail.log', format: 'postfix', level: 'info' },
      },
      z
        .strictObject({
          file: field(
            {
              type: 'path',
              description: 'A file (opened anew on reload, as logrotate wants it), or `-` for standard output.',
              default: '-',
              example: '/var/log/mail.log',
            },
            (value) => (value === '-' ? undefined : readPath(base)(value)),
          ).prefault('-'),
          format: field(
            {
              type: 'json, postfix',
              description: 'One JSON line an event, or the lines of Postfix and Dovecot for fail2ban and the like.',
              default: 'json',
              example: 'postfix',
            },
            readWord(['json', 'postfix']),
          ).prefault('json'),
          level: field(
            {
              type: 'debug, info, warn, error',
              description: 'The least level that is written.',
              default: 'info',
              example: 'info',
            },
            readWord(['debug', 'info', 'warn', 'error']),
          ).prefault('info'),
        })
        .prefault({}),
    ),
    dns: group(
      { type: 'group', description: 'How names are looked up.', example: { servers: ['127.0.0.1'], timeout: '5s' } },
      z
        .strictObject({
          servers: field(
            {
              type: 'list of addresses',
              description:
                'Resolvers, with a port where it is not 53 (`127.0.0.1:5353`, `[::1]:5353`); without it, those of /etc/resolv.conf.',
              default: [],
              example: ['127.0.0.1'],
            },
            readServers,
          ).prefault([]),
          timeout: field(
            { type: 'time', description: 'How long a look-up may take in all.', default: '5s', example: '5s' },
            (value) => readTime(value, 100, 120_000),
          ).prefault('5s'),
        })
        .prefault({}),
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
        description: 'MTA-STS policy files (RFC 8461) that a web server of this host serves, for `buzon check` to look at.',
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

function readSelector(value: unknown): string {
  const text = readText(value).toLowerCase();
  if (isDomainName(text)) return text;
  throw new ValueError(`${show(value)} is not a selector`, 'a DNS label such as default');
}

function readCertificateNames(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    const name = entry.toLowerCase().replace(/\.$/, '');
    if (isDomainName(name.replace(/^\*\./, ''))) return name;
    throw new ValueError(`${show(entry)} is not a name that a certificate can be for`, 'mail.example.com or *.example.com');
  });
}

function readServers(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    const [, host = entry, port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(entry) ?? [];
    const address = readIpAddress(host);
    return port === undefined ? address : `${address.includes(':') ? `[${address}]` : address}:${readInteger(port, 1, 65535)}`;
  });
}
