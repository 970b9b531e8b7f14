// mailq, postqueue, postsuper, postcat: Postfix's flags, output and exit statuses. What Postfix itself does: test/contract/queue-tools-postfix.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from '../../src/cli/command.ts';
import { readFlags } from '../../src/cli/queue/getopt.ts';
import { makeMailq } from '../../src/cli/queue/mailq.ts';
import { MessageText } from '../../src/cli/queue/message-text.ts';
import type { WithQueue } from '../../src/cli/queue/open.ts';
import { makePostcat } from '../../src/cli/queue/postcat.ts';
import { makePostqueue } from '../../src/cli/queue/postqueue.ts';
import { makePostsuper } from '../../src/cli/queue/postsuper.ts';
import { asctime } from '../../src/cli/queue/showq.ts';
import { MailError } from '../../src/lib/errors.ts';
import { formatHead } from '../../src/queue/store/queue-file.ts';
import { captureIo } from '../support/command-io.ts';
import { MemoryQueue, NOW, opens, refuses } from '../support/memory-queue.ts';
import { seededRandom } from '../support/random.ts';

const REFUSED = 'connect to mx.remote.test[192.0.2.1]:25: Connection refused';
const LONG = `host mx.other.test[192.0.2.2] said: 450 4.7.1 <c@other.test>: Greylisted, try again (in reply to RCPT TO command)`;

/** Three messages: deferred, held, just come. */
function aQueue(): MemoryQueue {
  return new MemoryQueue()
    .add('A1B2C3D4E5F6', {
      arrived: NOW - 3_000,
      recipients: {
        'a@remote.test': { reason: REFUSED },
        'b@remote.test': { reason: REFUSED },
        'c@other.test': { reason: LONG },
        'd@other.test': {},
      },
    })
    .add('B2', { arrived: NOW - 2_000, sender: '"bo b"@example.test', recipients: { 'x@y.test': { state: 'held' } } })
    .add('C3', {
      arrived: NOW - 1_000,
      sender: '',
      text: `Subject: x\r\n\r\n${'.'.repeat(2_000)}\r\n`,
      recipients: { 'x@y.test': { state: 'ready' } },
    });
}

interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}
async function run(
  make: (open: WithQueue) => Command,
  queue: MemoryQueue | WithQueue,
  args: readonly string[],
  input?: string,
): Promise<Ran> {
  const io = captureIo({ input });
  const status = await make(typeof queue === 'function' ? queue : opens(queue)).run(args, io);
  return { status, out: io.stdout, err: io.stderr };
}

test('flags are read as getopt(3) does', () => {
  const spec = 'c:fi:v';
  assert.deepEqual(readFlags(['-vf', '-iA1', '-c', 'x', '--', '-f'], spec), {
    flags: [
      ['v', ''],
      ['f', ''],
      ['i', 'A1'],
      ['c', 'x'],
    ],
    rest: ['-f'],
  });
  assert.deepEqual(readFlags(['-', '-f'], spec), { flags: [], rest: ['-', '-f'] });
  assert.equal(readFlags(['-z'], spec), "invalid option -- 'z'");
  assert.equal(readFlags(['-f:'], spec), "invalid option -- ':'");
  assert.equal(readFlags(['-i'], spec), "option requires an argument -- 'i'");
});

test('asctime(3): the day of the month has two places', () => {
  const at = new Date(2026, 0, 5, 7, 8, 9);
  assert.equal(asctime(at.getTime()), 'Mon Jan  5 07:08:09 2026');
});

test('postqueue -p and mailq: Postfix’s listing', async () => {
  const at = (ms: number): string => asctime(ms).slice(0, 19);
  const pad = ' '.repeat(41);
  const expected = `-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
A1B2C3D4E5F6      23 ${at(NOW - 3_000)}  ana@example.test
${' '.repeat(76 - REFUSED.length)}(${REFUSED})
${pad}a@remote.test
${pad}b@remote.test
(${LONG})
${pad}c@other.test
${' '.repeat(58)}(reason unavailable)
${pad}d@other.test

B2!              23 ${at(NOW - 2_000)}  "bo b"@example.test
${pad}x@y.test

C3             2016 ${at(NOW - 1_000)}  MAILER-DAEMON
${pad}x@y.test

-- 2 Kbytes in 3 Requests.
`;
  assert.deepEqual(await run(makePostqueue, aQueue(), ['-p']), { status: 0, out: expected, err: '' });
  assert.deepEqual(await run(makeMailq, aQueue(), []), { status: 0, out: expected, err: '' });
  const one = await run(makeMailq, new MemoryQueue().add('A1'), ['-v']);
  assert.match(one.out, /\n\n-- 0 Kbytes in 1 Request\.\n$/);
  assert.equal((await run(makePostqueue, new MemoryQueue(), ['-p'])).out, 'Mail queue is empty\n');
});

