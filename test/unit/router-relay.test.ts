// Routes that lead out of the house: relay_domains, transport_maps for our own addresses, aliases to outside, suppressed addresses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouterOptions } from '../../src/delivery/router.ts';
import type { Rejection, Route } from '../../src/delivery/types.ts';
import { makeRouter, table, type Routes } from '../support/routing.ts';

const ANA = { 'ana@example.test': 'example.test/ana/' };
const RELAY: Partial<RouterOptions> = { relayDomains: { has: async (domain) => domain === 'backup.test' } };
/** Handling by address or domain; `here` for the rest. */
const sent = (entries: Record<string, 'here' | 'queue' | Rejection>): RouterOptions['transport'] => {
  return async (address) => entries[address] ?? entries[address.slice(address.indexOf('@') + 1)] ?? 'here';
};
/** What of a route is looked at here. */
const targetsOf = (route: Route): readonly string[] | string =>
  route.kind === 'deliver' ? route.targets.map(({ kind, address }) => `${kind} ${address}`) : route.kind;
const route = (address: string, routes: Routes): Promise<Route> => makeRouter(routes).router.route(address);

test('relay_domains: taken for anybody, with the domains below; without relay_recipient_maps every address', async () => {
  for (const domain of ['backup.test', 'deep.below.backup.test'])
    assert.deepEqual(await route(`Any@${domain}`, { options: RELAY }), {
      kind: 'deliver',
      targets: [{ kind: 'remote', address: `any@${domain}` }],
    });
  for (const domain of ['notbackup.test', 'test', 'backup.test.evil.test'])
    assert.deepEqual(await route(`u@${domain}`, { options: RELAY }), { kind: 'relay' });
  const { router } = makeRouter({ options: RELAY });
  assert.equal(await router.isLocalDomain('backup.test'), false);
});

test('row 27: relay_recipient_maps: an address that is not there is unknown, in the session', async () => {
  const relayRecipientMaps = [table({ 'u@backup.test': 'x', '@all.backup.test': 'x' })];
  const options = { ...RELAY, relayRecipientMaps };
  for (const address of ['u@backup.test', 'U+ext@Backup.test', 'any@all.backup.test'])
    assert.equal((await route(address, { options })).kind, 'deliver', address);
  assert.deepEqual(await route('v@backup.test', { options }), { kind: 'unknown-user' });
});

test('transport_maps: an address of ours goes elsewhere, is refused with their text, or stays', async () => {
  const transport = sent({ 'away@example.test': 'queue', 'no@example.test': { status: '5.1.1', reason: 'moved' } });
  const mailboxes = { ...ANA, 'away@example.test': 'x', 'no@example.test': 'example.test/no/' };
  const options = { transport };
  assert.deepEqual(await route('away@example.test', { mailboxes, options }), {
    kind: 'deliver',
    targets: [{ kind: 'remote', address: 'away@example.test' }],
  });
  assert.deepEqual(await route('no@example.test', { mailboxes, options }), {
    kind: 'rejected',
    status: '5.1.1',
    reason: 'moved',
  });
  assert.equal((await route('ana@example.test', { mailboxes, options })).kind, 'deliver');
  // What virtual_mailbox_maps do not have is unknown, wherever its domain goes.
  const all = { transport: sent({ 'example.test': 'queue' as const }) };
  assert.deepEqual(await route('nobody@example.test', { mailboxes, options: all }), { kind: 'unknown-user' });
  const { events, router } = makeRouter({
    mailboxes,
    virtual: { 'team@example.test': 'no@example.test, ana@example.test' },
    options,
  });
  const team = await router.route('team@example.test');
  assert.equal(team.kind === 'deliver' && team.targets.length, 1);
  assert.ok(events.some(({ event }) => event === 'alias.member.rejected'));
});

