import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultSettings, loadSettings, parseSettings, reloadSettings, type Settings } from '../../src/config/settings.ts';
import { MailError } from '../../src/lib/errors.ts';
import { tempFolder } from '../support/temp-folder.ts';

const FILE = '/etc/buzon/buzon.yaml';
const read = (text: string): Settings => parseSettings(`hostname: mail.example.com\n${text}`, FILE);

/** The lines of the error, without the file's name. */
function problems(text: string): string[] {
  try {
    parseSettings(text, FILE);
  } catch (error) {
    assert.ok(error instanceof MailError && error.kind === 'config' && error.code === 'SETTINGS_INVALID');
    return error.clientText.split('\n').map((line) => {
      assert.ok(line.startsWith(`${FILE}:`), line);
      return line.slice(FILE.length + 1);
    });
  }
  return [];
}

test('everything but the hostname has a default', () => {
  const settings = defaultSettings('mail.example.com');
  assert.deepEqual(settings.mydestination, ['mail.example.com', 'localhost.example.com', 'localhost']);
  assert.equal(settings.mydomain, 'example.com');
  assert.equal(settings.virtual_mailbox_base, '/var/mail/vhosts');
  assert.equal(settings.smtpd_forbid_bare_newline, 'reject');
  assert.deepEqual(settings.auth_mechanisms, ['PLAIN', 'LOGIN']);
  assert.equal(settings.smtpd_recipient_limit, 1000);
  assert.equal(settings.mail_save_crlf, false);
  assert.deepEqual(problems(''), [
    '1:1: hostname: it is missing; write the name that the MX record points to, such as mail.example.com',
  ]);
});

test('default listeners stand on every address of inet_interfaces and inet_protocols', () => {
  const ports = (settings: Settings) => settings.listeners.map(({ protocol, address, port }) => `${protocol} ${address} ${port}`);
  assert.deepEqual(ports(read('inet_protocols: ipv4')), [
    'smtp 0.0.0.0 25',
    'submission 0.0.0.0 587',
    'submissions 0.0.0.0 465',
    'imap 0.0.0.0 143',
    'imaps 0.0.0.0 993',
  ]);
  assert.deepEqual(ports(read('inet_interfaces: loopback-only\nlisteners: [{protocol: smtp, port: 2525}]')), [
    'smtp 127.0.0.1 2525',
    'smtp ::1 2525',
  ]);
  assert.deepEqual(
    ports(read("listeners:\n- {protocol: imap, address: '[::1]'}\n- {protocol: imap, address: 127.0.0.2, port: 0}")),
    ['imap ::1 143', 'imap 127.0.0.2 0'],
  );
});

test('lists are YAML lists or Postfix’s text; $name means what it means in main.cf', () => {
  const settings = read(
    `
mydestination: $myhostname, localhost.$mydomain localhost
virtual_mailbox_domains: [Example.com, 'hash:/etc/postfix/vdomains', example.org.]
virtual_mailbox_maps: hash:$config, inline:{ {a@x.test = x.test/a/}, b@x.test=x.test/b/ }
virtual_alias_maps: /etc/postfix/virtual, proxy:texthash:relative
virtual_alias_domains: \${virtual_alias_maps}
virtual_uid_maps: static:5000
`.replace('$config', '/etc/postfix/vmailbox'),
  );
  assert.deepEqual(settings.mydestination, ['mail.example.com', 'localhost.example.com', 'localhost']);
  assert.deepEqual(settings.virtual_mailbox_domains, ['example.com', 'hash:/etc/postfix/vdomains', 'example.org']);
  assert.deepEqual(settings.virtual_mailbox_maps, [
    'hash:/etc/postfix/vmailbox',
    'inline:{ {a@x.test = x.test/a/}, b@x.test=x.test/b/ }',
  ]);
  assert.deepEqual(settings.virtual_alias_maps, ['hash:/etc/postfix/virtual', 'texthash:/etc/buzon/relative']);
  assert.deepEqual(settings.virtual_alias_domains, ['/etc/postfix/virtual', 'texthash:/etc/buzon/relative']);
  assert.deepEqual(settings.virtual_uid_maps, ['static:5000']);
});

test('local_recipient_maps: the users of the host and alias_maps; nothing at all is no check', () => {
  const maps = (text: string) => read(`alias_maps: hash:/etc/aliases\n${text}`).local_recipient_maps;
  assert.deepEqual(maps(''), ['unix:passwd.byname', 'hash:/etc/aliases']);
  assert.deepEqual(maps('local_recipient_maps: unix:passwd.byname, proxy:hash:own'), [
    'unix:passwd.byname',
    'hash:/etc/buzon/own',
  ]);
  for (const none of ['', ' ""', ' []']) assert.deepEqual(maps(`local_recipient_maps:${none}`), [], none);
  assert.match(problems('hostname: a.b\nlocal_recipient_maps: unix:group.byname')[0] ?? '', /no unix: tables/);
});

