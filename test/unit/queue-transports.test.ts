// Where mail goes next: transport(5), relayhost, classes of domains, in trivial-rewrite(8)'s order; log-ins and addresses for next hops.
import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readPemFile } from '../../src/config/certificates.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { bindAddressFinder } from '../../src/queue/bind-address.ts';
import { credentialsFinder, secretTable } from '../../src/queue/credentials.ts';
import { formatNextHop, parseNextHop } from '../../src/queue/next-hop.ts';
import { TransportTable, transportProblem, type TransportOptions } from '../../src/queue/transports.ts';
import { captureLog } from '../support/log-capture.ts';
import { table } from '../support/routing.ts';
import { tempFolder } from '../support/temp-folder.ts';

const CLASSES = { 'mail.us.test': 'local', 'us.test': 'mailbox', 'alias.test': 'alias', 'backup.test': 'relay' } as const;

function transports(maps: Record<string, string> = {}, options: Partial<TransportOptions> = {}): TransportTable {
  return new TransportTable({
    classOf: async (domain) => CLASSES[domain as keyof typeof CLASSES] ?? 'outside',
    transportMaps: Object.keys(maps).length > 0 ? [table(maps)] : [],
    senderDependentRelayhostMaps: [],
    senderDependentDefaultTransportMaps: [],
    relayhost: '',
    defaultTransport: 'smtp',
    relayTransport: 'relay',
    virtualTransport: 'virtual',
    recipientDelimiter: '+',
    logger: silentLogger,
    ...options,
  });
}
async function hop(where: TransportTable, recipient: string, sender = 'eva@remote.test'): Promise<string> {
  return formatNextHop(await where.resolve(recipient, sender));
}

test('without any map: the domain itself; a literal is an address; our own domains do not leave', async () => {
  const plain = transports();
  assert.equal(await hop(plain, 'u@Far.Test'), 'smtp:far.test');
  assert.equal(await hop(plain, 'u@[192.0.2.1]'), 'smtp:[192.0.2.1]');
  assert.equal(await hop(plain, 'u@[IPv6:2001:db8::1]'), 'smtp:[2001:db8::1]');
  assert.equal(await hop(plain, 'u@backup.test'), 'smtp:backup.test');
  assert.match(await hop(plain, 'u@alias.test'), /^error:5\.1\.1 User unknown/);
  for (const own of ['u@us.test', 'u@mail.us.test']) assert.match(await hop(plain, own), /^error:4\.3\.5 /);
});

test('mail for an address of the host that nobody has goes back in the words of local(8)', async () => {
  const where = transports({}, { returnsMail: async (recipient) => recipient === 'ghost+x@mail.us.test' });
  assert.equal(await hop(where, 'ghost+x@mail.us.test'), 'error:5.1.1 unknown user: "ghost+x"');
  assert.equal(await hop(where, 'other@mail.us.test'), 'error:4.3.5 mail for mail.us.test is delivered by this server itself');
});

test('transport(5): the order of look-ups; an entry for a domain is not one for those below it, `.domain` is', async () => {
  const asked = table({});
  const where = transports({}, { transportMaps: [asked] });
  await where.resolve('User+Ext@a.b.Far.test', '');
  assert.deepEqual(asked.asked, [
    'user+ext@a.b.far.test',
    'user@a.b.far.test',
    'a.b.far.test',
    '.b.far.test',
    '.far.test',
    '.test',
    '*',
  ]);
  const some = transports({
    'u@far.test': 'smtp:[one]',
    'u+x@far.test': 'smtp:[two]',
    'far.test': 'smtp:[three]:26',
    '.far.test': 'lmtp:unix:/run/l',
    '*': 'smtp:[rest]',
  });
  for (const [recipient, expected] of [
    ['u@far.test', 'smtp:[one]'],
    ['u+y@far.test', 'smtp:[one]'],
    ['u+x@far.test', 'smtp:[two]'],
    ['v@far.test', 'smtp:[three]:26'],
    ['v@deep.below.far.test', 'lmtp:unix:/run/l'],
    ['v@else.test', 'smtp:[rest]'],
    ['v@us.test', 'smtp:[rest]'],
  ] as const)
    assert.equal(await hop(some, recipient), expected, recipient);
});

