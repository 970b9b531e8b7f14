import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { chmod, chown, mkdir, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { checkCommand } from '../../src/cli/check.ts';
import { checkSettings, type CheckDeps } from '../../src/cli/check/settings.ts';
import { compileTable } from '../../src/config/maps/compile.ts';
import { createSelfSigned } from '../../src/config/self-signed.ts';
import { parseSettings } from '../../src/config/settings.ts';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { MailError } from '../../src/lib/errors.ts';
import { captureIo } from '../support/command-io.ts';
import { requireRoot } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

const OWNERS: readonly string[] = ['HOME_OWNER', 'TLS_KEY_ROOT_ONLY'];

/** A host as the guide sets it up, with nothing to find but what `change` makes. */
async function host(t: TestContext) {
  const folder = await tempFolder(t);
  const at = (...names: string[]): string => join(folder, ...names);
  await mkdir(at('vhosts/example.com/info'), { recursive: true });
  for (const path of ['vhosts', 'vhosts/example.com', 'vhosts/example.com/info']) await chmod(at(path), 0o750);
  await writeFile(at('vhosts/example.com/info/passwd'), 'info:{PLAIN}secret::::\n', { mode: 0o640 });
  await writeFile(at('vmailbox'), 'info@example.com  example.com/info/\n');
  await writeFile(at('virtual'), '');
  await writeFile(at('aliases'), 'postmaster: root\nroot: info@example.com\n');
  const { cert, key } = await createSelfSigned({ names: ['mail.example.com', '*.example.org'] });
  await writeFile(at('cert.pem'), cert);
  await writeFile(at('key.pem'), key, { mode: 0o600 });
  const own = `static:${process.getuid?.() || 65534}`;
  const lines: Record<string, string | number> = {
    hostname: 'mail.example.com',
    virtual_mailbox_domains: 'example.com',
    virtual_alias_domains: '[]',
    virtual_mailbox_base: at('vhosts'),
    virtual_mailbox_maps: `texthash:${at('vmailbox')}`,
    virtual_alias_maps: `texthash:${at('virtual')}`,
    alias_maps: `texthash:${at('aliases')}`,
    smtpd_tls_cert_file: at('cert.pem'),
    smtpd_tls_key_file: at('key.pem'),
    virtual_uid_maps: own,
    virtual_gid_maps: `static:${process.getgid?.() || 65534}`,
  };
  const yaml = (change: Record<string, string | number> = {}): string =>
    Object.entries({ ...lines, ...change })
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n') + '\n';
  const check = (change: Record<string, string | number> = {}, deps: CheckDeps = {}) =>
    checkSettings(parseSettings(yaml(change), at('buzon.yaml')), deps);
  /** `severity CODE subject` of each finding, those about owners aside: the test's files are whose the test is. */
  const codes = async (change: Record<string, string | number> = {}, deps: CheckDeps = {}, aside = OWNERS): Promise<string[]> =>
    (await check(change, deps))
      .filter(({ code }) => !aside.includes(code))
      .map(({ severity, code, subject }) => `${severity} ${code} ${subject.replaceAll(`${folder}/`, '')}`);
  return { at, yaml, check, codes };
}

test('a host without mistakes has none', async (t) => {
  const { codes } = await host(t);
  assert.deepEqual(await codes(), []);
});

test('domains that are in two lists', async (t) => {
  const { codes } = await host(t);
  assert.deepEqual(await codes({ mydestination: 'mail.example.com, Example.com' }), ['error MYDESTINATION_VIRTUAL example.com']);
  assert.deepEqual(await codes({ virtual_alias_domains: 'example.com' }), ['error DOMAIN_TWICE example.com']);
  assert.deepEqual(await codes({ virtual_alias_domains: 'example.net', mydestination: 'example.net' }), [
    'error MYDESTINATION_VIRTUAL_ALIAS example.net',
    'warning DOMAIN_EMPTY example.net',
  ]);
});

test('owners that are not one id', async (t) => {
  const { codes } = await host(t);
  for (const spec of ['static:0', 'static:vmail', 'static:5000, static:5001', 'inline:{ info@example.com=5000 }'])
    assert.ok(
      (await codes({ virtual_uid_maps: spec, virtual_gid_maps: spec }))
        .join(' ')
        .startsWith('error UID_NOT_ONE virtual_uid_maps error GID_NOT_ONE virtual_gid_maps'),
      spec,
    );
});

test('mailboxes: mbox, outside of the base, in a domain of nobody; a domain without any', async (t) => {
  const { at, codes } = await host(t);
  await writeFile(
    at('vmailbox'),
    'info@example.com example.com/info/\nbox@example.com example.com/box\nup@example.com ../up/\nx@example.org example.com/info/\nbare example.com/info/\n',
  );
  assert.deepEqual(await codes({ virtual_mailbox_domains: 'example.com, empty.test' }), [
    'warning DOMAIN_EMPTY empty.test',
    'error MAILBOX_MBOX box@example.com',
    'error MAILBOX_OUTSIDE up@example.com',
    'warning MAILBOX_FOREIGN_DOMAIN x@example.org',
    'warning MAILBOX_NO_DOMAIN bare',
    'warning ACCOUNT_NO_PASSWD x@example.org',
  ]);
});

test('tables: missing, with bad lines, older than their text, only in Postfix’s form', async (t) => {
  const { at, codes } = await host(t);
  assert.deepEqual(await codes({ virtual_alias_maps: 'hash:none' }), ['error MAP_UNREADABLE virtual_alias_maps']);
  await writeFile(at('virtual'), 'a@example.com info@example.com\nbad\na@example.com x\n');
  assert.deepEqual(await codes(), [`warning MAP_LINE texthash:virtual line 2`, `warning MAP_LINE texthash:virtual line 3`]);
  await writeFile(at('virtual'), 'a@example.com info@example.com\n');
  await compileTable(at('virtual'));
  assert.deepEqual(await codes({ virtual_alias_maps: 'hash:virtual' }), []);
  await utimes(at('virtual.sqlite'), 1, 1);
  assert.deepEqual(await codes({ virtual_alias_maps: 'hash:virtual' }), ['warning MAP_STALE hash:virtual']);
  await writeFile(at('vmailbox.db'), 'berkeley');
  assert.deepEqual(await codes({ virtual_mailbox_maps: 'hash:vmailbox' }), ['warning MAP_BERKELEY_ONLY hash:vmailbox']);
});

test('aliases: commands, files, included lists, circles, dead ends, a catch-all that swallows mailboxes', async (t) => {
  const { at, codes, check } = await host(t);
  await writeFile(
    at('aliases'),
    'postmaster: root\nroot: info@example.com\ncmd: "|/usr/bin/x a"\nfile: /var/x\nlist: :include:/x\n',
  );
  await writeFile(
    at('virtual'),
    'one@example.com two@example.com\ntwo@example.com three@example.com, out@example.org\nthree@example.com one+x@example.com\nself@example.com self@example.com\ndead@example.com gone@example.com\nok@example.com info+tag@example.com\n',
  );
  assert.deepEqual(await codes(), [
    'error ALIAS_COMMAND cmd',
    'error ALIAS_FILE file',
    'error ALIAS_INCLUDE list',
    'warning ALIAS_UNKNOWN dead@example.com',
    'error ALIAS_LOOP two@example.com',
  ]);
  await writeFile(at('aliases'), 'a: b\nb: a\n');
  await writeFile(at('virtual'), '@example.com boss@example.org\n');
  assert.deepEqual(await codes(), [
    'warning ALIAS_CATCHALL @example.com',
    'error ALIAS_LOOP a',
    'warning ALIAS_MISSING postmaster',
    'warning ALIAS_MISSING root',
  ]);
  assert.match(
    (await check()).find(({ code }) => code === 'ALIAS_CATCHALL')?.right ?? '',
    /info@example.com {2}info@example.com$/,
  );
  await writeFile(at('aliases'), 'root: info@example.com\n');
  await writeFile(at('virtual'), '@example.com boss@example.org\ninfo@example.com info@example.com\n');
  assert.deepEqual(await codes({ postmaster: 'info@example.com' }), []);
});

test('a chain of 20,000 aliases is followed without running out of stack', async (t) => {
  const { at, codes } = await host(t);
  const chain = Array.from({ length: 20_000 }, (_, i) => `a${i}@example.com a${i + 1}@example.com`);
  await writeFile(at('virtual'), [...chain, 'a20000@example.com a19999@example.com'].join('\n'));
  assert.deepEqual(await codes(), ['error ALIAS_LOOP a19999@example.com']);
});

test('certificates: none, open to all, not the key’s, expired, not for the hostname or the names they are set for', async (t) => {
  const { at, codes } = await host(t);
  const one = (cert: string, key: string, domains = '') => ({
    certificates: `[{cert: ${cert}, key: ${key}${domains ? `, domains: [${domains}]` : ''}}]`,
  });
  assert.deepEqual(await codes({ smtpd_tls_cert_file: '""', smtpd_tls_key_file: '""' }), [
    'warning TLS_NONE smtpd_tls_cert_file',
  ]);
  assert.deepEqual(await codes({ hostname: 'mx.example.com', mydestination: 'localhost' }), [
    'error TLS_NAME_MISSING mx.example.com',
  ]);
  assert.deepEqual(await codes(one('cert.pem', 'key.pem', 'a.example.org, "*.example.org", example.org, a.b.example.org')), [
    'error TLS_NAME_MISSING example.org',
    'error TLS_NAME_MISSING a.b.example.org',
  ]);
  const old = await createSelfSigned({ names: ['mail.example.com'], from: Date.now() - 9 * 86_400_000, days: 2 });
  await writeFile(at('old.pem'), old.cert);
  await writeFile(at('old.key'), old.key, { mode: 0o600 });
  assert.deepEqual(await codes(one('old.pem', 'old.key')), ['error TLS_EXPIRED old.pem']);
  assert.deepEqual(await codes({}, { clock: { now: () => Date.now() + 820 * 86_400_000, after: () => () => undefined } }), [
    'warning TLS_EXPIRES_SOON cert.pem',
  ]);
  assert.deepEqual(await codes({}, { clock: { now: () => 0, after: () => () => undefined } }), ['error TLS_NOT_YET cert.pem']);
  assert.deepEqual(await codes(one('old.pem', 'key.pem')), ['error TLS_INVALID old.pem']);
  assert.deepEqual(await codes(one('none.pem', 'key.pem')), ['error TLS_UNREADABLE none.pem']);
});

test('row 38: check refuses a TLS key that everybody can read', async (t) => {
  const { at, codes } = await host(t);
  await chmod(at('key.pem'), 0o644);
  assert.deepEqual(await codes(), ['error TLS_KEY_EXPOSED cert.pem']);
});

test('homes: base, modes, owner, passwords', async (t) => {
  const { at, codes, check } = await host(t);
  assert.deepEqual(await codes({ virtual_mailbox_base: at('none') }), ['error BASE_MISSING virtual_mailbox_base']);
  assert.deepEqual(await codes({ virtual_uid_maps: '[]', user: 'no-such-user-here' }), ['error NO_SUCH_USER user']);
  await chmod(at('vhosts/example.com/info'), 0o755);
  await chmod(at('vhosts/example.com/info/passwd'), 0o644);
  assert.deepEqual(await codes(), [
    'error HOME_MODE vhosts/example.com/info',
    'error PASSWD_EXPOSED vhosts/example.com/info/passwd',
  ]);
  await chmod(at('vhosts/example.com/info'), 0o750);
  await writeFile(at('vhosts/example.com/info/passwd'), 'other:{PLAIN}x\n');
  await chmod(at('vhosts/example.com/info/passwd'), 0o640);
  assert.deepEqual(await codes(), ['warning ACCOUNT_NO_PASSWD info@example.com']);
  await writeFile(at('vhosts/example.com/shadow'), 'info@example.com:$y$j9T$abc$def:19000:0:99999:7:::\n', { mode: 0o600 });
  assert.deepEqual(await codes(), ['warning PASSWORD_UNSUPPORTED vhosts/example.com/shadow info@example.com']);
  const foreign = await check({ virtual_uid_maps: 'static:4242' });
  assert.deepEqual(
    foreign.filter(({ code }) => code === 'HOME_OWNER').map(({ subject }) => subject),
    [at('vhosts/example.com/info')],
  );
  await writeFile(at('vmailbox'), 'info@example.com example.com/shadow/\n');
  assert.deepEqual(await codes(), ['error HOME_NOT_FOLDER vhosts/example.com/shadow']);
});

test('as root, a home that belongs to the mail tree’s owner is fine', async (t) => {
  if (!requireRoot(t)) return;
  const { at, codes } = await host(t);
  await chown(at('vhosts/example.com/info'), 65534, 65534);
  assert.deepEqual(
    await codes({ virtual_uid_maps: 'static:65534', virtual_gid_maps: 'static:65534' }, {}, ['TLS_KEY_ROOT_ONLY']),
    [],
  );
});

test('a key that only root may read is not taken over by a single process when it is renewed; workers get it from the supervisor', async (t) => {
  if (!requireRoot(t)) return;
  const { at, codes } = await host(t);
  await chmod(at(), 0o755);
  await chown(at('cert.pem'), 65534, 65534);
  const mine = { virtual_uid_maps: 'static:65534', virtual_gid_maps: 'static:65534', workers: '0' };
  assert.deepEqual(await codes({ ...mine, workers: '1' }, {}, ['HOME_OWNER']), []);
  assert.deepEqual(await codes(mine, {}, ['HOME_OWNER']), ['warning TLS_KEY_ROOT_ONLY key.pem']);
  await chown(at('key.pem'), 65534, 65534);
  assert.deepEqual(await codes(mine, {}, ['HOME_OWNER']), []);
  await mkdir(at('live'), { mode: 0o700 });
  await symlink(at('key.pem'), at('linked.key'));
  await rename(at('cert.pem'), at('live/cert.pem'));
  assert.deepEqual(
    await codes({ ...mine, smtpd_tls_cert_file: at('live/cert.pem'), smtpd_tls_key_file: at('linked.key') }, {}, ['HOME_OWNER']),
    ['warning TLS_KEY_ROOT_ONLY live/cert.pem'],
  );
});

const KEY = 'MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC7';
const RIGHT: Record<string, StaticRecords> = {
  'example.com': { mx: ['mail.example.com'], txt: ['v=spf1 mx -all', 'other'] },
  'mail.example.com': { a: ['192.0.2.1'], aaaa: ['2001:db8::1'] },
  '192.0.2.1': { ptr: ['mail.example.com'] },
  '2001:db8::1': { ptr: ['mail.example.com'] },
  'default._domainkey.example.com': { txt: [`v=DKIM1; k=rsa; p=${KEY}`] },
  '_dmarc.example.com': { txt: ['v=DMARC1; p=none; rua=mailto:info@example.com, mailto:x@example.org'] },
  '_mta-sts.example.com': { txt: ['v=STSv1; id=20210622085700Z;'] },
  'mta-sts.example.com': { a: ['192.0.2.1'] },
};
const without = (name: string): Record<string, StaticRecords> => ({ ...RIGHT, [name]: {} });
const spf = (...txt: string[]): Record<string, StaticRecords> => ({ ...RIGHT, 'example.com': { mx: ['mail.example.com'], txt } });

const DNS_CASES: readonly (readonly [name: string, records: Record<string, StaticRecords>, expected: readonly string[]])[] = [
  ['right', RIGHT, []],
  ['no MX', { ...RIGHT, 'example.com': { txt: ['v=spf1 a:mail.example.com -all'] } }, ['error MX_MISSING example.com']],
  [
    'MX elsewhere',
    { ...RIGHT, 'example.com': { mx: ['mx.other.test'], txt: ['v=spf1 a:mail.example.com -all'] } },
    ['error MX_ELSEWHERE example.com'],
  ],
  ['the host has no address', without('mail.example.com'), ['error HOST_NO_ADDRESS mail.example.com']],
  ['PTR of another name', { ...RIGHT, '192.0.2.1': { ptr: ['host-1.isp.test'] } }, ['warning PTR_MISMATCH 192.0.2.1']],
  ['no PTR', without('2001:db8::1'), ['warning PTR_MISMATCH 2001:db8::1']],
  ['no SPF', spf(), ['warning SPF_MISSING example.com']],
  ['two SPF', spf('v=spf1 mx -all', 'v=spf1 -all'), ['error SPF_TWICE example.com']],
  ['SPF without the host', spf('v=spf1 ip4:198.51.100.0/24 ip6:2001:db8::/32 -all'), ['error SPF_HOST_MISSING example.com']],
  [
    'SPF that denies the host before it allows it',
    spf('v=spf1 -ip4:192.0.2.0/24 mx -all'),
    ['error SPF_HOST_MISSING example.com'],
  ],
  ['SPF as in the guide', spf('v=spf1 +mx +a +ip4:86.86.87.87 +include:_spf.google.com -all'), []],
  [
    'SPF through include and redirect',
    {
      ...spf('v=spf1 include:a.test redirect=b.test'),
      'a.test': { txt: ['v=spf1 ip4:192.0.2.0/24 -all'] },
      'b.test': { txt: ['v=spf1 ip6:2001:db8::/32 -all'] },
    },
    [],
  ],
  [
    'SPF that is malformed',
    spf('v=spf1 ip4:192.0.2.256 -all'),
    ['error SPF_HOST_MISSING example.com', 'error SPF_HOST_MISSING example.com'],
  ],
  ['SPF that includes itself ends', spf('v=spf1 include:example.com'), []],
  ['SPF with macros is not judged', spf('v=spf1 exists:%{i}.x.test -all'), []],
  [
    'DKIM where the guide puts it',
    { ...without('default._domainkey.example.com'), 'default._domain_key.example.com': { txt: ['v=DKIM1; p=x'] } },
    ['error DKIM_DOMAIN_KEY example.com'],
  ],
  ['no DKIM', without('default._domainkey.example.com'), ['warning DKIM_MISSING example.com']],
  [
    'DKIM without its key',
    { ...RIGHT, 'default._domainkey.example.com': { txt: ['v=DKIM1; k=rsa; p=clave publica de DKIM'] } },
    ['error DKIM_NO_KEY example.com'],
  ],
  ['no DMARC', without('_dmarc.example.com'), ['warning DMARC_MISSING example.com']],
  [
    'DMARC as in the guide',
    { ...RIGHT, '_dmarc.example.com': { txt: ['v=DMARC1; p=none; rua=mailto: ; ruf=mailto:'] } },
    ['error DMARC_EMPTY_URI example.com', 'error DMARC_EMPTY_URI example.com'],
  ],
  [
    'DMARC without a policy',
    { ...RIGHT, '_dmarc.example.com': { txt: ['v=DMARC1; rua=mailto:a@b.test'] } },
    ['error DMARC_POLICY example.com'],
  ],
  [
    'two DMARC',
    { ...RIGHT, '_dmarc.example.com': { txt: ['v=DMARC1; p=none', 'v=DMARC1; p=reject'] } },
    ['error DMARC_TWICE example.com'],
  ],
  ['a bad id', { ...RIGHT, '_mta-sts.example.com': { txt: ['v=STSv1; id=2021-06-22;'] } }, ['error MTASTS_RECORD example.com']],
  ['no host for the policy', without('mta-sts.example.com'), ['error MTASTS_NO_HOST example.com']],
  ['no MTA-STS at all', without('_mta-sts.example.com'), []],
  [
    'row 44: DNS that fails is no mistake of the domain’s',
    { ...RIGHT, '_dmarc.example.com': { fails: true } },
    ['warning DNS_FAILED example.com'],
  ],
];
for (const [name, records, expected] of DNS_CASES)
  test(`DNS: ${name}`, async (t) => {
    const { codes } = await host(t);
    assert.deepEqual(await codes({}, { resolver: staticResolver(records) }), expected);
  });

const POLICY = 'version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 86400\n';
const POLICY_CASES: readonly (readonly [name: string, policy: string, expected: readonly string[]])[] = [
  ['right', POLICY, []],
  ['with CRLF and a wildcard', POLICY.replaceAll('\n', '\r\n').replace('mail.', '*.'), []],
  [
    'as in the guide: one line, and the domain instead of its MX',
    'version: STSv1 mode: enforce mx: example.com max_age: 86400',
    ['error MTASTS_ONE_LINE example.com', 'error MTASTS_MX example.com'],
  ],
  ['of another host', POLICY.replace('mail.example.com', 'example.com'), ['error MTASTS_MX example.com']],
  ['without a version', POLICY.replace('version: STSv1\n', ''), ['error MTASTS_VERSION example.com']],
  ['of an unknown mode', POLICY.replace('enforce', 'on'), ['error MTASTS_MODE example.com']],
  ['with an age beyond a year', POLICY.replace('86400', '99999999'), ['error MTASTS_MAX_AGE example.com']],
];
for (const [name, policy, expected] of POLICY_CASES)
  test(`MTA-STS policy ${name}`, async (t) => {
    const { at, codes } = await host(t);
    await writeFile(at('mta-sts.txt'), policy);
    assert.deepEqual(
      await codes({ mta_sts: '[{domain: example.com, file: mta-sts.txt}]' }, { resolver: staticResolver(RIGHT) }),
      expected,
    );
  });

test('MTA-STS: a policy without its record, and one that is not there', async (t) => {
  const { at, codes } = await host(t);
  const change = { mta_sts: '[{domain: example.com, file: mta-sts.txt}]' };
  assert.deepEqual(await codes(change), ['error MTASTS_UNREADABLE example.com']);
  await writeFile(at('mta-sts.txt'), POLICY.replace('mail.example.com', 'example.com'));
  // Without DNS the hostname is taken for the MX.
  assert.deepEqual(await codes(change), ['error MTASTS_MX example.com']);
  await writeFile(at('mta-sts.txt'), POLICY);
  assert.deepEqual(await codes(change), []);
  assert.deepEqual(await codes(change, { resolver: staticResolver(without('_mta-sts.example.com')) }), [
    'warning MTASTS_NO_RECORD example.com',
  ]);
});

test('MTA-STS as this server serves it: the mx must be one of ours, the id the policy’s, the certificate for its host', async (t) => {
  const { at, codes, check } = await host(t);
  const { cert, key } = await createSelfSigned({ names: ['mail.example.com', 'mta-sts.example.com'] });
  await writeFile(at('sts.pem'), cert);
  await writeFile(at('sts.key'), key, { mode: 0o600 });
  const listeners = '[{protocol: smtp}, {protocol: https}]';
  const certificates = `[{cert: ${at('sts.pem')}, key: ${at('sts.key')}}]`;
  assert.deepEqual(await codes({ listeners }), ['error TLS_NAME_MISSING mta-sts.example.com']);
  assert.deepEqual(await codes({ listeners, certificates }), []);
  // The guide's trap.
  const trap = { listeners, certificates, mta_sts_mx: 'example.com' };
  assert.deepEqual(await codes(trap), ['error MTASTS_MX example.com']);
  assert.match(
    (await check(trap)).find(({ code }) => code === 'MTASTS_MX')?.text ?? '',
    /allows example\.com and not its MX mail\.example\.com/,
  );
  assert.deepEqual(await codes({ ...trap, mta_sts_mode: 'none' }), []);
  assert.deepEqual(
    await codes({ ...trap, mta_sts_policies: '[{domain: example.com, mx: mail.example.com}, {domain: far.test}]' }),
    ['warning MTASTS_NO_DOMAIN far.test'],
  );
  const resolver = staticResolver(RIGHT);
  const stale = (await check({ listeners, certificates }, { resolver })).find(({ code }) => code === 'MTASTS_ID');
  assert.match(stale?.text ?? '', /says id=[A-Za-z0-9]+, of another policy/);
  const id = /id=([0-9a-f]{20});/.exec(stale?.right ?? '')?.[1] ?? '';
  const told = staticResolver({ ...RIGHT, '_mta-sts.example.com': { txt: [`v=STSv1; id=${id};`] } });
  assert.deepEqual(await codes({ listeners, certificates }, { resolver: told }), []);
  assert.deepEqual(await codes({ listeners, certificates, mta_sts_max_age: '1d' }, { resolver: told }), [
    'error MTASTS_ID example.com',
  ]);
});

test('row 44: a name server without an answer ends the questions after three, as warnings', async (t) => {
  const { codes } = await host(t);
  const asked: string[] = [];
  const silent = (name: string): Promise<never> => {
    asked.push(name);
    return Promise.reject(new MailError('temporary', 'DNS_TIMEOUT', 'Temporary DNS failure', { detail: name }));
  };
  const resolver: Resolver = { mx: silent, a: silent, aaaa: silent, txt: silent, ptr: silent, exists: silent };
  assert.deepEqual(
    await codes(
      { virtual_alias_domains: '[example.net]', virtual_alias_maps: 'inline:{ x@example.net=info@example.com }' },
      { resolver },
    ),
    [
      'warning DNS_FAILED mail.example.com',
      'warning DNS_FAILED example.com',
      'warning DNS_FAILED example.com',
      'warning DNS_SILENT dns',
    ],
  );
  assert.equal(asked.length, 3);
});

test('buzon check --dns with a name server that never answers ends by itself, with warnings only', async (t) => {
  const { at, yaml } = await host(t);
  // It takes the questions and is silent.
  const server = createSocket('udp4');
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const own = {
    virtual_uid_maps: `static:${process.getuid?.() || 65534}`,
    dns: `{servers: ["127.0.0.1:${server.address().port}"], timeout: 300ms}`,
  };
  await writeFile(at('buzon.yaml'), yaml(own));
  const io = captureIo();
  await checkCommand.run(['--config', at('buzon.yaml'), '--dns'], io);
  assert.match(io.stdout, /^warning DNS_FAILED mail\.example\.com: /m);
  assert.match(io.stdout, /^warning DNS_SILENT dns: 3 questions /m);
  assert.doesNotMatch(io.stdout, /^error [A-Z]*(MX|SPF|DKIM|DMARC|HOST_NO)/m);
});

test('buzon check prints what it finds, and ends with 1 when there is an error', async (t) => {
  const { at, yaml } = await host(t);
  const run = async (...args: string[]) => {
    const io = captureIo();
    return { status: await checkCommand.run(args, io), out: io.stdout.replaceAll(at('/'), ''), err: io.stderr };
  };
  await writeFile(at('buzon.yaml'), yaml({ mydestination: 'example.com' }));
  const found = await run('--config', at('buzon.yaml'));
  assert.equal(found.status, 1);
  assert.match(
    found.out,
    /^error MYDESTINATION_VIRTUAL example\.com: it is in mydestination and in virtual_mailbox_domains: .*; better: it in virtual_mailbox_domains only\n/,
  );
  assert.match(found.out, /\n[1-9] errors?, \d warnings?\n$/);
  await writeFile(at('buzon.yaml'), 'hostname: x\nfoo: 1\n');
  const refused = await run(`--config=${at('buzon.yaml')}`);
  assert.equal(refused.status, 1);
  assert.match(refused.out, /^error .*buzon\.yaml:1:11: hostname: .*\nerror .*buzon\.yaml:2:1: foo: /);
  assert.equal((await run('--what')).status, 2);
  assert.deepEqual(await run('--config', at('none.yaml')), {
    status: 1,
    out: 'error none.yaml: there is no such file\n',
    err: '',
  });
});

test('OpenDKIM’s settings: each line that cannot be, and what in them is not done', async (t) => {
  const { at, check, codes } = await host(t);
  assert.deepEqual(await codes({ opendkim_config: at('none.conf') }), ['error OPENDKIM_UNREADABLE none.conf']);
  await writeFile(at('opendkim.conf'), `Syslog yes\nSignHeaders From\nDomain example.com\nSelector one\nKeyFile ${at('dkim')}\n`);
  const settings = { opendkim_config: at('opendkim.conf') };
  assert.deepEqual(await codes(settings), ['warning OPENDKIM_NOT_DONE opendkim.conf:2', 'error DKIM_KEY_UNREADABLE dkim']);
  await writeFile(at('opendkim.conf'), `KeyTable ${at('kt')}\nSigningTable refile:${at('st')}\n`);
  await writeFile(at('kt'), '# keys\none example.com:one\n');
  await writeFile(at('st'), '*@example.com two\n');
  const found = await check(settings);
  assert.deepEqual(
    found.filter(({ code }) => code === 'OPENDKIM_INVALID').map(({ subject, right }) => [subject, right]),
    [
      [`${at('kt')}:2`, 'one example.com:default:/etc/dkimkeys/default.private'],
      [`${at('st')}:1`, 'a key in KeyTable, which has none'],
    ],
  );
});
