// Writes docs/settings.md from the schema; with --check only says (by its exit status) whether the file is what it would write.
import { readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { fieldInfo, innermost } from '../src/config/field.ts';
import { settingsSchema } from '../src/config/schema.ts';

const FILE = new URL('../docs/settings.md', import.meta.url);

const SECTIONS = [
  ['Names of the host', 'hostname'],
  ['Domains, mailboxes, aliases', 'virtual_mailbox_domains'],
  ['Routing and sending', 'relay_domains'],
  ['Reports to senders, and senders of forwarded mail', 'bounce_size_limit'],
  ['Network', 'mynetworks'],
  ['TLS', 'smtpd_tls_security_level'],
  ['Signing', 'dkim_keys'],
  ['Verification of mail from outside', 'message_authentication'],
  ['MTA-STS of our domains', 'mta_sts_mode'],
  ['Log-in', 'disable_plaintext_auth'],
  ['Limits', 'client_limit'],
  ['The outbound queue', 'smtp_process_limit'],
  ['TLS towards other hosts', 'smtp_tls_security_level'],
  ['The host itself', 'user'],
  ['For `buzon check`', 'dkim_selector'],
];

const INTRO = `# Settings

<!-- Written by scripts/settings-docs.mjs from src/config/schema.ts: change it there. -->

\`buzon.yaml\` (normally \`/etc/buzon/buzon.yaml\`) is YAML. Names and meanings are Postfix's and Dovecot's where they have one; only
\`hostname\` must be there. An unknown name or a bad value stops the start, with file, line, column and what would be right;
\`buzon check\` also looks at the tables, certificates and folders that the settings name.

- A **list** is a YAML list or, as in \`main.cf\`, text with commas or spaces between the entries.
- A **boolean** is \`yes\` or \`no\` (or \`true\`, \`false\`).
- A **size** is in bytes; \`k\`, \`M\`, \`G\`, \`T\` multiply by 1024.
- A **time** is in seconds; \`ms\`, \`s\`, \`m\`, \`h\`, \`d\`, \`w\` are understood.
- A **path** that is relative starts at the settings file's folder.
- \`$name\` stands for another setting's value, as in \`main.cf\` (\`$myhostname\`, \`$mydomain\`); \`$$\` is a dollar sign.
- A **table** is \`type:name\`: \`hash:\`, \`btree:\`, \`lmdb:\` (\`FILE.sqlite\`, made by \`buzon postmap FILE\`; without it the text \`FILE\`; Postfix's
  \`FILE.db\` is never touched), \`texthash:\` (the text), \`regexp:\`, \`pcre:\` (patterns, run as JavaScript expressions: atomic groups, possessive
  quantifiers and recursion are refused; keys over 512 characters match nothing; a look-up that takes over 50 ms is a temporary error),
  \`inline:{ key=value, { key = value with spaces } }\`, \`static:value\`. A path alone is \`hash:\`. Changed tables are seen at the next look-up.

Settings marked *start* are taken over at the next start, all others also by \`buzon reload\`.
`;

const yaml = (name, value) => stringify({ [name]: value }, { lineWidth: 0 }).trimEnd();

function standard(value) {
  if (value === undefined || value === 'none') return 'none';
  if (value === '' || (Array.isArray(value) && value.length === 0)) return 'empty';
  return `\`${Array.isArray(value) ? value.join(', ') : String(value)}\``;
}

/** The parts of a group, or of each entry of a list of groups. */
function partsOf(schema) {
  const inner = innermost(schema);
  return Object.entries((inner?.element ?? inner)?.shape ?? {});
}

function section(name, schema) {
  const info = fieldInfo(schema);
  const parts = partsOf(schema);
  const head = [`*${info.type}*`];
  if (parts.length === 0 || info.default !== undefined) head.push(`default: ${standard(info.default)}`);
  if (info.restart) head.push('*start*');
  const rows = parts.map(([part, one]) => {
    const { type, description, default: value } = fieldInfo(one);
    const must = value === undefined ? 'required' : `default: ${standard(value)}`;
    return `- \`${part}\` (${type}; ${must}): ${description}`;
  });
  return [
    `### ${name}`,
    '',
    head.join(' · '),
    '',
    info.description,
    '',
    ...rows,
    ...(rows.length ? [''] : []),
    '```yaml',
    yaml(name, info.example),
    '```',
    '',
  ].join('\n');
}

function render() {
  const starts = new Map(SECTIONS.map(([title, first]) => [first, title]));
  const body = Object.entries(settingsSchema('/etc/buzon').shape).map(([name, schema]) => {
    const title = starts.get(name);
    return (title ? `## ${title}\n\n` : '') + section(name, schema);
  });
  return `${INTRO}\n${body.join('\n')}`;
}

const text = render();
if (process.argv.includes('--check')) {
  let now = '';
  try {
    now = readFileSync(FILE, 'utf8');
  } catch {
    // Missing: not what it should be.
  }
  if (now !== text) {
    console.error('docs/settings.md is not what the schema says: run node scripts/settings-docs.mjs');
    process.exit(1);
  }
} else writeFileSync(FILE, text);