test('transport(5): `:` changes nothing, `:nexthop` the next hop, `transport:` goes back to the domain, past relayhost', async () => {
  const where = transports(
    {
      'noop.test': ':',
      'next.test': ':[other]:99',
      'direct.test': 'smtp:',
      'no.test': 'error:',
      'drop.test': 'discard:',
      'wait.test': 'hold:why',
    },
    { relayhost: '[hub.test]:587' },
  );
  for (const [domain, expected] of [
    ['noop.test', 'smtp:[hub.test]:587'],
    ['next.test', 'smtp:[other]:99'],
    ['direct.test', 'smtp:direct.test'],
    ['far.test', 'smtp:[hub.test]:587'],
    ['backup.test', 'smtp:[hub.test]:587'],
    ['no.test', 'error:5.0.0 Address is undeliverable'],
    ['drop.test', 'discard:'],
    ['wait.test', 'hold:why'],
  ] as const)
    assert.equal(await hop(where, `u@${domain}`), expected, domain);
});

test('patterns are asked for the whole address only', async () => {
  const pattern = table({ 'far.test': 'smtp:[wrong]', 'u@far.test': 'smtp:[right]' }, true);
  const where = transports({}, { transportMaps: [pattern] });
  assert.equal(await hop(where, 'u@far.test'), 'smtp:[right]');
  assert.equal(await hop(where, 'v@far.test'), 'smtp:far.test');
  assert.deepEqual(pattern.asked, ['u@far.test', 'v@far.test']);
});

test('sender_dependent_relayhost_maps come before relayhost; DUNNO, `<>`, extensions', async () => {
  const where = transports(
    {},
    {
      relayhost: '[hub.test]',
      senderDependentRelayhostMaps: [
        table({ 'ana@us.test': '[ana.test]:465', '@eva.test': 'eva-relay.test', 'no@eva.test': 'DUNNO', '<>': '[bounces.test]' }),
      ],
    },
  );
  for (const [sender, expected] of [
    ['ana@us.test', 'smtp:[ana.test]:465'],
    ['Ana+x@us.test', 'smtp:[ana.test]:465'],
    ['x@eva.test', 'smtp:eva-relay.test'],
    ['no@eva.test', 'smtp:[hub.test]'],
    ['', 'smtp:[bounces.test]'],
    ['x@far.test', 'smtp:[hub.test]'],
  ] as const)
    assert.equal(await hop(where, 'u@far.test', sender), expected, sender);
});

test('sender_dependent_default_transport_maps: in place of default_transport only, with relayhost where they name no host', async () => {
  const { logger, events } = captureLog();
  const where = transports(
    { 'mapped.test': 'smtp:[mapped.test]' },
    {
      relayhost: '[hub.test]',
      senderDependentRelayhostMaps: [table({ 'ana@eva.test': '[ana.test]' })],
      senderDependentDefaultTransportMaps: [
        table({
          'ana@us.test': 'smtp:[one.test]:587, [two.test]',
          '@eva.test': 'lmtp:',
          'no@eva.test': 'Dunno',
          'bad@eva.test': ':[x.test]',
          '<>': 'error:5.7.0 no reports',
        }),
      ],
      logger,
    },
  );
  for (const [sender, expected] of [
    ['ana+x@us.test', 'smtp:[one.test]:587, [two.test]'],
    ['x@eva.test', 'lmtp:hub.test'],
    ['ana@eva.test', 'lmtp:ana.test'],
    ['no@eva.test', 'smtp:[hub.test]'],
    ['', 'error:5.7.0 no reports'],
    ['x@far.test', 'smtp:[hub.test]'],
    ['bad@eva.test', 'error:4.3.5 mail transport unavailable'],
  ] as const)
    assert.equal(await hop(where, 'u@far.test', sender), expected, sender);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['transport.bad'],
  );
  assert.equal(await hop(where, 'u@mapped.test', 'ana@us.test'), 'smtp:[mapped.test]', 'transport_maps come first');
  assert.equal(await hop(where, 'u@backup.test', 'ana@us.test'), 'smtp:[hub.test]', 'relay_domains have relay_transport');
  assert.equal(await where.handling('u@us.test'), 'here');
});

