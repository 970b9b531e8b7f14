// What becomes of each recipient, for each thing a server can say.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import type { Outcome } from '../../src/queue/types.ts';
import { MESSAGE, testAgent } from '../support/delivery.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { SmtpSink, type SinkOptions } from '../support/smtp-sink.ts';

async function sinkFor(t: TestContext, options: SinkOptions = {}): Promise<{ sink: SmtpSink; hop: string }> {
  const sink = await new SmtpSink(options).start();
  t.after(() => sink.stop());
  return { sink, hop: `${options.lmtp ? 'lmtp' : 'smtp'}:[127.0.0.1]:${sink.port}` };
}
const reasonOf = (outcome: Outcome | undefined): string => (outcome && 'reason' in outcome ? outcome.reason : '');
const statusOf = (outcome: Outcome | undefined): string => `${outcome?.kind} ${outcome?.status}`;

test('a message is delivered: pipelined, dots stuffed, the reply and the relay told', async (t) => {
  const { sink, hop } = await sinkFor(t);
  const text = `${MESSAGE}.\r\n..two\r\n.end`;
  const { outcome, site } = await testAgent(t).deliver({ hop, message: text });
  assert.deepEqual(outcome, {
    kind: 'delivered',
    relay: `127.0.0.1[127.0.0.1]:${sink.port}`,
    status: '2.0.0',
    reply: '250 2.0.0 Ok: queued as SINK1',
    dsnPassedOn: true,
  });
  assert.equal(site, 'up');
  assert.equal(sink.messages[0]?.data, `${text}\r\n`);
  assert.deepEqual(sink.commands, [
    '1: EHLO client.test',
    `1: MAIL FROM:<ana@example.com> SIZE=${text.length}`,
    '1: RCPT TO:<ben@example.net>',
    '1: DATA',
  ]);
});

test('row 17: bare CR and LF never leave this host, whatever the source has', async (t) => {
  const { sink, hop } = await sinkFor(t);
  const { outcome } = await testAgent(t).deliver({
    hop,
    message: 'Subject: x\r\n\r\na\n.\nb\r.\rc\n.\r\nMAIL FROM:<evil@x>\r\n',
  });
  assert.equal(outcome.kind, 'delivered');
  assert.equal(sink.messages.length, 1);
  assert.equal(sink.messages[0]?.data, 'Subject: x\r\n\r\na\r\n.\r\nb\r\n.\r\nc\r\n.\r\nMAIL FROM:<evil@x>\r\n');
  assert.deepEqual(sink.verbs.filter((verb) => verb === 'MAIL').length, 1);
});

test('each recipient has its own outcome', async (t) => {
  for (const extensions of [['PIPELINING'], []]) {
    const { sink, hop } = await sinkFor(t, {
      extensions,
      rcpt: (line) =>
        line.includes('bad@')
          ? '550-5.1.1 no\r\n550 5.1.1 such user'
          : line.includes('late@')
            ? '450 4.2.0 greylisted'
            : undefined,
    });
    const { outcomes, site } = await testAgent(t).deliver({ hop, to: ['one@x.test', 'bad@x.test', 'late@x.test', 'two@x.test'] });
    assert.deepEqual(Object.values(outcomes).map(statusOf), [
      'delivered 2.0.0',
      'failed 5.1.1',
      'deferred 4.2.0',
      'delivered 2.0.0',
    ]);
    const label = '127.0.0.1[127.0.0.1]';
    assert.deepEqual(outcomes['bad@x.test'], {
      kind: 'failed',
      status: '5.1.1',
      reason: `host ${label} said: 550-5.1.1 no 550 5.1.1 such user (in reply to RCPT TO command)`,
      relay: `${label}:${sink.port}`,
      remote: '127.0.0.1',
      reply: '550-5.1.1 no 550 5.1.1 such user',
    });
    assert.equal(site, 'up');
    assert.deepEqual(sink.messages[0]?.recipients, ['one@x.test', 'two@x.test']);
  }
});

