// Row 25: seeded nonsense in every session state, over a real connection: no crash, no stalled loop, no answer that breaks its line, no message
// that was not sent. FUZZ_SECONDS makes it longer, FUZZ_SEED repeats a run.
import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { sleep } from '../../src/lib/async.ts';
import { eventually } from '../support/mail-host.ts';
import { fuzzTime, seededRandom, type Random } from '../support/random.ts';
import { SmtpClient } from '../support/smtp-script.ts';
import { certificatesFor, SmtpTestServer } from '../support/smtp-server.ts';

const LOGIN = `AUTH PLAIN ${Buffer.from('\0ana@example.test\0secret').toString('base64')}`;
const COMMANDS = [
  ...[
    'EHLO client.test',
    'HELO x',
    'NOOP',
    'RSET',
    'VRFY ana',
    'EXPN x',
    'HELP',
    'QUIT',
    'STARTTLS',
    LOGIN,
    'AUTH PLAIN',
    'AUTH LOGIN YQ==',
  ],
  ...[
    'MAIL FROM:<eva@remote.test>',
    'MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2B',
    'MAIL FROM:<ana@example.test>',
  ],
  ...[
    'RCPT TO:<ana@example.test>',
    'RCPT TO:<"a b"@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a',
    'RCPT TO:<@a,@b:postmaster>',
  ],
  ...[
    'RCPT TO:<u@remote.test>',
    'DATA',
    'BDAT 6\r\na: b\r\n',
    'BDAT 6 LAST\r\na: b\r\n',
    'BDAT 0 LAST',
    'BDAT 99999',
    '.',
    'From: ana@example.test',
  ],
] as const;
const PIECES = [
  ...[
    '<',
    '>',
    '@',
    ':',
    ';',
    '"',
    '\\',
    '[',
    ']',
    '(',
    ' ',
    '\t',
    '=',
    '+',
    ',',
    '.',
    '\r',
    '\n',
    '\0',
    '\r\n',
    '\r\n.\r\n',
    '\n.\n',
  ],
  ...['\x80\xff', '\xc3\xb1', '\x7f', '*', '==', 'x'.repeat(300), '<>', '@['],
] as const;

/** Connections at a time: each has its own seed. */
const TOGETHER = 10;

function mutate(random: Random, command: string): string {
  let text = command;
  for (let i = random.below(4); i > 0; i--) {
    const at = random.below(text.length + 1);
    const end = Math.min(text.length, at + random.below(6));
    const piece = random.pick(PIECES);
    text = random.pick([
      text.slice(0, at) + piece + text.slice(at),
      text.slice(0, at) + text.slice(end),
      text.slice(0, end) + text.slice(at),
      text.slice(0, at) + piece + text.slice(end),
    ]);
  }
  return text;
}

/** One connection's worth of nonsense. Gives how many lines were sent. */
async function converse(server: SmtpTestServer, port: number, prepare: readonly string[], random: Random): Promise<number> {
  await using client = await SmtpClient.connect(port);
  await client.reply();
  for (const text of prepare) await client.command(text);
  const sent: string[] = [];
  for (let i = 0; i < 12; i++) {
    const text = mutate(random, random.pick(COMMANDS));
    sent.push(text);
    client.line(text);
    // Some wait for their replies, some do not.
    if (random.below(2) === 0) await sleep(1);
  }
  client.send('\r\n.\r\nQUIT\r\n');
  await Promise.race([client.closed().catch(() => undefined), sleep(60)]);
  for (const line of client.unread.split('\r\n').slice(0, -1))
    assert.match(line, /^[2-5]\d\d([ -][^\0-\x1f\x7f]*)?$/, JSON.stringify({ line, sent }));
  return sent.length;
}

for (const [name, service, prepare] of [
  ['before EHLO', 'port', []],
  ['after EHLO', 'port', ['EHLO c']],
  ['after HELO', 'port', ['HELO c']],
  ['behind MAIL', 'port', ['EHLO c', 'MAIL FROM:<>']],
  ['behind RCPT', 'port', ['EHLO c', 'MAIL FROM:<>', 'RCPT TO:<ana@example.test>']],
  ['in DATA', 'port', ['EHLO c', 'MAIL FROM:<>', 'RCPT TO:<ana@example.test>', 'DATA']],
  ['within BDAT', 'port', ['EHLO c', 'MAIL FROM:<>', 'RCPT TO:<ana@example.test>', 'BDAT 3\r\na:']],
  ['before AUTH', 'submissionPort', ['EHLO c']],
  ['in AUTH', 'submissionPort', ['EHLO c', 'AUTH PLAIN']],
  ['logged in', 'submissionPort', ['EHLO c', LOGIN]],
  ['logged in, in DATA', 'submissionPort', ['EHLO c', LOGIN, 'MAIL FROM:<>', 'RCPT TO:<ana@example.test>', 'DATA']],
] as const) {
  test(`row 25: SMTP nonsense ${name}`, async (t) => {
    const { until, seed } = fuzzTime(700);
    const server = await SmtpTestServer.start(t, {
      certificates: await certificatesFor('mail.example.test'),
      limits: { lineTimeout: 2_000, commandTimeout: 2_000, dataTimeout: 2_000, handshakeTimeout: 500 },
    });
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    let played = 0;
    for (let round = seed * 1_000; performance.now() < until; round += TOGETHER) {
      const all = Array.from({ length: TOGETHER }, (_, i) => converse(server, server[service], prepare, seededRandom(round + i)));
      for (const lines of await Promise.all(all)) played += lines;
    }
    delay.disable();
    t.diagnostic(`${played} lines, seed ${seed}`);
    assert.ok(played > 0);
    assert.deepEqual(server.logged('smtp.session.error'), []);
    // What was taken is a message of ours: it begins with our Received field, its line ends are CRLF.
    for (const { text } of server.messages) {
      assert.match(text, /^Received: from /);
      assert.doesNotMatch(text, /(?<!\r)\n|\r(?!\n)|\0/);
    }
    // The row says 100 ms; ten times that is asserted (other programs run beside).
    assert.ok(delay.max < 1e9, `loop stalled for ${delay.max / 1e6} ms`);
    await eventually(
      async () => server.smtp.connections + server.submission.connections === 0,
      'no session is left behind',
      20_000,
    );
    await using client = await SmtpClient.hello(server.port);
    assert.match(await client.message('eva@remote.test', ['ana@example.test'], 'a: b'), /^250/);
  });
}
