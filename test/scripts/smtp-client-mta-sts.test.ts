// MTA-STS of others as the client heeds it (RFC 8461 sections 4 and 5): which MX are spoken to, with which certificates, and what is only logged.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { openTable } from '../../src/config/maps/table.ts';
import { settingsFromObject, type SettingsInput } from '../../src/config/settings-object.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { tlsDefaults, tlsPolicyFinder } from '../../src/queue/tls-policy.ts';
import type { Outcome } from '../../src/queue/types.ts';
import { outboundTls } from '../../src/worker/outbound-tls.ts';
import { testAgent, type TestAgent } from '../support/delivery.ts';
import { pairFor, PolicyHost, policyText } from '../support/policy-host.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { tempFolder } from '../support/temp-folder.ts';

const unasked = { ask: () => assert.fail('DANE is not asked for') };
const to = [{ address: 'ben@x.test' }];
const told = (outcome: Outcome): string =>
  outcome.kind === 'delivered' ? `delivered ${outcome.tls ?? 'clear'}` : `${outcome.kind} ${outcome.status} ${outcome.reason}`;

interface World {
  readonly host: PolicyHost;
  readonly good: SmtpSink;
  readonly hop: string;
  readonly agent: (roots: string | undefined, input?: SettingsInput) => Promise<TestAgent>;
}

/** mx.x.test has a right certificate. `mx`: the domain's MX records. */
async function world(t: TestContext, policy: string, mx: readonly string[] = ['mx.x.test'], sink = {}): Promise<World> {
  const folder = await tempFolder(t);
  const host = await PolicyHost.start(t, join(folder, 'mta-sts'));
  host.answer = policy;
  host.records['x.test'] = { mx: mx.map((exchange, priority) => ({ exchange, priority })) };
  for (const name of mx) host.records[name] = { a: ['127.0.0.1'] };
  const good = await new SmtpSink({ tls: await pairFor('mx.x.test'), ...sink }).start();
  t.after(() => good.stop());
  const discovery = host.discovery();
  return {
    host,
    good,
    hop: `smtp:x.test:${good.port}`,
    agent: async (roots, input = {}) => {
      const settings = settingsFromObject({ hostname: 'client.test', ...input }, folder);
      const maps = settings.smtp_tls_policy_maps.map((spec) => openTable(spec, { logger: silentLogger }));
      const tlsPolicy = tlsPolicyFinder({ maps, defaults: tlsDefaults(settings), logger: silentLogger });
      const ca = roots === undefined ? undefined : (await pairFor(roots)).cert;
      return testAgent(t, {
        resolver: host.options.resolver,
        protocols: [4],
        tlsPolicy: (site, name, signal) =>
          outboundTls(
            { settings, tlsPolicy },
            { policies: discovery, dnssec: unasked, logger: silentLogger },
            { site, host: name, signal },
          ),
        ...(ca === undefined ? {} : { roots: async () => ca }),
      });
    },
  };
}

test('enforce: only with a certificate that is right for an MX that the policy names', async (t) => {
  const policy = policyText('enforce', ['mx.x.test']);
  const { agent, hop, good } = await world(t, policy);
  assert.equal(told((await (await agent('mx.x.test')).deliver({ hop, to })).outcome), 'delivered verified');
  // A certificate that nobody vouches for.
  assert.match(
    told((await (await agent(undefined)).deliver({ hop, to })).outcome),
    /^deferred 4\.7\.5 Cannot start TLS with mx\.x\.test\[127\.0\.0\.1\]: .*self-signed/,
  );
  assert.equal(good.messages.length, 1);
  // One for another name; none at all; TLS that is refused.
  for (const [sink, expected] of [
    [{ tls: await pairFor('other.test') }, /^deferred 4\.7\.5 Cannot start TLS/],
    [{ tls: undefined }, /^deferred 4\.7\.4 TLS is required, but was not offered by host mx\.x\.test/],
    [{ starttls: () => '454 4.7.0 no' }, /^deferred 4\.7\.5 TLS is required, but host .* refused to start TLS/],
  ] as const) {
    const bad = await world(t, policy, ['mx.x.test'], sink);
    assert.match(told((await (await bad.agent('other.test')).deliver({ hop: bad.hop, to })).outcome), expected);
    assert.equal(bad.good.messages.length, 0);
  }
});