test('local_recipient_maps: who is not there is refused; who is there without an alias is taken, for the queue to return', async () => {
  const aliases = { root: 'ana@example.test', plus: 'ana@example.test', bad: 'nobody@localhost, ana@example.test' };
  const mailboxes = ANA;
  const virtual = { 'from@example.test': 'ghost@localhost' };
  const listed = table({ root: 'x', 'user@localhost': 'x', bad: 'x', 'plus+a': 'x', '@mail.example.test': 'x' });
  const options = { localRecipientMaps: [listed] };
  const of = async (address: string, more: object = options) =>
    targetsOf(await route(address, { mailboxes, aliases, virtual, options: { postmaster: 'ana@example.test', ...more } }));
  assert.deepEqual(await of('root@localhost'), ['mailbox ana@example.test']);
  assert.deepEqual(await of('root+x@localhost'), ['mailbox ana@example.test']);
  assert.deepEqual(await of('plus@localhost'), 'unknown-user', 'an alias alone does not do');
  assert.deepEqual(await of('plus+a@localhost'), ['mailbox ana@example.test']);
  assert.deepEqual(await of('user@localhost'), ['remote user@localhost']);
  assert.deepEqual(await of('any@mail.example.test'), ['remote any@mail.example.test']);
  assert.deepEqual(await of('ghost@localhost'), 'unknown-user');
  assert.deepEqual(await of('postmaster@localhost'), ['mailbox ana@example.test'], 'RFC 5321 4.5.1');
  // What an alias leads to is not asked for: it is known here and now that nobody is there.
  assert.deepEqual(await of('bad@localhost'), ['mailbox ana@example.test']);
  assert.deepEqual(await of('from@example.test'), 'unknown-user');
  const none = { localRecipientMaps: [] };
  assert.deepEqual(await of('ghost@localhost', none), ['remote ghost@localhost']);
  assert.deepEqual(await of('root@localhost', none), ['mailbox ana@example.test']);
  assert.deepEqual(await of('bad@localhost', none), ['mailbox ana@example.test']);
  assert.deepEqual(await of('from@example.test', none), 'unknown-user');
  assert.deepEqual(await of('postmaster@localhost', none), ['mailbox ana@example.test']);
  assert.deepEqual(await of('nobody@example.test', none), 'unknown-user', 'a mailbox domain has its own map');
  assert.deepEqual(await of('ghost@localhost', {}), 'unknown-user');
  // Sent elsewhere by transport_maps.
  const transport = sent({ localhost: 'queue' as const });
  assert.deepEqual(await of('ghost@localhost', { transport }), ['remote ghost@localhost']);
  assert.deepEqual(await of('ghost@localhost', { transport, ...options }), 'unknown-user');
  assert.deepEqual(await of('user@localhost', { transport, ...options }), ['remote user@localhost']);
});

test('what was taken for nobody is told apart from what an alias, a table or another server has', async () => {
  const aliases = { root: 'ana@example.test' };
  const returns = async (address: string, options: object): Promise<boolean> =>
    makeRouter({ mailboxes: ANA, aliases, options }).router.returnsMail(address);
  const none = { localRecipientMaps: [] };
  assert.equal(await returns('Ghost@localhost', none), true);
  assert.equal(await returns('root@localhost', none), false);
  assert.equal(await returns('ghost@example.test', none), false);
  assert.equal(await returns('ghost@far.test', none), false);
  assert.equal(await returns('ghost@localhost', {}), false);
  assert.equal(await returns('ghost@localhost', { localRecipientMaps: [table({})] }), false);
});

test('virtual_transport without virtual_mailbox_maps takes every address: the other store knows', async () => {
  const options = { transport: sent({ 'example.test': 'queue' as const }), virtualMailboxMaps: [] };
  assert.deepEqual(await route('any@example.test', { options }), {
    kind: 'deliver',
    targets: [{ kind: 'remote', address: 'any@example.test' }],
  });
});

