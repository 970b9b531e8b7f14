// `buzon check` on routing, and `buzon suppress`.
import assert from 'node:assert/strict';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkSettings } from '../../src/cli/check/settings.ts';
import { suppressCommand } from '../../src/cli/suppress.ts';
import { settingsFromObject, type SettingsInput } from '../../src/config/settings-object.ts';
import { captureIo } from '../support/command-io.ts';
import { tempFolder } from '../support/temp-folder.ts';

const CODES = /^(RELAY|TRANSPORT|ROUTE|SASL)_/;

async function findings(folder: string, input: SettingsInput): Promise<string[]> {
  const settings = settingsFromObject({ hostname: 'mail.example.com', ...input }, folder);
  const found = await checkSettings(settings);
  return found.filter(({ code }) => CODES.test(code)).map(({ severity, code, subject }) => `${severity} ${code} ${subject}`);
}

test('next hops that cannot be are named, in settings and tables; good ones are not', async (t) => {
  const folder = await tempFolder(t);
  assert.deepEqual(
    await findings(folder, {
      relayhost: '[hub.test]:587, [hub2.test]',
      default_transport: 'smtp',
      virtual_transport: 'lmtp:unix:/run/dovecot/lmtp',
      transport_maps: 'inline:{ {far.test = smtp:[x]:26}, {own.test = :}, {no.test = error:5.1.1 gone}, {l.test = virtual:} }',
      sender_dependent_default_transport_maps: 'inline:{ {a@b.test = DUNNO}, {@c.test = smtp:[x]:25}, {@d.test = smtp} }',
      sender_dependent_relayhost_maps: 'inline:{ {a@b.test = DUNNO}, {@c.test = [x]:25} }',
      smtp_bind_address_maps: 'inline:{ a.test=192.0.2.1 }',
      account_send_limit_maps: 'inline:{ a@b.test=unlimited }',
    }),
    [],
  );
  assert.deepEqual(
    await findings(folder, {
      relayhost: '[hub.test]:0',
      default_transport: 'uucp:x',
      virtual_transport: 'lmtp:unix:private/dovecot-lmtp',
      transport_maps: 'inline:{ {far.test = carrier:pigeon} }',
      sender_dependent_default_transport_maps: 'inline:{ {@c.test = carrier:pigeon}, {@d.test = :[x]} }',
      sender_dependent_relayhost_maps: 'inline:{ {@c.test = [a], b!} }',
      smtp_bind_address_maps: 'inline:{ a.test=b.test }',
      account_send_limit_maps: 'inline:{ {a@b.test = messages=1} }',
    }),
    [
      'error TRANSPORT_BAD default_transport',
      'error TRANSPORT_BAD virtual_transport',
      'error TRANSPORT_BAD relayhost',
      'error ROUTE_BAD transport_maps far.test',
      'error ROUTE_BAD sender_dependent_default_transport_maps @c.test',
      'error ROUTE_BAD sender_dependent_default_transport_maps @d.test',
      'error ROUTE_BAD sender_dependent_relayhost_maps @c.test',
      'error ROUTE_BAD smtp_bind_address_maps a.test',
      'error ROUTE_BAD account_send_limit_maps a@b.test',
    ],
  );
});

test('relay_domains that are ours, or whose addresses nobody knows', async (t) => {
  const folder = await tempFolder(t);
  const virtual_mailbox_domains = ['example.com'];
  assert.deepEqual(await findings(folder, { virtual_mailbox_domains, relay_domains: ['example.com', 'backup.test'] }), [
    'error RELAY_DOMAIN_OWN example.com',
    'warning RELAY_RECIPIENTS_ANY example.com, backup.test',
  ]);
  const known = { relay_domains: 'backup.test', relay_recipient_maps: 'inline:{ a@backup.test=x }' };
  assert.deepEqual(await findings(folder, { virtual_mailbox_domains, ...known }), []);
});

test('a file with passwords that others read is an error; nothing of it is shown', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'sasl_passwd');
  await writeFile(file, '[hub.test] user:hunter2\n"hunter2\nhunter2\n');
  const input = { smtp_sasl_password_maps: `hash:${file}` };
  await chmod(file, 0o644);
  assert.deepEqual(await findings(folder, input), [`error SASL_PASSWD_EXPOSED ${file}`]);
  const all = await checkSettings(settingsFromObject({ hostname: 'mail.example.com', ...input }, folder));
  assert.doesNotMatch(JSON.stringify(all), /hunter2/);
  await chmod(file, 0o600);
  assert.deepEqual(await findings(folder, input), []);
  assert.deepEqual(await findings(folder, { smtp_sasl_password_maps: `hash:${file}.not` }), [
    `error SASL_PASSWD_UNREADABLE ${file}.not`,
  ]);
});

test('buzon suppress: add, list, remove; wrong arguments and addresses', async (t) => {
  const folder = await tempFolder(t);
  const config = join(folder, 'buzon.yaml');
  const own = {
    virtual_uid_maps: `static:${process.getuid?.() || 65534}`,
    virtual_gid_maps: `static:${process.getgid?.() || 65534}`,
  };
  await chmod(folder, 0o777);
  await writeFile(config, JSON.stringify({ hostname: 'mail.example.com', data_directory: join(folder, 'data'), ...own }));
  const run = async (...args: string[]): Promise<[number, string, string]> => {
    const io = captureIo();
    const status = await suppressCommand.run(['--config', config, ...args], io);
    return [status, io.stdout, io.stderr];
  };
  assert.deepEqual(await run('list'), [0, '', '']);
  assert.deepEqual(await run('add', 'Gone@Far.test', 'asked', 'us'), [0, '', '']);
  assert.deepEqual((await run('add', 'gone@far.test')).slice(0, 2), [1, '']);
  assert.deepEqual(await run('add', '@dead.test'), [0, '', '']);
  const [, listed] = await run('list');
  assert.match(listed, /^gone@far\.test {2}\S+Z asked us\n@dead\.test {2}\S+Z by hand\n$/);
  const file = join(folder, 'data', 'suppressed');
  assert.equal((await readFile(file, 'utf8')).split('\n').length, 3);
  if (process.getuid?.() === 0) assert.equal((await stat(file)).uid, 65534, 'it is whose the mail tree is');
  assert.deepEqual(await run('remove', 'GONE@far.test'), [0, '', '']);
  assert.equal((await run('remove', 'gone@far.test'))[0], 1);
  for (const wrong of [[], ['add'], ['list', 'x'], ['remove'], ['add', 'nobody'], ['add', 'a b@x.test'], ['drop', 'a@b.test']])
    assert.equal((await run(...wrong))[0], 2, wrong.join(' '));
});
