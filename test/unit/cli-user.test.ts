// `buzon user`: which files it changes and how they look afterwards.
import assert from 'node:assert/strict';
import { chmod, chown, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { verifyPassword } from '../../src/auth/schemes.ts';
import { runCommand } from '../../src/cli/main.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { compileTable } from '../../src/config/maps/compile.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { buzon } from '../support/buzon.ts';
import { captureIo } from '../support/command-io.ts';
import { MailHost, TREE_OWNER } from '../support/mail-host.ts';
import { requireRoot } from '../support/programs.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';

const NEW = 'nuevo@example.test';
const MAP = '# the mailboxes\nana@example.test  example.test/ana/\n\ninfo@example.test\n   example.test/info/\n# end\n';

/** A host that is not started: accounts ana and info, a map with comments. */
async function aHost(settings: Readonly<Record<string, unknown>> = {}): Promise<MailHost> {
  const host = await MailHost.create({ settings });
  await writeFile(mapOf(host), MAP);
  return host;
}
const mapOf = (host: MailHost): string => join(host.directory, 'vmailbox');
const read = (host: MailHost, ...path: string[]): Promise<string> => readFile(join(host.base, ...path), 'utf8');
const passwordIn = (text: string): string => text.split(':')[1] ?? '';
/** Everything below a folder: path, mode, owner, content of files. */
async function snapshot(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const { mode, uid } = await lstat(path);
    found.push(`${path} ${mode.toString(8)} ${uid} ${entry.isFile() ? await readFile(path, 'latin1') : ''}`);
  }
  return found.sort();
}

test('user add writes home, passwd, shadow and the line in the map, and nothing else', async () => {
  await using host = await aHost();
  const before = await snapshot(host.directory);
  const result = await buzon(host, ['user', 'add', 'Nuevo@Example.TEST', '--quota', '1G'], 'a new secret\n');
  assert.deepEqual({ ...result, stdout: '' }, { status: 0, stdout: '', stderr: '' });
  const home = join(host.base, 'example.test', 'nuevo');
  const { uid, gid } = await stat(host.base);
  assert.equal(
    await read(host, 'example.test', 'nuevo', 'passwd'),
    `nuevo:x:${uid}:${gid}::${home}:/usr/sbin/nologin:userdb_quota_rule=*:storage=1G\n`,
  );
  const shadow = await read(host, 'example.test', 'nuevo', 'shadow');
  assert.match(shadow, /^nuevo:\{ARGON2ID\}\$argon2id\$[^:\n]+::::::\n$/);
  assert.equal(verifyPassword('a new secret', passwordIn(shadow), 'CRYPT'), true);
  assert.equal(
    await readFile(mapOf(host), 'utf8'),
    MAP.replace('   example.test/info/\n', '   example.test/info/\nnuevo@example.test  example.test/nuevo/\n'),
  );
  for (const [path, mode] of [
    ['.', 0o750],
    ['passwd', 0o640],
    ['shadow', 0o600],
  ] as const) {
    const found = await stat(join(home, path));
    assert.equal(found.mode & 0o777, mode, path);
    assert.equal(found.uid, TREE_OWNER?.uid ?? found.uid, path);
    assert.equal(found.gid, TREE_OWNER?.gid ?? found.gid, path);
  }
  assert.deepEqual((await readdir(home)).sort(), ['passwd', 'shadow']);
  const after = await snapshot(host.directory);
  const unchanged = (all: string[]): string[] => all.filter((line) => !line.startsWith(home) && !line.startsWith(mapOf(host)));
  assert.deepEqual(unchanged(after), unchanged(before));
});

