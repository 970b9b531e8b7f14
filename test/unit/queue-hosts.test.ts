import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staticResolver, systemResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { findHosts, type HostList, type HostOptions } from '../../src/queue/client/hosts.ts';
import { parseNextHop } from '../../src/queue/next-hop.ts';
import { DnsServer } from '../support/dns-server.ts';

type Records = Readonly<Record<string, StaticRecords>>;
const mx = (exchange: string, priority: number) => ({ exchange, priority });

const OPTIONS: Omit<HostOptions, 'resolver'> = {
  hostname: 'us.test',
  isOwnAddress: (address) => address === '198.51.100.1',
  protocols: [4, 6],
  smtp_address_preference: 'any',
  smtp_balance_inet_protocols: true,
  limits: () => ({ smtp_mx_address_limit: 5 }),
  random: () => 0.5,
};

function find(
  hop: string,
  records: Records | Resolver,
  options: Partial<HostOptions> = {},
  configured = false,
): Promise<HostList> {
  const next = parseNextHop(hop);
  assert.ok(next.kind === 'smtp' || next.kind === 'lmtp');
  return findHosts(next, configured, {
    ...OPTIONS,
    resolver: 'mx' in records && typeof records['mx'] === 'function' ? (records as Resolver) : staticResolver(records as Records),
    ...options,
  });
}
const addresses = (list: HostList): string[] =>
  list.kind === 'hosts' ? list.hosts.map(({ name, address }) => `${name}[${address}]`) : [list.kind, list.status];
const reason = (list: HostList): string => ('reason' in list ? list.reason : '');

test('RFC 5321 5.1: MX records by preference, all addresses of each; A and AAAA where there is no MX', async () => {
  const records: Records = {
    'x.test': { mx: [mx('b.x.test', 20), mx('a.x.test', 10)] },
    'a.x.test': { a: ['192.0.2.1', '192.0.2.2'] },
    'b.x.test': { a: ['192.0.2.3'], aaaa: ['2001:db8::3'] },
    'plain.test': { a: ['192.0.2.9'], aaaa: ['2001:db8::9'] },
  };
  assert.deepEqual(addresses(await find('smtp:x.test', records)), [
    'a.x.test[192.0.2.1]',
    'a.x.test[192.0.2.2]',
    'b.x.test[192.0.2.3]',
    'b.x.test[2001:db8::3]',
  ]);
  assert.deepEqual(addresses(await find('smtp:plain.test', records)), ['plain.test[192.0.2.9]', 'plain.test[2001:db8::9]']);
  assert.deepEqual(addresses(await find('smtp:[x.test]', records)), ['failed', '5.1.2'], 'a host in brackets has no MX');
  assert.deepEqual(addresses(await find('smtp:[192.0.2.7]:2525', {})), ['192.0.2.7[192.0.2.7]']);
  assert.deepEqual(addresses(await find('lmtp:plain.test', records, { protocols: [4] })), ['plain.test[192.0.2.9]']);
  const list = await find('smtp:x.test', records);
  assert.deepEqual(list.kind === 'hosts' && list.hosts.map(({ best, port }) => [best, port]), [
    [true, 25],
    [true, 25],
    [false, 25],
    [false, 25],
  ]);
});

test('equal preferences are shuffled', async () => {
  const records: Records = { 'x.test': { mx: ['a', 'b', 'c', 'd'].map((name) => mx(`${name}.test`, 10)) } };
  for (const name of ['a', 'b', 'c', 'd']) Object.assign(records, { [`${name}.test`]: { a: [`192.0.2.${name.charCodeAt(0)}`] } });
  const seen = new Set<string>();
  let state = 1;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let i = 0; i < 200; i++) seen.add(addresses(await find('smtp:x.test', records, { random }))[0] ?? '');
  assert.equal(seen.size, 4);
});

