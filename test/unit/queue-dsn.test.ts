import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memorySource } from '../../src/message/source.ts';
import type { ReceivedMessage } from '../../src/delivery/types.ts';
import { parseBounceTemplates, reportTexts, timeValues } from '../../src/queue/dsn/templates.ts';
import { requireProgram, run } from '../support/programs.ts';
import { about, DEFERRED, DELIVERED, FAILED, makeReporter, MESSAGE, queued, type SentReport } from '../support/reports.ts';

interface ParsedPart {
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly blocks?: readonly Readonly<Record<string, string>>[];
}
interface ParsedReport {
  readonly headers: Readonly<Record<string, string>>;
  readonly type: string;
  readonly reportType: string;
  readonly parts: readonly ParsedPart[];
  readonly defects: number;
}

const PARSER = `
import sys, json, base64, email, email.policy
def fields(m): return {k.lower(): ' '.join(str(v).split()) for k, v in m.items()}
def part(p):
    found = {'type': p.get_content_type(), 'headers': fields(p), 'text': ''}
    if p.get_content_type() == 'message/delivery-status':
        found['blocks'] = [fields(b) for b in p.get_payload()]
    elif p.is_multipart():
        found['text'] = p.get_payload()[0].as_bytes().decode('utf-8', 'replace')
    else:
        found['text'] = (p.get_payload(decode=True) or b'').decode('utf-8', 'replace')
    return found
def parse(b):
    m = email.message_from_bytes(b)
    defects = sum(len(p.defects) for p in m.walk())
    return {'headers': fields(m), 'type': m.get_content_type(), 'reportType': m.get_param('report-type'), 'parts': [part(p) for p in m.get_payload()], 'defects': defects}
print(json.dumps([parse(base64.b64decode(b)) for b in json.load(sys.stdin)]))
`;

/** As Python's parser of mail sees them. */
async function parsed(python: string, reports: readonly SentReport[]): Promise<ParsedReport[]> {
  const input = JSON.stringify(reports.map(({ bytes }) => bytes.toString('base64')));
  const { stdout, stderr, status } = await run(python, ['-c', PARSER], { input });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as ParsedReport[];
}

