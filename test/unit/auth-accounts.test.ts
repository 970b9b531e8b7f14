// Accounts as passwd and shadow files tell them: in the home, or one level up for a whole domain.
import assert from 'node:assert/strict';
import { mkdir, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Accounts, parseQuotaRule } from '../../src/auth/accounts.ts';
import { PasswdFiles } from '../../src/auth/passwd-file.ts';
import { schemeName, unsupportedReason } from '../../src/auth/stored-password.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { captureLog, type LogEvent } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

const HASH = '$6$salt$hash';
const ANA = 'ana@example.test';

interface Tree {
  readonly base: string;
  readonly accounts: Accounts;
  readonly events: LogEvent[];
  /** Writes a file below the base; folders are made. */
  readonly put: (path: string, text: string) => Promise<void>;
}

async function tree(
  t: TestContext,
  map = '{ana@example.test=example.test/ana/}, {info@example.test=example.test/info/}',
): Promise<Tree> {
  const base = await tempFolder(t);
  const { logger, events } = captureLog();
  const table = openTable(`inline:{${map}}`, { logger });
  return {
    base,
    accounts: new Accounts({ maps: [table], base, quota: { bytes: 7 }, logger }),
    events,
    put: async (path, text) => {
      await mkdir(join(base, path, '..'), { recursive: true });
      await writeFile(join(base, path), text);
    },
  };
}

test('the user field is the name alone or the whole address, in either file', async (t) => {
  for (const user of ['ana', 'ana@example.test', 'Ana@Example.TEST']) {
    const { accounts, put, base } = await tree(t);
    await put('example.test/ana/passwd', `# comment\nbob:x:::::\n${user}:x:5000:5000::/home/of/ana:/bin/false\n`);
    await put('example.test/ana/shadow', `bob:{PLAIN}bob:::::::\n${user}:${HASH}:19000:0:99999:7:::\n`);
    const found = await accounts.credentials('ANA@example.test');
    assert.equal(found?.stored, HASH, user);
    assert.deepEqual(found?.account, { address: ANA, home: '/home/of/ana', maildir: '/home/of/ana', quota: { bytes: 7 } });
    assert.equal((await accounts.find('info@example.test'))?.home, join(base, 'example.test', 'info'));
    assert.equal((await accounts.credentials('info@example.test'))?.stored, undefined);
  }
});

test('a domain’s files one level up count where the home has no entry', async (t) => {
  const { accounts, put } = await tree(t);
  await put('example.test/shadow', `ana:{PLAIN}up\ninfo@example.test:{PLAIN}info-up\ninfo:{PLAIN}less-exact\n`);
  await put('example.test/passwd', `ana:x:::::: userdb_quota_rule=*:messages=5\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, '{PLAIN}up');
  assert.deepEqual((await accounts.find(ANA))?.quota, { messages: 5 });
  assert.equal((await accounts.credentials('info@example.test'))?.stored, '{PLAIN}info-up');
  await put('example.test/ana/shadow', `ana:{PLAIN}own\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, '{PLAIN}own');
});

