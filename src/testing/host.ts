// What a test server serves: a temporary folder with mailboxes, passwords, tables and a certificate, and the settings that name them.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAIL_PROTOCOLS } from '../config/schema-network.ts';
import { createSelfSigned, type PemPair } from '../config/self-signed.ts';
import { settingsFromObject, type SettingsInput } from '../config/settings-object.ts';
import type { Settings } from '../config/settings.ts';
import { parseMailbox } from '../message/address-spec.ts';
import type { ReservedSetting, TestServerOptions } from './types.ts';

export interface TestHost {
  /** Whoever made it removes it. */
  readonly folder: string;
  readonly settings: Settings;
  /** The certificate, PEM, and its file. */
  readonly ca: string;
  readonly caFile: string;
}

const LOOPBACK = ['127.0.0.0/8', '[::1]/128'];
const RESERVED: readonly ReservedSetting[] = [
  'listeners',
  'virtual_mailbox_base',
  'virtual_mailbox_maps',
  'virtual_mailbox_domains',
  'virtual_alias_maps',
  'mynetworks',
  'data_directory',
  'queue_directory',
  'smtpd_tls_cert_file',
  'smtpd_tls_key_file',
  'log',
];

/** A test's connections are all from one address, its mistakes are meant, and nobody wants to wait for their punishment. */
const NO_LIMITS: SettingsInput = {
  smtpd_client_connection_count_limit: 0,
  imap_client_connection_count_limit: 0,
  mail_max_userip_connections: 0,
  auth_failure_delay: 0,
  auth_failure_limit: 10_000,
  // The names that tests use are not theirs in DNS.
  message_authentication: 'off',
  shutdown_timeout: '1s',
};

interface User {
  readonly address: string;
  readonly domain: string;
  /** Its folder in its domain's. */
  readonly home: string;
  readonly password: string;
}

interface HostParts {
  readonly users: readonly User[];
  readonly domains: readonly string[];
  /** A virtual(5) table. */
  readonly aliases: string;
}

/** Checks the options before anything is made. @throws TypeError for addresses and passwords that cannot be, and for reserved settings */
function readOptions(options: TestServerOptions): HostParts {
  const taken = RESERVED.filter((name) => Object.hasOwn(options.settings ?? {}, name));
  if (taken.length > 0) throw new TypeError(`startTestServer: the test server sets ${taken.join(', ')} itself`);
  const users = Object.entries(options.users ?? {}).map(([address, password]) => userOf(address, password));
  const aliases = Object.entries(options.aliases ?? {}).map(([address, to]) => aliasOf(address, to));
  const domains = [...users, ...aliases].map(({ domain }) => domain).concat((options.domains ?? []).map((d) => d.toLowerCase()));
  return { users, domains: [...new Set(domains)], aliases: aliases.map(({ line }) => line).join('') };
}

function userOf(text: string, password: string): User {
  const mailbox = parseMailbox(text);
  if (!mailbox || mailbox.domain === '' || !isKey(mailbox.address))
    throw new TypeError(`startTestServer: ${JSON.stringify(text)} is not an address that a user can have`);
  if (typeof password !== 'string' || password === '') throw new TypeError(`startTestServer: ${text} needs a password`);
  const address = mailbox.address.toLowerCase();
  // A local part may hold a slash, or be all dots.
  const home = encodeURIComponent(mailbox.local.toLowerCase()).replace(/^\./, '%2E');
  return { address, domain: mailbox.domain, home, password };
}

function aliasOf(text: string, to: string | readonly string[]): { domain: string; line: string } {
  const address = text.toLowerCase();
  const domain = address.slice(address.lastIndexOf('@') + 1);
  const targets = typeof to === 'string' ? [to] : to;
  if (!address.includes('@') || domain === '' || !isKey(address) || targets.length === 0 || !targets.every((one) => isKey(one)))
    throw new TypeError(`startTestServer: the alias ${JSON.stringify(text)} is not of the form { 'address': 'address' }`);
  return { domain, line: `${address}  ${targets.join(', ')}\n` };
}

/** Fit for a line of a table. */
const isKey = (text: string): boolean => /^[^\s#",][^\s",]*$/.test(text);

/** Makes it all; leaves nothing behind when it cannot. @throws TypeError; MailError config for settings that cannot be */
export async function makeHost(options: TestServerOptions): Promise<TestHost> {
  const parts = readOptions(options);
  const folder = await mkdtemp(join(tmpdir(), 'buzon-test-server-'));
  try {
    const settings = settingsFromObject(settingsOf(folder, parts, options), folder);
    const { cert, key } = await createSelfSigned({ names: [settings.hostname, 'localhost', '127.0.0.1', '::1'] });
    await writeAll(folder, parts, { cert, key });
    return { folder, settings, ca: cert, caFile: join(folder, 'cert.pem') };
  } catch (error) {
    await removeHost(folder);
    throw error;
  }
}

/** A session that has just been cut off may still be writing its last file. */
export const removeHost = (folder: string): Promise<void> =>
  rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });

function settingsOf(folder: string, { users, domains }: HostParts, options: TestServerOptions): SettingsInput {
  const path = (name: string): string => join(folder, name);
  return {
    hostname: `mail.${domains[0] ?? 'example.test'}`,
    // Whatever is not the users' is outside, and caught.
    mydestination: [],
    ...(users[0] ? { postmaster: users[0].address } : {}),
    ...NO_LIMITS,
    ...options.settings,
    listeners: MAIL_PROTOCOLS.map((protocol) => ({ protocol, address: '127.0.0.1', port: 0 })),
    virtual_mailbox_domains: domains,
    virtual_mailbox_base: path('vhosts'),
    virtual_mailbox_maps: `texthash:${path('vmailbox')}`,
    virtual_alias_maps: `texthash:${path('virtual')}`,
    mynetworks: options.mynetworks ?? LOOPBACK,
    data_directory: path('data'),
    queue_directory: path('queue'),
    smtpd_tls_cert_file: path('cert.pem'),
    smtpd_tls_key_file: path('key.pem'),
  };
}

async function writeAll(folder: string, { users, domains, aliases }: HostParts, pair: PemPair): Promise<void> {
  const mailboxes = users.map(({ address, domain, home }) => `${address}  ${domain}/${home}/\n`);
  await Promise.all([
    writeFile(join(folder, 'cert.pem'), pair.cert),
    writeFile(join(folder, 'key.pem'), pair.key, { mode: 0o600 }),
    writeFile(join(folder, 'vmailbox'), mailboxes.join('')),
    writeFile(join(folder, 'virtual'), aliases),
    ...domains.map((domain) =>
      writePasswords(
        join(folder, 'vhosts', domain),
        users.filter((user) => user.domain === domain),
      ),
    ),
  ]);
}

/** One file for a whole domain; homes are made with their first mail. */
async function writePasswords(folder: string, users: readonly User[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = users.map(({ address, password }) => `${address}:${storedPassword(password)}::::::\n`);
  await writeFile(join(folder, 'shadow'), lines.join(''), { mode: 0o600 });
}

/** Plain, so that every mechanism works and none takes time; encoded where it would not stand on one line between colons. */
const storedPassword = (password: string): string =>
  /[:\r\n\0]/.test(password) ? `{PLAIN.b64}${Buffer.from(password).toString('base64')}` : `{PLAIN}${password}`;
