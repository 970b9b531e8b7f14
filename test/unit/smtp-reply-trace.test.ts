// Replies and the Received field: nothing that a peer said breaks out of its place.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError, type ErrorKind } from '../../src/lib/errors.ts';
import { repairHeader } from '../../src/smtp/header-repair.ts';
import { formatReply, reply, replyFor } from '../../src/smtp/reply.ts';
import { protocolName, receivedField, type Hop } from '../../src/smtp/trace.ts';
import { seededRandom } from '../support/random.ts';

test('replies: one line, several, with and without enhanced code', () => {
  assert.equal(formatReply(reply(250, '2.0.0', 'Ok')), '250 2.0.0 Ok\r\n');
  assert.equal(formatReply(reply(250, '', ['a', 'b', 'c'])), '250-a\r\n250-b\r\n250 c\r\n');
  assert.equal(formatReply(reply(550, '5.1.1', ['a', 'b'])), '550-5.1.1 a\r\n550 5.1.1 b\r\n');
});

test('row 24: control characters in a reply become spaces, a reply stays within its line of 512 octets', () => {
  assert.equal(formatReply(reply(550, '5.1.1', '<a\r\n250 Ok\0\x7f>: no')), '550 5.1.1 <a  250 Ok  >: no\r\n');
  for (const text of ['x'.repeat(2_000), 'ñ'.repeat(2_000), `a${'ñ'.repeat(2_000)}`, '😀'.repeat(900)]) {
    const line = formatReply(reply(550, '5.1.1', text));
    assert.ok(Buffer.byteLength(line) <= 512 && Buffer.byteLength(line) > 500);
    assert.match(line, /[^\ufffd]\r\n$/);
  }
});

test('every kind of error has a reply whose classes agree', () => {
  const kinds: Record<ErrorKind, string> = {
    temporary: '451 4.3.0',
    'disk-full': '452 4.3.1',
    'over-quota': '452 4.2.2',
    'too-large': '552 5.3.4',
    'too-many': '452 4.5.3',
    'no-such-user': '550 5.1.1',
    'not-permitted': '550 5.7.1',
    'not-owner': '553 5.7.1',
    'mail-loop': '554 5.4.6',
    'bad-syntax': '501 5.5.4',
    'no-such-mailbox': '550 5.1.1',
    'already-exists': '451 4.3.0',
    cannot: '550 5.1.1',
    'in-use': '451 4.3.0',
    corrupt: '451 4.3.0',
    'auth-failed': '535 5.7.8',
    'auth-unavailable': '454 4.7.0',
    config: '451 4.3.5',
  };
  for (const [kind, expected] of Object.entries(kinds)) {
    const answer = replyFor(new MailError(kind as ErrorKind, 'X', 'text', { detail: '/secret' }));
    assert.equal(`${answer.code} ${answer.enhanced} ${String(answer.text)}`, `${expected} text`);
  }
});

const HOP: Hop = {
  helo: 'client.test',
  clientAddress: '192.0.2.1',
  hostname: 'mx.test',
  id: 'ID1',
  protocol: 'ESMTP',
  at: Date.UTC(2026, 0, 2, 3, 4, 5),
  utf8: false,
};

test('the Received field in Postfix’s form', () => {
  assert.match(
    receivedField(HOP),
    /^Received: from client\.test \(unknown \[192\.0\.2\.1\]\)\r\n\tby mx\.test \(Buzon\) with ESMTP id ID1;\r\n\t\w{3}, \d+ Jan 2026 [\d:]{8} [+-]\d{4}\r\n$/,
  );
  assert.match(receivedField({ ...HOP, clientAddress: '2001:db8::1', clientName: 'c.test' }), /\(c\.test \[IPv6:2001:db8::1\]\)/);
  assert.match(
    receivedField({ ...HOP, recipient: 'a@x.test', tls: { version: 'TLSv1.3', cipher: 'C', bits: 256 } }),
    /\r\n\t\(using TLSv1\.3 with cipher C \(256\/256 bits\)\)\r\n\tby mx\.test .*\r\n\tfor <a@x\.test>;\r\n/,
  );
  assert.match(receivedField({ ...HOP, helo: '' }), /^Received: from unknown \(/);
});

test('row 24: the Received field is well formed whatever the peer said', () => {
  for (const text of ['a\r\nX: y', 'a\nb', 'a\0b', 'a)b(c', '<>\\', 'ñ\u0085', 'x'.repeat(2_000), 'a b\tc', ')\r\n\r\nbody']) {
    for (const hop of [
      { ...HOP, helo: text },
      { ...HOP, clientName: text },
      { ...HOP, recipient: text },
      { ...HOP, helo: text, utf8: true },
    ]) {
      const field = receivedField(hop);
      assert.match(field, /^Received: from [^\r\n]+(\r\n\t[^\r\n]+)+\r\n$/, JSON.stringify(text));
      assert.doesNotMatch(field, /[\0\x7f-\x9f]/);
      if (!hop.utf8 && hop.recipient === undefined) assert.match(field, /^[\x09\x0a\x0d\x20-\x7e]*$/);
    }
  }
});

test('the protocol’s name (RFC 3848, RFC 6531)', () => {
  const name = (esmtp: boolean, tls: boolean, auth: boolean, utf8: boolean): string => protocolName({ esmtp, tls, auth, utf8 });
  assert.deepEqual(
    [
      name(false, true, false, false),
      name(true, false, false, false),
      name(true, true, false, false),
      name(true, true, true, false),
    ],
    ['SMTP', 'ESMTP', 'ESMTPS', 'ESMTPSA'],
  );
  assert.deepEqual([name(true, false, true, true), name(true, true, true, true)], ['UTF8SMTPA', 'UTF8SMTPSA']);
});

test('a repaired header: fields only, one empty line at its end or none, every other byte kept', () => {
  const random = seededRandom(11);
  const lines = [
    'a: b\r\n',
    'a : b\r\n',
    ' c\r\n',
    '\tc\r\n',
    'no field\r\n',
    ': x\r\n',
    '\r\n',
    'From x\r\n',
    '>>from y\r\n',
    'ñ: x\r\n',
    'a\r\n',
    'x:',
  ];
  for (let i = 0; i < 3_000; i++) {
    let block = Array.from({ length: random.below(6) }, () => random.pick(lines)).join('');
    // What comes here ends at the first empty line.
    const empty = /(^|\r\n)\r\n/.exec(block);
    if (empty) block = block.slice(0, empty.index + empty[0].length);
    const bytes = Buffer.from(block);
    const { header, length } = repairHeader(bytes);
    const told = JSON.stringify({ block, header: header.toString() });
    assert.match(header.toString(), /^([^\s:]+[ \t]*:[^\r\n]*(\r\n[ \t][^\r\n]*)*(\r\n|$))*(\r\n)?$/, told);
    const whole = header.toString() + bytes.toString('utf8', length);
    assert.equal(whole.replaceAll('X-Mailbox-Line: ', '').replaceAll('\r\n', ''), block.replaceAll('\r\n', ''), told);
    assert.ok(length <= bytes.length);
  }
});