test('user add: what cannot be is refused in one line, and changes nothing', async () => {
  await using host = await aHost();
  const before = await snapshot(host.directory);
  for (const [address, message] of [
    ['ana@example.test', /^buzon user: there is a mailbox ana@example\.test already\n$/],
    ['ANA@example.test', /already\n$/],
    [
      'x@elsewhere.test',
      /^buzon user: elsewhere\.test is not one of virtual_mailbox_domains; run "buzon domain add elsewhere\.test" first\n$/,
    ],
    [
      '../x@example.test',
      /^buzon user: "\.\.\/x@example\.test" is not an address that can have a mailbox; write it as name@example\.com\n$/,
    ],
    ['..@example.test', /is not an address/],
    ['.@example.test', /is not an address/],
    ['a/b@example.test', /is not an address/],
    ['a:b@example.test', /is not an address/],
    ['a b@example.test', /is not an address/],
    ['a\nb@example.test', /is not an address/],
    ['#a@example.test', /is not an address/],
    ['-a@example.test', /is not an address/],
    ['@example.test', /is not an address/],
    ['nobody', /is not an address/],
    ['x@../../etc', /is not a domain/],
  ] as const) {
    const result = await buzon(host, ['user', 'add', address], 'secret\n');
    assert.equal(result.status, 1, address);
    assert.match(result.stderr, message, address);
    assert.equal(result.stdout, '');
  }
  assert.deepEqual(await snapshot(host.directory), before);
});

test('user: wrong arguments end with 2', async () => {
  await using host = await aHost();
  for (const args of [
    ['user'],
    ['user', 'nosuch'],
    ['user', 'constructor'],
    ['user', 'add'],
    ['user', 'add', NEW, 'password-as-argument'],
    ['user', 'add', NEW, '--purge'],
    ['user', 'add', NEW, '--password', 'x'],
    ['user', 'del', NEW, '--scheme', 'PLAIN'],
    ['user', 'list', 'a.test', 'b.test'],
  ]) {
    const result = await buzon(host, args, 'secret\n');
    assert.equal(result.status, 2, args.join(' '));
    assert.notEqual(result.stderr, '');
  }
});

test('user passwd: a password comes from a line of standard input, never empty, too long or with control characters', async () => {
  await using host = await aHost();
  const before = await read(host, 'example.test', 'ana', 'shadow');
  for (const [input, message] of [
    ['', /no password was given/],
    ['\n', /no password was given/],
    ['a\0b\n', /control characters/],
    ['a\tb\n', /control characters/],
    [`${'x'.repeat(513)}\n`, /at most 512 bytes/],
  ] as const) {
    const result = await buzon(host, ['user', 'passwd', 'ana@example.test'], input);
    assert.equal(result.status, 1);
    assert.match(result.stderr, message);
  }
  assert.equal(await read(host, 'example.test', 'ana', 'shadow'), before);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--password-stdin'], 'ñandú: 1\r\nmore\n')).status, 0);
  assert.equal(verifyPassword('ñandú: 1', passwordIn(await read(host, 'example.test', 'ana', 'shadow')), 'CRYPT'), true);
});

test('user passwd on a terminal asks twice, and refuses two that differ', async () => {
  await using host = await aHost();
  const ask = async (...answers: string[]): Promise<{ status: number; asked: string[]; stderr: string }> => {
    const asked: string[] = [];
    const io = {
      ...captureIo(),
      askSecret: async (prompt: string) => {
        asked.push(prompt);
        return answers.shift() ?? '';
      },
    };
    let stderr = '';
    io.err = (text) => void (stderr += text);
    const status = await runCommand(['user', 'passwd', 'ana@example.test', '--config', host.settingsFile], io);
    return { status, asked, stderr };
  };
  const differing = await ask('one', 'two');
  assert.equal(differing.status, 1);
  assert.match(differing.stderr, /not the same/);
  const same = await ask('tres', 'tres');
  assert.deepEqual([same.status, same.asked], [0, ['New password: ', 'Once more: ']]);
  assert.equal(verifyPassword('tres', passwordIn(await read(host, 'example.test', 'ana', 'shadow')), 'CRYPT'), true);
});