test('a report of failure: one for all recipients, with text, fields and the message, as an independent parser reads it', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const { reporter, sent, events } = makeReporter();
  const unheard = {
    ...FAILED,
    kind: 'failed',
    status: '4.4.7',
    reason: 'delivery time expired',
    remote: undefined,
    reply: undefined,
  } as const;
  const message = queued({ envid: 'id+2B1', messageId: '<1@example.test>' });
  const other = about(unheard, { address: 'eva@otro.test', orcpt: 'rfc822;eva+2Bx@list.test', number: 1 });
  await reporter.report(
    message,
    [about(FAILED), other, about(DEFERRED, { number: 2 }), about(DELIVERED, { number: 3 })],
    MESSAGE,
    false,
  );
  assert.deepEqual(
    sent.map(({ id, recipient, smtpUtf8, bodyType }) => ({ id, recipient, smtpUtf8, bodyType })),
    [{ id: 'REPORT1', recipient: 'ana@example.test', smtpUtf8: false, bodyType: '7BIT' }],
  );
  const [report] = await parsed(python, sent);
  assert.ok(report);
  assert.deepEqual([report.type, report.reportType, report.defects], ['multipart/report', 'delivery-status', 0]);
  const { headers } = report;
  assert.equal(headers['from'], 'Mail Delivery System <MAILER-DAEMON@mail.example.test>');
  assert.equal(headers['to'], 'ana@example.test');
  assert.equal(headers['subject'], 'Undelivered Mail Returned to Sender');
  assert.equal(headers['auto-submitted'], 'auto-replied');
  assert.equal(headers['in-reply-to'], '<1@example.test>');
  assert.match(headers['message-id'] ?? '', /^<\d{14}\.REPORT1@mail\.example\.test>$/);
  assert.deepEqual(
    report.parts.map(({ type }) => type),
    ['text/plain', 'message/delivery-status', 'message/rfc822'],
  );
  const [text, status, returned] = report.parts;
  assert.match(text?.text ?? '', /This is the mail system at host mail\.example\.test\./);
  assert.match(text?.text ?? '', /^<bob@otro\.test>: host mx\.otro\.test\[192\.0\.2\.1\] said: 550 5\.1\.1/m);
  assert.match(text?.text ?? '', /-> The address does not exist there/);
  assert.match(
    text?.text ?? '',
    /^<eva@otro\.test>: delivery time expired\r?\n\s+-> The host of the recipient did not take it in time/m,
  );
  const [perMessage, bob, eva] = status?.blocks ?? [];
  assert.equal(perMessage?.['reporting-mta'], 'dns; mail.example.test');
  assert.equal(perMessage?.['original-envelope-id'], 'id+1');
  assert.equal(perMessage?.['x-buzon-queue-id'], 'ABC123');
  assert.match(perMessage?.['arrival-date'] ?? '', /^Tue, 24 Nov 2026 /);
  assert.deepEqual(
    { ...bob, 'last-attempt-date': undefined },
    {
      'final-recipient': 'rfc822; bob@otro.test',
      action: 'failed',
      status: '5.1.1',
      'remote-mta': 'dns; mx.otro.test',
      'diagnostic-code': 'smtp; 550 5.1.1 <bob@otro.test>: unknown',
      'last-attempt-date': undefined,
    },
  );
  assert.match(bob?.['last-attempt-date'] ?? '', /^Tue, 24 Nov 2026 /);
  assert.equal(eva?.['original-recipient'], 'rfc822; eva+x@list.test');
  assert.equal(eva?.['status'], '5.4.7', 'a failure is of class 5');
  assert.equal(eva?.['diagnostic-code'], 'X-Buzon; delivery time expired');
  assert.equal(eva?.['remote-mta'], undefined);
  assert.match(returned?.text ?? '', /Subject: hello[^]*Body of it/);
  assert.deepEqual(
    events.map(({ event, fields }) => [event, fields['id'], fields['as'], fields['kind']]),
    [['queue.report', 'ABC123', 'REPORT1', 'failure']],
  );
});

test('NOTIFY decides: nothing, failure, delay, success; without it failure and delay', async () => {
  const kinds = async (notify: ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[] | undefined): Promise<string[]> => {
    const { reporter, events } = makeReporter();
    const wish = notify ? { notify } : {};
    const all = [about(FAILED, wish), about(DEFERRED, wish), about(DELIVERED, wish)];
    await reporter.report(queued(), all, MESSAGE, true);
    return events.map(({ fields }) => String(fields['kind']));
  };
  assert.deepEqual(await kinds(undefined), ['failure', 'delay']);
  assert.deepEqual(await kinds(['NEVER']), []);
  assert.deepEqual(await kinds(['FAILURE']), ['failure']);
  assert.deepEqual(await kinds(['DELAY']), ['delay']);
  assert.deepEqual(await kinds(['SUCCESS']), ['success']);
  assert.deepEqual(await kinds(['SUCCESS', 'FAILURE', 'DELAY']), ['failure', 'delay', 'success']);
});

test('no warning of delay before its time, nor a second one; no success where the next host reports it', async () => {
  const { reporter, sent } = makeReporter();
  await reporter.report(queued(), [about(DEFERRED)], MESSAGE, false);
  await reporter.report(queued(), [about(DEFERRED, { delayReported: true })], MESSAGE, true);
  await reporter.report(
    queued(),
    [about({ ...DELIVERED, dsnPassedOn: true } as typeof DELIVERED, { notify: ['SUCCESS'] })],
    MESSAGE,
    false,
  );
  assert.equal(sent.length, 0);
});

