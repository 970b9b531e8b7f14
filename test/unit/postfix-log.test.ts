import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LogFields } from '../../src/lib/logger.ts';
import { postfixLines, syslogTime } from '../../src/worker/postfix-log.ts';

const options = { hostname: 'mail', syslogName: 'buzon', pid: 7 };
const at = new Date(2026, 10, 4, 3, 5, 9).getTime();
const lines = (event: string, fields: LogFields): string[] => postfixLines('info', event, fields, at, options);

test("a line's head is syslog's", () => {
  assert.equal(syslogTime(at), 'Nov  4 03:05:09');
  assert.deepEqual(lines('smtp.connect', { client: '192.0.2.1' }), [
    'Nov  4 03:05:09 mail buzon/smtpd[7]: connect from unknown[192.0.2.1]\n',
  ]);
});

test("a received message makes smtpd's, cleanup's and qmgr's lines, a delivery virtual's", () => {
  const fields = {
    id: 'ABC',
    client: '192.0.2.1',
    from: 'a@b.test',
    size: 12,
    recipients: 2,
    messageId: '<x@y>',
    user: 'u@d',
    mechanism: 'PLAIN',
  };
  assert.deepEqual(
    lines('smtp.received', fields).map((l) => l.slice(21)),
    [
      'buzon/smtpd[7]: ABC: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=u@d\n',
      'buzon/cleanup[7]: ABC: message-id=<x@y>\n',
      'buzon/qmgr[7]: ABC: from=<a@b.test>, size=12, nrcpt=2 (queue active)\n',
    ],
  );
  assert.match(
    lines('delivery.stored', { id: 'ABC', to: 'ana@d', originalTo: 'alias@d', delay: 0.5 })[0] ?? '',
    /buzon\/virtual\[7\]: ABC: to=<ana@d>, orig_to=<alias@d>, relay=virtual, delay=0\.5, dsn=2\.0\.0, status=sent \(delivered to maildir\)\n$/,
  );
});

test("deliveries make smtp's, lmtp's and qmgr's lines", () => {
  const fields = {
    id: 'ABC',
    from: 'a@b.test',
    to: 'c@d.test',
    relay: 'mx.d.test[192.0.2.1]:25',
    delay: '1.2',
    delays: '0.2/0/0/1',
    dsn: '2.0.0',
    status: '250 2.0.0 Ok: queued as X',
    transport: 'smtp',
  };
  const texts = (event: string, more: LogFields = {}): string[] => lines(event, { ...fields, ...more }).map((l) => l.slice(21));
  const said = (status: string): string =>
    `ABC: to=<c@d.test>, relay=mx.d.test[192.0.2.1]:25, delay=1.2, delays=0.2/0/0/1, dsn=2.0.0, status=${status} (250 2.0.0 Ok: queued as X)\n`;
  assert.deepEqual(texts('queue.delivered'), [`buzon/smtp[7]: ${said('sent')}`]);
  assert.deepEqual(texts('queue.deferred', { transport: 'lmtp' }), [`buzon/lmtp[7]: ${said('deferred')}`]);
  assert.deepEqual(texts('queue.bounced', { transport: 'error' }), [`buzon/error[7]: ${said('bounced')}`]);
  assert.deepEqual(texts('queue.expired'), [
    `buzon/smtp[7]: ${said('deferred')}`,
    'buzon/qmgr[7]: ABC: from=<a@b.test>, status=expired, returned to sender\n',
  ]);
  assert.deepEqual(
    texts('queue.expired', { forced: true })[1],
    'buzon/qmgr[7]: ABC: from=<a@b.test>, status=force-expired, returned to sender\n',
  );
  assert.deepEqual(texts('queue.deliverable'), [`buzon/smtp[7]: ${said('deliverable')}`]);
  assert.deepEqual(texts('queue.undeliverable', { transport: 'virtual' }), [`buzon/virtual[7]: ${said('undeliverable')}`]);
  assert.deepEqual(texts('queue.removed'), ['buzon/qmgr[7]: ABC: removed\n']);
  for (const event of ['queue.queued', 'queue.active'])
    assert.deepEqual(texts(event, { size: 12, recipients: 2 }), [
      'buzon/qmgr[7]: ABC: from=<a@b.test>, size=12, nrcpt=2 (queue active)\n',
    ]);
  assert.doesNotMatch(texts('queue.bounced', { status: '550 x\r\nNov  4 evil', transport: 'a\nb' }).join(''), /\n./);
});

test("what local programs send makes pickup's, cleanup's and qmgr's lines", () => {
  const texts = (event: string, fields: LogFields): string[] => lines(event, fields).map((line) => line.slice(21));
  assert.deepEqual(texts('pickup.taken', { id: 'ABC', uid: 0, from: 'root', size: 300, recipients: 1, messageId: '<1@x>' }), [
    'buzon/pickup[7]: ABC: uid=0 from=<root>\n',
    'buzon/cleanup[7]: ABC: message-id=<1@x>\n',
    'buzon/qmgr[7]: ABC: from=<root>, size=300, nrcpt=1 (queue active)\n',
  ]);
  assert.deepEqual(texts('pickup.done', { id: 'ABC', uid: 0, from: 'root' }), []);
  assert.deepEqual(texts('pickup.refused', { file: 'a', uid: 33, reason: 'it has other names' }), [
    'buzon/pickup[7]: warning: uid=33: a: message refused: it has other names\n',
  ]);
  assert.deepEqual(texts('pickup.deferred', { id: 'ABC', code: 'X', error: 'try later', pause: 30_000 }), [
    'buzon/pickup[7]: warning: ABC: message deferred: try later\n',
  ]);
  assert.deepEqual(texts('pickup.unfinished', { file: 'new.a', uid: 33 }), [
    'buzon/pickup[7]: warning: uid=33: new.a: unfinished message removed\n',
  ]);
});

test('row 24: a value never breaks out of its line or its brackets', () => {
  const [line = ''] = lines('smtp.reject', {
    client: '192.0.2.1',
    reply: '550 5.1.1 x\r\nNov  4 evil',
    to: 'a>b\n<c',
    helo: 'x\u0000y',
  });
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.match(line, /to=<a\?b\?\?c>/);
  assert.match(line, /helo=<x\?y>/);
  assert.doesNotMatch(line, /[\r\0]/);
});

test('an event of our own is written with its fields', () => {
  assert.deepEqual(
    postfixLines('warn', 'map.stale', { file: '/etc/a b', n: 1 }, at, options).map((l) => l.slice(21)),
    ['buzon/map[7]: warning: map.stale file="/etc/a b" n=1\n'],
  );
});
