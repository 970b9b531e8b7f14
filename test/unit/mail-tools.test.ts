// mail, frm, messages, movemail on mbox files and Maildirs.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { composeMessage } from '../../src/cli/mail/compose.ts';
import { formatEntry, parseMbox, unquoted } from '../../src/cli/mail/mbox.ts';
import { replyTo } from '../../src/cli/mail/reply.ts';
import { parseMail } from '../../src/message/decode.ts';
import { encodeWords } from '../../src/message/encode-words.ts';
import { decodeWords } from '../../src/message/encoded-words.ts';
import type { BuzonResult } from '../support/buzon.ts';
import { captureIo } from '../support/command-io.ts';
import { MaildropHouse } from '../support/maildrop-house.ts';
import { fuzzTime, seededRandom } from '../support/random.ts';

const ONE =
  'From: Ana <ana@example.test>\nTo: me@x.test, c@x.test\nDate: Mon, 02 Nov 2026 10:00:00 +0000\nSubject: one\nMessage-ID: <1@x>\n\nbody one\n';
const TWO = 'From: bob@example.test\nTo: me@x.test\nSubject: =?UTF-8?Q?ma=C3=B1ana?=\n\nbody two\nFrom x\n';

interface Desk {
  readonly house: MaildropHouse;
  readonly maildir: string;
  readonly mbox: string;
  run(args: readonly string[], input?: string): Promise<BuzonResult>;
}

async function desk(t: TestContext): Promise<Desk> {
  const house = await MaildropHouse.make(t);
  const maildir = join(house.folder, 'md');
  for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(maildir, sub), { recursive: true });
  await writeFile(join(maildir, 'new', '1.M1.h'), ONE);
  await writeFile(join(maildir, 'cur', '2.M2.h:2,S'), TWO);
  const mbox = join(house.folder, 'mbox');
  await writeFile(mbox, Buffer.concat([formatEntry(Buffer.from(ONE), 0), formatEntry(Buffer.from(TWO), 0)]));
  return {
    house,
    maildir,
    mbox,
    async run(args, input = '') {
      const io = captureIo({ input, cwd: house.folder, env: { MAIL_CONFIG: house.folder } });
      const status = await runCommand(args, io);
      return { status, stdout: io.stdout, stderr: io.stderr };
    },
  };
}

for (const kind of ['maildir', 'mbox'] as const) {
  test(`frm and messages on a ${kind}`, async (t) => {
    const at = await desk(t);
    assert.equal((await at.run(['frm', at[kind]])).stdout, 'Ana\tone\nbob@example.test\tmañana\n');
    assert.equal(
      (await at.run(['frm', '-n', '-l', at[kind]])).stdout,
      '   1:\t(me@x.test)\tAna\tone\n   2:\t(me@x.test)\tbob@example.test\tmañana\n',
    );
    assert.equal((await at.run(['frm', '-f', 'message-id', at[kind]])).stdout, '<1@x>\n\n');
    const [one] = (await at.run(['frm', '-s', 'new', at[kind]])).stdout.split('\n');
    assert.equal(one, 'Ana\tone');
    assert.equal((await at.run(['frm', '-q', at[kind]])).status, 0);
    assert.equal((await at.run(['messages', '-q', at[kind]])).stdout, '2\n');
    assert.equal((await at.run(['messages', at[kind]])).stdout, `Number of messages in ${at[kind]}: 2\n`);
    assert.equal((await at.run(['messages', '/nothing/here'])).status, 1);
  });

  test(`mail reads a ${kind}: list, print, delete, undelete, save, quit`, async (t) => {
    const at = await desk(t);
    const saved = join(at.house.folder, 'saved');
    const first = await at.run(['mail', '-f', at[kind]], 'p 1\nd *\nu 2\ns 2 saved\nh\nq\n');
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stdout, new RegExp(`^"${at[kind]}": 2 messages\n>N {3}1 Ana {16}Mon Nov {2}2 `));
    assert.ok(first.stdout.includes(ONE));
    assert.match(first.stdout, /^>\* {3}1 Ana/m);
    assert.ok(first.stdout.endsWith(`Held 1 message in ${at[kind]}\n`));
    assert.equal((await at.run(['frm', at[kind]])).stdout, 'bob@example.test\tmañana\n');
    assert.ok((await readFile(saved, 'utf8')).includes('\n>From x\n'));
    assert.equal((await at.run(['mail', '-f', saved, '-p'])).stdout, TWO);
  });

  test(`mail: x leaves a ${kind} as it was; wrong commands are said and go on`, async (t) => {
    const at = await desk(t);
    const result = await at.run(['mail', '-N', '-f', at[kind]], 'zap\np 7\nd 1\nx\n');
    assert.equal(result.status, 1);
    assert.match(result.stderr, /Unknown command: zap\n7: invalid message number/);
    assert.equal((await at.run(['messages', '-q', at[kind]])).stdout, '2\n');
    assert.equal((await at.run(['mail', '-e', '-f', at[kind]])).status, 0);
    assert.equal((await at.run(['mail', '-e', '-f', join(at.house.folder, 'none')])).status, 1);
    assert.equal((await at.run(['mail', '-H', '-f', at[kind]])).stdout.split('\n').length, 3);
  });
}