test('delay and success: headers only, when it ends, relayed or delivered', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const { reporter, sent } = makeReporter();
  await reporter.report(queued({ ret: 'FULL' }), [about(DEFERRED)], MESSAGE, true);
  const success = { notify: ['SUCCESS' as const] };
  const lmtp = about(
    { ...DELIVERED, relay: 'lmtp[/run/lmtp]' },
    {
      ...success,
      destination: 'lmtp:unix:/run/lmtp',
      number: 1,
    },
  );
  await reporter.report(queued(), [about(DELIVERED, success), lmtp], MESSAGE, false);
  const [delay, done] = await parsed(python, sent);
  assert.equal(delay?.headers['subject'], 'Delayed Mail (still being retried)');
  assert.match(delay?.parts[0]?.text ?? '', /until it is\s+5 day\(s\) old/);
  const [, waiting] = delay?.parts[1]?.blocks ?? [];
  assert.deepEqual([waiting?.['action'], waiting?.['status']], ['delayed', '4.4.1']);
  assert.match(waiting?.['will-retry-until'] ?? '', /^Sun, 29 Nov 2026 /);
  assert.equal(delay?.parts[2]?.type, 'text/rfc822-headers');
  assert.match(delay?.parts[2]?.text ?? '', /Subject: hello/);
  assert.doesNotMatch(delay?.parts[2]?.text ?? '', /Body/);
  assert.equal(done?.headers['subject'], 'Successful Mail Delivery Report');
  const [, relayed, delivered] = done?.parts[1]?.blocks ?? [];
  assert.deepEqual(
    [relayed?.['action'], relayed?.['remote-mta'], relayed?.['diagnostic-code'], delivered?.['action']],
    ['relayed', 'dns; mx.otro.test', 'smtp; 250 2.0.0 Ok: queued as XYZ', 'delivered'],
  );
  assert.equal(done?.parts[2]?.type, 'text/rfc822-headers');
});

test('what sendmail -bv and -v ask for: deliverable or not; the first try; nothing to <>, nothing about who wants no report', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const { reporter, sent } = makeReporter();
  const here = about(
    { ...DELIVERED, relay: 'virtual', status: '2.0.0', reply: 'delivers to maildir' },
    { address: 'b@example.test', destination: 'local', number: 3 },
  );
  const answers = [about(DELIVERED), about(FAILED, { number: 1 }), about(DEFERRED, { number: 2 }), here];
  for (const trace of ['verify', 'record'] as const) {
    await reporter.trace(queued({ trace, ret: 'FULL' }), answers, MESSAGE);
    await reporter.trace(queued({ trace, sender: '' }), answers, MESSAGE);
    await reporter.trace(queued({ trace }), [about(DELIVERED, { notify: ['NEVER'] })], MESSAGE);
  }
  const [verified, tried, ...more] = await parsed(python, sent);
  assert.deepEqual(more, []);
  assert.equal(verified?.headers['subject'], 'Mail Delivery Status Report');
  assert.equal(verified.parts[2]?.type, 'text/rfc822-headers');
  const fieldsOf = (report: ParsedReport | undefined, ...names: string[]): (string | undefined)[][] =>
    (report?.parts[1]?.blocks ?? []).slice(1).map((block) => names.map((name) => block[name]));
  assert.deepEqual(fieldsOf(verified, 'action', 'status', 'diagnostic-code'), [
    ['deliverable', '2.0.0', 'smtp; 250 2.0.0 Ok: queued as XYZ'],
    ['undeliverable', '5.1.1', 'smtp; 550 5.1.1 <bob@otro.test>: unknown'],
    ['undeliverable', '4.4.1', fieldsOf(verified, 'diagnostic-code')[2]?.[0]],
    ['deliverable', '2.0.0', 'X-Buzon; delivery via virtual: delivers to maildir'],
  ]);
  assert.match(verified.parts[0]?.text ?? '', /^<bob@otro\.test>: undeliverable: host mx\.otro\.test/m);
  assert.match(verified.parts[0]?.text ?? '', /^<b@example\.test>: deliverable: delivery via virtual: delivers to maildir/m);
  assert.deepEqual(fieldsOf(tried, 'action'), [['relayed'], ['failed'], ['delayed'], ['delivered']]);
});

