import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthenticationAction } from '../../src/config/schema-authentication.ts';
import { MailError } from '../../src/lib/errors.ts';
import { createLogger, silentLogger, type LogFields } from '../../src/lib/logger.ts';
import { InboundAuthentication, type AuthenticationActions, type Judgement } from '../../src/policy/inbound.ts';
import type { SpfResult } from '../../src/policy/spf/check.ts';
import type { AuthenticationResult } from '../../src/policy/verify.ts';
import { PLAIN, unverified } from '../support/signed-message.ts';

const DEFAULTS: AuthenticationActions = {
  spf_fail: 'mark',
  dkim_fail: 'accept',
  dmarc_reject: 'reject',
  dmarc_quarantine: 'quarantine',
  dmarc_bad_from: 'quarantine',
};
const PEER = { ip: '192.0.2.1', helo: 'mx.sender.test', sender: 'ana@sender.test' };
const SPF: SpfResult = { result: 'pass', identity: 'mailfrom', domain: 'sender.test' };
const RESULT: AuthenticationResult = {
  spf: SPF,
  dkim: [],
  dmarc: { result: 'pass', domain: 'sender.test' },
  arc: { result: 'none' },
};
const failing = (policy: 'none' | 'quarantine' | 'reject'): Partial<AuthenticationResult> => ({
  dmarc: { result: 'fail', domain: 'sender.test', policy, published: policy, policyDomain: 'sender.test' },
});

interface Options {
  readonly actions?: Partial<AuthenticationActions>;
  readonly byDomain?: Readonly<Record<string, Partial<AuthenticationActions>>>;
  readonly tempfail?: 'accept' | 'defer';
  readonly sealers?: readonly string[];
  readonly to?: readonly string[];
  readonly message?: string;
}

function inbound(result: Partial<AuthenticationResult>, options: Options = {}): InboundAuthentication {
  const found = { ...RESULT, ...result };
  return new InboundAuthentication({
    verifier: { spf: async () => found.spf, verify: async () => found },
    authservId: 'mail.here.test',
    hostname: 'mail.here.test',
    actionsFor: (domain) => ({ ...DEFAULTS, ...options.actions, ...options.byDomain?.[domain] }),
    tempfail: options.tempfail ?? 'accept',
    trustedSealers: new Set(options.sealers),
  });
}
const judge = (result: Partial<AuthenticationResult>, options: Options = {}): Promise<Judgement> => {
  const judged = inbound(result, options);
  const message = { ...unverified(options.message ?? PLAIN), id: 'ID' };
  return judged.judge(
    message,
    PEER,
    Promise.resolve({ ...RESULT, ...result }.spf),
    options.to ?? ['info@here.test'],
    silentLogger,
  );
};
/** `reject CODE`, `junk`, `mark` or `accept`. */
async function outcome(result: Partial<AuthenticationResult>, options: Options = {}): Promise<string> {
  try {
    const judgement = await judge(result, options);
    if ((options.to ?? ['info@here.test']).some((one) => judgement.isJunk(one))) return 'junk';
    return judgement.fields.includes('X-Authentication-Warning: mail.here.test: ') ? 'mark' : 'accept';
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    return `${error.kind} ${error.code}`;
  }
}

test('by default: what the From’s domain asks for; SPF alone only marks; broken DKIM alone is nothing', async () => {
  assert.equal(await outcome({}), 'accept');
  assert.equal(await outcome(failing('reject')), 'not-permitted DMARC_REJECT');
  assert.equal(await outcome(failing('quarantine')), 'junk');
  assert.equal(await outcome(failing('none')), 'accept');
  assert.equal(await outcome({ dmarc: { result: 'none' }, spf: { ...SPF, result: 'fail' } }), 'mark');
  assert.equal(await outcome({ dmarc: { result: 'none' }, spf: { ...SPF, result: 'softfail' } }), 'accept');
  assert.equal(await outcome({ spf: { ...SPF, result: 'fail' } }), 'accept');
  assert.equal(await outcome({ dmarc: { result: 'none' }, dkim: [{ result: 'fail', domain: 'sender.test' }] }), 'accept');
});

test('a message without author: quarantine, or what the strictest of its domains asks for', async () => {
  assert.equal(await outcome({ dmarc: { result: 'permerror', reason: 'no From field' } }), 'junk');
  assert.equal(await outcome({ dmarc: { result: 'permerror', reason: 'x', policy: 'reject' } }), 'not-permitted DMARC_REJECT');
  assert.equal(
    await outcome({ dmarc: { result: 'permerror', reason: 'x' } }, { actions: { dmarc_bad_from: 'reject' } }),
    'not-permitted BAD_FROM',
  );
});

test('each outcome does what its setting says', async () => {
  const results: [keyof AuthenticationActions, Partial<AuthenticationResult>, string][] = [
    ['spf_fail', { dmarc: { result: 'none' }, spf: { ...SPF, result: 'fail' } }, 'SPF_REJECT'],
    ['dkim_fail', { dmarc: { result: 'none' }, dkim: [{ result: 'fail' }] }, 'DKIM_REJECT'],
    ['dmarc_reject', failing('reject'), 'DMARC_REJECT'],
    ['dmarc_quarantine', failing('quarantine'), 'DMARC_REJECT'],
    ['dmarc_bad_from', { dmarc: { result: 'permerror' } }, 'BAD_FROM'],
  ];
  const expected = (code: string): Record<AuthenticationAction, string> => ({
    accept: 'accept',
    mark: 'mark',
    quarantine: 'junk',
    reject: `not-permitted ${code}`,
  });
  for (const [name, result, code] of results)
    for (const [action, wanted] of Object.entries(expected(code)))
      assert.equal(await outcome(result, { actions: { [name]: action } }), wanted, `${name}: ${action}`);
});

