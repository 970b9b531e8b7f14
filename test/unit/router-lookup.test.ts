// Which address goes where: the order of look-ups of virtual(5) and virtual(8), aliases, extensions, catch-alls, limits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitAddress } from '../../src/delivery/address-keys.ts';
import type { Route } from '../../src/delivery/types.ts';
import { makeRouter, table, type Routes } from '../support/routing.ts';

const ANA = { 'ana@example.test': 'example.test/ana/' };

async function route(address: string, routes: Routes): Promise<Route> {
  return makeRouter(routes).router.route(address);
}
/** `account (recipient)` and `> remote`, in order. */
async function targets(address: string, routes: Routes): Promise<string[]> {
  const found = await route(address, routes);
  assert.equal(found.kind, 'deliver', JSON.stringify(found));
  if (found.kind !== 'deliver') return [];
  return found.targets.map((t) => (t.kind === 'remote' ? `> ${t.address}` : `${t.address} (${t.recipient})`));
}
async function refusal(address: string, routes: Routes): Promise<string> {
  const found = await route(address, routes);
  return found.kind === 'refused' ? found.code : found.kind;
}

test('an address that no table has is an unknown user, before its message comes', async () => {
  assert.deepEqual(await route('nobody@example.test', { mailboxes: ANA }), { kind: 'unknown-user' });
  assert.deepEqual(await route('nobody@alias.test', { mailboxes: ANA }), { kind: 'unknown-user' });
  assert.deepEqual(await route('nobody@mail.example.test', { mailboxes: ANA }), { kind: 'unknown-user' });
  assert.deepEqual(await route('x@elsewhere.test', { mailboxes: ANA }), { kind: 'relay' });
});

test('virtual(8): user+ext@domain, then user@domain, then @domain; the account is the key that matched', async () => {
  const mailboxes = {
    'ana@example.test': 'example.test/ana/',
    'ana+shop@example.test': 'example.test/shop/',
    '@otro.test': 'otro.test/all/',
    'ana@otro.test': 'otro.test/ana/',
  };
  assert.deepEqual(await targets('Ana+Shop@Example.Test', { mailboxes }), ['ana+shop@example.test (ana+shop@example.test)']);
  assert.deepEqual(await targets('ana+x@example.test', { mailboxes }), ['ana@example.test (ana+x@example.test)']);
  assert.deepEqual(await targets('ana+x@otro.test', { mailboxes }), ['ana@otro.test (ana+x@otro.test)']);
  assert.deepEqual(await targets('eva@otro.test', { mailboxes }), ['@otro.test (eva@otro.test)']);
  const asked = table(mailboxes);
  const { router } = makeRouter({ options: { virtualMailboxMaps: [asked] } });
  await router.route('no+ext@example.test');
  assert.deepEqual(asked.asked, ['no+ext@example.test', 'no@example.test', '@example.test']);
});

test('virtual(5): the whole address, without its extension, bare for our own host, then @domain', async () => {
  const asked = table({});
  const { router } = makeRouter({ options: { virtualAliasMaps: [asked] } });
  await router.route('ana+x@example.test');
  assert.deepEqual(asked.asked, ['ana+x@example.test', 'ana@example.test', '@example.test']);
  asked.asked.length = 0;
  await router.route('root+x@mail.example.test');
  assert.deepEqual(asked.asked, ['root+x@mail.example.test', 'root@mail.example.test', 'root+x', 'root', '@mail.example.test']);
});

test('all tables are asked for a key before the next key; tables of patterns for the whole address only', async () => {
  const mailboxes = [table({ '@example.test': 'first/' }), table({ 'ana@example.test': 'second/' })];
  const { router } = makeRouter({ options: { virtualMailboxMaps: mailboxes } });
  const found = await router.route('ana@example.test');
  assert.ok(found.kind === 'deliver' && found.targets[0]?.kind === 'mailbox' && found.targets[0].address === 'ana@example.test');
  const pattern = table({ '@example.test': 'x/', 'ana@example.test': 'x/' }, true);
  const patterns = makeRouter({ options: { virtualMailboxMaps: [pattern] } }).router;
  assert.equal((await patterns.route('ana+x@example.test')).kind, 'unknown-user');
  assert.deepEqual(pattern.asked, ['ana+x@example.test']);
});