test('what comes back: all, its header for RET=HDRS and past the limit, 8-bit as it is', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const body = (text: string) => memorySource(Buffer.from(`Subject: x\r\n\r\n${text}\r\n`));
  const { reporter, sent } = makeReporter({ sizeLimit: 1000 });
  await reporter.report(queued({ ret: 'HDRS' }), [about(FAILED)], body('short'), false);
  await reporter.report(queued({ ret: 'FULL' }), [about(FAILED)], body('x'.repeat(1000)), false);
  await reporter.report(queued(), [about(FAILED)], body('año'), false);
  await reporter.report(queued(), [about(FAILED)], memorySource(Buffer.from(`X: ${'y'.repeat(500)}\r\n`.repeat(400))), false);
  await reporter.report(queued(), [about(FAILED)], memorySource(Buffer.from('Subject: no body\r\n')), false);
  const reports = await parsed(python, sent);
  assert.deepEqual(
    reports.map(({ parts }) => parts[2]?.type),
    ['text/rfc822-headers', 'text/rfc822-headers', 'message/rfc822', 'text/rfc822-headers', 'message/rfc822'],
  );
  assert.equal(reports[2]?.parts[2]?.headers['content-transfer-encoding'], '8bit');
  assert.match(reports[2]?.parts[2]?.text ?? '', /año/);
  assert.deepEqual(
    sent.map(({ bodyType }) => bodyType),
    ['7BIT', '7BIT', '8BITMIME', '7BIT', '7BIT'],
  );
  assert.ok((sent[3]?.bytes.length ?? 0) < 70_000);
  for (const { defects } of reports) assert.equal(defects, 0);
});

test('row 27: a failing bounce: nobody is told but the postmaster who asked, once; a notice that fails ends there', async () => {
  const quiet = makeReporter();
  await quiet.reporter.report(
    queued({ sender: '' }),
    [about(FAILED), about(DELIVERED, { notify: ['SUCCESS'] }), about(DEFERRED)],
    MESSAGE,
    true,
  );
  assert.equal(quiet.sent.length, 0);
  assert.deepEqual(
    quiet.events.map(({ level, event, fields }) => [level, event, fields['id'], fields['to'], fields['status']]),
    [['warn', 'queue.double-bounce', 'ABC123', 'bob@otro.test', '5.1.1']],
  );
  const told = makeReporter({ postmaster: 'postmaster@example.test' });
  await told.reporter.report(queued({ sender: '' }), [about(FAILED)], MESSAGE, true);
  assert.equal(told.sent.length, 1);
  const [notice] = told.sent;
  assert.equal(notice?.recipient, 'postmaster@example.test');
  assert.match(notice?.bytes.toString() ?? '', /^Subject: Postmaster Copy: Undelivered Mail\r$/m);
  await told.reporter.report(queued({ sender: '' }), [about(FAILED)], memorySource(notice?.bytes ?? Buffer.alloc(0)), true);
  assert.equal(told.sent.length, 1);
});

test('the language is that of the reader’s domain', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const { reporter, sent } = makeReporter();
  await reporter.report(queued({ sender: 'ana@empresa.es.test' }), [about(FAILED)], MESSAGE, false);
  await reporter.report(queued({ sender: 'ana@empresa.es.test' }), [about(DEFERRED)], MESSAGE, true);
  const [failure, delay] = await parsed(python, sent);
  assert.equal(failure?.headers['subject'], 'Correo no entregado, devuelto al remitente');
  assert.match(failure?.parts[0]?.text ?? '', /no se volverá a intentar[^]*-> La dirección no existe allí/);
  assert.match(delay?.parts[0]?.text ?? '', /hasta que tenga\s+5 día\(s\)/);
  assert.deepEqual(
    sent.map(({ bodyType }) => bodyType),
    ['7BIT', '7BIT'],
  );
});