test('a password in passwd counts where shadow has none; x means shadow', async (t) => {
  const { accounts, put } = await tree(t);
  await put('example.test/ana/passwd', `ana:${HASH}:::::\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, HASH);
  await put('example.test/ana/shadow', `ana:{PLAIN}shadowed::::::\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, '{PLAIN}shadowed');
  await put('example.test/ana/shadow', `ana:x::::::\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, HASH);
  await put('example.test/ana/passwd', `ana:x:::::\n`);
  assert.equal((await accounts.credentials(ANA))?.stored, undefined);
});

test('a locked account has no password, and is not open to everybody', async (t) => {
  const { accounts, put } = await tree(t);
  for (const password of ['!', '*', `!${HASH}`, `!!`, `*LK*${HASH}`]) {
    await put('example.test/ana/shadow', `ana:${password}::::::nopassword\n`);
    const found = await accounts.credentials(ANA);
    assert.deepEqual([found?.stored, found?.locked, found?.noPassword], [undefined, true, false], password);
  }
  await put('example.test/ana/shadow', `ana:::::::nopassword\n`);
  assert.deepEqual((await accounts.credentials(ANA))?.noPassword, true);
  await put('example.test/ana/shadow', `ana:${HASH}::::::nopassword\n`);
  assert.deepEqual((await accounts.credentials(ANA))?.noPassword, false, 'a password that is there counts');
});

test('shadow(5)’s date fields are no ids, no home and no extra fields', async (t) => {
  const { accounts, put, events, base } = await tree(t);
  for (const dates of ['19000:0:99999:7:::', '19000:0:99999:7:30:20000:', '::::::', '']) {
    await put('example.test/ana/shadow', `ana:${HASH}:${dates}\n`);
    const found = await accounts.credentials(ANA);
    assert.equal(found?.stored, HASH);
    assert.equal(found?.account.home, join(base, 'example.test', 'ana'));
    assert.equal(found?.noPassword, false);
    assert.equal(found?.mayComeFrom('192.0.2.1'), true);
  }
  assert.deepEqual(events, []);
});

test('userdb_mail, userdb_quota_rule, allow_nets are honoured, others named in a warning, once', async (t) => {
  const { accounts, put, events, base } = await tree(t);
  await put(
    'example.test/ana/passwd',
    'ana:x:5000:5000::::userdb_mail=maildir:%h/Mail-%d-%n:LAYOUT=fs userdb_quota_rule=*:storage=1G userdb_quota_rule2=*:messages=10 userdb_quota_rule3=Trash:storage=+1M allow_nets=192.0.2.0/24,2001:db8::/32,127.0.0.1 userdb_color=blue proxy=y\n',
  );
  const found = await accounts.credentials(ANA);
  assert.equal(found?.account.maildir, join(base, 'example.test/ana/Mail-example.test-ana'));
  assert.deepEqual(found?.account.quota, { bytes: 1024 ** 3, messages: 10 });
  for (const [address, may] of [
    ['192.0.2.77', true],
    ['::ffff:192.0.2.77', true],
    ['192.0.3.1', false],
    ['2001:db8:1::1', true],
    ['2001:db9::1', false],
    ['127.0.0.1', true],
    ['127.0.0.2', false],
  ] as const)
    assert.equal(found?.mayComeFrom(address), may, address);
  await accounts.credentials(ANA);
  const warned = events.map(({ level, event, fields }) => `${level} ${event} ${String(fields['field'])}`);
  assert.deepEqual(warned.sort(), ['warn account.unknown-field proxy', 'warn account.unknown-field userdb_color']);
});

test('allow_nets that cannot be read lets nobody in, and is told', async (t) => {
  const { accounts, put, events } = await tree(t);
  await put('example.test/ana/passwd', 'ana:x:::::: allow_nets=nonsense/99\n');
  assert.equal((await accounts.credentials(ANA))?.mayComeFrom('127.0.0.1'), false);
  assert.equal(events[0]?.event, 'account.bad-allow-nets');
});

test('a map value that is no Maildir below the base is no account', async (t) => {
  const { accounts, events } = await tree(
    t,
    '{a@x.test=x.test/a}, {b@x.test=../../etc/}, {c@x.test=/etc/}, {d@x.test=x.test/../../d/}, {e@x.test=x.test/e/}',
  );
  for (const name of ['a', 'b', 'c', 'd']) assert.equal(await accounts.find(`${name}@x.test`), undefined, name);
  assert.ok(await accounts.find('e@x.test'));
  assert.equal(await accounts.find('f@x.test'), undefined);
  assert.deepEqual(new Set(events.map(({ event }) => event)), new Set(['account.bad-home']));
});

test('a changed file is seen at once: another size, the same size and time, gone', async (t) => {
  const { base, put } = await tree(t);
  const files = new PasswdFiles();
  const path = join(base, 'x/shadow');
  const password = async (): Promise<string | undefined> => (await files.read(path))?.get('ana')?.password;
  assert.equal(await password(), undefined);
  await put('x/shadow', 'ana:one\n');
  assert.equal(await password(), 'one');
  for (const next of ['two', 'six', 'ten']) {
    await put('x/shadow', `ana:${next}\n`);
    assert.equal(await password(), next);
  }
  // A file that is older than the times' grain is not read again, but a change that keeps size and mtime is seen.
  const old = new Date(Date.now() - 60_000);
  await put('x/other', 'ana:old\n');
  await utimes(join(base, 'x/other'), old, old);
  await rename(join(base, 'x/other'), path);
  assert.equal(await password(), 'old');
  await put('x/other', 'ana:new\n');
  await utimes(join(base, 'x/other'), old, old);
  await rename(join(base, 'x/other'), path);
  assert.equal(await password(), 'new');
  await rename(path, join(base, 'x/away'));
  assert.equal(await password(), undefined);
});

test('a file that cannot be read is an error, not an account without a password', async (t) => {
  const { accounts, base } = await tree(t);
  await mkdir(join(base, 'example.test/ana/shadow'), { recursive: true });
  await assert.rejects(accounts.credentials(ANA), { name: 'MailError', kind: 'temporary' });
});

test('quota rules as Dovecot writes them', () => {
  for (const [text, quota] of [
    ['storage=1G', { bytes: 1024 ** 3 }],
    ['storage=100', { bytes: 100 * 1024 }],
    ['bytes=100', { bytes: 100 }],
    ['storage=5M:messages=1000', { bytes: 5 * 1024 ** 2, messages: 1000 }],
    ['storage=0', {}],
    ['storage=-1', {}],
    ['nonsense', {}],
  ] as const)
    assert.deepEqual(parseQuotaRule(text), quota, text);
});

test('yescrypt and other hashes that cannot match are said, with what to do', () => {
  for (const stored of ['$y$j9T$salt$hash', '{CRYPT}$y$j9T$salt$hash', '{CRYPT}$gy$j9T$salt$hash'])
    assert.equal(
      unsupportedReason(stored, 'CRYPT'),
      'yescrypt ($y$) is not supported: set the password anew with "buzon user passwd"',
    );
  assert.match(unsupportedReason('abJnggxhB/yWI', 'CRYPT') ?? '', /none of \$1\$/);
  assert.match(unsupportedReason('{OTP}x', 'CRYPT') ?? '', /the scheme OTP is not supported/);
  assert.equal(unsupportedReason(HASH, 'CRYPT'), undefined);
});

test('the name of a scheme is told without anything of the hash', () => {
  for (const [stored, name] of [
    [HASH, 'SHA512-CRYPT'],
    ['$1$salt$x', 'MD5-CRYPT'],
    ['$5$salt$x', 'SHA256-CRYPT'],
    ['{CRYPT}$2y$05$x', 'BLF-CRYPT'],
    ['$argon2id$v=19$m=1,t=1,p=1$a$b', 'ARGON2ID'],
    ['{ARGON2ID}$argon2id$v=19$m=1,t=1,p=1$a$b', 'ARGON2ID'],
    ['{SSHA512.hex}00', 'SSHA512'],
    ['{PLAIN}secret', 'PLAIN'],
    ['plainsecret', 'CRYPT'],
  ] as const)
    assert.equal(schemeName(stored, 'CRYPT'), name);
});