test('user passwd keeps everything else of the files: comments, other users, dates, mode', async () => {
  await using host = await aHost();
  const path = join(host.base, 'example.test', 'ana', 'shadow');
  await host.ownedFile(
    path,
    '# kept\nother:{PLAIN}other:::::::\nana:!{PLAIN}old:19000:0:99999:7:::\nana:{PLAIN}double:::::::\n',
    0o640,
  );
  await chmod(path, 0o640);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', 'ssha512'], 'new\n')).status, 0);
  const lines = (await readFile(path, 'utf8')).split('\n');
  const today = Math.floor(Date.now() / 86_400_000);
  assert.deepEqual(
    [lines[0], lines[1], lines[3], lines[4]],
    ['# kept', 'other:{PLAIN}other:::::::', 'ana:{PLAIN}double:::::::', ''],
  );
  const match = /^ana:(\{SSHA512\}[^:]+):(\d+):0:99999:7:::$/.exec(lines[2] ?? '');
  assert.ok(match, lines[2]);
  assert.ok(Math.abs(Number(match[2]) - today) <= 1, 'the day of the change');
  assert.equal(verifyPassword('new', match[1] ?? '', 'CRYPT'), true);
  const found = await stat(path);
  assert.equal(found.mode & 0o777, 0o640);
  assert.equal(found.uid, TREE_OWNER?.uid ?? found.uid);
});

test('each --scheme stores a password that is recognised; another name is refused', async () => {
  await using host = await aHost();
  for (const scheme of ['ARGON2ID', 'SCRAM-SHA-256', 'SHA512-CRYPT', 'SSHA512', 'CRAM-MD5', 'PLAIN']) {
    assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', scheme], 'pass: word\n')).status, 0);
    const stored = passwordIn(await read(host, 'example.test', 'ana', 'shadow'));
    assert.ok(stored.startsWith(`{${scheme}`), stored);
    assert.equal(verifyPassword('pass: word', stored, 'CRYPT'), true, scheme);
  }
  const result = await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', 'ROT13'], 'x\n');
  assert.equal(result.status, 1);
  assert.match(result.stderr, /new passwords are not stored as ROT13; write one of ARGON2ID/);
});

test('new_pass_scheme is what passwords are stored with', async () => {
  await using host = await aHost({ new_pass_scheme: 'SCRAM-SHA-256' });
  assert.equal((await buzon(host, ['user', 'add', NEW], 'x\n')).status, 0);
  assert.match(await read(host, 'example.test', 'nuevo', 'shadow'), /^nuevo:\{SCRAM-SHA-256\}15000,/);
});

test('a domain’s own passwd and shadow, one level up, are the ones that are changed', async () => {
  await using host = await aHost();
  const domain = join(host.base, 'example.test');
  await rm(join(domain, 'ana', 'passwd'));
  await rm(join(domain, 'ana', 'shadow'));
  await host.ownedFile(join(domain, 'passwd'), `ana@example.test:x:::::\n`);
  await host.ownedFile(join(domain, 'shadow'), `ana@example.test:{PLAIN}old::::::\n`, 0o600);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', 'PLAIN'], 'new\n')).status, 0);
  assert.equal(await read(host, 'example.test', 'shadow'), `ana@example.test:{PLAIN}new::::::\n`);
  assert.equal((await buzon(host, ['user', 'add', NEW, '--scheme', 'PLAIN'], 'x\n')).status, 0);
  assert.equal(
    await read(host, 'example.test', 'shadow'),
    `ana@example.test:{PLAIN}new::::::\nnuevo@example.test:{PLAIN}x::::::\n`,
  );
  assert.match(await read(host, 'example.test', 'passwd'), /^nuevo@example\.test:x:\d+:\d+::.*\/nuevo:\/usr\/sbin\/nologin$/m);
  assert.deepEqual(await readdir(join(domain, 'nuevo')), []);
  assert.deepEqual(await readdir(join(domain, 'ana')), []);
  // An account with files in its home keeps them there.
  assert.equal((await buzon(host, ['user', 'passwd', 'info@example.test', '--scheme', 'PLAIN'], 'i\n')).status, 0);
  assert.match(await read(host, 'example.test', 'info', 'shadow'), /^info:\{PLAIN\}i:/);
  assert.equal((await buzon(host, ['user', 'del', NEW])).status, 0);
  assert.equal(await read(host, 'example.test', 'shadow'), `ana@example.test:{PLAIN}new::::::\n`);
});