test('addresses in UTF-8: as they are for who has one, ASCII and base64 for who has not (RFC 6533)', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const source = memorySource(Buffer.from('Subject: ñandú\r\nTo: josé@otro.test\r\n\r\nñ\r\n'));
  const recipient = { address: 'josé@otro.test', orcpt: 'utf-8;jos\\x{E9}@otro.test' };
  const { reporter, sent } = makeReporter();
  await reporter.report(queued({ smtpUtf8: true }), [about(FAILED, recipient)], source, false);
  await reporter.report(queued({ smtpUtf8: true, ret: 'HDRS' }), [about(FAILED, recipient)], source, false);
  await reporter.report(queued({ smtpUtf8: true, sender: 'ñam@example.test' }), [about(FAILED, recipient)], source, false);
  assert.deepEqual(
    sent.map(({ smtpUtf8, bodyType }) => [smtpUtf8, bodyType]),
    [
      [false, '7BIT'],
      [false, '7BIT'],
      [true, '8BITMIME'],
    ],
  );
  const [plain, header, raw] = await parsed(python, sent);
  assert.doesNotMatch(sent[0]?.bytes.toString('latin1') ?? '', /[\x80-\xff]/);
  assert.deepEqual(
    plain?.parts.map(({ type }) => type),
    ['text/plain', 'message/delivery-status', 'message/global'],
  );
  assert.equal(plain?.parts[1]?.blocks?.[1]?.['final-recipient'], 'utf-8; jos\\x{E9}@otro.test');
  assert.equal(plain?.parts[1]?.blocks?.[1]?.['original-recipient'], 'utf-8; jos\\x{E9}@otro.test');
  assert.match(plain?.parts[0]?.text ?? '', /^<josé@otro\.test>: /m);
  const encoded = /Content-Type: message\/global\r\nContent-Transfer-Encoding: base64\r\n\r\n([A-Za-z0-9+/=\r\n]+)\r\n--/.exec(
    sent[0]?.bytes.toString() ?? '',
  );
  assert.equal(Buffer.from(encoded?.[1] ?? '', 'base64').toString(), 'Subject: ñandú\r\nTo: josé@otro.test\r\n\r\nñ\r\n');
  assert.equal(header?.parts[2]?.type, 'message/global-headers');
  assert.match(
    sent[2]?.bytes.toString() ?? '',
    /Content-Type: message\/global-delivery-status; charset=utf-8\r\n[^]*Final-Recipient: utf-8; josé@otro\.test\r\n/,
  );
  assert.match(sent[2]?.bytes.toString() ?? '', /\r\nTo: ñam@example\.test\r\n/);
  assert.equal(raw?.parts[2]?.type, 'message/global');
});

test('row 24: CR, LF, NUL and control characters in what we copy make no field and no line', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const evil = 'x\r\nInjected: yes\r\n\r\n--boundary1\n\0\u0085\u2028\u001b[31m';
  const { reporter, sent } = makeReporter();
  const outcome = { kind: 'failed', status: '5.1.1', reason: evil, remote: evil, reply: evil } as const;
  await reporter.report(
    queued({ envid: 'a+0D+0AInjected: yes', messageId: `<a>${evil}`, id: 'A' }),
    [about(outcome, { address: `bob${evil}@otro.test`, orcpt: 'rfc822;a+0D+0AInjected:+20yes' })],
    MESSAGE,
    false,
  );
  const text = sent[0]?.bytes.toString() ?? '';
  assert.doesNotMatch(text, /^Injected/m);
  assert.doesNotMatch(text, /[\0\u0085\u2028\u001b]|(?<!\r)\n|\r(?!\n)/);
  const [report] = await parsed(python, sent);
  assert.equal(report?.parts.length, 3);
  assert.equal(report?.parts[1]?.blocks?.length, 2);
  await assert.rejects(reporter.report(queued({ sender: 'a@b\r\nX: y' }), [about(FAILED)], MESSAGE, false), {
    code: 'BAD_ADDRESS',
  });
  assert.equal(sent.length, 1);
});

test('a report that is not accepted keeps the recipients where they are', async () => {
  const { reporter } = makeReporter({ send: () => Promise.reject(new Error('no room')) });
  await assert.rejects(reporter.report(queued(), [about(FAILED)], MESSAGE, false), /no room/);
});

