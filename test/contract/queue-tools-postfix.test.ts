// Postfix's mailq, postqueue, postsuper and postcat against ours, on the same waiting mail: what they print and how they end must be the same.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import type { Command } from '../../src/cli/command.ts';
import { makeMailq } from '../../src/cli/queue/mailq.ts';
import type { WithQueue } from '../../src/cli/queue/open.ts';
import { makePostcat } from '../../src/cli/queue/postcat.ts';
import { makePostqueue } from '../../src/cli/queue/postqueue.ts';
import { makePostsuper } from '../../src/cli/queue/postsuper.ts';
import type { RecipientState } from '../../src/queue/types.ts';
import { captureIo } from '../support/command-io.ts';
import { eventually, freePorts } from '../support/mail-host.ts';
import { MemoryQueue, opens, type MadeRecipient } from '../support/memory-queue.ts';
import { Postfix } from '../support/postfix.ts';
import { findProgram, requireProgram, requireRoot, run } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';

interface Listed {
  readonly queue_name: string;
  readonly queue_id: string;
  readonly arrival_time: number;
  readonly message_size: number;
  readonly forced_expire: boolean;
  readonly sender: string;
  readonly recipients: readonly { readonly address: string; readonly delay_reason?: string }[];
}

const OURS: Readonly<Record<string, (open: WithQueue) => Command>> = {
  mailq: makeMailq,
  postqueue: makePostqueue,
  postsuper: makePostsuper,
  postcat: makePostcat,
};

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let folder = '';
let postfix: Postfix | undefined;
/** Takes connections and never answers RCPT. */
let sink: SmtpSink | undefined;

before(async () => {
  if (process.getuid?.() !== 0 || (await findProgram('postqueue')) === undefined) return;
  folder = await mkdtemp(join(tmpdir(), 'buzon-test-'));
  await chmod(folder, 0o755);
  await writeFile(join(folder, 'vmailbox'), '');
  // Nobody listens there: what goes to these domains waits.
  const [one = 0, two = 0] = await freePorts(2);
  sink = await new SmtpSink({ rcpt: () => ({ hang: true }) }).start();
  postfix = await Postfix.create({
    directory: folder,
    base: folder,
    domains: ['example.test'],
    vmailbox: join(folder, 'vmailbox'),
    main: [
      `transport_maps = inline:{ {defer.test=smtp:[127.0.0.1]:${one}} {other.test=smtp:[127.0.0.1]:${two}} {slow.test=smtp:[127.0.0.1]:${sink.port}} }`,
    ],
    services: ['smtp unix - - n - - smtp', 'pickup unix n - n 60 1 pickup', 'flush unix n - n 1000? 0 flush'],
  });
  await postfix.start();
  await sendAll(postfix.port);
  await eventually(async () => (await listed()).filter(isDeferred).length === 3, 'all mail has been tried', 20_000);
});
after(async () => {
  await postfix?.stop();
  await sink?.stop();
  await rm(folder, { recursive: true, force: true });
});

const isDeferred = ({ queue_name: name, recipients }: Listed): boolean =>
  name === 'deferred' && recipients.every((one) => one.delay_reason !== undefined);

async function sendAll(port: number): Promise<void> {
  const sender = await SmtpSender.connect(port);
  const text =
    'Subject: uno\r\nTo: a@defer.test,\r\n\tb@defer.test\r\nFrom: ana@example.test\r\n\r\nhola\r\n\r\nFrom me\r\n.dot\r\nX-Not: header\r\n';
  await sender.send({ from: 'ana@example.test', to: ['a@defer.test', 'b@defer.test', 'c@other.test'], data: text });
  await sender.send({ from: '', to: ['d@defer.test'], data: 'Subject: dos\r\n\r\n' });
  await sender.command('MAIL FROM:<bob@example.test> BODY=8BITMIME RET=HDRS ENVID=abc+2B1', '250');
  await sender.command('RCPT TO:<x@other.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@older.test', '250');
  await sender.command('RCPT TO:<y@other.test> NOTIFY=NEVER', '250');
  await sender.command('DATA', '354');
  await sender.command('Subject: tres\r\n\r\nma\u00f1ana\r\n.', '250');
  await sender.quit();
}

