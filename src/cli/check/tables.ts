// Tables as files: readable, compiled, in step with their text, without lines that are left out.
import { stat } from 'node:fs/promises';
import { readMapSpec, type MapSpec } from '../../config/map-spec.ts';
import { compiledName } from '../../config/maps/compile.ts';
import { openAliases, openTable } from '../../config/maps/table.ts';
import { LOCAL_USERS } from '../../config/schema-routing.ts';
import type { Settings } from '../../config/settings.ts';
import { errnoOf, MailError } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';
import type { Report } from './finding.ts';

const LISTS = ['virtual_mailbox_domains', 'virtual_alias_domains', 'mydestination', 'relay_domains'] as const;
/** Without smtp_sasl_password_maps, whose lines are secrets. */
const TABLES = [
  'virtual_mailbox_maps',
  'virtual_alias_maps',
  'alias_maps',
  'virtual_uid_maps',
  'virtual_gid_maps',
  'local_recipient_maps',
  'relay_recipient_maps',
  'transport_maps',
  'sender_dependent_default_transport_maps',
  'sender_dependent_relayhost_maps',
  'smtp_bind_address_maps',
  'smtp_tls_policy_maps',
  'sender_bcc_maps',
  'recipient_bcc_maps',
  'smtpd_sender_login_maps',
  'account_send_limit_maps',
  'suppression_maps',
] as const;

export async function checkTables(settings: Settings, report: Report): Promise<void> {
  const seen = new Set<string>();
  for (const name of [...TABLES, ...LISTS])
    for (const spec of settings[name]) {
      // Local users are no file.
      if (seen.has(spec) || spec === LOCAL_USERS || !/^[a-z]+:/.test(spec)) continue;
      seen.add(spec);
      await checkTable(name, spec, report);
    }
}

async function checkTable(setting: string, spec: string, report: Report): Promise<void> {
  const open = setting === 'alias_maps' ? openAliases : openTable;
  try {
    const table = open(spec, { logger: silentLogger });
    for (const { line, text, ignored } of await table.load())
      report.warn(
        'MAP_LINE',
        `${spec} line ${line}`,
        `${text}${ignored ? ' (the line is left out)' : ''}`,
        'a line of the form: key value',
      );
    table.close();
    const read = readMapSpec(spec, '/');
    if (open === openTable && ['hash', 'btree', 'lmdb'].includes(read.type)) await checkCompiled(read, report);
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    report.error('MAP_UNREADABLE', setting, error.detail || error.message, 'a table that is there and may be read');
  }
}

async function checkCompiled({ name, spec }: MapSpec, report: Report): Promise<void> {
  const [text, compiled, berkeley] = await Promise.all([mtimeOf(name), mtimeOf(compiledName(name)), mtimeOf(`${name}.db`)]);
  if (compiled !== undefined && text !== undefined && text > compiled)
    report.warn(
      'MAP_STALE',
      spec,
      `database ${compiledName(name)} is older than source file ${name}`,
      `run: buzon postmap ${name}`,
    );
  if (compiled === undefined && berkeley !== undefined)
    report.warn(
      'MAP_BERKELEY_ONLY',
      spec,
      `there is only Postfix’s ${name}.db, which Buzon does not read: the text ${name} counts`,
      `run: buzon postmap ${name}`,
    );
}

async function mtimeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