test('RFC 7505: a null MX takes no mail; one among others is passed over', async () => {
  const none = await find('smtp:x.test', { 'x.test': { mx: [mx('', 0)], a: ['192.0.2.1'] } });
  assert.deepEqual(addresses(none), ['failed', '5.1.10']);
  assert.equal(reason(none), 'Domain x.test does not accept mail (nullMX)');
  const odd: Records = { 'x.test': { mx: [mx('', 0), mx('a.test', 10)] }, 'a.test': { a: ['192.0.2.1'] } };
  assert.deepEqual(addresses(await find('smtp:x.test', odd)), ['a.test[192.0.2.1]']);
});

test('hosts without addresses are skipped; none at all fails, and what DNS cannot say now waits', async () => {
  const half: Records = {
    'x.test': { mx: [mx('gone.test', 5), mx('broken.test', 7), mx('a.test', 10)] },
    'a.test': { a: ['192.0.2.1'] },
    'broken.test': { fails: true },
  };
  assert.deepEqual(addresses(await find('smtp:x.test', half)), ['a.test[192.0.2.1]']);
  const none = await find('smtp:x.test', { 'x.test': { mx: [mx('gone.test', 5)] } });
  assert.deepEqual(addresses(none), ['failed', '5.4.4']);
  const perhaps = await find('smtp:x.test', {
    'x.test': { mx: [mx('gone.test', 5), mx('broken.test', 7)] },
    'broken.test': { fails: true },
  });
  assert.deepEqual(addresses(perhaps), ['deferred', '4.4.3']);
  const unknown = await find('smtp:no.test', {});
  assert.deepEqual(addresses(unknown), ['failed', '5.1.2']);
  assert.equal(reason(unknown), 'Host or domain name not found. Name service error for name=no.test type=A: Host not found');
  assert.deepEqual(
    addresses(await find('smtp:[relay.test]', {}, {}, true)),
    ['deferred', '4.3.5'],
    "an administrator's slip is no bounce",
  );
});

test('mail that would come back: only better hosts than ourselves, by name and by address', async () => {
  const records = (us: string): Records => ({
    'x.test': { mx: [mx('a.test', 5), mx(us, 10), mx('b.test', 10), mx('c.test', 20)] },
    'a.test': { a: ['192.0.2.1'] },
    'b.test': { a: ['192.0.2.2'] },
    'c.test': { a: ['192.0.2.3'] },
    'us.test': { a: ['203.0.113.7'] },
    'alias.test': { a: ['198.51.100.1'] },
    'best.test': { mx: [mx(us, 10), mx('c.test', 20)] },
    'direct.test': { a: ['198.51.100.1'] },
  });
  for (const us of ['us.test', 'alias.test']) {
    assert.deepEqual(addresses(await find('smtp:x.test', records(us))), ['a.test[192.0.2.1]']);
    const loop = await find('smtp:best.test', records(us));
    assert.deepEqual(addresses(loop), ['failed', '5.4.6']);
    assert.equal(reason(loop), 'mail for best.test loops back to myself');
  }
  assert.deepEqual(addresses(await find('smtp:direct.test', records('us.test'))), ['failed', '5.4.6']);
  assert.deepEqual(
    addresses(await find('smtp:direct.test:2525', records('us.test'))),
    ['direct.test[198.51.100.1]'],
    'another port is another server',
  );
});

test('protocols: only those there are, the preferred first, both within smtp_mx_address_limit', async () => {
  const four = [1, 2, 3, 4, 5, 6].map((n) => `192.0.2.${n}`);
  const six = [1, 2, 3, 4, 5, 6].map((n) => `2001:db8::${n}`);
  const families = async (a: string[], aaaa: string[], options: Partial<HostOptions>): Promise<string> => {
    const list = await find('smtp:x.test', { 'x.test': { a, aaaa } }, options);
    return list.kind === 'hosts' ? list.hosts.map(({ address }) => (address.includes(':') ? '6' : '4')).join('') : list.kind;
  };
  assert.equal(await families(four, six, {}), '44466');
  assert.equal(await families(four, six, { smtp_address_preference: 'ipv6' }), '66444');
  assert.equal(await families(four, six, { smtp_address_preference: 'ipv6', smtp_balance_inet_protocols: false }), '66666');
  assert.equal(await families(four.slice(0, 1), six, { smtp_address_preference: 'ipv4' }), '46666');
  assert.equal(await families(four, [], {}), '44444');
  assert.equal(await families(four, six, { protocols: [6] }), '66666');
  assert.equal(await families(four, six, { limits: () => ({ smtp_mx_address_limit: 1 }) }), '4');
  assert.equal(await families(four, six, { limits: () => ({ smtp_mx_address_limit: 0 }) }), '444444666666');
});

