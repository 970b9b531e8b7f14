// Parameters of MAIL and RCPT, as a table.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMailParameters, parseRcptParameters } from '../../src/smtp/parameters.ts';

const PLAIN = { bodyType: '7BIT', smtpUtf8: false };
const CLEAR = { tls: false };
const code = (result: object): string =>
  'code' in result ? `${String(result.code)} ${String((result as { enhanced?: string }).enhanced)}` : 'taken';

test('parameters of MAIL', () => {
  for (const [text, expected] of [
    ['', PLAIN],
    ['   ', PLAIN],
    [' SIZE=0', { ...PLAIN, size: 0 }],
    [' size=1234567890123', { ...PLAIN, size: 1234567890123 }],
    [' BODY=8bitMIME SMTPUTF8', { bodyType: '8BITMIME', smtpUtf8: true }],
    [' RET=full ENVID=a+2Bb', { ...PLAIN, ret: 'FULL', envid: 'a+2Bb' }],
    [' AUTH=<> RET=HDRS', { ...PLAIN, ret: 'HDRS' }],
    [' AUTH=e+3Dmc2@example.test', PLAIN],
  ] as const)
    assert.deepEqual(parseMailParameters(text, CLEAR), expected, text);
});

test('parameters of RCPT', () => {
  for (const [text, expected] of [
    ['', {}],
    [' NOTIFY=never', { notify: ['NEVER'] }],
    [' NOTIFY=Success,FAILURE,delay', { notify: ['SUCCESS', 'FAILURE', 'DELAY'] }],
    [' ORCPT=rfc822;a+2Bb@x.test', { orcpt: 'rfc822;a+2Bb@x.test' }],
    [' ORCPT=utf-8;x', { orcpt: 'utf-8;x' }],
  ] as const)
    assert.deepEqual(parseRcptParameters(text, false), expected, text);
});

test('REQUIRETLS is a parameter where it was announced: over TLS, without a value (RFC 8689)', () => {
  assert.deepEqual(parseMailParameters(' REQUIRETLS', { tls: true }), { ...PLAIN, requireTls: true });
  assert.equal(code(parseMailParameters(' REQUIRETLS', CLEAR)), '555 5.5.4');
  assert.equal(code(parseMailParameters(' REQUIRETLS=yes', { tls: true })), '501 5.5.4');
});

test('ORCPT of type utf-8: with SMTPUTF8 as it is, else escaped; no control character hides in it (RFC 6533)', () => {
  for (const [text, utf8, expected] of [
    ['utf-8;ñandú@x.test', true, 'taken'],
    ['utf-8;ñandú@x.test', false, '501 5.5.4'],
    ['rfc822;ñandú@x.test', true, '501 5.5.4'],
    ['utf-8;\\x{F1}and\\x{1F600}@x.test', false, 'taken'],
    ['UTF-8;a\\x{5C}b@x.test', false, 'taken'],
    ['utf-8;a\\x{0A}b@x.test', false, '501 5.5.4'],
    ['utf-8;a\\x{85}b@x.test', false, '501 5.5.4'],
    ['utf-8;a\\b@x.test', false, '501 5.5.4'],
    ['utf-8;a\u0085b@x.test', true, '501 5.5.4'],
    ['utf-8;a+0Ab@x.test', true, '501 5.5.4'],
    ['utf-8;', true, '501 5.5.4'],
  ] as const)
    assert.equal(code(parseRcptParameters(` ORCPT=${text}`, utf8)), expected, text);
});

test('parameters that cannot be read: 501 5.5.4, unknown ones 555 5.5.4', () => {
  for (const text of [
    ...[
      'SIZE',
      'SIZE=',
      'SIZE=+1',
      'SIZE=1.5',
      'SIZE=1 SIZE=2',
      `SIZE=${'1'.repeat(21)}`,
      'SIZE=٣',
      'BODY=',
      'BODY=BINARYMIME',
      'SMTPUTF8=',
    ],
    ...['RET=', 'RET=BOTH', 'ENVID=+2', 'ENVID=+2b', 'ENVID=+0D', 'ENVID=+7F', 'ENVID=a=b', 'ENVID=ñ', 'AUTH', 'AUTH=+1'],
    ...['=1', '-A=1', 'A_B=1', `${'A'.repeat(65)}=1`, '\u0000=1', Array.from({ length: 21 }, (_, i) => `X${i}`).join(' ')],
  ])
    assert.equal(code(parseMailParameters(` ${text}`, CLEAR)), '501 5.5.4', text);
  for (const text of [
    'NOTIFY',
    'NOTIFY=,',
    'NOTIFY=NEVER,DELAY',
    'NOTIFY=ALWAYS',
    'ORCPT',
    'ORCPT=;x',
    'ORCPT=rfc822',
    'ORCPT=a b',
    'ORCPT=x;+0A',
    'ORCPT=_;x',
  ])
    assert.equal(code(parseRcptParameters(` ${text}`, false)), '501 5.5.4', text);
  for (const text of ['X', 'X=1', 'HOLDFOR=1', 'NOTIFY=NEVER', '__PROTO__=1', 'CONSTRUCTOR'])
    assert.match(code(parseMailParameters(` ${text}`, CLEAR)), /^(555|501) 5\.5\.4$/, text);
  assert.equal(code(parseRcptParameters(' SIZE=1', false)), '555 5.5.4');
});

test('XVERP is a parameter for those who may relay: alone, or with two delimiters', () => {
  const trusted = { tls: false, trusted: true };
  assert.deepEqual(parseMailParameters(' XVERP', trusted), { ...PLAIN, verp: '' });
  assert.deepEqual(parseMailParameters(' xverp=+=', trusted), { ...PLAIN, verp: '+=' });
  assert.equal(code(parseMailParameters(' XVERP', CLEAR)), '555 5.5.4');
  for (const bad of ['', '+', 'ab', '+=-']) assert.equal(code(parseMailParameters(` XVERP=${bad}`, trusted)), '501 5.5.4');
});