test('recipients of several domains: refused when all want it, else junk for those who do', async () => {
  const to = ['a@one.test', 'b@two.test', 'c@three.test'];
  const byDomain = { 'two.test': { dmarc_reject: 'quarantine' }, 'three.test': { dmarc_reject: 'accept' } } as const;
  const judgement = await judge(failing('reject'), { to, byDomain });
  assert.deepEqual(
    to.map((one) => judgement.isJunk(one)),
    [true, true, false],
  );
  assert.match(judgement.fields.toString(), /\(p=reject dis=quarantine\)/);
  assert.equal(await outcome(failing('reject'), { to: to.slice(0, 1), byDomain }), 'not-permitted DMARC_REJECT');
});

test('at RCPT only a domain that refuses by SPF waits for it', async () => {
  const fail: SpfResult = { ...SPF, result: 'fail', explanation: 'see www.sender.test' };
  const authentication = inbound({}, { byDomain: { 'strict.test': { spf_fail: 'reject' } } });
  await authentication.checkRecipient('a@here.test', PEER, new Promise(() => undefined));
  await authentication.checkRecipient('a@strict.test', PEER, Promise.resolve(SPF));
  await assert.rejects(authentication.checkRecipient('a@STRICT.test', PEER, Promise.resolve(fail)), (error: unknown) => {
    assert.ok(error instanceof MailError);
    assert.equal(error.code, 'SPF_REJECT');
    assert.equal(
      error.clientText,
      'Message refused: SPF of sender.test does not allow 192.0.2.1 to send; sender.test explained: see www.sender.test',
    );
    return true;
  });
});

test('row 44: undecided for want of DNS: taken and written down, or put off where the setting says so', async () => {
  const undecided: Partial<AuthenticationResult> = {
    dmarc: { result: 'temperror', domain: 'sender.test', reason: 'DNS: DNS_TIMEOUT' },
  };
  const spfOnly: Partial<AuthenticationResult> = { dmarc: { result: 'none' }, spf: { ...SPF, result: 'temperror' } };
  for (const result of [undecided, spfOnly]) {
    assert.equal(await outcome(result), 'accept');
    assert.equal(await outcome(result, { tempfail: 'defer' }), 'temporary AUTHENTICATION_TEMPFAIL');
  }
  assert.match((await judge(undecided)).fields.toString(), /dmarc=temperror \(DNS: DNS_TIMEOUT\)/);
  assert.equal(await outcome({ spf: { ...SPF, result: 'temperror' } }, { tempfail: 'defer' }), 'accept');
});

test('ARC counts only when every seal is of a trusted sealer, and the first saw DMARC pass for this author', async () => {
  const arc = {
    result: 'pass',
    instance: 2,
    sealers: ['list.test', 'relay.test'],
    dmarc: { result: 'pass', domain: 'sender.test' },
  } as const;
  const of = (over: object, sealers: readonly string[]): Promise<string> =>
    outcome({ ...failing('reject'), arc: { ...arc, ...over } }, { sealers });
  assert.equal(await of({}, ['list.test', 'relay.test']), 'accept');
  assert.equal(await of({}, []), 'not-permitted DMARC_REJECT');
  assert.equal(await of({}, ['list.test']), 'not-permitted DMARC_REJECT');
  assert.equal(await of({ result: 'fail' }, ['list.test', 'relay.test']), 'not-permitted DMARC_REJECT');
  assert.equal(
    await of({ dmarc: { result: 'fail', domain: 'sender.test' } }, ['list.test', 'relay.test']),
    'not-permitted DMARC_REJECT',
  );
  assert.equal(
    await of({ dmarc: { result: 'pass', domain: 'other.test' } }, ['list.test', 'relay.test']),
    'not-permitted DMARC_REJECT',
  );
  assert.equal(await of({ dmarc: undefined }, ['list.test', 'relay.test']), 'not-permitted DMARC_REJECT');
});

test('fields that pretend to be ours go, others stay as they are', async () => {
  const message =
    'Authentication-Results: mail.here.test; dkim=pass header.d=bank.test\r\n' +
    'Authentication-Results: mx.sender.test; spf=pass\r\n' +
    `Authentication-Results:${' '.repeat(70_000)}mail.here.test; dmarc=pass\r\n` +
    'authentication-results : (x)\r\n MAIL.here.test; dmarc=pass\r\n' +
    PLAIN;
  const { header } = await judge({}, { message });
  assert.equal(
    header.toString('latin1'),
    `Authentication-Results: mx.sender.test; spf=pass\r\n${PLAIN.slice(0, PLAIN.indexOf('\r\n\r\n') + 4)}`,
  );
});

test('what was found and done is logged', async () => {
  const events: (LogFields & { event: string })[] = [];
  const log = createLogger((_level, event, fields) => void events.push({ event, ...fields }), 'info');
  const result = { ...RESULT, ...failing('quarantine'), dkim: [{ result: 'fail', domain: 'sender.test' }] } as const;
  await inbound(result).judge({ ...unverified(PLAIN), id: 'ID' }, PEER, Promise.resolve(SPF), ['a@here.test'], log);
  assert.deepEqual(events, [
    {
      event: 'smtp.authentication',
      id: 'ID',
      spf: 'pass',
      dkim: ['fail:sender.test'],
      dmarc: 'fail',
      author: 'sender.test',
      policy: 'quarantine',
      action: 'quarantine',
    },
  ]);
});