test('a message that only asks gets an answer for each recipient, and is never sent', async (t) => {
  for (const lmtp of [false, true])
    for (const extensions of [['PIPELINING', 'SIZE', 'ENHANCEDSTATUSCODES'], []]) {
      const { sink, hop } = await sinkFor(t, {
        lmtp,
        extensions,
        rcpt: (line) => (line.includes('bad@') ? '550 5.1.1 no' : line.includes('late@') ? '450 4.2.0 greylisted' : undefined),
      });
      const agent = testAgent(t);
      const to = ['one@x.test', 'bad@x.test', 'late@x.test', 'two@x.test'];
      const { outcomes, site } = await agent.deliver({ hop, to, envelope: { trace: 'verify' } });
      assert.deepEqual(Object.values(outcomes).map(statusOf), [
        'delivered 2.1.5',
        'failed 5.1.1',
        'deferred 4.2.0',
        'delivered 2.1.5',
      ]);
      assert.deepEqual(outcomes['one@x.test'], {
        kind: 'delivered',
        relay: `127.0.0.1[127.0.0.1]:${sink.port}`,
        status: '2.1.5',
        reply: '250 2.1.5 Ok',
        dsnPassedOn: false,
      });
      assert.equal(site, 'up');
      assert.deepEqual(sink.verbs.slice(1), ['MAIL', 'RCPT', 'RCPT', 'RCPT', 'RCPT', 'RSET']);
      assert.deepEqual(sink.messages, []);
    }
});

test('refusals at each stage, with and without pipelining', async (t) => {
  const cases: readonly (readonly [SinkOptions, status: string, reason: RegExp, site: string])[] = [
    [{ connect: () => '421 4.3.2 busy' }, 'deferred 4.3.2', /refused to talk to me: 421 4.3.2 busy$/, 'down'],
    [{ connect: () => '554 5.7.1 go away' }, 'deferred 4.7.1', /refused to talk to me: 554 5.7.1 go away$/, 'down'],
    [{ ehlo: () => '421 later' }, 'deferred 4.3.2', /refused to talk to me: 421 later$/, 'down'],
    [{ ehlo: () => '550 no', helo: () => '550 5.7.1 never' }, 'failed 5.7.1', /refused to talk to me: 550 5.7.1 never$/, 'down'],
    [{ mail: () => '451 4.3.0 not now' }, 'deferred 4.3.0', /said: 451 4.3.0 not now \(in reply to MAIL FROM command\)$/, 'up'],
    [{ mail: () => '550 5.7.1 not you' }, 'failed 5.7.1', /said: 550 5.7.1 not you \(in reply to MAIL FROM command\)$/, 'up'],
    [{ mail: () => '421 4.7.0 too many' }, 'deferred 4.7.0', /said: 421 4.7.0 too many/, 'down'],
    [{ rcpt: () => '550 no such user' }, 'failed 5.0.0', /said: 550 no such user \(in reply to RCPT TO command\)$/, 'up'],
    [{ rcpt: () => '550 2.1.5 odd' }, 'failed 5.0.0', /550 2.1.5 odd/, 'up'],
    [{ data: () => '451 wait' }, 'deferred 4.3.0', /said: 451 wait \(in reply to DATA command\)$/, 'up'],
    [{ data: () => '554 5.6.0 no' }, 'failed 5.6.0', /said: 554 5.6.0 no \(in reply to DATA command\)$/, 'up'],
    [
      { dot: () => '451 4.7.1 try later' },
      'deferred 4.7.1',
      /said: 451 4.7.1 try later \(in reply to end of DATA command\)$/,
      'up',
    ],
    [{ dot: () => '554 5.7.1 spam' }, 'failed 5.7.1', /said: 554 5.7.1 spam \(in reply to end of DATA command\)$/, 'up'],
  ];
  for (const extensions of [['PIPELINING', 'ENHANCEDSTATUSCODES'], []])
    for (const [options, status, reason, site] of cases) {
      const { sink, hop } = await sinkFor(t, { extensions, ...options });
      const delivered = await testAgent(t).deliver({ hop });
      assert.equal(statusOf(delivered.outcome), status, String(reason));
      assert.match(reasonOf(delivered.outcome), reason);
      assert.equal(delivered.site, site, String(reason));
      assert.equal(sink.messages.length, 0);
    }
});