test('default_transport, relay_transport, virtual_transport with a next hop of their own are not changed by relayhost', async () => {
  const where = transports(
    {},
    {
      relayhost: '[hub.test]',
      defaultTransport: 'smtp:[out.test]:2525',
      relayTransport: 'smtp:[inner.test]',
      virtualTransport: 'lmtp:unix:/run/dovecot/lmtp',
    },
  );
  assert.equal(await hop(where, 'u@far.test'), 'smtp:[out.test]:2525');
  assert.equal(await hop(where, 'u@backup.test'), 'smtp:[inner.test]');
  assert.equal(await hop(where, 'u@us.test'), 'lmtp:unix:/run/dovecot/lmtp');
  assert.equal(await where.handling('u@us.test'), 'queue');
  assert.equal(await where.handling('u@mail.us.test'), 'here');
});

test('handling: error:5 is a refusal, 5.1.1 unless it says otherwise; 4, retry:, discard: and hold: are taken', async () => {
  const where = transports({
    'a@us.test': 'error:moved away',
    'b@us.test': 'error:5.7.1 closed',
    'c@us.test': 'error:4.2.1 later',
    'd@us.test': 'retry:later',
    'e@us.test': 'discard:',
    'f@us.test': 'hold:',
    'g@us.test': 'virtual:',
  });
  assert.deepEqual(await where.handling('a@us.test'), { status: '5.1.1', reason: 'moved away' });
  assert.deepEqual(await where.handling('b@us.test'), { status: '5.7.1', reason: 'closed' });
  for (const name of ['c', 'd', 'e', 'f']) assert.equal(await where.handling(`${name}@us.test`), 'queue', name);
  for (const name of ['g', 'h']) assert.equal(await where.handling(`${name}@us.test`), 'here', name);
});

test('a transport that is none: mail waits, and the log says why', async () => {
  const { logger, events } = captureLog();
  const where = transports({ 'far.test': 'uucp:old', 'path.test': 'lmtp:unix:relative' }, { logger });
  for (const domain of ['far.test', 'path.test'])
    assert.equal(await hop(where, `u@${domain}`), 'error:4.3.5 mail transport unavailable');
  assert.deepEqual(
    events.map(({ event, fields }) => [event, fields['transport']]),
    [
      ['transport.bad', 'uucp:old'],
      ['transport.bad', 'lmtp:unix:relative'],
    ],
  );
  for (const good of [':', 'smtp:', ':[x]:25', 'virtual:', 'local', 'error:5.1.1 x', 'hold:'])
    assert.equal(transportProblem(good), undefined, good);
  for (const bad of ['uucp:x', ':[x]:0', 'smtp:a, b!', 'lmtp:unix:x']) assert.notEqual(transportProblem(bad), undefined, bad);
});

test('a map that cannot be read is a temporary error', async (t) => {
  const missing = openTable(`texthash:${join(await tempFolder(t), 'missing')}`, { logger: silentLogger });
  const where = transports({}, { transportMaps: [missing] });
  await assert.rejects(where.resolve('u@far.test', ''), { kind: 'temporary', code: 'MAP_UNREADABLE' });
});