test('an alias with several members delivers to each mailbox once, and to addresses outside', async () => {
  const virtual = {
    'team@example.test': 'ana@example.test, eva@otro.test, out@remote.test, both@alias.test',
    'both@alias.test': 'ana@example.test out@remote.test',
  };
  const mailboxes = { ...ANA, 'eva@otro.test': 'otro.test/eva/' };
  assert.deepEqual(await targets('team@example.test', { mailboxes, virtual }), [
    'ana@example.test (ana@example.test)',
    'eva@otro.test (eva@otro.test)',
    '> out@remote.test',
  ]);
});

test('extensions go through an alias unless its member has one; a name alone belongs to the host', async () => {
  const virtual = {
    'sales@example.test': 'ana@example.test',
    'shop@example.test': 'ana+box@example.test',
    'bare@example.test': 'root',
  };
  assert.deepEqual(await targets('sales+x@example.test', { mailboxes: ANA, virtual }), ['ana@example.test (ana+x@example.test)']);
  assert.deepEqual(await targets('shop+x@example.test', { mailboxes: ANA, virtual }), [
    'ana@example.test (ana+box@example.test)',
  ]);
  const aliases = { root: 'ana@example.test' };
  assert.deepEqual(await targets('bare@example.test', { mailboxes: ANA, virtual, aliases }), [
    'ana@example.test (ana@example.test)',
  ]);
});

test('catch-alls: @domain to one address, and @domain to the same user elsewhere', async () => {
  const virtual = { '@alias.test': '@example.test', '@otro.test': 'ana@example.test' };
  assert.deepEqual(await targets('ana@alias.test', { mailboxes: ANA, virtual }), ['ana@example.test (ana@example.test)']);
  assert.deepEqual(await targets('whoever@otro.test', { mailboxes: ANA, virtual }), ['ana@example.test (ana@example.test)']);
  assert.deepEqual(await route('nobody@alias.test', { mailboxes: ANA, virtual }), { kind: 'unknown-user' });
});

test('an alias to itself means: and here, too', async () => {
  const virtual = { 'ana@example.test': 'ana@example.test, copy@remote.test' };
  assert.deepEqual(await targets('ana@example.test', { mailboxes: ANA, virtual }), [
    'ana@example.test (ana@example.test)',
    '> copy@remote.test',
  ]);
});

test('loops, too deep and too wide expansions are refused with their reason', async () => {
  const loop = { 'a@example.test': 'b@example.test', 'b@example.test': 'c@example.test', 'c@example.test': 'a@example.test' };
  assert.equal(await refusal('a@example.test', { virtual: loop }), 'ALIAS_LOOP');
  const deep = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`d${i}@example.test`, `d${i + 1}@example.test`]));
  const mailboxes = { 'd12@example.test': 'x/' };
  assert.equal(await refusal('d0@example.test', { virtual: deep, mailboxes, options: { recursionLimit: 10 } }), 'ALIAS_TOO_DEEP');
  assert.equal(await refusal('d0@example.test', { virtual: deep, mailboxes, options: { recursionLimit: 12 } }), 'deliver');
  const wide = { 'w@example.test': Array.from({ length: 30 }, (_, i) => `m${i}@remote.test`).join(',') };
  assert.equal(await refusal('w@example.test', { virtual: wide, options: { expansionLimit: 20 } }), 'ALIAS_TOO_WIDE');
  // 2^n members by n lines: ends by the limit, not by its size.
  const bomb = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`x${i}@example.test`, `x${i + 1}@example.test, x${i + 1}+b@example.test`]),
  );
  assert.equal(await refusal('x0@example.test', { virtual: bomb }), 'ALIAS_TOO_WIDE');
});

test('row 28: forwards in a circle end, between the tables too', async () => {
  const virtual = { 'a@example.test': 'root@mail.example.test' };
  const aliases = { root: 'a@example.test' };
  const { router, events } = makeRouter({ virtual, aliases });
  assert.equal((await router.route('a@example.test')).kind, 'refused');
  assert.equal((await router.route('root@localhost')).kind, 'refused');
  assert.ok(events.some(({ event, fields }) => event === 'alias.refused' && fields['code'] === 'ALIAS_LOOP'));
});

test('aliases(5): names of the host itself, \\name ends there, commands, files and includes are refused with the reason', async () => {
  const aliases = {
    root: 'ana@example.test',
    cron: 'root',
    ana: '\\ana, ana@example.test',
    prog: '|/bin/cat',
    quoted: '"|/bin/cat -n"',
    file: '/var/mail/x',
    list: ':include:/etc/list',
  };
  assert.deepEqual(await targets('cron@localhost', { mailboxes: ANA, aliases }), ['ana@example.test (ana@example.test)']);
  assert.deepEqual(await targets('root+x@mail.example.test', { mailboxes: ANA, aliases }), [
    'ana@example.test (ana@example.test)',
  ]);
  assert.deepEqual(await targets('ana@localhost', { mailboxes: ANA, aliases }), ['ana@example.test (ana@example.test)']);
  for (const name of ['prog', 'quoted', 'file', 'list']) {
    const found = await route(`${name}@localhost`, { mailboxes: ANA, aliases });
    assert.ok(found.kind === 'refused' && found.code === 'ALIAS_COMMAND', name);
    assert.match(found.reason, /not supported/);
  }
});