test('enforce: an MX that the policy does not name is not spoken to, the next one is', async (t) => {
  const both = await world(t, policyText('enforce', ['mx.x.test']), ['evil.test', 'mx.x.test']);
  const { outcome } = await (await both.agent('mx.x.test')).deliver({ hop: both.hop, to });
  assert.equal(told(outcome), 'delivered verified');
  assert.equal(both.good.connections, 1);

  const evil = await world(t, policyText('enforce', ['mx.x.test', '*.mx.x.test']), ['evil.test', 'x.test']);
  const agent = await evil.agent('mx.x.test');
  assert.match(
    told((await agent.deliver({ hop: evil.hop, to })).outcome),
    /^deferred 4\.7\.5 MX host (evil|x)\.test is not in the MTA-STS policy of x\.test$/,
  );
  assert.equal(evil.good.connections, 0);
  assert.ok(agent.events.some(({ event }) => event === 'queue.host-refused'));
});

test('testing and none deliver as ever; what would have waited is logged', async (t) => {
  for (const [policy, mx, roots, reason] of [
    [policyText('testing', ['mx.x.test']), ['mx.x.test'], 'mx.x.test', undefined],
    [policyText('testing', ['mx.x.test']), ['mx.x.test'], undefined, /SELF_SIGNED|self-signed/],
    [policyText('testing', ['other.test']), ['mx.x.test'], 'mx.x.test', /^MX host mx\.x\.test is not in the MTA-STS policy/],
    [policyText('none', []), ['mx.x.test'], undefined, undefined],
  ] as const) {
    const { agent, hop } = await world(t, policy, mx);
    const one = await agent(roots);
    assert.match(told((await one.deliver({ hop, to })).outcome), /^delivered /);
    const failed = one.events
      .filter(({ event }) => event === 'mta-sts.testing-failed')
      .map(({ fields }) => String(fields['reason']));
    assert.equal(failed.length, reason ? 1 : 0);
    if (reason) assert.match(failed[0] ?? '', reason);
  }
  const clear = await world(t, policyText('testing', ['mx.x.test']), ['mx.x.test'], { tls: undefined });
  const one = await clear.agent(undefined);
  assert.equal(told((await one.deliver({ hop: clear.hop, to })).outcome), 'delivered clear');
  assert.ok(one.events.some(({ event, fields }) => event === 'mta-sts.testing-failed' && fields['reason'] === 'there is no TLS'));
});

test('where a policy does not count: named hosts, the policy table, none, off; a stricter level stays', async (t) => {
  const { agent, hop, good, host } = await world(t, policyText('enforce', ['other.test']));
  host.records['mx.x.test'] = { a: ['127.0.0.1'] };
  const inClear = { smtp_tls_security_level: 'none' };
  const cases: readonly (readonly [SettingsInput, string, RegExp])[] = [
    [{}, hop, /^deferred 4\.7\.5 MX host/],
    [{ smtp_mta_sts: 'enforce', smtp_tls_security_level: 'encrypt' }, hop, /^deferred 4\.7\.5 MX host/],
    [{}, `smtp:[mx.x.test]:${good.port}`, /^delivered encrypted/],
    [{ smtp_tls_policy_maps: `inline:{ {${hop.slice(5)} = encrypt} }` }, hop, /^delivered encrypted/],
    [{ smtp_mta_sts: 'off' }, hop, /^delivered encrypted/],
    [{ smtp_mta_sts: 'testing' }, hop, /^delivered encrypted/],
    [inClear, hop, /^delivered clear/],
  ];
  for (const [input, next, expected] of cases)
    assert.match(
      told((await (await agent(undefined, input)).deliver({ hop: next, to })).outcome),
      expected,
      JSON.stringify(input),
    );
  const strict = await world(t, policyText('enforce', ['mx.x.test']));
  const strictly = { smtp_tls_security_level: 'secure', smtp_tls_secure_cert_match: 'nexthop' };
  assert.match(
    told((await (await strict.agent('mx.x.test', strictly)).deliver({ hop: strict.hop, to })).outcome),
    /^deferred 4\.7\.5 .*certificate is not for x\.test/,
  );
});