test('a password in passwd itself is replaced there; a missing shadow is made', async () => {
  await using host = await aHost();
  const home = join(host.base, 'example.test', 'ana');
  await rm(join(home, 'shadow'));
  await host.ownedFile(join(home, 'passwd'), `ana:{PLAIN}old:5000:5000::${home}::nopassword\n`);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', 'PLAIN'], 'new\n')).status, 0);
  assert.equal(await read(host, 'example.test', 'ana', 'passwd'), `ana:{PLAIN}new:5000:5000::${home}::nopassword\n`);
  await host.ownedFile(join(home, 'passwd'), `ana:x:5000:5000::${home}::\n`);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test', '--scheme', 'PLAIN'], 'shadowed\n')).status, 0);
  assert.equal(await read(host, 'example.test', 'ana', 'shadow'), 'ana:{PLAIN}shadowed::::::\n');
  assert.equal((await stat(join(home, 'shadow'))).mode & 0o777, 0o600);
});

test('user del keeps the mail, --purge does not; an unknown user is an error', async () => {
  await using host = await aHost();
  const home = join(host.base, 'example.test', 'ana');
  await host.ownedFolder(join(home, 'cur'));
  await host.ownedFile(join(home, 'cur', '1.M1P1.host:2,S'), 'Subject: kept\n\n');
  const result = await buzon(host, ['user', 'del', 'ana@example.test']);
  assert.equal(result.status, 0, result.stderr);
  assert.equal(result.stdout, `ana@example.test is removed; its mail stays in ${home}\n`);
  assert.deepEqual(await readdir(home), ['cur']);
  assert.deepEqual(await readdir(join(home, 'cur')), ['1.M1P1.host:2,S']);
  assert.equal(await readFile(mapOf(host), 'utf8'), MAP.replace('ana@example.test  example.test/ana/\n', ''));
  const again = await buzon(host, ['user', 'del', 'ana@example.test']);
  assert.deepEqual([again.status, again.stderr], [1, 'buzon user: there is no mailbox ana@example.test\n']);
  assert.equal((await buzon(host, ['user', 'passwd', 'ana@example.test'], 'x\n')).status, 1);
  const purged = await buzon(host, ['user', 'del', 'info@example.test', '--purge']);
  assert.equal(purged.status, 0, purged.stderr);
  assert.deepEqual(await readdir(join(host.base, 'example.test')), ['ana']);
  assert.equal(await readFile(mapOf(host), 'utf8'), '# the mailboxes\n\n# end\n');
});

test('user del --purge spares what another account has too, and what is not in the tree', async () => {
  await using host = await aHost();
  await writeFile(mapOf(host), `${MAP}boss@example.test example.test/ana/\nsub@example.test example.test/info/sub/\n`);
  for (const address of ['ana@example.test', 'boss@example.test', 'info@example.test', 'sub@example.test']) {
    const result = await buzon(host, ['user', 'del', address, '--purge']);
    assert.equal(result.status, 1, address);
    assert.match(result.stderr, /holds the mail of .* too/);
  }
  await writeFile(mapOf(host), MAP);
  const outside = join(host.directory, 'outside');
  await host.ownedFolder(outside);
  await host.ownedFile(join(host.base, 'example.test', 'ana', 'passwd'), `ana:x::::${outside}:\n`);
  const result = await buzon(host, ['user', 'del', 'ana@example.test', '--purge']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /is not below/);
  assert.ok((await stat(outside)).isDirectory());
});