test('postqueue -j: an object a line, with Postfix’s keys and spaces', async () => {
  const { out, status } = await run(makePostqueue, aQueue(), ['-j']);
  const lines = out.trimEnd().split('\n');
  assert.deepEqual([status, lines.length], [0, 3]);
  assert.equal(
    lines[1],
    `{"queue_name": "hold", "queue_id": "B2", "arrival_time": ${(NOW - 2_000) / 1000}, "message_size": 23, "forced_expire": false, "sender": "\\"bo b\\"@example.test", "recipients": [{"address": "x@y.test"}]}`,
  );
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { queue_name: string }).queue_name),
    ['deferred', 'hold', 'incoming'],
  );
  const { recipients } = JSON.parse(lines[0] ?? '') as { recipients: unknown };
  assert.deepEqual(recipients, [
    { address: 'a@remote.test', delay_reason: REFUSED },
    { address: 'b@remote.test', delay_reason: REFUSED },
    { address: 'c@other.test', delay_reason: LONG },
    { address: 'd@other.test' },
  ]);
  assert.equal((await run(makePostqueue, new MemoryQueue(), ['-j'])).out, '');
});

test('row 24: no listing has a line, an id or an escape sequence that a peer made up', async () => {
  const evil = '450 x\r\nFFFF      1 Wed\u001b[2J\u007f';
  const queue = new MemoryQueue().add('A1', { sender: 'a\nb@x.test', recipients: { 'c\u0000@x.test': { reason: evil } } });
  for (const [make, args] of [
    [makePostqueue, ['-p']],
    [makePostqueue, ['-j']],
    [makePostcat, ['-eq', 'A1']],
  ] as const) {
    const { out } = await run(make, queue, args);
    assert.doesNotMatch(out, /[^\n\x20-\x7e]|^FFFF|^b@/m);
  }
});

test('postqueue -f, -i, -s: what is deferred is tried now; what is held is not', async () => {
  for (const [args, states] of [
    [['-f'], 'ready ready ready ready held'],
    [['-i', 'a1b2c3d4e5f6'], 'ready ready ready ready held'],
    [['-i', 'B2'], 'deferred deferred deferred deferred held'],
    [['-i', 'FFFF'], 'deferred deferred deferred deferred held'],
    [['-s', 'y.test'], 'deferred deferred deferred deferred held'],
    [['-s', 'OTHER.test'], 'deferred deferred ready ready held'],
    [['-s', '[192.0.2.1]'], 'deferred deferred deferred deferred held'],
  ] as const) {
    const queue = aQueue();
    assert.deepEqual(await run(makePostqueue, queue, args), { status: 0, out: '', err: '' }, args.join(' '));
    assert.equal([...queue.states('A1B2C3D4E5F6'), ...queue.states('B2')].join(' '), states, args.join(' '));
  }
});

test('postqueue: wrong arguments, refusals and faults end as Postfix’s do', async () => {
  const usage =
    'postqueue: fatal: usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site\n';
  for (const [args, err] of [
    [[], usage],
    [['-p', '-f'], usage],
    [['-p', 'x'], usage],
    [['-z'], `postqueue: invalid option -- 'z'\n${usage}`],
    [['-i'], `postqueue: option requires an argument -- 'i'\n${usage}`],
    [['-i', '../x'], 'postqueue: fatal: Cannot flush queue ID - invalid name: "../x"\n'],
    [['-s', 'bad site'], 'postqueue: fatal: Cannot flush mail queue - invalid destination: "bad site"\n'],
  ] as const)
    assert.deepEqual(await run(makePostqueue, aQueue(), args), { status: 69, out: '', err });
  assert.equal((await run(makeMailq, aQueue(), ['-x'])).status, 64);
  const refused = await run(makeMailq, refuses, []);
  assert.equal(refused.status, 77);
  assert.match(refused.err, /^mailq: fatal: User \S+\(\d+\) is not allowed to view the mail queue\n$/);
  assert.match((await run(makePostqueue, refuses, ['-f'])).err, /is not allowed to flush the mail queue\n$/);
  const queue = aQueue();
  queue.failure = new MailError('temporary', 'QUEUE_BUSY', 'the queue is busy');
  assert.deepEqual(await run(makePostqueue, queue, ['-p']), {
    status: 69,
    out: '',
    err: 'postqueue: fatal: Queue report unavailable - the queue is busy\n',
  });
});