test('a Maildir that was read keeps its names and has its UIDs', async (t) => {
  const at = await desk(t);
  await at.run(['mail', '-N', '-f', at.maildir], 'p 1\nq\n');
  assert.deepEqual((await readdir(join(at.maildir, 'cur'))).sort(), ['1.M1.h:2,S', '2.M2.h:2,S']);
  assert.match(await readFile(join(at.maildir, 'dovecot-uidlist'), 'utf8'), /^3 V\d+ N\d+ /);
});

test('mail replies: to all or to the author, with what threads need', async (t) => {
  const at = await desk(t);
  const result = await at.run(['mail', '-N', '-f', at.maildir], 'r 1\n~s is text\nhola\n.\nR 1\njust you\n.\nq\n');
  assert.equal(result.status, 0, result.stderr);
  const sent = await at.house.dropped();
  const all = sent.find(({ message }) => message.includes('hola'));
  assert.deepEqual(all?.envelope['recipients'], ['ana@example.test', 'me@x.test', 'c@x.test']);
  assert.match(all.message, /^Subject: Re: one\r\nIn-Reply-To: <1@x>\r\nReferences: <1@x>\r\n/m);
  assert.ok(all.message.endsWith('\r\n\r\n~s is text\r\nhola\r\n'));
  assert.deepEqual(sent.find(({ message }) => message.includes('just you'))?.envelope['recipients'], ['ana@example.test']);
  assert.deepEqual((await readdir(join(at.maildir, 'cur'))).sort(), ['1.M1.h:2,RS', '2.M2.h:2,S']);
});

test('mail sends: subject, headers, attachments, sender, recipients from the input', async (t) => {
  const at = await desk(t);
  await writeFile(join(at.house.folder, 'año.bin'), Buffer.from([0, 1, 2, 255]));
  const args = ['mail', '-s', 'mañana', '-a', 'X-One: 1', '-A', 'año.bin', '-r', 'me@example.test', 'ana@example.test', 'root'];
  const result = await at.run(args, 'hola ñ\n.\nmore\n');
  assert.equal(result.status, 0, result.stderr);
  const [sent] = await at.house.dropped();
  assert.equal(sent?.envelope['sender'], 'me@example.test');
  assert.deepEqual(sent.envelope['recipients'], ['ana@example.test', 'root@mail.example.test']);
  const mail = await parseMail(Buffer.from(sent.message, 'latin1'));
  assert.equal(mail.subject, 'mañana');
  assert.match(mail.text ?? '', /^hola ñ\r?\n\.\r?\nmore/);
  assert.match(sent.message, /^X-One: 1\r\n/m);
  assert.match(sent.message, /^Content-Disposition: attachment; filename\*=UTF-8''a%C3%B1o\.bin\r\n/m);
  assert.match(sent.message, /^AAEC\/w==\r\n/m);
  const second = await at.run(['mail', '-t'], 'To: b@example.test\nBcc: c@example.test\nSubject: x\n\nbody\n');
  assert.equal(second.status, 0, second.stderr);
  const t2 = (await at.house.dropped()).find(({ envelope }) => (envelope['recipients'] as string[]).includes('c@example.test'));
  assert.doesNotMatch(t2?.message ?? 'bcc', /bcc/i);
});