test('a compiled table is made anew, so that its readers see the change at once; Postfix’s FILE.db is not touched', async () => {
  await using host = await MailHost.create();
  const map = mapOf(host);
  const settings = await readFile(host.settingsFile, 'utf8');
  await writeFile(host.settingsFile, settings.replace('texthash:', 'hash:'));
  await compileTable(map);
  await writeFile(`${map}.db`, 'Berkeley');
  const table = openTable(`hash:${map}`, { logger: silentLogger });
  assert.equal(await table.get(NEW), undefined);
  const added = await buzon(host, ['user', 'add', NEW], 'x\n');
  assert.equal(added.status, 0, added.stderr);
  assert.equal(await table.get(NEW), 'example.test/nuevo/');
  assert.match(added.stderr, /vmailbox\.db belongs to Postfix and was not changed: where Postfix still uses it, run "postmap /);
  assert.equal(await readFile(`${map}.db`, 'utf8'), 'Berkeley');
  assert.equal((await buzon(host, ['user', 'del', NEW])).status, 0);
  assert.equal(await table.get(NEW), undefined);
  assert.equal(await table.get('ana@example.test'), 'example.test/ana/');
  // Only the compiled form is there.
  await rm(map);
  assert.equal((await buzon(host, ['user', 'add', NEW], 'x\n')).status, 0);
  assert.equal(await table.get(NEW), 'example.test/nuevo/');
  await assert.rejects(stat(map), 'no text is made up');
  table.close();
});

test('an inline map cannot be changed: the line to add is said', async () => {
  await using host = await MailHost.create({ settings: { virtual_mailbox_maps: 'inline:{ana@example.test=example.test/ana/}' } });
  const result = await buzon(host, ['user', 'add', NEW], 'x\n');
  assert.equal(result.status, 1);
  assert.match(result.stderr, /add the line yourself: nuevo@example\.test {2}example\.test\/nuevo\/\n$/);
  assert.equal((await buzon(host, ['user', 'del', 'ana@example.test'])).status, 1);
});

test('user list and show', async () => {
  await using host = await aHost({ virtual_alias_maps: 'inline:{{boss@example.test = ana@example.test, info@example.test}}' });
  await writeFile(mapOf(host), `${MAP}zoe@another.test another.test/zoe/\n@example.test example.test/info/\n`);
  assert.equal((await buzon(host, ['user', 'list'])).stdout, 'zoe@another.test\nana@example.test\ninfo@example.test\n');
  assert.equal((await buzon(host, ['user', 'list', 'example.test'])).stdout, 'ana@example.test\ninfo@example.test\n');
  assert.equal((await buzon(host, ['user', 'list', 'nosuch.test'])).status, 1);
  const home = join(host.base, 'example.test', 'ana');
  await host.ownedFile(
    join(home, 'passwd'),
    `ana:x:::::: userdb_mail=maildir:~/Mail userdb_quota_rule=*:storage=2M userdb_color=blue\n`,
  );
  await host.ownedFile(join(home, 'shadow'), `ana:$6$salt$notThatHash:19000:0:99999:7:::\n`, 0o600);
  const shown = await buzon(host, ['user', 'show', 'ana@example.test']);
  assert.equal(
    shown.stdout,
    `address  ana@example.test\nhome     ${home}\nmaildir  ${home}/Mail\nquota    2097152 bytes\nlog-in   SHA512-CRYPT\naliases  boss@example.test\n`,
  );
  assert.match(shown.stderr, /unknown-field .*userdb_color/);
  assert.doesNotMatch(shown.stdout + shown.stderr, /salt|notThatHash/);
  for (const [stored, says] of [
    ['!$6$salt$hash', /^log-in {3}locked$/m],
    ['', /^log-in {3}no password: nobody can log in$/m],
    ['$y$j9T$salt$hash', /^log-in {3}nobody can log in: yescrypt \(\$y\$\) is not supported/m],
  ] as const) {
    await host.ownedFile(join(home, 'shadow'), `ana:${stored}::::::\n`, 0o600);
    assert.match((await buzon(host, ['user', 'show', 'ana@example.test'])).stdout, says);
  }
  assert.equal((await buzon(host, ['user', 'show', 'nobody@example.test'])).status, 1);
});

test('three users added at once are all there', async () => {
  await using host = await aHost();
  const names = Array.from({ length: 3 }, (_, i) => `user${i}@example.test`);
  const results = await Promise.all(names.map((name) => spawnBuzon(host, ['user', 'add', name, '--scheme', 'PLAIN'], 'x\n')));
  for (const result of results) assert.equal(result.status, 0, result.stderr);
  const listed = (await buzon(host, ['user', 'list'])).stdout.split('\n');
  for (const name of names) assert.ok(listed.includes(name), name);
  assert.deepEqual(
    (await readdir(host.directory)).filter((name) => /lock|tmp/.test(name)),
    [],
  );
});

test('as root, a link in the tree leads nowhere that its owner may not write', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await aHost();
  const target = join(host.directory, 'roots');
  await mkdir(target, { mode: 0o755 });
  await writeFile(join(target, 'shadow'), 'ana:{PLAIN}root:::::::\n', { mode: 0o600 });
  await symlink(target, join(host.base, 'example.test', 'nuevo'));
  const added = await buzon(host, ['user', 'add', NEW], 'x\n');
  assert.equal(added.status, 1);
  assert.match(added.stderr, /is no folder/);
  const home = join(host.base, 'example.test', 'ana');
  await rename(home, `${home}.moved`);
  await symlink(target, home);
  const changed = await buzon(host, ['user', 'passwd', 'ana@example.test'], 'x\n');
  assert.equal(changed.status, 1);
  await buzon(host, ['user', 'del', 'ana@example.test', '--purge']);
  assert.deepEqual(await readdir(target), ['shadow']);
  assert.equal(await readFile(join(target, 'shadow'), 'utf8'), 'ana:{PLAIN}root:::::::\n');
  assert.equal((await readFile(mapOf(host), 'utf8')).includes(NEW), false);
});

