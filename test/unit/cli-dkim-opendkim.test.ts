// `buzon dkim genkey` and `testkey` beside Debian's opendkim-genkey and opendkim-testkey.
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { examinePublished } from '../../src/policy/dkim-published.ts';
import { dkimRecord } from '../../src/policy/dkim-record.ts';
import { captureIo } from '../support/command-io.ts';
import { DnsServer } from '../support/dns-server.ts';
import { requireProgram, run } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

async function dkim(cwd: string, ...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const io = captureIo({ cwd });
  const status = await runCommand(['dkim', ...args], io);
  return { status, out: io.stdout, err: io.stderr };
}
const withoutKey = (text: string): string => text.replace(/[A-Za-z0-9+/=]{60,}/g, (key) => `<${key.length}>`);
const joined = (zone: string): string => [...zone.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text).join('');

const OPTIONS: readonly (readonly string[])[] = [
  [],
  ['-b', '1024', '-d', 'example.test', '-s', 'mail'],
  ['-a', '-d', 'example.test', '-s', 'mail', '-b1024'],
  ['-t', '-r', '-S', '-n', 'a note', '-b', '3072'],
  ['-rt', '-h', 'sha1:sha256'],
  ['--bits=1024', '--domain=example.test', '--selector=x', '--testmode', '--restrict', '--nosubdomains', '--note=n'],
];
test('genkey writes the files that opendkim-genkey writes', async (t) => {
  const program = await requireProgram(t, 'opendkim-genkey');
  if (program === undefined) return;
  for (const [i, args] of OPTIONS.entries()) {
    const folder = await tempFolder(t);
    const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')];
    for (const one of [ours, theirs]) await mkdir(one);
    assert.equal((await run(program, [...args, '-D', theirs])).status, 0);
    const { status, err } = await dkim(folder, 'genkey', ...args, '-D', 'ours');
    assert.deepEqual([status, err], [0, ''], String(i));
    const selector = ['default', 'mail', 'mail', 'default', 'default', 'x'][i] ?? '';
    const [own, debian] = await Promise.all([ours, theirs].map((one) => readFile(join(one, `${selector}.txt`), 'utf8')));
    assert.equal(withoutKey(own ?? ''), withoutKey(debian ?? ''), args.join(' '));
    for (const name of [`${selector}.private`, `${selector}.txt`])
      assert.equal((await stat(join(ours, name))).mode & 0o777, (await stat(join(theirs, name))).mode & 0o777);
    const key = createPrivateKey(await readFile(join(ours, `${selector}.private`)));
    assert.deepEqual(examinePublished([joined(own ?? '')], key).problem, undefined);
  }
});

test('genkey overwrites nothing, and refuses what cannot be', async (t) => {
  const folder = await tempFolder(t);
  assert.equal((await dkim(folder, 'genkey', '-b', '1024', '-v')).status, 0);
  const before = await readFile(join(folder, 'default.private'), 'utf8');
  assert.match((await dkim(folder, 'genkey', '-b', '1024')).err, /is there already: it is not overwritten/);
  assert.equal(await readFile(join(folder, 'default.private'), 'utf8'), before);
  for (const [args, why] of [
    [['-b', '512'], /not a whole number from 1024/],
    [['-s', '../x'], /is not a selector/],
    [['-n', 'a"; p=x'], /-n: quotes/],
    [['-q'], /invalid option -- 'q'/],
    [['-D', 'absent'], /absent is no folder/],
    [['more'], /more is no option/],
  ] as const) {
    const { status, err } = await dkim(folder, 'genkey', ...args);
    assert.equal(status, 1);
    assert.match(err, why);
  }
});

async function published(t: TestContext): Promise<{ dns: DnsServer; folder: string }> {
  const dns = await new DnsServer().start();
  t.after(() => dns.stop());
  const folder = await tempFolder(t);
  const keys = ['one', 'two'].map(() => generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey);
  for (const [i, name] of ['one', 'two'].entries())
    await writeFile(join(folder, name), keys[i]?.export({ type: 'pkcs8', format: 'pem' }) ?? '', { mode: 0o600 });
  const [one] = keys;
  assert.ok(one);
  const record = dkimRecord(one);
  const set = (selector: string, ...txt: string[]): void => dns.set(`${selector}._domainkey.example.test`, { records: { txt } });
  set('good', record);
  set('testing', record.replace('k=rsa', 'k=rsa; t=y'));
  set('revoked', 'v=DKIM1; p=');
  set('sha1', record.replace('k=rsa', 'h=sha1'));
  set('other', record.replace('k=rsa', 's=other'));
  set('late', record.replace('v=DKIM1; ', '').concat('; v=DKIM1'));
  set('strange', record.replace('k=rsa', 'k=ecdsa'));
  set('twice', record, 'v=DKIM1; p=x');
  set('empty', 'v=DKIM1');
  dns.set('broken._domainkey.example.test', { fault: 'servfail' });
  return { dns, folder };
}

