import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticationResults, authenticationWarning, claimsToBeFrom, receivedSpf } from '../../src/policy/trace-fields.ts';
import type { AuthenticationResult } from '../../src/policy/verify.ts';

const RESULT: AuthenticationResult = {
  spf: { result: 'pass', identity: 'mailfrom', domain: 'sender.test', mechanism: 'ip4:192.0.2.0/24' },
  dkim: [
    {
      result: 'pass',
      domain: 'sender.test',
      selector: 's1',
      identity: '@sender.test',
      algorithm: 'rsa-sha256',
      signature: 'dGhpcyBp',
    },
    { result: 'permerror', reason: 'no key', domain: 'list.test', selector: 's2' },
  ],
  dmarc: { result: 'pass', domain: 'sender.test', policy: 'reject', published: 'reject', policyDomain: 'sender.test' },
  arc: { result: 'none' },
};

test('Authentication-Results as RFC 8601 has it', () => {
  assert.equal(
    authenticationResults('mail.here.test', RESULT, 'none'),
    'Authentication-Results: mail.here.test;\r\n' +
      '\tspf=pass smtp.mailfrom=sender.test;\r\n' +
      '\tdkim=pass header.d=sender.test header.i=@sender.test\r\n\t  header.s=s1 header.a=rsa-sha256 header.b=dGhpcyBp;\r\n' +
      '\tdkim=permerror (no key) header.d=list.test\r\n\t  header.s=s2;\r\n' +
      '\tdmarc=pass (p=reject dis=none) header.from=sender.test policy.dmarc=reject\r\n',
  );
  const nothing: AuthenticationResult = {
    spf: { result: 'none', identity: 'helo', domain: 'mx.sender.test' },
    dkim: [],
    dmarc: { result: 'permerror', reason: 'no From field' },
    arc: { result: 'fail', reason: 'i=2 no valid signature' },
  };
  assert.equal(
    authenticationResults('mail.here.test', nothing, 'none'),
    'Authentication-Results: mail.here.test;\r\n\tspf=none smtp.helo=mx.sender.test;\r\n\tdkim=none;\r\n\tdmarc=permerror (no From field);\r\n\tarc=fail (i=2 no valid signature)\r\n',
  );
});

test('nothing that a peer chose leaves its place', () => {
  const evil = 'x";\r\n dkim=pass (\\) header.d=bank.test\u0000ñ';
  const text =
    authenticationResults(
      'here.test',
      {
        spf: { result: 'permerror', identity: 'mailfrom', domain: evil, reason: evil },
        dkim: [{ result: 'fail', domain: evil, selector: evil, identity: evil, algorithm: evil, signature: evil, reason: evil }],
        dmarc: { result: 'fail', domain: evil, reason: evil },
        arc: { result: 'fail', reason: evil },
      },
      'none',
    ) +
    receivedSpf(
      'here.test',
      { result: 'permerror', identity: 'mailfrom', domain: evil, reason: evil, mechanism: evil },
      { ip: '192.0.2.1', helo: evil, sender: evil },
    ) +
    authenticationWarning('here.test', evil);
  assert.ok(
    text.split('\r\n').every((line) => /^(?:[A-Z][A-Za-z-]+: |\t)[\x20-\x7e]*$|^$/.test(line)),
    text,
  );
  // Outside quotes and comments there is no second result.
  const bare = text.replace(/^X-.*$/m, '').replace(/"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)/g, '');
  assert.equal(/dkim=pass/.test(bare), false, bare);
  assert.ok(text.split('\r\n').every((line) => line.length <= 998));
});

test('Received-SPF as RFC 7208 section 9.1 has it', () => {
  assert.equal(
    receivedSpf('mail.here.test', RESULT.spf, { ip: '192.0.2.1', helo: 'mx.sender.test', sender: 'ana@sender.test' }),
    'Received-SPF: pass (mail.here.test: sender.test designates the client as permitted sender)\r\n' +
      '\tclient-ip=192.0.2.1;\r\n\tenvelope-from="ana@sender.test";\r\n\thelo=mx.sender.test;\r\n\treceiver=mail.here.test;\r\n\tidentity=mailfrom;\r\n\tmechanism="ip4:192.0.2.0/24"\r\n',
  );
});

test('who pretends to be us, in whatever way a reader may be led to believe it', () => {
  const ours = [
    'mail.here.test; spf=pass',
    'MAIL.here.TEST;spf=pass',
    'mail.here.test 1; spf=pass',
    'mail.here.test/1; spf=pass',
    '(not really) mail.here.test; spf=pass',
    '(a (b) \\) c) "mail.here.test" (d); spf=pass',
    'mail.here.test (x',
    '"mail.here.test"; none',
    'mail\t.here.test; none',
    'mail.here.test',
    'mail.here.test none',
    '(((mail.here.test; spf=pass',
    '(a\\) ; ) mail.here.test; spf=pass',
    `(${'x'.repeat(5_000)}) mail.here.test; spf=pass`,
    `(${'x;'.repeat(5_000)}) mail.here.test; spf=pass`,
    `${' '.repeat(70_000)}mail.here.test; spf=pass`,
  ];
  for (const value of ours) assert.equal(claimsToBeFrom(value, 'mail.here.test'), true, value);
  for (const value of [
    'mx.sender.test; spf=pass',
    'xmail.here.test; spf=pass',
    'other.test; x=mail.here.test',
    '',
    ';',
    'here.test; spf=pass',
    `other.test; ${'x'.repeat(5_000)} mail.here.test`,
    'mail.here.test.evil.example; x',
    'mail.here.testing.example; x',
  ])
    assert.equal(claimsToBeFrom(value, 'mail.here.test'), false, value);
});