test('without a list of domains, the keys of the tables are the domains, as in Postfix', () => {
  assert.deepEqual(read('virtual_mailbox_maps: hash:/etc/postfix/vmailbox').virtual_mailbox_domains, [
    'hash:/etc/postfix/vmailbox',
  ]);
});

test('myhostname is hostname; $$ is a dollar sign', () => {
  const settings = parseSettings('myhostname: MX.example.org\nvirtual_alias_maps: "inline:{ a=$$b }"\n', FILE);
  assert.equal(settings.hostname, 'mx.example.org');
  assert.deepEqual(settings.virtual_alias_maps, ['inline:{ a=$b }']);
  assert.match(problems('hostname: a.b\nmyhostname: a.b')[0] ?? '', /^2:13: myhostname: hostname says the same/);
});

test('sizes, times and booleans in Postfix’s and Dovecot’s ways', () => {
  const settings = read(
    'message_size_limit: 20M\nquota: {storage: 1.5G}'.replace('1.5G', '2 GB') +
      '\nsmtpd_timeout: 5 mins\nmail_save_crlf: yes\nimap_idle_notify_interval: 90',
  );
  assert.equal(settings.message_size_limit, 20 * 2 ** 20);
  assert.deepEqual(settings.quota, { storage: 2 * 2 ** 30, messages: 0 });
  assert.equal(settings.smtpd_timeout, 300_000);
  assert.equal(settings.mail_save_crlf, true);
  assert.equal(settings.imap_idle_notify_interval, 90_000);
});

test('smtpd_forbid_bare_newline takes Postfix 3.9’s words, as text or as YAML booleans', () => {
  for (const [text, value] of [
    ['yes', 'normalize'],
    ['true', 'normalize'],
    ['normalize', 'normalize'],
    ['reject', 'reject'],
    ['no', 'no'],
    ['false', 'no'],
  ])
    assert.equal(read(`smtpd_forbid_bare_newline: ${text}`).smtpd_forbid_bare_newline, value);
});

test('an empty value is empty, not the default', () => {
  assert.deepEqual(read('mynetworks:').mynetworks, []);
  assert.deepEqual(read('mydestination: []').mydestination, []);
  assert.equal(read('recipient_delimiter: ""').recipient_delimiter, '');
  assert.equal(read('postmaster: info@Example.com').postmaster, 'info@example.com');
});

const WRONG: readonly (readonly [name: string, text: string, expected: readonly string[]])[] = [
  ['an unknown name', 'hostnam: x\nhostname: a.b', ['1:1: hostnam: there is no such setting; did you mean hostname?']],
  [
    'a name nothing is like',
    'hostname: a.b\nfoo: 1',
    ['2:1: foo: there is no such setting; docs/settings.md lists all settings'],
  ],
  [
    'an unknown name in a group',
    'hostname: a.b\nlog:\n  levl: info',
    ['3:3: log.levl: there is no such setting; did you mean level?'],
  ],
  [
    'an unknown name in a list',
    'hostname: a.b\nlisteners:\n- protocol: smtp\n  prot: 1',
    ['4:3: listeners[0].prot: there is no such setting; did you mean port?'],
  ],
  [
    'a size',
    'hostname: a.b\nmessage_size_limit: 10X',
    ['2:21: message_size_limit: "10X" is not a size in bytes; write bytes, or a number with k, M or G, such as 50M'],
  ],
  [
    'a host part',
    'hostname: a.b\nmynetworks: [10.0.0.1/8]',
    ['2:13: mynetworks: "10.0.0.1/8" has a non-null host part; write its host part zero, or the prefix length /32'],
  ],
  [
    'an unknown $name',
    'hostname: a.b\nmydestination: $mydomian',
    [
      '2:16: mydestination: $mydomian stands for nothing: there is no setting mydomian; write the value itself, or $$ for a dollar sign',
    ],
  ],
  [
    'a circle',
    'hostname: a.b\nmydestination: $virtual_alias_domains\nvirtual_alias_domains: $mydestination',
    [
      '2:16: mydestination: "$virtual_alias_domains" refers to itself; write the value itself',
      '3:24: virtual_alias_domains: "$mydestination" refers to itself; write the value itself',
    ],
  ],
  [
    'a key without its certificate',
    'hostname: a.b\nsmtpd_tls_key_file: /k',
    ['2:21: smtpd_tls_key_file: smtpd_tls_cert_file is missing; write both or neither'],
  ],
  [
    'two listeners in one place',
    'hostname: a.b\nlisteners: [{protocol: smtp, address: 127.0.0.1}, {protocol: imap, address: 127.0.0.1, port: 25}]',
    ['2:51: listeners[1]: 127.0.0.1 port 25 is taken by another listener; write another port or address'],
  ],
  [
    'a missing part',
    'hostname: a.b\nlisteners: [{port: 25}]',
    ['2:13: listeners[0].protocol: it is missing; write one of smtp, submission, submissions, imap, imaps, http, https'],
  ],
  [
    'a value where a group belongs',
    'hostname: a.b\nquota: 5',
    ['2:8: quota: the value is of the wrong kind; write a group: lines of the form name: value below it'],
  ],
  [
    'a group where a list belongs',
    'hostname: a.b\ncertificates: {cert: x}',
    ['2:15: certificates: the value is of the wrong kind; write a list: lines that start with -'],
  ],
  [
    'a name twice',
    'hostname: a.b\nhostname: a.b',
    ['2:1: Map keys must be unique; write valid YAML, or quotes around the value'],
  ],
  [
    'no YAML',
    'hostname: a: b',
    ['1:11: Nested mappings are not allowed in compact mappings; write valid YAML, or quotes around the value'],
  ],
  ['another kind of document', '- a', ['1:1: the file is not a list of settings; write lines of the form name: value']],
  [
    'a default that a bad value broke is not reported beside it',
    'hostname: a.b\nvirtual_mailbox_maps: hsah:/x',
    [
      '2:23: virtual_mailbox_maps: "hsah" is not a type of table, did you mean hash:?; write type:name, where type is one of hash, texthash, btree, lmdb, inline, static, regexp, pcre',
    ],
  ],
  [
    'a table of Postfix that is not here',
    'hostname: a.b\nalias_maps: ldap:/x',
    [
      '2:13: alias_maps: Buzon has no ldap: tables; write type:name, where type is one of hash, texthash, btree, lmdb, inline, static, regexp, pcre',
    ],
  ],
  [
    'a mechanism',
    'hostname: a.b\nauth_mechanisms: PLAIN, NTLM',
    ['2:18: auth_mechanisms: "NTLM" is not known; write one of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5'],
  ],
  [
    'a port',
    'hostname: a.b\nlisteners: [{protocol: smtp, port: 70000}]',
    ['2:36: listeners[0].port: 70000 is not a whole number from 0 to 65535; write a whole number from 0 to 65535'],
  ],
  [
    'a name of JavaScript’s',
    'hostname: a.b\nmydestination: $constructor\n',
    [
      '2:16: mydestination: $constructor stands for nothing: there is no setting constructor; write the value itself, or $$ for a dollar sign',
    ],
  ],
  [
    'a name of JavaScript’s as setting',
    'hostname: a.b\n__proto__: {user: x}\n',
    ['2:1: __proto__: there is no such setting; docs/settings.md lists all settings'],
  ],
];
for (const [name, text, expected] of WRONG)
  test(`refused with its place: ${name}`, () => assert.deepEqual(problems(text), expected));

