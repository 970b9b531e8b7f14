// `buzon domain`: a table, a file of names, or the list in buzon.yaml itself.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { changedSettings } from '../../src/cli/domain/settings-file.ts';
import { compileTable } from '../../src/config/maps/compile.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { buzon } from '../support/buzon.ts';
import { MailHost } from '../support/mail-host.ts';

/** Swaps the list of domains in the host's settings, which are otherwise kept to the letter. */
async function setDomains(host: MailHost, yaml: string): Promise<void> {
  const text = await readFile(host.settingsFile, 'utf8');
  await writeFile(host.settingsFile, text.replace(/^virtual_mailbox_domains:\n( +- .*\n)+/m, yaml));
}

test('a list in buzon.yaml is changed in place: comments, order and everything else stay', async () => {
  await using host = await MailHost.create();
  await setDomains(
    host,
    '# our domains\nvirtual_mailbox_domains: # all of them\n  - example.test # the first\n  # none after this\n',
  );
  const before = await readFile(host.settingsFile, 'utf8');
  const added = await buzon(host, ['domain', 'add', 'New.Test.']);
  assert.equal(added.status, 0, added.stderr);
  assert.match(added.stderr, /buzon reload/);
  const after = await readFile(host.settingsFile, 'utf8');
  assert.deepEqual(
    after.split('\n').filter((line) => line !== '  - new.test'),
    before.split('\n'),
  );
  assert.equal((await buzon(host, ['domain', 'list'])).stdout, 'example.test\t2\nnew.test\t0\n');
  assert.equal((await buzon(host, ['user', 'add', 'a@new.test', '--scheme', 'PLAIN'], 'x\n')).status, 0);
  const inUse = await buzon(host, ['domain', 'del', 'new.test']);
  assert.equal(inUse.status, 1);
  assert.match(inUse.stderr, /new\.test has 1 mailbox: remove it first/);
  assert.equal((await buzon(host, ['user', 'del', 'a@new.test', '--purge'])).status, 0);
  assert.equal((await buzon(host, ['domain', 'del', 'new.test'])).status, 0);
  assert.equal(await readFile(host.settingsFile, 'utf8'), before);
});

test('each way to write the list: flow, text, indented or not, missing', () => {
  const change = (text: string, what: Parameters<typeof changedSettings>[2]): string =>
    changedSettings(`hostname: mail.example.test # us\n${text}`, '/etc/buzon/buzon.yaml', what).replace(/^hostname.*\n/, '');
  for (const [before, after] of [
    ['virtual_mailbox_domains: [a.test]\n', 'virtual_mailbox_domains: [a.test, b.test]\n'],
    ['virtual_mailbox_domains: []\n', 'virtual_mailbox_domains: [b.test]\n'],
    ['virtual_mailbox_domains: "a.test" # c\n', 'virtual_mailbox_domains: "a.test, b.test" # c\n'],
    ['virtual_mailbox_domains: [\n    a.test # c\n  ]\n', 'virtual_mailbox_domains: [\n    a.test, b.test # c\n  ]\n'],
    ['virtual_mailbox_domains: a.test, c.test\n', 'virtual_mailbox_domains: a.test, c.test, b.test\n'],
    [
      'virtual_mailbox_domains:\n- a.test\nsmtpd_timeout: 5m\n',
      'virtual_mailbox_domains:\n- a.test\n- b.test\nsmtpd_timeout: 5m\n',
    ],
    ['virtual_mailbox_domains:\n  - $mydomain\n', 'virtual_mailbox_domains:\n  - $mydomain\n  - b.test\n'],
    ['# only a comment\n', '# only a comment\nvirtual_mailbox_domains:\n  - b.test\n'],
  ] as const) {
    assert.equal(change(before, { add: 'b.test' }), after);
    if (before.startsWith('virtual')) assert.equal(change(after, { remove: 'b.test' }), before);
  }
  assert.equal(
    change('virtual_mailbox_domains: [b.test, a.test]\n', { remove: 'b.test' }),
    'virtual_mailbox_domains: [a.test]\n',
  );
});

test('what cannot be changed safely is told to the administrator', () => {
  const text = 'hostname: mail.example.test\nvirtual_mailbox_domains:\n  - $mydomain\n';
  assert.throws(
    () => changedSettings(text, '/x.yaml', { remove: 'example.test' }),
    /take example\.test out of virtual_mailbox_domains yourself/,
  );
  const alias = 'hostname: mail.example.test\nmydestination: &all [a.test]\nvirtual_mailbox_domains: *all\n';
  assert.throws(() => changedSettings(alias, '/x.yaml', { add: 'b.test' }), /add b\.test to virtual_mailbox_domains yourself/);
});

test('a table or a file of names is changed instead, seen without a reload', async () => {
  await using host = await MailHost.create();
  const names = join(host.directory, 'domains');
  await writeFile(names, '# ours\nexample.test,\n  other.test\n');
  await setDomains(host, `virtual_mailbox_domains: ${names}\n`);
  const settings = await readFile(host.settingsFile, 'utf8');
  assert.equal((await buzon(host, ['domain', 'add', 'new.test'])).status, 0);
  assert.equal(await readFile(names, 'utf8'), '# ours\nexample.test,\n  other.test\nnew.test\n');
  assert.equal((await buzon(host, ['domain', 'list'])).stdout, 'example.test\t2\nnew.test\t0\nother.test\t0\n');
  assert.equal((await buzon(host, ['domain', 'del', 'other.test'])).status, 0);
  assert.equal(await readFile(names, 'utf8'), '# ours\nexample.test,\nnew.test\n');

  const table = join(host.directory, 'vdomains');
  await writeFile(table, 'example.test OK\n');
  await compileTable(table);
  await writeFile(host.settingsFile, settings.replace(names, `hash:${table}`));
  const open = openTable(`hash:${table}`, { logger: silentLogger });
  assert.equal(await open.get('new.test'), undefined);
  assert.equal((await buzon(host, ['domain', 'add', 'new.test'])).status, 0);
  assert.equal(await open.get('new.test'), 'OK');
  assert.equal((await buzon(host, ['domain', 'del', 'new.test'])).status, 0);
  assert.equal(await open.get('new.test'), undefined);
  open.close();
});

test('domains that cannot be are refused with the reason', async () => {
  await using host = await MailHost.create({
    settings: { mydestination: ['local.test'], virtual_alias_domains: ['alias.test'] },
  });
  const before = await readFile(host.settingsFile, 'utf8');
  for (const [args, status, message] of [
    [['add', 'example.test'], 1, /example\.test is one of virtual_mailbox_domains already/],
    [['add', 'local.test'], 1, /local\.test is in mydestination/],
    [['add', 'alias.test'], 1, /alias\.test is in virtual_alias_domains/],
    [['add', '../etc'], 1, /"\.\.\/etc" is not a domain; write it as example\.com/],
    [['add', 'a b.test'], 1, /is not a domain/],
    [['add', '192.0.2.1'], 1, /is not a domain/],
    [['add', 'nodot'], 1, /is not a domain/],
    [['del', 'nosuch.test'], 1, /nosuch\.test is not one of virtual_mailbox_domains/],
    [['del', 'example.test'], 1, /example\.test has 2 mailboxes/],
    [['add'], 2, /^usage: buzon domain add/],
    [['nosuch', 'a.test'], 2, /^usage/],
    [['list', 'a.test'], 2, /^usage/],
  ] as const) {
    const result = await buzon(host, ['domain', ...args]);
    assert.equal(result.status, status, args.join(' '));
    assert.match(result.stderr, message);
  }
  assert.equal(await readFile(host.settingsFile, 'utf8'), before);
});
