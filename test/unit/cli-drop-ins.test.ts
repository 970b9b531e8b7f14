// install-tools, postconf, newaliases.
import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { getopt, UsageError } from '../../src/cli/getopt.ts';
import { captureIo } from '../support/command-io.ts';
import { MaildropHouse } from '../support/maildrop-house.ts';
import { run } from '../support/programs.ts';

async function call(args: readonly string[], cwd = '/'): Promise<{ status: number; stdout: string; stderr: string }> {
  const io = captureIo({ cwd });
  const status = await runCommand(args, io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}

test('install-tools: scripts that run, foreign files kept, all gone again', async (t) => {
  const house = await MaildropHouse.make(t, undefined, 'user: nobody\ngroup: nogroup\n');
  const prefix = join(house.folder, "it's here");
  const config = ['--prefix', prefix, '--config', house.settingsFile];
  await mkdir(join(prefix, 'sbin'), { recursive: true });
  await writeFile(join(prefix, 'sbin', 'sendmail'), 'somebody else’s');
  const refused = await call(['install-tools', ...config]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /not ours: .*sendmail/);
  await assert.rejects(stat(join(prefix, 'bin', 'mail')), 'nothing was installed');
  const done = await call(['install-tools', ...config, '--force']);
  assert.equal(done.status, 0, done.stderr);
  assert.equal((await call(['install-tools', ...config])).status, 0, 'again, over its own files');
  const sent = await run(join(prefix, 'sbin', 'sendmail'), ['-f', 'me', 'root'], {
    input: 'Subject: x\n\nbody\n',
    env: { PATH: '/usr/bin:/bin' },
  });
  assert.equal(sent.status, 0, sent.stderr);
  assert.equal((await house.names('maildrop')).length, 1);
  assert.equal((await call(['install-tools', '--prefix', prefix, '--uninstall'])).status, 0);
  assert.equal(await readFile(join(prefix, 'sbin', 'sendmail'), 'utf8'), 'somebody else’s');
  for (const path of ['bin/mail', 'lib/buzon']) await assert.rejects(stat(join(prefix, path)));
});

test('postconf shows settings as Postfix’s does', async (t) => {
  const house = await MaildropHouse.make(
    t,
    undefined,
    'mydestination: [$myhostname, localhost]\nmessage_size_limit: 10M\ndisable_plaintext_auth: no\n',
  );
  const show = async (...args: string[]): Promise<string> => (await call(['postconf', '-c', house.folder, ...args])).stdout;
  assert.equal(
    await show('myhostname', 'mydestination'),
    'myhostname = mail.example.test\nmydestination = $myhostname, localhost\n',
  );
  assert.equal(
    await show('-x', 'mydestination', 'message_size_limit'),
    'mydestination = mail.example.test, localhost\nmessage_size_limit = 10485760\n',
  );
  assert.equal(
    await show('-h', 'myorigin', 'mydomain', 'mail_owner', 'config_directory'),
    `mail.example.test\nexample.test\nvmail\n${house.folder}\n`,
  );
  assert.equal(
    await show('-n'),
    `disable_plaintext_auth = no\nhostname = mail.example.test\nmessage_size_limit = 10M\nmydestination = $myhostname, localhost\nmyhostname = mail.example.test\nqueue_directory = ${house.queue}\n`,
  );
  assert.equal(
    await show('-d', 'message_size_limit', 'disable_plaintext_auth'),
    'message_size_limit = 50M\ndisable_plaintext_auth = yes\n',
  );
  assert.match(await show(), /^smtpd_tls_security_level = may$/m);
  const unknown = await call(['postconf', '-c', house.folder, 'no_such']);
  assert.deepEqual([unknown.status, unknown.stderr], [1, 'postconf: warning: no_such: unknown parameter\n']);
  assert.equal((await call(['postconf', '-e', 'a=b'])).status, 1);
});

test('newaliases says what is wrong with alias_maps', async (t) => {
  const house = await MaildropHouse.make(t, undefined, 'alias_maps: hash:aliases\n');
  assert.equal((await call(['newaliases', '-C', house.settingsFile])).status, 1);
  await writeFile(join(house.folder, 'aliases'), 'root: ana@example.test\n');
  assert.deepEqual(await call(['newaliases', '-C', house.settingsFile]), { status: 0, stdout: '', stderr: '' });
  await writeFile(join(house.folder, 'aliases'), 'root: ana@example.test\nnonsense\n');
  const warned = await call(['newaliases', '-C', house.folder]);
  assert.match(warned.stderr, /^newaliases: warning: .*line 2: /);
  await chmod(join(house.folder, 'aliases'), 0o644);
  assert.equal((await call(['newaliases', '-C', '/no/such'])).status, 78);
});

test('getopt: letters together, attached and optional arguments, long names and their beginnings', () => {
  const spec = { short: 'ab:c::', long: { alpha: 'a', beta: 'b', 'beta-two': 'word' }, longWithValue: ['word'] };
  const read = (...args: string[]): unknown => {
    const { options, rest } = getopt(args, spec);
    return [options.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)).join(' '), rest.join(' ')];
  };
  assert.deepEqual(read('-ab', 'x', 'y', '-a', '--', '-a'), ['a b=x a', 'y -a']);
  assert.deepEqual(read('-abx', '-c', 'y', '-cz', '-'), ['a b=x c c=z', 'y -']);
  assert.deepEqual(read('--alp', '--beta=x', '--beta', 'y', '--beta-two', 'z'), ['a b=x b=y word=z', '']);
  for (const args of [['-x'], ['-b'], ['--bet=1'], ['--nope'], ['--alpha=1'], ['--beta']])
    assert.throws(() => read(...args), UsageError, args.join(' '));
});