test('a domain in UTF-8 is asked for in ASCII', async () => {
  assert.deepEqual(addresses(await find('smtp:bücher.test', { 'xn--bcher-kva.test': { a: ['192.0.2.1'] } })), [
    'xn--bcher-kva.test[192.0.2.1]',
  ]);
});

test('row 44: SERVFAIL, REFUSED, silence, garbage and a forged id put off with 4.4.3, never a bounce; a truncated answer is asked for by TCP', async (t) => {
  const dns = await new DnsServer({
    'tcp.test': { fault: 'truncated', records: { mx: [[10, 'mx.test']] } },
    'mx.test': { records: { a: ['192.0.2.1'] } },
  }).start();
  t.after(() => dns.stop());
  const resolver = systemResolver({ servers: [dns.address], timeout: 400 });
  assert.deepEqual(addresses(await find('smtp:tcp.test', resolver)), ['mx.test[192.0.2.1]']);
  assert.ok(dns.questions.includes('MX tcp.test tcp'));
  assert.deepEqual(addresses(await find('smtp:nowhere.test', resolver)), ['failed', '5.1.2'], 'NXDOMAIN is an answer');
  const records = { mx: [[10, 'mx.test']] as const, a: ['192.0.2.1'] };
  await Promise.all(
    (['servfail', 'refused', 'silent', 'garbage', 'forged', 'tcp-silent'] as const).map(async (fault) => {
      dns.set(`${fault}.test`, { fault, records });
      dns.set(`mx-of-${fault}.test`, { records: { mx: [[10, `${fault}.test`]] } });
      dns.set(`only-mx-${fault}.test`, { fault, types: ['MX'], records });
      for (const name of [`${fault}.test`, `mx-of-${fault}.test`, `only-mx-${fault}.test`]) {
        const list = await find(`smtp:${name}`, resolver);
        assert.deepEqual(addresses(list), ['deferred', '4.4.3'], name);
        assert.match(reason(list), /Host not found, try again$/);
      }
    }),
  );
});

test('addresses at which nobody answered stand last within their preference, behind the preferred protocol too; all are there', async () => {
  const records: Records = {
    'x.test': { mx: [mx('a.test', 10), mx('b.test', 20)] },
    'a.test': { a: ['192.0.2.1', '192.0.2.2'], aaaa: ['2001:db8::1'] },
    'b.test': { a: ['192.0.2.3', '192.0.2.4'] },
  };
  const dead = new Set(['192.0.2.1 25', '192.0.2.2 25', '192.0.2.3 25', '192.0.2.4 26']);
  const hop = parseNextHop('smtp:x.test');
  assert.ok(hop.kind === 'smtp');
  const list = await findHosts(
    hop,
    false,
    { ...OPTIONS, resolver: staticResolver(records), smtp_address_preference: 'ipv4' },
    (address, port) => dead.has(`${address} ${port}`),
  );
  assert.deepEqual(addresses(list), [
    'a.test[2001:db8::1]',
    'a.test[192.0.2.1]',
    'a.test[192.0.2.2]',
    'b.test[192.0.2.4]',
    'b.test[192.0.2.3]',
  ]);
});

test('we are an MX ourselves: said, so that nobody behind it is tried', async () => {
  const records: Records = {
    'x.test': { mx: [mx('a.test', 10), mx('us.test', 20)] },
    'a.test': { a: ['192.0.2.1'] },
    'us.test': { a: ['198.51.100.1'] },
  };
  const ours = async (hop: string): Promise<boolean> => {
    const list = await find(hop, records);
    return list.kind === 'hosts' && list.ours;
  };
  assert.deepEqual([await ours('smtp:x.test'), await ours('smtp:[a.test]')], [true, false]);
});