const CASES: readonly (readonly [selector: string, key: string | undefined, status: number, says: RegExp])[] = [
  ['good', 'one', 0, /key loaded from .*\n.*checking key 'good\._domainkey\.example\.test'\n.* key OK\n$/],
  ['good', undefined, 0, /^[^\n]*checking key [^\n]*\n[^\n]* key OK\n$/],
  ['testing', 'one', 0, /key OK \(in test mode, t=y\)/],
  ['good', 'two', 69, /'good\._domainkey\.example\.test' keys do not match/],
  ['absent', 'one', 69, /'absent\._domainkey\.example\.test' record not found/],
  ['revoked', 'one', 69, /the key is revoked/],
  ['sha1', 'one', 69, /sha256 is not among/],
  ['other', 'one', 69, /not for mail/],
  ['late', 'one', 69, /v=DKIM1 is not its first tag/],
  ['strange', 'one', 69, /unknown key type "ecdsa"/],
  ['twice', 'one', 69, /more than one record/],
  ['empty', 'one', 69, /it has no key/],
  ['broken', 'one', 69, /query failed/],
];
test('testkey tells a key whose signatures hold from all others, with opendkim-testkey’s statuses', async (t) => {
  const { dns, folder } = await published(t);
  for (const [selector, key, expected, says] of CASES) {
    const args = ['-v', '-d', 'example.test', '-s', selector, ...(key === undefined ? [] : ['-k', key])];
    const { status, err } = await dkim(folder, 'testkey', ...args, '--dns-server', dns.address);
    assert.match(err, says, selector);
    assert.equal(status, expected, selector);
  }
  const quiet = await dkim(folder, 'testkey', '-d', 'example.test', '-s', 'good', '-k', 'one', `--dns-server=${dns.address}`);
  assert.deepEqual(quiet, { status: 0, out: '', err: '' });
  await chmod(join(folder, 'one'), 0o644);
  const open = await dkim(folder, 'testkey', '-d', 'example.test', '-s', 'good', '-k', 'one', '--dns-server', dns.address);
  assert.deepEqual([open.status, /can be used by everybody/.test(open.err)], [78, true]);
  assert.equal((await dkim(folder, 'testkey', '-d', 'example.test')).status, 64);
  assert.equal((await dkim(folder, 'testkey', '-q')).status, 64);
});

test('testkey without -d asks for all keys of the settings, and with -x for those of opendkim.conf', async (t) => {
  const { dns, folder } = await published(t);
  await writeFile(join(folder, 'kt'), `a example.test:absent:${join(folder, 'two')}\nb %:x:/none\n`);
  await writeFile(join(folder, 'opendkim.conf'), `KeyTable ${join(folder, 'kt')}\nSigningTable refile:${join(folder, 'st')}\n`);
  await writeFile(join(folder, 'st'), '* a\n');
  const settings = { hostname: 'mail.example.test', dns: { servers: [dns.address] }, opendkim_config: 'opendkim.conf' };
  const keys = { dkim_keys: [{ domain: 'example.test', selector: 'good', file: 'one' }] };
  await writeFile(join(folder, 'buzon.yaml'), JSON.stringify({ ...settings, ...keys }));
  const all = await dkim(folder, 'testkey', '-v', '--config', 'buzon.yaml');
  assert.equal(all.status, 69);
  assert.match(all.err, /'good\._domainkey\.example\.test' key OK[\s\S]*'absent\._domainkey\.example\.test' record not found/);
  const tables = await dkim(folder, 'testkey', '-v', '-x', 'opendkim.conf', '--dns-server', dns.address);
  assert.doesNotMatch(tables.err, /good/);
  assert.match(tables.err, /'absent\._domainkey\.example\.test' record not found/);
  await writeFile(join(folder, 'buzon.yaml'), JSON.stringify({ hostname: 'mail.example.test' }));
  assert.equal((await dkim(folder, 'testkey', '--config', 'buzon.yaml')).status, 78);
});

test('a key record with RSAPublicKey, as the RFC has it, fits too', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const bare = publicKey.export({ type: 'pkcs1', format: 'der' }).toString('base64');
  assert.deepEqual(examinePublished([`p=${bare}`], privateKey), { testing: false });
  const other = generateKeyPairSync('ed25519').privateKey;
  assert.equal(examinePublished([dkimRecord(other)], other).problem, undefined);
  assert.equal(examinePublished([`p=${bare}`], other).problem, 'keys do not match');
});