test('smtp_sasl_password_maps: the sender where set, the host, the next hop as it is written and otherwise; colons in passwords', async () => {
  const maps = [
    table({
      '[hub.test]:587': 'hub:pa:ss',
      'mx1.big.test': 'mx:secret',
      'big.test': 'big:secret',
      'ana@us.test': 'ana:own',
      '[none.test]': ':',
      'both.test': 'host:x',
      '[both.test]:587': 'hop:x',
      '[wide.test]': 'brackets:x',
      'wide.test': 'name:x',
    }),
  ];
  const find = credentialsFinder({ maps, senderDependent: false, recipientDelimiter: '+' });
  const ask = async (to: string, sender = '', host = '192.0.2.1', how = find) =>
    (await how(parseNextHop(to), sender, host))?.user;
  assert.deepEqual(await find(parseNextHop('[hub.test]:587'), '', 'hub.test'), { user: 'hub', password: 'pa:ss' });
  assert.equal(await ask('[hub.test]'), undefined);
  assert.equal(await ask('big.test'), 'big');
  assert.equal(await ask('big.test', '', 'MX1.big.test'), 'mx');
  assert.equal(await ask('big.test', 'ana@us.test'), 'big');
  assert.equal(await ask('[none.test]:25'), undefined);
  assert.equal(await ask('lmtp:unix:/run/x'), undefined);
  const bySender = credentialsFinder({ maps, senderDependent: true, recipientDelimiter: '+' });
  assert.equal(await ask('big.test', 'ana+x@us.test', undefined, bySender), 'ana');
  assert.equal(await ask('big.test', '', undefined, bySender), 'big');
  // As smtp_sasl_passwd_lookup: the host's name before the next hop.
  assert.equal(await ask('[both.test]:587', '', 'both.test'), 'host');
  assert.equal(await ask('[both.test]:587'), 'hop');
  assert.deepEqual(
    [await ask('[wide.test]'), await ask('[wide.test]:26'), await ask('wide.test')],
    ['brackets', 'brackets', 'name'],
  );
  assert.equal(await ask('big.test', 'ana@us.test', 'mx1.big.test', bySender), 'ana');
  assert.equal(await ask('lmtp:big.test', 'ana@us.test', undefined, bySender), 'big');
});

test('files with passwords: read by whoever may, kept for ten seconds, an unreadable one makes mail wait', async (t) => {
  const file = join(await tempFolder(t), 'sasl_passwd');
  await writeFile(file, '# comment\n[Hub.test]:587\tuser:one\n', { mode: 0o600 });
  let now = 0;
  let reads = 0;
  const read = (path: string) => {
    reads++;
    return readPemFile(path);
  };
  const secrets = secretTable(file, read, () => now);
  assert.equal(await secrets.get('[hub.test]:587'), 'user:one');
  await writeFile(file, '[hub.test]:587 user:two\n');
  assert.deepEqual([await secrets.get('[HUB.test]:587'), reads], ['user:one', 1]);
  now = 10_000;
  assert.deepEqual([await secrets.get('[hub.test]:587'), reads], ['user:two', 2]);
  await chmod(file, 0o600);
  const missing = secretTable(`${file}.not`, read, () => now);
  await assert.rejects(missing.get('x'), { kind: 'temporary', code: 'MAP_UNREADABLE' });
});

test('smtp_bind_address by the sender’s domain', async () => {
  const maps = [
    table({ 'one.test': '192.0.2.9, 2001:db8::9', '@two.test': '[192.0.2.8]', '.below.test': '192.0.2.7', 'bad.test': 'x' }),
  ];
  const find = bindAddressFinder(maps, { ipv4: '192.0.2.1' });
  assert.deepEqual(await find('u@One.test'), { ipv4: '192.0.2.9', ipv6: '2001:db8::9' });
  assert.deepEqual(await find('u@two.test'), { ipv4: '192.0.2.8' });
  assert.deepEqual(await find('u@a.below.test'), { ipv4: '192.0.2.7' });
  for (const other of ['u@below.test', 'u@bad.test', '']) assert.deepEqual(await find(other), { ipv4: '192.0.2.1' }, other);
});