test('mail stored here: success for those who asked, whatever becomes of the report', async () => {
  const target = { kind: 'mailbox', address: 'b@example.test', recipient: 'b@example.test' } as const;
  const recipient = (address: string, ...notify: ('SUCCESS' | 'FAILURE')[]) => ({
    address,
    notify,
    route: { kind: 'deliver', targets: address.startsWith('all') ? [target, target] : [target] } as const,
  });
  const received = (sender: string): ReceivedMessage => ({
    id: 'LOCAL',
    envelope: {
      sender,
      smtpUtf8: false,
      bodyType: '7BIT',
      recipients: [
        recipient('b@example.test', 'SUCCESS'),
        recipient('c@example.test', 'FAILURE'),
        recipient('all@example.test', 'SUCCESS'),
      ],
    },
    source: MESSAGE,
    original: MESSAGE,
    deliveredTo: [],
  });
  const { reporter, sent } = makeReporter();
  await reporter.reportStored(received('ana@example.test'));
  await reporter.reportStored(received(''));
  const text = sent[0]?.bytes.toString() ?? '';
  assert.equal(sent.length, 1);
  assert.match(text, /Final-Recipient: rfc822; b@example\.test\r\nAction: delivered\r\nStatus: 2\.0\.0/);
  assert.match(text, /Final-Recipient: rfc822; all@example\.test\r\nAction: expanded\r\n/);
  assert.doesNotMatch(text, /c@example/);
  const traced = makeReporter();
  const asking = received('ana@example.test');
  await traced.reporter.reportStored({ ...asking, envelope: { ...asking.envelope, trace: 'record' } });
  const status = traced.sent[0]?.bytes.toString() ?? '';
  assert.match(status, /^Subject: Mail Delivery Status Report\r$/m);
  assert.match(status, /Final-Recipient: rfc822; c@example\.test\r\nAction: delivered/);
  const failing = makeReporter({ send: () => Promise.reject(new Error('no room')) });
  await failing.reporter.reportStored(received('ana@example.test'));
  assert.deepEqual(
    failing.events.map(({ event }) => event),
    ['queue.report-failed'],
  );
});

test('templates as bounce(5) describes them', () => {
  const file = `# comment\nfailure_template = <<EOF\nCharset: utf-8\nFrom: X\nSubject: Sin entregar\nPostmaster-Subject: Copia\n\nEsto es $myhostname.\n\nAdiós.\nEOF\n\ndelay_template = <<END\nSubject: Late\n\n$delay_warning_time_hours h\nEND\nverify_template = <<EOF\n\nEOF\n`;
  assert.deepEqual(parseBounceTemplates(Buffer.from(file)), {
    failure: { subject: 'Sin entregar', lines: ['Esto es $myhostname.', '', 'Adiós.'] },
    postmaster: { subject: 'Copia', lines: ['Esto es $myhostname.', '', 'Adiós.'] },
    delay: { subject: 'Late', lines: ['$delay_warning_time_hours h'] },
    verify: { subject: 'Mail Delivery Status Report', lines: [] },
  });
  for (const [text, line] of [
    ['nonsense\n', 1],
    ['\nfailure_template = <<EOF\nSubject: x\n\ny\n', 2],
    ['bad_template = <<EOF\n\nEOF\n', 1],
    ['failure_template = <<EOF\nSubject: x\nEOF\n', 1],
  ] as const)
    assert.throws(() => parseBounceTemplates(Buffer.from(text)), {
      code: 'BOUNCE_TEMPLATE',
      message: new RegExp(`line ${line}:`),
    });
});

test('a text of one’s own takes the place of every language’s, its placeholders filled in', async () => {
  const texts = reportTexts({
    values: { myhostname: 'mail.example.test', ...timeValues({ delay_warning_time: 4 * 3_600_000 + 1_800_000 }) },
    language: async () => 'es',
    templates: {
      failure: { subject: 'Own', lines: ['$myhostname ${delay_warning_time_hours}h $(delay_warning_time_days) $unknown $$x'] },
    },
  });
  const { text, language } = await texts('failure', 'ana@example.test');
  assert.deepEqual(text, { subject: 'Own', lines: ['mail.example.test 5h 0 $unknown $x'] });
  assert.match(language.hints['1.1'] ?? '', /La dirección/);
  assert.equal((await texts('delay', 'ana@example.test')).text.subject, 'Correo retrasado (se sigue intentando)');
});