test('mail: nothing is sent for wrong arguments, a missing file, a header of two lines', async (t) => {
  const at = await desk(t);
  for (const [args, status] of [
    [['mail', '-Z', 'x'], 64],
    [['mail', '-A', 'none', 'ana@example.test'], 1],
    [['mail', '-a', 'X: a\nBcc: all@x.test', 'ana@example.test'], 1],
    [['mail', '-s', 'x', 'a@b@c'], 65],
    [['mail', '-t'], 1],
  ] as const)
    assert.equal((await at.run(args, 'body\n')).status, status, args.join(' '));
  assert.deepEqual(await at.house.names('maildrop'), []);
});

test('movemail: mbox to Maildir and back, keeping with -p; nothing is lost', async (t) => {
  const at = await desk(t);
  const target = join(at.house.folder, 'target');
  assert.equal((await at.run(['movemail', '-p', at.mbox, at.maildir])).status, 0);
  assert.equal((await at.run(['messages', '-q', at.mbox, at.maildir])).stdout, '2\n4\n');
  const moved = await at.run(['movemail', at.maildir, target]);
  assert.equal(moved.status, 0, moved.stderr);
  assert.equal((await at.run(['messages', '-q', at.maildir, target])).stdout, '0\n4\n');
  const all = (await at.run(['mail', '-p', '-f', target])).stdout;
  assert.equal(all.split(ONE).length - 1, 2);
  assert.equal(all.split(TWO).length - 1, 2);
  assert.deepEqual(
    (await readdir(at.house.folder)).filter((name) => name.endsWith('.lock')),
    [],
  );
  assert.equal((await at.run(['movemail', target])).status, 64);
});

test('an mbox that another program changes meanwhile is not overwritten, what it adds stays', async (t) => {
  const at = await desk(t);
  const { openBox } = await import('../../src/cli/mail/box.ts');
  const box = await openBox(at.mbox);
  (box.messages[0] ?? assert.fail()).deleted = true;
  await writeFile(at.mbox, formatEntry(Buffer.from('Subject: late\n\nx\n'), 0), { flag: 'a' });
  await box.save();
  assert.equal((await at.run(['frm', '-f', 'subject', at.mbox])).stdout, 'mañana\nlate\n');
  (box.messages[1] ?? assert.fail()).deleted = true;
  await assert.rejects(box.save(), /another program has changed/);
});

test('row 25: seeded fuzz of mboxes: messages come back as they were put in; whatever the bytes, nothing throws', () => {
  const { until, seed } = fuzzTime(300);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    const line = (): string =>
      random.pick(['From x Mon Nov  2 10:00:00 2026', '>From y', '', 'text', 'From', ' From z 10:00', 'Status: RO']);
    const make = (): Buffer => Buffer.from(`Subject: x\n\n${Array.from({ length: random.below(6) }, line).join('\n')}\nend\n`);
    const messages = Array.from({ length: random.below(4) }, make);
    const bytes = Buffer.concat(messages.map((one) => formatEntry(one, 0)));
    const read = parseMbox(bytes)?.map(({ content }) => unquoted(content).toString());
    assert.deepEqual(read, messages.map(String), `seed ${n}`);
    for (let i = 0; i < 5 && bytes.length > 0; i++) bytes[random.below(bytes.length)] = random.below(256);
    parseMbox(bytes);
  }
});

test('a message is composed so that readers see what was meant', () => {
  assert.equal(
    String(composeMessage({ fields: ['Subject: x'], body: Buffer.from('b\n'), attachments: [] })),
    'Subject: x\n\nb\n',
  );
  assert.match(String(composeMessage({ fields: ['Subject: x'], body: Buffer.from('ñ\n'), attachments: [] })), /charset=UTF-8/);
  for (const text of ['ñ', 'plain', 'x'.repeat(200) + 'ñ', '=?UTF-8?Q?x?=', 'a😀'.repeat(40)]) {
    assert.equal(decodeWords(encodeWords(text)), text);
    for (const word of encodeWords(text).split(' ')) assert.ok(word === text || word.length <= 75, word);
  }
  assert.deepEqual(replyTo('From: a@b.test\nReply-To: list@b.test\nSubject: RE: x\n', false), {
    recipients: ['list@b.test'],
    subject: 'RE: x',
    fields: [],
  });
});