test('aliases to outside say whose they are; to an address of ours that goes elsewhere too, but it is not outside', async () => {
  const options = { ...RELAY, transport: sent({ 'otro.test': 'queue' as const, 'backup.test': 'queue' as const }) };
  const found = await route('List+x@alias.test', {
    mailboxes: { 'eva@otro.test': 'x' },
    virtual: { 'list@alias.test': 'u@far.test eva@otro.test v@backup.test' },
    options,
  });
  const via = 'list+x@alias.test';
  assert.deepEqual(found, {
    kind: 'deliver',
    targets: [
      { kind: 'remote', address: 'u+x@far.test', via, outside: true },
      { kind: 'remote', address: 'eva+x@otro.test', via },
      { kind: 'remote', address: 'v+x@backup.test', via },
    ],
  });
});

test('virtual_alias_maps for an address outside count for those who may relay', async () => {
  const virtual = { 'u@far.test': 'ana@example.test', 'v@far.test': 'nobody@example.test', 'w@far.test': 'w@far.test' };
  assert.deepEqual(await route('u@far.test', { mailboxes: ANA, virtual }), {
    kind: 'relay',
    targets: [{ kind: 'mailbox', address: 'ana@example.test', recipient: 'ana@example.test' }],
  });
  const lost = await route('v@far.test', { mailboxes: ANA, virtual });
  assert.deepEqual(lost, { kind: 'relay', rejection: { status: '5.1.1', reason: 'User unknown' } });
  assert.deepEqual(await route('w@far.test', { mailboxes: ANA, virtual }), { kind: 'relay' });
});

test('suppressed addresses: refused when written to, left out of aliases', async () => {
  const options = { suppressed: async (address: string) => (address === 'gone@far.test' ? 'bounced' : undefined) };
  const virtual = { 'one@alias.test': 'gone@far.test', 'two@alias.test': 'gone@far.test, u@far.test' };
  const rejection = { status: '5.7.1', reason: 'Address is on the suppression list' };
  assert.deepEqual(await route('Gone@Far.test', { options }), { kind: 'relay', rejection });
  assert.deepEqual(await route('one@alias.test', { virtual, options }), { kind: 'rejected', ...rejection });
  const two = await route('two@alias.test', { virtual, options });
  assert.deepEqual(two.kind === 'deliver' && two.targets.map(({ address }) => address), ['u@far.test']);
});

test('an address that forwarding made of a sender leads back to him; a forged one to nobody', async () => {
  const options: Partial<RouterOptions> = {
    originalSender: (address) => (/^srs0=/i.test(address) ? (address.includes('good') ? 'Eva@far.test' : null) : undefined),
  };
  assert.deepEqual(await route('SRS0=good@example.test', { options }), {
    kind: 'deliver',
    targets: [{ kind: 'remote', address: 'Eva@far.test', outside: true }],
  });
  assert.deepEqual(await route('SRS0=bad@example.test', { options }), { kind: 'unknown-user' });
});

test('smtpd_sender_login_maps: the log-ins of a sender, by address and domain, beside its own', async () => {
  const senderLoginMaps = [
    table({ 'office@example.test': 'ana@example.test, Eva@example.test', '@client.test': 'ana@example.test' }),
    table({ '/x/': 'ana@example.test' }, true),
  ];
  const { router } = makeRouter({ mailboxes: { ...ANA, 'office@example.test': 'o/' }, options: { senderLoginMaps } });
  for (const [login, sender, may] of [
    ['ana@example.test', 'Office+x@example.test', true],
    ['eva@example.test', 'office@example.test', true],
    ['office@example.test', 'office@example.test', true],
    ['leo@example.test', 'office@example.test', false],
    ['ana@example.test', 'any@client.test', true],
    ['eva@example.test', 'any@client.test', false],
    ['ana@example.test', 'any@sub.client.test', false],
  ] as const)
    assert.equal(await router.maySendAs(login, sender), may, `${login} as ${sender}`);
});