test('as root, a map in somebody else’s folder is written with that one’s rights', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await aHost();
  const theirs = join(host.directory, 'theirs');
  await mkdir(theirs);
  const roots = join(host.directory, 'crontab');
  await writeFile(roots, 'ana@example.test example.test/ana/\n', { mode: 0o600 });
  await symlink(roots, join(theirs, 'vmailbox'));
  await chown(theirs, 1234, 1234);
  const settings = await readFile(host.settingsFile, 'utf8');
  await writeFile(host.settingsFile, settings.replace(mapOf(host), join(theirs, 'vmailbox')));
  const refused = await buzon(host, ['user', 'add', NEW, '--scheme', 'PLAIN'], 'x\n');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /EACCES/);
  assert.equal(await readFile(roots, 'utf8'), 'ana@example.test example.test/ana/\n');
  assert.equal(process.geteuid?.(), 0, 'root is taken back');
  await rm(join(theirs, 'vmailbox'));
  await writeFile(join(theirs, 'vmailbox'), MAP);
  assert.equal((await buzon(host, ['user', 'add', NEW, '--scheme', 'PLAIN'], 'x\n')).status, 0);
  assert.equal((await stat(join(theirs, 'vmailbox'))).uid, 1234);
});

test('as an ordinary user without rights, the error says what to do', async (t) => {
  if (!requireRoot(t)) return;
  await using host = await aHost();
  const result = await spawnBuzon(host, ['user', 'add', NEW, '--scheme', 'PLAIN'], 'x\n', { uid: 4321, gid: 4321 });
  assert.equal(result.status, 1);
  assert.match(result.stderr, /^buzon user: EACCES: .* \(run it as root, or as the owner of the mail tree and the maps\)\n$/);
});