test('a mailbox without a trailing slash is refused, with what to write', async () => {
  const found = await route('ana@example.test', { mailboxes: { 'ana@example.test': 'example.test/ana' } });
  assert.ok(found.kind === 'refused' && found.code === 'MBOX');
  assert.match(found.reason, /trailing slash/);
});

test('postmaster and abuse of every domain reach the mailbox of the setting, unless they have their own', async () => {
  const options = { postmaster: 'ana@example.test' };
  for (const domain of ['example.test', 'alias.test', 'mail.example.test', 'otro.test'])
    for (const role of ['postmaster', 'Abuse', 'postmaster+x'])
      assert.deepEqual(await targets(`${role}@${domain}`, { mailboxes: ANA, options }), ['ana@example.test (ana@example.test)']);
  assert.deepEqual(await targets('postmaster', { mailboxes: ANA, options }), ['ana@example.test (ana@example.test)']);
  const own = { ...ANA, 'postmaster@otro.test': 'otro.test/pm/' };
  assert.deepEqual(await targets('postmaster@otro.test', { mailboxes: own, options }), [
    'postmaster@otro.test (postmaster@otro.test)',
  ]);
  assert.deepEqual(await route('postmaster@example.test', { mailboxes: ANA }), { kind: 'unknown-user' });
  assert.deepEqual(await route('postmaster@example.test', { options: { postmaster: 'postmaster@otro.test' } }), {
    kind: 'unknown-user',
  });
});

test('a member that nobody has is told in the log and does not hold up the others', async () => {
  const virtual = { 'team@example.test': 'ana@example.test, gone@example.test' };
  const { router, events } = makeRouter({ mailboxes: ANA, virtual });
  assert.equal((await router.route('team@example.test')).kind, 'deliver');
  assert.ok(events.some(({ event }) => event === 'alias.member.unknown'));
});

test('extensions: the first delimiter divides, never at the beginning; mailer-daemon, owner-x and x-request stay whole', () => {
  const split = (address: string, delimiters = '+'): string[] => {
    const { user, extension, domain } = splitAddress(address, delimiters);
    return [user, extension, domain];
  };
  assert.deepEqual(split('Ana+Shop+x@D.Test'), ['ana', '+shop+x', 'd.test']);
  assert.deepEqual(split('+x@d'), ['+x', '', 'd']);
  assert.deepEqual(split('ana-x+y@d', '+-'), ['ana', '-x+y', 'd']);
  assert.deepEqual(split('owner-list@d', '-'), ['owner-list', '', 'd']);
  assert.deepEqual(split('list-request@d', '-'), ['list-request', '', 'd']);
  assert.deepEqual(split('mailer-daemon@d', '-'), ['mailer-daemon', '', 'd']);
  assert.deepEqual(split('ana@d', ''), ['ana', '', 'd']);
  assert.deepEqual(split('"a@b"@d'), ['"a@b"', '', 'd']);
  assert.deepEqual(split('alone'), ['alone', '', '']);
});

test('maySendAs: one’s own address, with extensions, and aliases that lead to it; nobody else’s, nor outside', async () => {
  const mailboxes = { ...ANA, 'eva@example.test': 'example.test/eva/' };
  const virtual = {
    'sales@example.test': 'ana@example.test',
    'team@alias.test': 'ana@example.test, eva@example.test',
    '@otro.test': 'eva@example.test',
  };
  const { router } = makeRouter({ mailboxes, virtual });
  for (const sender of ['ana@example.test', 'ANA@Example.test', 'ana+x@example.test', 'sales@example.test', 'team@alias.test'])
    assert.equal(await router.maySendAs('Ana@example.test', sender), true, sender);
  for (const sender of ['eva@example.test', 'ana@otro.test', 'ana@remote.test', 'nobody@example.test'])
    assert.equal(await router.maySendAs('ana@example.test', sender), false, sender);
  assert.equal(await router.maySendAs('eva@example.test', 'any@otro.test'), true);
});