/** Postfix's own command on its queue. */
async function theirs(name: string, args: readonly string[], input = ''): Promise<Ran> {
  const config = postfix?.config ?? '';
  const ran = await run(
    (await findProgram(name)) ?? name,
    name === 'mailq' ? [`-C${config}`, ...args] : ['-c', config, ...args],
    {
      input,
    },
  );
  // postcat calls itself as it was called.
  return { ...ran, stderr: ran.stderr.replaceAll(/\/\S*\/(?=postcat[: ])/g, '') };
}
async function ours(queue: MemoryQueue, name: string, args: readonly string[], input = ''): Promise<Ran> {
  const io = captureIo({ input });
  const status = (await OURS[name]?.(opens(queue)).run(args, io)) ?? null;
  return { status, stdout: io.stdout, stderr: io.stderr };
}
async function listed(): Promise<Listed[]> {
  const { stdout } = await theirs('postqueue', ['-j']);
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Listed]));
}

const DSN: Readonly<Record<string, MadeRecipient>> = {
  'x@other.test': { notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;x@older.test' },
  'y@other.test': { notify: ['NEVER'], orcpt: 'rfc822;y@other.test' },
};

const STATES: Readonly<Record<string, RecipientState>> = { hold: 'held', active: 'ready' };

/** The mail that waits at Postfix as a queue of ours, in its order. */
async function sameQueue(): Promise<MemoryQueue> {
  const queue = new MemoryQueue();
  queue.isRun = true;
  for (const [i, message] of (await listed()).entries()) {
    const { stdout } = await theirs('postcat', ['-bhq', message.queue_id]);
    const recipients = message.recipients.map(({ address, delay_reason: reason }): [string, MadeRecipient] => {
      const state = STATES[message.queue_name] ?? 'deferred';
      return [address, { reason, state, ...(DSN[address] ?? { orcpt: `rfc822;${address}` }) }];
    });
    queue.add(message.queue_id, {
      sender: message.sender === 'MAILER-DAEMON' ? '' : message.sender,
      arrived: message.arrival_time * 1000 + i,
      // Both were read as UTF-8, in which one byte of this text is no character.
      text: stdout.replaceAll('\n', '\r\n').replaceAll('\ufffd', '\u00f1'),
      recipients: Object.fromEntries(recipients),
      ...(message.forced_expire ? { expire: true } : {}),
      ...(message.sender === 'bob@example.test' ? { bodyType: '8BITMIME', ret: 'HDRS', envid: 'abc+1' } : {}),
    });
  }
  return queue;
}

async function ready(t: TestContext): Promise<boolean> {
  return (await requireProgram(t, 'postqueue')) !== undefined && requireRoot(t);
}
const sorted = (text: string, by: string): string[] => text.split(by).sort();

test('contract: postqueue -p, -j and mailq print byte for byte what Postfix’s print', async (t) => {
  if (!(await ready(t))) return;
  const [held] = await listed();
  await theirs('postsuper', ['-h', held?.queue_id ?? '']);
  const queue = await sameQueue();
  const json = await theirs('postqueue', ['-j']);
  assert.deepEqual(sorted((await ours(queue, 'postqueue', ['-j'])).stdout, '\n'), sorted(json.stdout, '\n'));
  assert.match(json.stdout, /"queue_name": "hold"/);
  assert.match(json.stdout, /"delay_reason": "connect to 127\.0\.0\.1/);
  for (const name of ['postqueue', 'mailq']) {
    const args = name === 'mailq' ? [] : ['-p'];
    const [mine, postfixs] = [await ours(queue, name, args), await theirs(name, args)];
    const [head, ...entries] = mine.stdout.split(/(?<=-------)\n/);
    assert.deepEqual(
      [head, ...sorted(entries.join(), '\n\n')],
      [head, ...sorted(postfixs.stdout.slice((head?.length ?? 0) + 1), '\n\n')],
    );
    assert.ok(postfixs.stdout.startsWith(`${head}\n`), head);
    assert.deepEqual([mine.status, mine.stderr], [postfixs.status, postfixs.stderr]);
  }
  await theirs('postsuper', ['-H', 'ALL']);
});

test('contract: the pipeline of postsuper(1) finds the same messages in both listings', async (t) => {
  if (!(await ready(t))) return;
  const pipeline = `tail -n +2 | grep -v '^ *(' | awk 'BEGIN { RS = "" } { if ($8 == "d@defer.test" && $9 == "") print $1 }' | tr -d '*!'`;
  const ids = async (listing: Ran): Promise<string> => (await run('/bin/sh', ['-c', pipeline], { input: listing.stdout })).stdout;
  const found = await ids(await theirs('mailq', []));
  assert.match(found, /^[0-9A-F]+\n$/);
  assert.equal(await ids(await ours(await sameQueue(), 'mailq', [])), found);
});

test('contract: postcat prints the same header, body, markers and records', async (t) => {
  if (!(await ready(t))) return;
  const queue = await sameQueue();
  for (const { queue_id: id, message_size: size } of await listed()) {
    const both = async (...args: string[]): Promise<[string, string]> => [
      (await ours(queue, 'postcat', [...args, id])).stdout,
      (await theirs('postcat', [...args, id])).stdout,
    ];
    for (const flags of ['-bhq', '-hq', '-bq']) {
      const [mine, postfixs] = await both(flags);
      assert.equal(mine, postfixs, flags);
    }
    const [mine, postfixs] = (await both('-q')).map(comparable) as [string[], string[]];
    // The order of recipients is that of the last tries in Postfix's listing.
    assert.deepEqual(mine.toSorted(), postfixs.toSorted());
    assert.ok(mine.includes(`message_size: ${String(size).padStart(15)}`), 'the size is that of the message with CRLF');
    const verbose = (await both('-vq')).map((text) => text.split('\n').filter((line) => line.startsWith('regular_text: ')));
    assert.deepEqual(verbose[0], verbose[1]);
  }
});

test('contract: postcat -d, -o and -r label records as Postfix does', async (t) => {
  if (!(await ready(t))) return;
  const queue = await sameQueue();
  const [{ queue_id: id } = { queue_id: '' }] = await listed();
  const both = async (flags: string): Promise<string[][]> =>
    [await ours(queue, 'postcat', [flags, id]), await theirs('postcat', [flags, id])].map(({ stdout }) => stdout.split('\n'));
  /** `67 message_size:`: what kind of record has which type. */
  const kinds = (lines: readonly string[]): Set<string> =>
    new Set(lines.flatMap((line) => /^[ \d]{3} (?:[a-z_]+:|\*\*\* [A-Z ]+)/.exec(line)?.[0] ?? []));
  const [mine = [], postfixs = []] = await both('-dq');
  assert.ok(kinds(mine).size >= 8, [...kinds(mine)].join());
  for (const kind of kinds(mine)) assert.ok(kinds(postfixs).has(kind), kind);
  const [text = [], postfixText = []] = await both('-dbhq');
  assert.deepEqual(text, postfixText);
  for (const lines of await both('-orq')) for (const line of lines.slice(1, -1)) assert.match(line, /^[ \d]{8}\d /);
  for (const lines of await both('-odrq')) for (const line of lines.slice(1, -1)) assert.match(line, /^[ \d]{8}\d [ \d]{2}\d /);
});

/** Without what only Postfix knows (its client, its files' offsets and folders). */
function comparable(text: string): string[] {
  return text
    .split('\n')
    .filter(
      (line) =>
        !/^(?:create_time: |named_attribute: (?:log_(?!ident)|client_|reverse_client|server_|helo_|protocol_|rewrite_)|original_recip)/.test(
          line,
        ),
    )
    .map((line) => line.replace(/^(\*\*\* .* )\S+\/(\S+ \*\*\*)$/, '$1$2').replace(/^(message_size: +\d+) .*/, '$1'))
    .filter((line, i, all) => !(line === 'named_attribute: encoding=8bit' && all[i - 1]?.startsWith('*** HEADER EXTRACTED')));
}

test('contract: postsuper says the same and ends the same, whatever it is told to do', async (t) => {
  if (!(await ready(t))) return;
  const queue = await sameQueue();
  const [one = '', two = ''] = (await listed()).map(({ queue_id: id }) => id);
  const steps: readonly (readonly [args: readonly string[], input?: string])[] = [
    [['-h', one]],
    [['-h', one]],
    [['-d', one, 'deferred']],
    [['-H', one]],
    [['-H', one]],
    [['-h', 'ALL']],
    [['-H', '-'], `${one}\n../x\nFFFFFF\n\n${two}\n`],
    [['-h', 'FFFFFF', '-h', two]],
    [['-d', 'FFFFFF']],
    [['-d', '../x']],
    [['-d', 'all']],
    [['-d', 'ALL', 'nowhere']],
    [['-d']],
    [['-z']],
    [['-s']],
    [['-f', one]],
    [['-f', one]],
    [['-e', two]],
    [['-f', 'ALL']],
    [['-e', '-'], `${one}\nFFFFFF\n`],
    [['-h', one]],
    [['-d', 'ALL', 'hold']],
    [['-d', one]],
    [['-d', 'ALL']],
    [['-d', 'ALL']],
  ];
  for (const [args, input] of steps) {
    const [mine, postfixs] = [await ours(queue, 'postsuper', args, input), await theirs('postsuper', args, input)];
    assert.deepEqual(mine, postfixs, args.join(' '));
  }
  assert.deepEqual(await ours(queue, 'postqueue', ['-p']), await theirs('postqueue', ['-p']));
});

test('contract: what is being delivered is active, what is expired is marked, in all combinations', async (t) => {
  if (!(await ready(t))) return;
  const sender = await SmtpSender.connect(postfix?.port ?? 0);
  for (const to of ['slow', 'late', 'defer', 'defer'].map((name, i) => `${name}${i}@${name === 'defer' ? 'defer' : 'slow'}.test`))
    await sender.send({ from: 'ana@example.test', to: [to], data: 'Subject: x\r\n\r\n' });
  await sender.quit();
  const settled = async (): Promise<Listed[] | undefined> => {
    const all = await listed();
    return all.length === 4 && all.filter(isDeferred).length === 2 ? all : undefined;
  };
  const all = await eventually(settled, 'two are being delivered, two deferred', 20_000);
  const [active] = all.filter(({ queue_name: name }) => name === 'active');
  const [held, expired] = all.filter(isDeferred);
  await theirs('postsuper', ['-e', active?.queue_id ?? '', '-e', expired?.queue_id ?? '', '-e', held?.queue_id ?? '']);
  await theirs('postsuper', ['-h', held?.queue_id ?? '']);
  const queue = await sameQueue();
  const [mine, postfixs] = [await ours(queue, 'postqueue', ['-p']), await theirs('postqueue', ['-p'])];
  for (const mark of ['*', '*#', '!#', '#']) assert.ok(postfixs.stdout.includes(`${mark}  `), `${mark} in ${postfixs.stdout}`);
  const entries = ({ stdout }: Ran): string[] => sorted(stdout.slice(stdout.indexOf('\n') + 1), '\n\n');
  assert.deepEqual(entries(mine), entries(postfixs));
  const json = [await ours(queue, 'postqueue', ['-j']), await theirs('postqueue', ['-j'])].map(({ stdout }) =>
    sorted(stdout, '\n'),
  );
  assert.deepEqual(json[0], json[1]);
  await theirs('postsuper', ['-d', 'ALL']);
});

test('contract: wrong arguments of postqueue and postcat are answered as Postfix answers them', async (t) => {
  if (!(await ready(t))) return;
  for (const [name, ...args] of [
    ['postqueue'],
    ['postqueue', '-z'],
    ['postqueue', '-p', '-f'],
    ['postqueue', '-p', 'x'],
    ['postqueue', '-i'],
    ['postqueue', '-i', '../x'],
    ['postqueue', '-i', 'FFFFFF'],
    ['postqueue', '-s', 'bad site'],
    ['postqueue', '-f'],
    ['postcat', '-q', 'FFFFFF'],
    ['postcat', '-z'],
  ] as const) {
    const [mine, postfixs] = [await ours(new MemoryQueue(), name, args), await theirs(name, args)];
    assert.deepEqual(mine, postfixs, [name, ...args].join(' '));
  }
});