test('a listing ends quietly when nobody reads it any more', async () => {
  const io = { ...captureIo(), closed: () => true };
  assert.equal(await makePostqueue(opens(aQueue())).run(['-p'], io), 0);
  assert.equal(io.stdout, '');
});

test('postsuper: one message, several, all, and ids from standard input', async () => {
  const queue = aQueue();
  const su = (args: readonly string[], input?: string): Promise<Ran> => run(makePostsuper, queue, args, input);
  assert.deepEqual(await su(['-h', 'c3', '-h', 'B2']), {
    status: 0,
    out: '',
    err: 'postsuper: C3: placed on hold\npostsuper: Placed on hold: 1 message\n',
  });
  assert.deepEqual((await su(['-H', 'ALL'])).err, 'postsuper: Released from hold: 2 messages\n');
  assert.deepEqual([...queue.states('B2'), ...queue.states('C3')], ['ready', 'ready']);
  await su(['-h', 'B2']);
  assert.equal((await su(['-r', 'B2'])).err, 'postsuper: B2: requeued\npostsuper: Requeued: 1 message\n');
  assert.deepEqual(queue.states('B2'), ['ready']);
  assert.equal(
    (await su(['-d', '-'], 'b2\r\n../x\nFFFF\n')).err.replaceAll('postsuper: ', ''),
    'B2: removed\nwarning: invalid mail queue id: ../x\nDeleted: 1 message\n',
  );
  assert.equal((await su(['-d', 'all'])).err, 'postsuper: Deleted: 0 messages\n');
  assert.deepEqual(queue.ids, ['A1B2C3D4E5F6', 'C3']);
  assert.equal((await su(['-d', 'ALL'])).err, 'postsuper: Deleted: 2 messages\n');
  assert.deepEqual(queue.ids, []);
});

