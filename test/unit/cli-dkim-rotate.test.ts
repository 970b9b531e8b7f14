// `buzon dkim rotate`: what each run does, against a scripted name server, and that keys sign when they may and not before.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { access, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { rotate } from '../../src/cli/dkim/rotate.ts';
import { loadSettings } from '../../src/config/settings.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { DkimKeys } from '../../src/policy/dkim-keys.ts';
import { parseSelectors } from '../../src/policy/dkim-selectors.ts';
import { captureIo } from '../support/command-io.ts';
import { DnsServer } from '../support/dns-server.ts';
import { tempFolder } from '../support/temp-folder.ts';

const DAY = 86_400_000;
const T0 = Date.UTC(2026, 10, 28, 11);

async function house(t: TestContext) {
  const dns = await new DnsServer().start();
  t.after(() => dns.stop());
  const folder = await tempFolder(t);
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
  await writeFile(join(folder, 'old.private'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const config = join(folder, 'buzon.yaml');
  const dkim_keys = [{ domain: 'example.test', selector: 'old', file: 'old.private' }];
  const data_directory = join(folder, 'data');
  const settings = {
    hostname: 'mail.example.test',
    dns: { servers: [dns.address] },
    dkim_directory: 'dkim',
    dkim_keys,
    data_directory,
  };
  await writeFile(config, JSON.stringify(settings));
  const run = async (now: number, domain?: string) => {
    const io = captureIo({ cwd: folder });
    const status = await rotate({ config, ...(domain === undefined ? {} : { domain }) }, io, now);
    return { status, out: io.stdout, err: io.stderr };
  };
  const publish = (zone: string): void => {
    for (const [, name = '', strings = ''] of zone.matchAll(/^(\S+)\.\tIN\tTXT\t\(([^)]*)\)/gm))
      dns.set(name, { records: { txt: [[...strings.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text).join('')] } });
  };
  const signs = async (): Promise<string[]> =>
    (await DkimKeys.load(await loadSettings(config), silentLogger)).find('example.test').map(({ selector }) => selector);
  return { dns, folder, config, run, publish, signs, file: (...names: string[]): string => join(folder, 'dkim', ...names) };
}

test('a rotation: made, published, used once DNS shows both, the old kept, told to be removed, forgotten', async (t) => {
  const { dns, run, publish, signs, file } = await house(t);
  const begun = await run(T0, 'Example.test');
  assert.deepEqual([begun.status, begun.err], [0, '']);
  assert.match(begun.out, /^20261128r\._domainkey\.example\.test\.\tIN\tTXT\t\( "v=DKIM1; k=rsa; p=/m);
  assert.match(begun.out, /^20261128e\._domainkey\.example\.test\.\tIN\tTXT\t\( "v=DKIM1; k=ed25519; p=/m);
  for (const name of ['20261128r', '20261128e'])
    assert.equal((await stat(file('example.test', `${name}.private`))).mode & 0o777, 0o600);
  assert.deepEqual(await signs(), ['old'], 'not before DNS has it');

  const [rsa = '', ed = ''] = begun.out.split(/(?=^; 20261128e)/m);
  publish(rsa);
  const half = await run(T0 + DAY, 'example.test');
  assert.match(half.out, /^; 20261128e\._domainkey\.example\.test: record not found/m);
  assert.doesNotMatch(half.out, /20261128r|20261129/, 'no second rotation, and only what is missing');
  assert.deepEqual(await signs(), ['old']);

  publish(ed);
  dns.set('20261128e._domainkey.example.test', { fault: 'servfail' });
  const failing = await run(T0 + DAY);
  assert.deepEqual([failing.status, failing.out, /DNS gave no answer/.test(failing.err)], [1, '', true]);
  assert.deepEqual(await signs(), ['old']);

  publish(ed);
  const active = await run(T0 + 2 * DAY);
  assert.equal(active.status, 0);
  assert.match(
    active.out,
    /20261128r and 20261128e sign from now on\n.*keep old\._domainkey\.example\.test in DNS until 2026-12-07/,
  );
  assert.deepEqual(await signs(), ['20261128r', '20261128e']);
  assert.deepEqual(await run(T0 + 3 * DAY), { status: 0, out: '', err: '' }, 'cron has nothing to tell');

  publish((await run(T0 + 10 * DAY, 'example.test')).out);
  const second = await run(T0 + 10 * DAY);
  assert.match(
    second.out,
    /keep 20261128r\._domainkey\.example\.test and 20261128e\._domainkey\.example\.test in DNS until 2026-12-15/,
  );
  assert.deepEqual(await signs(), ['20261208r', '20261208e']);
  assert.deepEqual((await run(T0 + 16 * DAY)).out, '');
  assert.match(
    (await run(T0 + 17 * DAY)).out,
    /remove the record 20261128r\._domainkey[\s\S]*remove the record 20261128e\._domainkey/,
  );
  await access(file('example.test', '20261128r.private'));
  for (const selector of ['20261128r', '20261128e']) dns.set(`${selector}._domainkey.example.test`, { records: {} });
  assert.match((await run(T0 + 18 * DAY)).out, /20261128r.* is gone from DNS: its key is deleted/);
  await assert.rejects(access(file('example.test', '20261128r.private')), { code: 'ENOENT' });
  assert.deepEqual(
    parseSelectors(await readFile(file('selectors'), 'utf8'), 'x').map(({ selector, state }) => `${selector} ${state}`),
    ['20261208r active', '20261208e active'],
  );
});

test('a key that is retired is still known as ours; two rotations of a day have names of their own', async (t) => {
  const { run, publish, signs, config } = await house(t);
  publish((await run(T0, 'example.test')).out);
  await run(T0);
  publish((await run(T0, 'example.test')).out);
  await run(T0);
  assert.deepEqual(await signs(), ['20261128ar', '20261128ae']);
  const keys = await DkimKeys.load(await loadSettings(config), silentLogger);
  assert.deepEqual(
    ['20261128r', 'old', 'other'].map((selector) => keys.has('example.test', selector)),
    [true, true, false],
  );
});

test('rotate refuses what cannot be; a broken file of selectors is told with its line and leaves a running server its keys', async (t) => {
  const { folder, config, run, publish, signs, file } = await house(t);
  publish((await run(T0, 'example.test')).out);
  await run(T0);
  const keys = await DkimKeys.load(await loadSettings(config), silentLogger);
  await writeFile(file('selectors'), '# c\nexample.test 20261128r maybe 2026-11-28T11:00:00Z\n');
  await assert.rejects(signs(), /selectors:2: .* is no key; write example\.com default active/);
  await keys.reload(await loadSettings(config));
  assert.equal(keys.find('example.test').length, 2);
  const command = async (...args: string[]): Promise<[number, string]> => {
    const io = captureIo({ cwd: folder });
    return [await runCommand(['dkim', 'rotate', ...args, '--config', config], io), io.stderr];
  };
  assert.equal((await command())[0], 2);
  assert.equal((await command('example.test', '--continue'))[0], 2);
  assert.equal((await command('localhost'))[0], 2);
  await writeFile(config, 'hostname: mail.example.test\n');
  const [status, said] = await command('example.test');
  assert.deepEqual([status, /dkim_directory: \/etc\/buzon\/dkim/.test(said)], [1, true]);
});
