// Where mail goes next: next hops that can be, domains that are in one list only, passwords that nobody else reads.
import { stat } from 'node:fs/promises';
import { openDomainList } from '../../config/domain-list.ts';
import { openTable } from '../../config/maps/table.ts';
import { parseLimits } from '../../delivery/send-limits.ts';
import { errnoOf } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';
import { readBindAddresses } from '../../queue/bind-address.ts';
import { secretTablePath } from '../../queue/credentials.ts';
import { parseTlsPolicy, tlsDefaults } from '../../queue/tls-policy.ts';
import { transportProblem } from '../../queue/transports.ts';
import { mergeTables, namesOf, type Report, type World } from './finding.ts';

type MapSetting =
  | 'transport_maps'
  | 'sender_dependent_default_transport_maps'
  | 'sender_dependent_relayhost_maps'
  | 'smtp_bind_address_maps'
  | 'account_send_limit_maps'
  | 'smtp_tls_policy_maps';

export async function checkRouting(world: World, report: Report): Promise<void> {
  await checkRelayDomains(world, report);
  checkTransports(world, report);
  await checkMaps(world, report);
  await checkPasswords(world, report);
}

async function checkRelayDomains(world: World, report: Report): Promise<void> {
  const { settings } = world;
  const relay = await namesOf(openDomainList(settings.relay_domains, { logger: silentLogger }));
  for (const [setting, names] of [
    ['mydestination', world.mydestination],
    ['virtual_mailbox_domains', world.mailboxDomains],
    ['virtual_alias_domains', world.aliasDomains],
  ] as const)
    for (const domain of relay.filter((name) => names.includes(name)))
      report.error(
        'RELAY_DOMAIN_OWN',
        domain,
        `it is in relay_domains and in ${setting}: nothing is relayed`,
        'it in one of the two',
      );
  if (relay.length > 0 && settings.relay_recipient_maps.length === 0)
    report.warn(
      'RELAY_RECIPIENTS_ANY',
      relay.join(', '),
      'mail for addresses there that do not exist is taken, and then returned to senders that may be forged',
      'relay_recipient_maps with the addresses that do',
    );
}

function checkTransports({ settings }: World, report: Report): void {
  const right = 'smtp:[mail.example.com]:25, lmtp:unix:/run/dovecot/lmtp and the like';
  for (const name of ['default_transport', 'relay_transport', 'virtual_transport'] as const) {
    const problem = transportProblem(settings[name]);
    if (problem !== undefined) report.error('TRANSPORT_BAD', name, problem, right);
  }
  const problem = settings.relayhost === '' ? undefined : transportProblem(`:${settings.relayhost}`);
  if (problem !== undefined) report.error('TRANSPORT_BAD', 'relayhost', problem, '[mail.example.com]:587 or example.com');
}

const isDunno = (value: string): boolean => value.toUpperCase() === 'DUNNO';

async function checkMaps({ settings, clock }: World, report: Report): Promise<void> {
  const each = async (name: MapSetting, problem: (value: string) => string | undefined, right: string): Promise<void> => {
    const tables = settings[name].map((spec) => openTable(spec, { logger: silentLogger, clock }));
    for (const [key, value] of await mergeTables(tables)) {
      const wrong = problem(value);
      if (wrong !== undefined) report.error('ROUTE_BAD', `${name} ${key}`, wrong, right);
    }
  };
  await each('transport_maps', transportProblem, 'transport:nexthop, as transport(5) has it');
  await each(
    'sender_dependent_default_transport_maps',
    (value) => {
      if (isDunno(value)) return undefined;
      return value === '' || value.startsWith(':') ? `"${value}" names no transport` : transportProblem(value);
    },
    'transport:nexthop, or DUNNO',
  );
  await each(
    'sender_dependent_relayhost_maps',
    (value) => (isDunno(value) ? undefined : transportProblem(`:${value}`)),
    '[mail.example.com]:587, example.com or DUNNO',
  );
  await each(
    'smtp_bind_address_maps',
    (value) => (Object.keys(readBindAddresses(value)).length > 0 ? undefined : `"${value}" holds no IP address`),
    'addresses of this host, such as 192.0.2.1 2001:db8::1',
  );
  await each(
    'account_send_limit_maps',
    (value) => {
      const read = parseLimits(value, settings.account_send_limits);
      return typeof read === 'string' ? read : undefined;
    },
    'unlimited, or messages_per_hour=100 recipients_per_day=1000',
  );
  await each(
    'smtp_tls_policy_maps',
    (value) => {
      const read = parseTlsPolicy(value, tlsDefaults(settings));
      return typeof read === 'string' ? read : undefined;
    },
    'a level with its attributes, such as secure match=mx.example.net',
  );
}

/** Of a file with passwords nothing is shown, not even a line that is wrong. */
async function checkPasswords({ settings }: World, report: Report): Promise<void> {
  for (const spec of settings.smtp_sasl_password_maps) {
    const path = secretTablePath(spec);
    if (path === undefined) continue;
    try {
      const { mode } = await stat(path);
      if ((mode & 0o007) !== 0)
        report.error(
          'SASL_PASSWD_EXPOSED',
          path,
          `everybody can read the passwords in it (mode ${(mode & 0o777).toString(8)})`,
          `run: chmod 600 ${path}`,
        );
    } catch (error) {
      report.error(
        'SASL_PASSWD_UNREADABLE',
        path,
        `it cannot be looked at (${errnoOf(error) ?? String(error)}): mail for hosts that want a log-in waits`,
        'lines such as: [mail.example.com]:587  user:password',
      );
    }
  }
}