test('a connection that ends or stands still, at each stage: put off, and told where', async (t) => {
  const limits = {
    smtp_helo_timeout: 150,
    smtp_mail_timeout: 150,
    smtp_rcpt_timeout: 150,
    smtp_data_init_timeout: 150,
    smtp_data_done_timeout: 150,
  };
  const stages = {
    connect: 'receiving the initial server greeting',
    ehlo: 'performing the EHLO handshake',
    mail: 'sending MAIL FROM',
    rcpt: 'sending RCPT TO',
    data: 'sending DATA command',
    dot: 'sending end of data -- message may be sent more than once',
  };
  for (const extensions of [['PIPELINING'], []])
    for (const [stage, where] of Object.entries(stages)) {
      const agent = testAgent(t, { limits });
      const label = '127\\.0\\.0\\.1\\[127\\.0\\.0\\.1\\]';
      for (const drop of ['end', 'reset'] as const) {
        const { hop } = await sinkFor(t, { extensions, [stage]: () => ({ drop }) });
        const { outcome, site } = await agent.deliver({ hop });
        // Reset at once, it may not even count as connected.
        if (stage === 'connect' && drop === 'reset' && outcome.status === '4.4.1') continue;
        assert.equal(statusOf(outcome), 'deferred 4.4.2');
        assert.match(reasonOf(outcome), new RegExp(`^lost connection with ${label} while ${where}$`));
        assert.equal(site, ['connect', 'ehlo'].includes(stage) ? 'down' : 'up');
      }
      const { hop } = await sinkFor(t, { extensions, [stage]: () => ({ hang: true }) });
      const { outcome } = await agent.deliver({ hop });
      assert.equal(statusOf(outcome), 'deferred 4.4.2');
      assert.match(reasonOf(outcome), new RegExp(`^conversation with ${label} timed out while ${where}$`));
    }
});

test('nobody there, and nobody there at all', async (t) => {
  const { sink, hop } = await sinkFor(t);
  await sink.stop();
  const agent = testAgent(t);
  const { outcome, site } = await agent.deliver({ hop });
  assert.deepEqual(
    [statusOf(outcome), reasonOf(outcome), site],
    ['deferred 4.4.1', `connect to 127.0.0.1[127.0.0.1]:${hop.split(':')[2]}: Connection refused`, 'down'],
  );
  const gone = await agent.deliver({ hop: 'lmtp:unix:/nonexistent/lmtp' });
  assert.equal(reasonOf(gone.outcome), 'connect to client.test[/nonexistent/lmtp]: No such file or directory');
});

test('a server without EHLO gets HELO and plain mail', async (t) => {
  const { sink, hop } = await sinkFor(t, { ehlo: () => '502 5.5.1 what?' });
  const { outcome } = await testAgent(t).deliver({ hop });
  assert.equal(statusOf(outcome), 'delivered 2.0.0');
  assert.deepEqual(sink.verbs, ['EHLO', 'HELO', 'MAIL', 'RCPT', 'DATA']);
  assert.equal(sink.messages[0]?.mail, 'MAIL FROM:<ana@example.com>');
});

test('malformed replies: garbage, none of the codes there are, too long, too many lines, a stream of nothing', async (t) => {
  const endless = (line: string): Buffer => Buffer.from(line.repeat(20_000));
  for (const raw of [
    'hello\r\n',
    '999 odd\r\n',
    '25 x\r\n',
    '250-\r\n'.repeat(150),
    '250-a\r\n'.repeat(5_000),
    'x'.repeat(70_000),
  ])
    for (const stage of ['connect', 'ehlo', 'mail', 'rcpt', 'data', 'dot'] as const) {
      const { sink, hop } = await sinkFor(t, {
        [stage]: () => ({ raw, drop: raw.length > 100 ? 'end' : undefined }),
        helo: () => 'hm',
      });
      const { outcome } = await testAgent(t).deliver({ hop });
      assert.equal(outcome.kind, 'deferred', `${stage} ${raw.slice(0, 20)}`);
      assert.match(reasonOf(outcome), /^(malformed reply from|lost connection with|host .* refused)/);
      assert.ok(reasonOf(outcome).length < 400);
      assert.equal(sink.messages.length, 0);
    }
  for (const flood of ['\r\n', '250 x\r\n', '250-x\r\n']) {
    const { hop } = await sinkFor(t, { mail: () => ({ raw: endless(flood) }) });
    const { outcome } = await testAgent(t).deliver({ hop });
    assert.equal(outcome.kind, 'deferred');
  }
});