test('postsuper -e and -f: expired messages are marked, -f releases them too', async () => {
  const queue = aQueue();
  const both = await run(makePostsuper, queue, ['-e', 'B2', '-f', 'B2', '-f', 'C3']);
  assert.deepEqual(both, {
    status: 0,
    out: '',
    err: [
      'postsuper: B2: expired',
      'postsuper: Force-expired: 1 message',
      'postsuper: B2: released from hold',
      'postsuper: C3: expired',
      'postsuper: Force-expired: 1 message',
      'postsuper: Released from hold: 1 message',
      '',
    ].join('\n'),
  });
  assert.match((await run(makePostqueue, queue, ['-p'])).out, /^B2# {8,}/m);
  assert.match((await run(makePostqueue, queue, ['-j'])).out, /"queue_id": "B2", .*"forced_expire": true/);
  assert.match((await run(makePostqueue, queue, ['-j'])).out, /"queue_id": "A1B2C3D4E5F6", .*"forced_expire": false/);
});

test('what is due is in the active queue while a server runs the queue', async () => {
  const queue = aQueue();
  assert.match((await run(makePostqueue, queue, ['-j'])).out, /"queue_name": "incoming", "queue_id": "C3"/);
  queue.isRun = true;
  const json = (await run(makePostqueue, queue, ['-j'])).out;
  assert.match(json, /"queue_name": "active", "queue_id": "C3"/);
  const listing = (await run(makeMailq, queue, [])).out;
  assert.match(listing, /^C3\* {9,}/m);
  assert.match(listing, /^B2! /m);
  assert.match((await run(makePostcat, queue, ['-e', 'C3'])).out, /^\*\*\* ENVELOPE RECORDS active\/C3 \*\*\*$/m);
});

test('postsuper: queues that are named bound what is changed', async () => {
  for (const [args, left] of [
    [['-d', 'ALL', 'deferred'], 'B2 C3'],
    [['-d', 'ALL', 'hold'], 'A1B2C3D4E5F6 C3'],
    [['-d', 'ALL', 'incoming', 'active'], 'A1B2C3D4E5F6 B2'],
    [['-d', 'ALL', 'maildrop'], 'A1B2C3D4E5F6 B2 C3'],
    [['-d', 'B2', 'deferred'], 'A1B2C3D4E5F6 B2 C3'],
    [['-d', 'ALL', 'nowhere'], 'A1B2C3D4E5F6 B2 C3'],
    [['-ps'], 'A1B2C3D4E5F6 B2 C3'],
    [[], 'A1B2C3D4E5F6 B2 C3'],
  ] as const) {
    const queue = aQueue();
    const { status } = await run(makePostsuper, queue, args);
    assert.deepEqual([status, queue.ids.join(' ')], [args[2] === ('nowhere' as string) ? 1 : 0, left], args.join(' '));
  }
});

test('postsuper: more messages than a batch', async () => {
  const queue = new MemoryQueue();
  const ids = Array.from({ length: 501 }, (_, i) => `F${i.toString(16).toUpperCase()}`);
  for (const id of ids) queue.add(id);
  assert.match((await run(makePostsuper, queue, ['-h', '-'], ids.join('\n'))).err, /postsuper: Placed on hold: 501 messages\n$/);
  assert.match((await run(makePostsuper, queue, ['-r', 'ALL'])).err, /^postsuper: Requeued: 501 messages\n$/);
  assert.match((await run(makePostsuper, queue, ['-d', 'ALL'])).err, /^postsuper: Deleted: 501 messages\n$/);
  assert.deepEqual(queue.ids, []);
});

test('postsuper: wrong arguments and refusals', async () => {
  assert.match(
    (await run(makePostsuper, aQueue(), ['-z'])).err,
    /^postsuper: invalid option -- 'z'\npostsuper: fatal: usage: postsuper \[/,
  );
  assert.deepEqual(await run(makePostsuper, aQueue(), ['-d', 'ALL', 'nowhere']), {
    status: 1,
    out: '',
    err: 'postsuper: fatal: invalid directory name: nowhere\n',
  });
  const refused = await run(makePostsuper, refuses, ['-d', 'ALL']);
  assert.equal(refused.status, 1);
  assert.match(refused.err, /^postsuper: fatal: use of this command is reserved for the superuser/);
});

const TEXT = 'Received: from x\r\n\tby y\r\nSubject: hola\r\n\r\nNot-A-Header: x\r\n.dot\r\n\r\nfin';
const HEADER = 'Received: from x\n\tby y\nSubject: hola\n';
const BODY = '\nNot-A-Header: x\n.dot\n\nfin\n';

test('postcat: envelope, header and body', async () => {
  const queue = new MemoryQueue().add('A1', {
    text: TEXT,
    envid: 'e+1',
    ret: 'HDRS',
    bodyType: '8BITMIME',
    smtpUtf8: true,
    account: 'ana@example.test',
    recipients: { 'x@y.test': { notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;x@old.test' }, 'z@y.test': { notify: ['NEVER'] } },
  });
  const envelope = `*** ENVELOPE RECORDS deferred/A1 ***
message_size:${[TEXT.length, 0, 2, 0, TEXT.length, 3].map((n) => ` ${String(n).padStart(15)}`).join('')}
message_arrival_time: ${asctime(NOW - 3_600_000)}
create_time: ${asctime(NOW - 3_600_000)}
named_attribute: log_ident=A1
named_attribute: envelope_id=e+1
named_attribute: ret_flags=2
sender: ana@example.test
named_attribute: encoding=8bit
named_attribute: sasl_username=ana@example.test
named_attribute: notify_flags=10
named_attribute: dsn_orig_rcpt=rfc822;x@old.test
recipient: x@y.test
named_attribute: notify_flags=1
recipient: z@y.test
*** MESSAGE CONTENTS deferred/A1 ***
`;
  const end = '*** HEADER EXTRACTED deferred/A1 ***\n*** MESSAGE FILE END deferred/A1 ***\n';
  const verbose = (text: string): string => text.replace(/^(?=.|\n)/gm, 'regular_text: ').replace(/regular_text: $/, '');
  for (const [args, expected] of [
    [['-q', 'A1'], envelope + HEADER + BODY + end],
    [['deferred/a/a1'], envelope + HEADER + BODY + end],
    [['-bhq', 'A1', 'A1'], HEADER + BODY + HEADER + BODY],
    [['-hq', 'A1'], HEADER],
    [['-bq', 'A1'], BODY],
    [['-eq', 'A1'], envelope + end],
    [['-vbhq', 'A1'], verbose(HEADER + BODY)],
  ] as const)
    assert.deepEqual(await run(makePostcat, queue, args), { status: 0, out: expected, err: '' }, args.join(' '));
});

test('postcat -o, -d, -r: where each record stands in the file, and its type in Postfix’s', async () => {
  const queue = new MemoryQueue().add('A1', {
    text: TEXT,
    recipients: { 'x@y.test': { orcpt: 'rfc822;x@old.test' }, 'z@y.test': {} },
  });
  const message = await queue.find('A1');
  assert.ok(message);
  const { head, places } = formatHead(message.envelope, message.size, message.recipients);
  const file = Buffer.concat([head, Buffer.from(TEXT)]);
  const lines = (await run(makePostcat, queue, ['-odrvq', 'A1'])).out.trimEnd().split('\n');
  assert.equal(lines.shift(), '*** ENVELOPE RECORDS deferred/A1 ***');
  const records = lines.map((line) => /^([ \d]{9}) ([ \d]{3}) (.*)$/.exec(line)?.slice(1) ?? [line]);
  const at = (pattern: RegExp): number[] =>
    records.filter(([, , text = '']) => pattern.test(text)).map(([offset]) => Number(offset));
  assert.deepEqual(at(/^message_size:/), [0]);
  assert.deepEqual(at(/^sender:/), [file.indexOf('{')]);
  assert.deepEqual(at(/^recipient:/), places);
  assert.deepEqual(at(/dsn_orig_rcpt/), places.slice(0, 1));
  assert.deepEqual(at(/MESSAGE CONTENTS/), [head.length - 1]);
  assert.deepEqual(at(/EXTRACTED|FILE END/), [file.length, file.length]);
  for (const [offset, type, text = ''] of records.filter((record) => record[2]?.startsWith('regular_text: '))) {
    assert.equal(type, ' 78');
    const line = text.slice('regular_text: '.length);
    assert.equal(file.toString('latin1', Number(offset)).split('\r\n')[0], line);
    assert.equal(file.toString('latin1', Number(offset) - 1, Number(offset)), '\n', 'a line begins there');
  }
  const plain = (await run(makePostcat, queue, ['-vq', 'A1'])).out.split('\n').slice(1, -1);
  assert.deepEqual(
    records.map(([, , text]) => text),
    plain,
  );
  const typed = (await run(makePostcat, queue, ['-dq', 'A1'])).out;
  assert.match(typed, /^ 67 message_size: .*\n 84 message_arrival_time: .*\n 65 create_time: /m);
  assert.match(typed, /^ 83 sender: [^]*^ 82 recipient: x@y\.test\n[^]*^ 77 \*\*\* MESSAGE CONTENTS/m);
  assert.match(typed, /^ 88 \*\*\* HEADER EXTRACTED .*\n 69 \*\*\* MESSAGE FILE END/m);
});

test('postcat: what is not there or not allowed', async () => {
  for (const [args, err] of [
    [['-q', 'FFFF'], 'postcat: fatal: open queue file FFFF: No such file or directory\n'],
    [['-q', '../.x'], 'postcat: fatal: bad mail queue ID: ../.x\n'],
    [['-z'], "postcat: invalid option -- 'z'\npostcat: fatal: usage: postcat ["],
    [[], 'postcat: fatal: usage: postcat ['],
    [['-s', '10', '-q', 'A1'], 'postcat: fatal: -s is not supported'],
  ] as const) {
    const ran = await run(makePostcat, new MemoryQueue().add('A1'), args);
    assert.equal(ran.status, 1);
    assert.ok(ran.err.startsWith(err), ran.err);
  }
  const refused = await run(makePostcat, refuses, ['-q', 'A1']);
  assert.deepEqual(refused, { status: 1, out: '', err: 'postcat: fatal: open queue file A1: Permission denied\n' });
});

test('row 25: postcat: however the bytes come, header and body are the same; every byte is in one of them', () => {
  const random = seededRandom(7);
  const alphabet = ['\r', '\n', '\r\n', '\r\n', 'A: b', ' x', ':', 'é', '\u0000', 'Sub', 'x'.repeat(1_100)];
  for (let round = 0; round < 100; round++) {
    const bytes = Buffer.from(Array.from({ length: random.below(30) }, () => random.pick(alphabet)).join(''), 'latin1');
    const read = (header: boolean, body: boolean, size: () => number): string => {
      let out = '';
      const text = new MessageText((piece) => (out += piece.toString('latin1')), { header, body, prefix: () => '' });
      for (let at = 0; at < bytes.length;) {
        const next = at + size();
        text.write(bytes.subarray(at, next));
        at = next;
      }
      text.end();
      return out;
    };
    const whole = (): number => bytes.length;
    const pieces = (): number => 1 + random.below(40);
    const all = read(true, true, whole);
    assert.equal(read(true, true, pieces), all, `round ${round}`);
    for (const size of [whole, pieces, () => 1])
      assert.equal(read(true, false, size) + read(false, true, size), all, `round ${round}`);
    const expected = bytes.toString('latin1').replaceAll('\r\n', '\n');
    assert.equal(
      all,
      expected === '' || expected.endsWith('\n') ? expected : `${expected.replace(/\r$/, '')}\n`,
      `round ${round}`,
    );
  }
});