test('every problem is listed, in the file’s order', () => {
  const found = problems('hostname: x\nfoo: 1\nmynetworks: [a, b]\nlog: {format: xml}');
  assert.deepEqual(
    found.map((line) => line.split(': ', 2).join(': ')),
    ['1:11: hostname', '2:1: foo', '3:13: mynetworks', '4:15: log.format'],
  );
});

test('a bomb of aliases is refused, not expanded', () => {
  const lines = ['hostname: a.b', 'x0: &x0 [a,a,a,a,a,a,a,a,a]'];
  for (let i = 1; i < 9; i++)
    lines.push(
      `x${i}: &x${i} [${Array(9)
        .fill(`*x${i - 1}`)
        .join(',')}]`,
    );
  const started = Date.now();
  assert.ok(problems(lines.join('\n')).length > 0);
  assert.ok(Date.now() - started < 5000);
});

test('a file is read from disk, relative paths start at its folder; a missing one is said', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'buzon.yaml');
  await assert.rejects(loadSettings(file), { code: 'SETTINGS_UNREADABLE', message: `${file}: there is no such file` });
  await mkdir(join(folder, 'mail'));
  await writeFile(file, 'hostname: a.b\nvirtual_mailbox_base: mail\nvirtual_mailbox_maps: hash:vmailbox\nlog: {file: log}\n');
  const settings = await loadSettings(file);
  assert.equal(settings.virtual_mailbox_base, join(folder, 'mail'));
  assert.deepEqual(settings.virtual_mailbox_maps, [`hash:${join(folder, 'vmailbox')}`]);
  assert.equal(settings.log.file, join(folder, 'log'));
});

test('a reload says what changed and what waits for the next start', async (t) => {
  const file = join(await tempFolder(t), 'buzon.yaml');
  await writeFile(file, 'hostname: mail.example.com\n');
  const before = await loadSettings(file);
  assert.deepEqual((await reloadSettings(file, before)).changed, []);
  await writeFile(
    file,
    'hostname: mail.example.com\nmynetworks: [10.0.0.0/8]\nlisteners: [{protocol: smtp}]\nquota: {storage: 1G}\n',
  );
  const change = await reloadSettings(file, before);
  assert.deepEqual([...change.changed].sort(), ['listeners', 'mynetworks', 'quota']);
  assert.deepEqual(change.needRestart, ['listeners']);
  assert.deepEqual(change.settings.mynetworks, ['10.0.0.0/8']);
  await writeFile(file, 'hostname: [');
  await assert.rejects(reloadSettings(file, before), { code: 'SETTINGS_INVALID' });
});
