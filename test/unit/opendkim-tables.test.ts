import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../src/lib/logger.ts';
import { DkimKeys } from '../../src/policy/dkim-keys.ts';
import { filesOf } from '../../src/policy/signing-sources.ts';
import { loadOpenDkim, type OpenDkimSetup } from '../../src/policy/opendkim/load.ts';
import { matchesWildcard } from '../../src/policy/opendkim/tables.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** `/conf` first; the others by their path. */
async function load(files: Readonly<Record<string, string>>): Promise<OpenDkimSetup> {
  return loadOpenDkim('/conf', (path) => {
    const text = files[path];
    return text === undefined ? Promise.reject(new Error(`${path} is not there`)) : Promise.resolve(text);
  });
}
const problemsOf = (files: Readonly<Record<string, string>>): Promise<string[]> =>
  load(files).then(
    () => [],
    (error: unknown) => (error as Error).message.split('\n'),
  );

test('a wildcard is any text, everything else itself', () => {
  for (const [pattern, text, expected] of [
    ['*@example.test', 'ana@example.test', true],
    ['*@example.test', 'ana@examplextest', false],
    ['*@example.test', 'ana@example.test.evil', false],
    ['ana@*', 'ana@x', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['*a*b*', 'xaxbx', true],
    ['*a*b*', 'xbxax', false],
    ['*b*b', 'xb', false],
    ['*', '', true],
    ['', '', true],
    ['a', 'ab', false],
    ['a*', 'ba', false],
  ] as const)
    assert.equal(matchesWildcard(pattern, text), expected, `${pattern} ${text}`);
});

test('every line of opendkim.conf and its tables that cannot be is told with file and line', async () => {
  assert.deepEqual(
    await problemsOf({
      '/conf': '# c\nKeyTable /kt # k\n\nSigningTable refile:/st\nMultipleSignatures perhaps\nSelector\nInclude more\n',
      '/kt':
        'a example.test:one:/k\nb example.test:two\n\nc ex ample:three:/k\nd %:one:./k\ne %:one:MIIC\nf %:one:/keys/%/one\ng x.test:-:/k\n',
      '/st': '*@example.test a\n*@b.test q\n*@c.test\n',
    }),
    [
      '/conf:6: "Selector" has no value; write Selector, a blank and the value',
      '/conf:7: "more" is no absolute path; write the whole path of the file',
      '/kt:2: key "b": 2 values with colons between them instead of three; write b example.com:default:/etc/dkimkeys/default.private',
      '/kt:4: "ex ample" is not a full host name; write the name that the MX record points to, such as mail.example.com',
      '/kt:5: key "d": a relative path is not read; write the whole path of the file with the key',
      '/kt:6: key "e": a key in the table itself is not read; write the whole path of the file with the key',
      `/kt:7: key "f": a path with the author's domain in it is not read; write a line for each domain`,
      '/kt:8: "-" is not a selector; write a DNS label such as default',
      '/st:2: "*@b.test": KeyTable has no key "q"; write one of a',
      '/st:3: "*@c.test" has no key; write the name of a key of KeyTable behind it',
      '/conf:5: MultipleSignatures: "perhaps" is neither yes nor no; write yes or no',
    ],
  );
  assert.deepEqual(await problemsOf({ '/conf': 'KeyTable dsn:mysql://x\nSigningTable /st.db\n' }), [
    '/conf:1: KeyTable: "dsn:mysql://x" is a kind of table that is not read; write file:/path or refile:/path',
    '/conf:2: SigningTable: "/st.db" is a kind of table that is not read; write file:/path or refile:/path',
  ]);
  assert.deepEqual(await problemsOf({ '/conf': 'KeyTable file:kt\n' }), [
    '/conf:1: KeyTable without SigningTable signs nothing; write both, or neither',
  ]);
  assert.deepEqual(await problemsOf({ '/conf': 'Domain example.test\nSelector one\n' }), [
    '/conf:1: Domain needs Domain, Selector and KeyFile beside it; write all three',
  ]);
  assert.deepEqual(await problemsOf({ '/conf': 'Include /conf\n' }), [
    '/conf:1: Include goes deeper than 5 files; write its lines here in its place',
  ]);
});

test('what changes the signing and is not done is a warning, what means nothing here is named once', async () => {
  const { warnings, ignored, internal } = await load({
    '/conf':
      'Syslog yes\nSignHeaders From,To\nSenderHeaders From\nSenderHeaders Sender\nRequireSafeKeys no\nOversignHeaders From\nMadeUp 1\n' +
      'SignatureAlgorithm ed25519-sha256\nDontSignMailTo a@b.test\nInternalHosts /hosts\nExternalIgnoreList refile:/nobody\n',
    '/hosts': '127.0.0.1\nlocalhost\n10.0.0.0/8\n!10.1.0.0/16\n[10.1.2.3]\n2001:DB8::/32\n.example.test\n',
  });
  assert.deepEqual(
    warnings.map(({ place, text }) => `${place} ${text.split(':')[0]}`),
    [
      '/hosts:7 InternalHosts',
      '/conf:2 SignHeaders',
      '/conf:4 SenderHeaders',
      '/conf:5 RequireSafeKeys',
      '/conf:9 DontSignMailTo',
    ],
  );
  assert.deepEqual(ignored, ['Syslog', 'MadeUp']);
  assert.deepEqual(internal, ['127.0.0.1', '127.0.0.1', '::1', '10.1.2.3', '!10.1.0.0/16', '10.0.0.0/8', '2001:db8::/32']);
});

test('an author’s domain that is none never comes into d= or i=', async () => {
  const { match } = await load({
    '/conf': 'KeyTable /kt\nSigningTable refile:/st\n',
    '/kt': 'a %:one:/k\n',
    '/st': '*@* a:x@%\n',
  });
  assert.deepEqual(
    match('ana', 'example.test').map(({ domain, identity }) => [domain, identity]),
    [['example.test', 'x@example.test']],
  );
  assert.deepEqual(match('ana', 'evil.test; x=\r\n y'), []);
  assert.deepEqual(match('a'.repeat(300), 'very.long.example.test'), []);
});

test('keys of OpenDKIM stand beside dkim_keys; a reload takes new tables, broken ones leave the old', async (t) => {
  const folder = await tempFolder(t);
  const at = (name: string): string => join(folder, name);
  const key = (): string =>
    generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  for (const name of ['k1', 'k2']) await writeFile(at(name), key(), { mode: 0o600 });
  const [conf, table, rules] = [at('conf'), at('kt'), at('st')];
  await writeFile(conf, `KeyTable ${table}\nSigningTable refile:${rules}\nInternalHosts 192.0.2.0/24,!192.0.2.9\nSyslog yes\n`);
  await writeFile(table, `a example.test:one:${at('k1')}\n`);
  await writeFile(rules, '*@example.test a\n');
  const { logger, events } = captureLog();
  const sources = { dkim_keys: [{ domain: 'example.test', selector: 'own', file: at('k2') }], opendkim_config: conf };
  const keys = await DkimKeys.load(sources, logger);
  const selectors = (): string[] => keys.find('Example.test', 'Ana').map(({ domain, selector }) => `${selector} ${domain}`);
  assert.deepEqual(selectors(), ['own example.test', 'one example.test']);
  assert.deepEqual(await filesOf(sources), { files: [conf, table, rules, at('k1')], complete: true });
  assert.deepEqual([keys.has('example.test', 'one'), keys.has('example.test', 'two')], [true, false]);
  assert.deepEqual(
    ['192.0.2.1', '192.0.2.9', '192.0.3.1'].map((address) => keys.isInternal(address)),
    [true, false, false],
  );

  await writeFile(table, `a example.test:own:${at('k1')}\nb other.test:two:${at('k1')}\n`);
  await writeFile(rules, 'ana@example.test a\n*@example.test b\n');
  await keys.reload(sources);
  assert.deepEqual(selectors(), ['own example.test'], 'the same selector twice: that of dkim_keys');
  assert.deepEqual(
    keys.find('example.test', 'eva').map(({ domain }) => domain),
    ['example.test', 'other.test'],
  );

  await writeFile(rules, 'ana@example.test q\n');
  await keys.reload(sources);
  assert.deepEqual(
    keys.find('example.test', 'eva').map(({ domain }) => domain),
    ['example.test', 'other.test'],
  );
  assert.deepEqual(
    events.map(({ level, event }) => `${level} ${event}`),
    ['info dkim.opendkim-ignored', 'info dkim.opendkim-ignored', 'error dkim.tables-broken'],
  );
  assert.deepEqual(await filesOf(sources), { files: [conf, table, rules], complete: false });
  await assert.rejects(DkimKeys.load(sources, silentLogger), { code: 'OPENDKIM_INVALID' });
});

test('row 38: a key of OpenDKIM’s tables that others can read is refused', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'key');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
  await writeFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o644 });
  const conf = join(folder, 'conf');
  await writeFile(conf, `Domain example.test\nSelector one\nKeyFile ${file}\n`);
  await assert.rejects(DkimKeys.load({ dkim_keys: [], opendkim_config: conf }, silentLogger), { code: 'DKIM_KEY_EXPOSED' });
});