test('row 24: control characters of replies do not get into reasons; addresses with line ends are not sent', async (t) => {
  const { sink, hop } = await sinkFor(t, {
    rcpt: (line) => (line.includes('x@') ? '550 5.1.1 a\rb\0c\x1b[31m\u0085d' : undefined),
  });
  const { outcomes } = await testAgent(t).deliver({
    hop,
    to: ['x@x.test', 'a\r\nRCPT TO:<evil@x.test>@x.test', 'b> NOTIFY=NEVER <@x.test', '"odd > one"@x.test', 'c\0@x.test'],
  });
  const [refused, injected, brackets, quoted, nul] = Object.values(outcomes);
  assert.match(reasonOf(refused), /said: 550 5\.1\.1 a\?b\?c\?\[31m/);
  assert.doesNotMatch(reasonOf(refused), /[\0-\x1f\x7f-\x9f]/);
  for (const outcome of [injected, brackets, nul]) assert.equal(statusOf(outcome), 'failed 5.1.3');
  assert.equal(statusOf(quoted), 'delivered 2.0.0');
  assert.deepEqual(sink.messages[0]?.recipients, ['"odd > one"@x.test']);
});

test('too many recipients for one transaction: the rest follows in the next one', async (t) => {
  let accepted = 0;
  const { sink, hop } = await sinkFor(t, {
    mail: () => void (accepted = 0),
    rcpt: () => (++accepted > 2 ? '452 4.5.3 Too many recipients' : undefined),
  });
  const to = ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}@x.test`);
  const { outcomes } = await testAgent(t).deliver({ hop, to });
  assert.deepEqual(
    Object.values(outcomes).map(statusOf),
    to.map(() => 'delivered 2.0.0'),
  );
  assert.deepEqual(
    sink.messages.map(({ recipients }) => recipients),
    [to.slice(0, 2), to.slice(2, 4), to.slice(4)],
  );
  assert.equal(sink.connections, 1);
});

test('a refusal in the middle of the message counts; half a message that is taken does not', async (t) => {
  async function* slowly(): AsyncGenerator<Buffer> {
    for (let i = 0; i < 50; i++) {
      yield Buffer.from('Subject: x\r\n');
      await sleep(10);
    }
  }
  const message = { size: 600, dispose: async () => undefined, chunks: slowly };
  for (const [reply, status] of [
    ['552 5.3.4 too big', 'failed 5.3.4'],
    ['451 4.3.0 disk', 'deferred 4.3.0'],
    ['250 2.0.0 fine', 'deferred 4.5.0'],
  ] as const) {
    let lines = 0;
    const { hop } = await sinkFor(t, { body: () => (++lines === 3 ? { reply } : undefined) });
    const { outcome } = await testAgent(t).deliver({ hop, message });
    assert.equal(statusOf(outcome), status);
  }
});

test('a peer that takes no more data is left after smtp_data_xfer_timeout', async (t) => {
  const { hop } = await sinkFor(t, { body: () => ({ hang: true }), extensions: [] });
  const message = { size: 1, dispose: async () => undefined, chunks: () => forever() };
  async function* forever(): AsyncGenerator<Buffer> {
    for (;;) yield Buffer.from(`${'x'.repeat(70)}\r\n`.repeat(1000));
  }
  const paused = testAgent(t, { limits: { smtp_data_xfer_timeout: 300 } });
  const { outcome } = await paused.deliver({ hop, message });
  assert.equal(statusOf(outcome), 'deferred 4.4.2');
  assert.match(reasonOf(outcome), /^conversation with .* timed out while sending message body$/);
});

test('a message that cannot be read to its end is not sent', async (t) => {
  const { sink, hop } = await sinkFor(t);
  const { outcome } = await testAgent(t).deliver({
    hop,
    message: {
      size: 100,
      dispose: async () => undefined,
      async *chunks() {
        yield Buffer.from('Subject: half\r\n\r\nof a mess');
        throw new Error('EIO');
      },
    },
  });
  assert.equal(statusOf(outcome), 'deferred 4.3.0');
  assert.match(reasonOf(outcome), /^local data error while talking to/);
  assert.equal(sink.messages.length, 0);
});

test('the absolute deadline ends what each time-out would let go on', async (t) => {
  const { hop } = await sinkFor(t, { connect: () => ({ raw: '220-slow\r\n' }) });
  const agent = testAgent(t, { limits: { delivery_deadline: 200 } });
  const { outcome } = await agent.deliver({ hop });
  assert.equal(statusOf(outcome), 'deferred 4.4.2');
  assert.match(reasonOf(outcome), /took too long and was ended while receiving the initial server greeting$/);
});

test('a stop of the server: put off, unless the reply has come', async (t) => {
  for (const stage of ['connect', 'ehlo', 'rcpt', 'dot'] as const) {
    const stop = new AbortController();
    const { hop } = await sinkFor(t, {
      [stage]: () => {
        setTimeout(() => stop.abort(), 20);
        return { hang: true };
      },
    });
    const { outcome } = await testAgent(t).deliver({ hop, signal: stop.signal });
    assert.equal(statusOf(outcome), 'deferred 4.3.2', stage);
  }
  const { sink, hop } = await sinkFor(t);
  const { outcome } = await testAgent(t).deliver({ hop, signal: AbortSignal.abort() });
  assert.equal(statusOf(outcome), 'deferred 4.3.2');
  assert.equal(sink.messages.length, 0);
});

test('LMTP: a reply for each recipient, over TCP and a unix socket', async (t) => {
  const path = `${await tempFolder(t)}/lmtp`;
  for (const at of [undefined, path]) {
    const sink = await new SmtpSink({
      lmtp: true,
      ...(at ? { path: at } : {}),
      rcpt: (line) => (line.includes('none@') ? '550 5.1.1 unknown' : undefined),
      dot: (recipient) =>
        recipient === 'full@x.test' ? '452 4.2.2 mailbox full' : recipient === 'bad@x.test' ? '554 5.6.0 no' : undefined,
    }).start();
    t.after(() => sink.stop());
    const hop = at ? `lmtp:unix:${at}` : `lmtp:127.0.0.1:${sink.port}`;
    const to = ['one@x.test', 'none@x.test', 'full@x.test', 'bad@x.test', 'two@x.test'];
    const { outcomes } = await testAgent(t).deliver({ hop, to });
    assert.deepEqual(Object.values(outcomes).map(statusOf), [
      'delivered 2.0.0',
      'failed 5.1.1',
      'deferred 4.2.2',
      'failed 5.6.0',
      'delivered 2.0.0',
    ]);
    assert.equal(sink.verbs[0], 'LHLO');
    const relay = at ? `client.test[${at}]` : `127.0.0.1[127.0.0.1]:${sink.port}`;
    assert.equal((outcomes['one@x.test'] as { relay: string }).relay, relay);
  }
});

test('discard, hold and error need no server', async (t) => {
  const agent = testAgent(t);
  const of = async (hop: string) => (await agent.deliver({ hop })).outcome;
  assert.deepEqual(await of('discard:thrown away'), {
    kind: 'delivered',
    relay: 'none',
    status: '2.0.0',
    reply: 'thrown away',
    dsnPassedOn: false,
  });
  assert.equal(statusOf(await of('error:5.1.2 no such domain')), 'failed 5.1.2');
  assert.equal(statusOf(await of('retry:4.4.1 not now')), 'deferred 4.4.1');
  assert.equal(statusOf(await of('hold:look at it')), 'deferred 4.7.1');
});
